"""A task for workers that takes long in many steps; workers import it, so that it can't stand in a test's own file."""

import time

from medino.data.workers.limits import next_frame


def decode_frames(task: tuple[int, bool]) -> str:
    """Some frames of 0.7 s each, announced or not."""
    frames, announced = task
    for _ in range(frames):
        if announced:
            next_frame()
        time.sleep(0.7)
    return f"{frames} frames"
