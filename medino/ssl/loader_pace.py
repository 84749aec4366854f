"""Whether training waits for its data: who sets the pace, the loader or the model."""

import os

WARM_UP_STEPS = 5
"""Steps that are not counted: workers start, caches fill, kernels are chosen."""

PACE_STEPS = 50
"""Steps that are looked at together, until something is said of them."""

WAITING_SHARE = 0.1
"""More waiting than this share of the time is worth a word; less is lost in what steps differ by."""


class LoaderPace:
    """Adds up how long training waits for batches and how long it works on them, and says so once.

    Args:
        num_workers: processes that make batches.
        views_on: where views are made, "worker" or "device".
    """

    def __init__(self, num_workers: int, views_on: str) -> None:
        self.num_workers = num_workers
        self.views_on = views_on
        self.steps = 0
        self.said = False
        self.waited = 0.0
        self.worked = 0.0

    def note(self, waited: float, worked: float) -> str | None:
        """Count a step.

        Args:
            waited: seconds until its batch was there.
            worked: seconds from then until the next one was asked for.

        Returns:
            A warning after the first `PACE_STEPS` steps in a row in which the loader set the pace; only one.
        """
        self.steps += 1
        if self.said or self.steps <= WARM_UP_STEPS:
            return None
        self.waited += waited
        self.worked += worked
        if (self.steps - WARM_UP_STEPS) % PACE_STEPS:
            return None
        share = self.waited / max(self.waited + self.worked, 1e-9)
        a_step, working = (self.waited + self.worked) / PACE_STEPS, self.worked / PACE_STEPS
        # Slow steps later on must not be lost in the fast ones before.
        self.waited = self.worked = 0.0
        if share < WAITING_SHARE:
            return None
        self.said = True
        return (
            f"training waits for data {share:.0%} of the time: a step takes {a_step:.2f} s and would take "
            f"{working:.2f} s; {self._advice()}"
        )

    def _advice(self) -> str:
        cores = os.cpu_count() or 1
        ways = []
        if self.num_workers < cores:
            ways.append(f"raise num_workers (now {self.num_workers}, this machine has {cores} cores)")
        if self.views_on == "worker":
            ways.append("with a GPU set views_on to device")
        ways.append("read packed images (medino pack)")
        return ", or ".join(ways)
