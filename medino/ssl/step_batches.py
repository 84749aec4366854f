"""How a step's batch is made of its addresses, in the main process or in workers."""

import dataclasses
import time
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import torch
from pytorch_lightning.utilities import rank_zero_warn
from torch.utils.data import DataLoader, Dataset

from medino.core import UnreadableImageError, numpy_generator
from medino.data import Manifest, PixelDataset, SampleAddress, StepBatchSampler
from medino.ssl.batch import PretrainingBatch
from medino.ssl.images import Images
from medino.ssl.loader_pace import LoaderPace
from medino.views import BlockMasks, MultiCrop, ViewDraws, source_of

ViewsOn = Literal["worker", "device"]
"""Where views are made: in the processes that load, or on the device that trains."""

REPLACEMENTS = 20
"""Samples that may fail to decode, one after the other, before the run stops."""


class StepBatches(Dataset[PretrainingBatch]):
    """Makes a step's batch from its addresses. What it draws depends on the addresses alone, not on who asks.

    Args:
        manifest: the images.
        views: makes the crops of one image.
        masks: draws the masks of the global batch.
        batch_size: of all processes.
        seed: of the run.
        neighbours: whether three neighbouring slices make the channels.
        purpose: what the random draws are for; another one gives other views.
        views_on: "worker": batches hold crops; "device": they hold the images and what was drawn for their views.
    """

    def __init__(
        self,
        manifest: Manifest,
        views: MultiCrop,
        masks: BlockMasks,
        batch_size: int,
        seed: int,
        neighbours: bool = False,
        purpose: str = "views",
        views_on: ViewsOn = "worker",
    ) -> None:
        self.pixels = PixelDataset(manifest, neighbours=neighbours)
        self.sample_ids = manifest.table["sample_id"]
        self.views = views
        self.masks = masks
        self.batch_size = batch_size
        self.seed = seed
        self.purpose = purpose
        self.views_on = views_on

    def __getitem__(self, addresses: list[SampleAddress]) -> PretrainingBatch:
        """The batch of one process and step."""
        rejects: list[tuple[int, str]] = []
        rows: list[int] = []
        sources: list[torch.Tensor] = []
        draws: list[ViewDraws] = []
        for address in addresses:
            made = self._sample(address, rejects)
            if made is None:
                # Raised where it can be said in one line: an error in a worker process arrives with a traceback.
                nothing = torch.empty(0)
                failure = (
                    f"training stopped at step {address.step}: {REPLACEMENTS} images in a row can't be decoded "
                    f"(the last: {rejects[-1][1]}); run medino scan --verify on this data"
                )
                return PretrainingBatch(nothing, nothing, nothing, rejects=rejects, failure=failure)
            rows.append(made[0])
            sources.append(made[1])
            draws.append(made[2])
        step, first = addresses[0].step, addresses[0].position
        masks = self.masks(2 * self.batch_size, numpy_generator(self.seed, f"{self.purpose} masks", step))
        own = masks.unflatten(0, (2, self.batch_size))[:, first : first + len(addresses)].flatten(0, 1)
        nothing = torch.empty(0)
        batch = PretrainingBatch(
            global_crops=nothing,
            local_crops=nothing,
            masks=own,
            step=step,
            first_position=first,
            sample_ids=[str(self.sample_ids[row]) for row in rows],
            rejects=rejects,
        )
        if self.views_on == "device":
            return dataclasses.replace(batch, images=Images.of(sources, draws))
        views = self.views.make(sources, draws)
        return dataclasses.replace(batch, global_crops=views.global_crops, local_crops=views.local_crops)

    def _sample(
        self, address: SampleAddress, rejects: list[tuple[int, str]]
    ) -> tuple[int, torch.Tensor, ViewDraws] | None:
        """The row, the image and the drawn views of an address; another row where its own can't be decoded."""
        row = address.row
        replacement = numpy_generator(self.seed, f"{self.purpose} replacement", address.step, address.position)
        for _ in range(REPLACEMENTS):
            generator = numpy_generator(self.seed, self.purpose, address.step, address.position)
            try:
                pixels = self.pixels[row]
                if not bool(pixels.values.isfinite().all()):
                    raise UnreadableImageError("pixel values that are not finite (NaN or infinity)")
                return row, source_of(pixels), self.views.draw(pixels, generator)
            except UnreadableImageError as error:
                rejects.append((row, str(error)))
                row = int(replacement.integers(len(self.sample_ids)))
        return None


class StepLoader:
    """The batches from one step to the last. Its length is that of the whole run, as Lightning counts a resumed run's.

    Args:
        dataset: makes the batches.
        sampler: their addresses.
        total_steps: of the whole run.
        num_workers: processes that make batches; the batches are the same for any number.
        pin_memory: for training on a GPU.
    """

    def __init__(
        self,
        dataset: StepBatches,
        sampler: Sequence[list[SampleAddress]] | StepBatchSampler,
        total_steps: int,
        num_workers: int = 0,
        pin_memory: bool = False,
    ) -> None:
        self.total_steps = total_steps
        self.views_on = dataset.views_on
        # Without a batch size, the loader passes the sampler's list of addresses to the dataset as it is.
        self.loader: DataLoader[PretrainingBatch] = DataLoader(
            dataset,
            batch_size=None,
            sampler=sampler,
            num_workers=num_workers,
            pin_memory=pin_memory,
        )

    def __len__(self) -> int:
        return self.total_steps

    def __iter__(self) -> Iterator[PretrainingBatch]:
        pace = LoaderPace(self.loader.num_workers, self.views_on)
        asked = time.perf_counter()
        for batch in self.loader:
            came = time.perf_counter()
            yield batch
            waited, asked = came - asked, time.perf_counter()
            if warning := pace.note(waited, asked - came):
                rank_zero_warn(warning)

    def state_dict(self) -> dict[str, Any]:
        """Nothing: the module knows which step is next, whatever was fetched ahead. Lightning looks for this."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to do: the loader was made to start at the module's next step."""
