"""A step's batch in micro-batches, and their losses as one: a large batch in the memory of a smaller one."""

import dataclasses
from collections.abc import Sequence

import torch

from medino.core import InputError
from medino.ssl.batch import PretrainingBatch
from medino.ssl.step_losses import StepLosses


def micro_batches(batch: PretrainingBatch, parts: int) -> list[PretrainingBatch]:
    """A batch in so many parts of equal size, each with its place in the global batch; one part is the batch.

    Raises:
        InputError: the batch can't be divided so.
    """
    if parts == 1:
        return [batch]
    images = batch.batch_size
    size, left = divmod(images, parts)
    if left or size == 0:
        raise InputError(
            f"a batch of {images} images on each process can't be divided into {parts} micro-batches; "
            "choose another batch_size or accumulate"
        )

    def part(crops: torch.Tensor, number: int) -> torch.Tensor:
        views = crops.unflatten(0, (-1, images)) if len(crops) else crops[None]
        return views[:, number * size : (number + 1) * size].flatten(0, 1)

    return [
        dataclasses.replace(
            batch,
            global_crops=part(batch.global_crops, number),
            local_crops=part(batch.local_crops, number),
            masks=part(batch.masks, number),
            first_position=batch.first_position + number * size,
            sample_ids=batch.sample_ids[number * size : (number + 1) * size],
        )
        for number in range(parts)
    ]


def of_whole_step(parts: Sequence[StepLosses]) -> StepLosses:
    """The losses of a step from those of its micro-batches: means of the terms; nothing to be differentiated."""

    def joined(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
        return torch.cat([each.unflatten(0, (2, -1)) for each in tensors], dim=1).flatten(0, 1)

    def mean(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
        return torch.stack([each.detach() for each in tensors]).mean(dim=0)

    if len(parts) == 1:
        return parts[0]
    return StepLosses(
        total=mean([part.total for part in parts]),
        terms={name: mean([part.terms[name] for part in parts]) for name in parts[0].terms},
        center_means=parts[0].center_means,
        teacher_class_tokens=joined([part.teacher_class_tokens for part in parts]),
        targets=joined([part.targets for part in parts]),
        queued={name: joined([part.queued[name] for part in parts]) for name in parts[0].queued},
        sample_ids=[sample_id for part in parts for sample_id in part.sample_ids],
    )
