"""A manifest to shards and to a manifest of these: each image is decoded once, in several processes if wanted.

A shard is written when all of its rows are there, whole, under a name that its place in the plan gives; a pack that was
killed finds the finished ones and goes on behind them. Rows come back in the manifest's order, so that the bytes do not
depend on who decoded them.
"""

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

from medino.core import InputError, UnreadableImageError
from medino.data.dataset import sample_mask
from medino.data.location import as_root, file_names, file_size, located, remove_parts, write_bytes
from medino.data.manifest import Manifest
from medino.data.pack.packed_manifest import packed_manifest
from medino.data.pack.plan import PackPlan, Part
from medino.data.pack.rows import Row, image_row, mask_row
from medino.data.pack.shards import shard_bytes, shard_facts
from medino.data.readers import read_pixels
from medino.data.schema import Sample
from medino.data.source import Source
from medino.data.workers import Workers, read_all

SHARD_NAME = re.compile(r"images-\d{5,}\.arrow")


@dataclass(frozen=True)
class Packed:
    """What was packed.

    Attributes:
        manifest: of the packed rows, and of what could not be decoded.
        shards: how many files of images there are.
        found: how many of them an earlier start had finished.
        bytes: of all shards, those of masks included.
        kept: how many rows are exact, rounded, quantised (see `medino.data.pack.rows`).
        rejects: what could not be decoded now, by reason.
    """

    manifest: Manifest
    shards: int
    found: int
    bytes: int
    kept: dict[str, int]
    rejects: dict[str, int]


@dataclass
class _Outcome:
    """What a shard says of itself, kept in its metadata: no identifier and no path.

    Attributes:
        fingerprint: of the part of the plan.
        rejects: reasons, by the place of a row in the part.
        kept: rows by how their values are kept.
    """

    fingerprint: str
    rejects: dict[str, str] = field(default_factory=dict)
    kept: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _Task:
    """An image to decode and pack, with its mask."""

    source: Source
    sample: Sample
    mask: Source | None
    short_side: int | None


def pack_manifest(plan: PackPlan, location: str, workers: int | Workers = 1) -> Packed:
    """Decode, resize and compress the images of a manifest, and their masks.

    Args:
        plan: what is packed.
        location: a folder or an fsspec URL. Shards of the same plan that are there are kept.
        workers: who decodes; the shards are the same.

    Returns:
        The packed manifest, not yet written. Its rows have the samples' ids, patients, labels and splits; `path` and
        `member` are a shard and the row in it, `frame` stays the frame of the file that the row came from.

    Raises:
        InputError: a scanned folder is not there, the location holds other shards or can't be used, or nothing can be
            decoded.
        MedinoError: the location is full; what is finished is kept.
    """
    manifest, root = plan.manifest, as_root(location)
    manifest.check_roots()
    remove_parts(root)
    outcomes = _finished(plan, root)
    found = len(outcomes)
    missing = [part for part in plan.parts if part.number not in outcomes]
    total = sum(part.stop - part.start for part in missing)
    answers = read_all(pack_row, _tasks(plan, missing), workers, "packing images", total=total) if missing else iter(())
    for part in missing:
        outcome = _Outcome(part.fingerprint)
        images, masks = _collected(answers, part, outcome)
        if part.masks:
            write_bytes(root, part.masks_name, shard_bytes(masks, {"fingerprint": part.fingerprint}))
        # Last: with it the part counts as finished.
        write_bytes(root, part.images_name, shard_bytes(images, vars(outcome)))
        outcomes[part.number] = outcome
    packed = packed_manifest(plan, root, {number: outcome.rejects for number, outcome in outcomes.items()})
    return Packed(
        manifest=packed,
        shards=len(plan.parts),
        found=found,
        bytes=sum(file_size(root, name) for part in plan.parts for name in part.names),
        kept=dict(sum((Counter(outcome.kept) for outcome in outcomes.values()), Counter())),
        rejects=dict(Counter(reason for outcome in outcomes.values() for reason in outcome.rejects.values())),
    )


def pack_row(task: _Task) -> tuple[Row, Row | None]:
    """Decode and pack one image, and its mask.

    Raises:
        UnreadableImageError: one of the two can't be decoded, or they have not the size that the manifest says.
    """
    sample = task.sample
    pixels = read_pixels(task.source, sample)
    if tuple(pixels.values.shape[-2:]) != (sample.rows, sample.columns):
        raise UnreadableImageError("the pixels have another size than the header says")
    image = image_row(sample.sample_id, pixels, task.short_side)
    if task.mask is None:
        return image, None
    try:
        mask = sample_mask(sample, task.mask)
    except UnreadableImageError as error:
        raise UnreadableImageError(f"its mask can't be read: {error}") from error
    except InputError as error:
        raise UnreadableImageError("its mask has another size") from error
    return image, mask_row(sample.sample_id, mask, task.short_side)


def _tasks(plan: PackPlan, parts: Sequence[Part]) -> Iterator[_Task]:
    """The rows of some parts, one by one: a million at once would fill the memory."""
    manifest = plan.manifest
    for part in parts:
        for row in range(part.start, part.stop):
            yield _Task(manifest.source(row), manifest.sample(row), manifest.mask_source(row), plan.short_side)


def _collected(
    answers: Iterator[tuple[Row, Row | None] | str], part: Part, outcome: _Outcome
) -> tuple[list[Row], list[Row]]:
    """The rows of a part's images and masks; what failed is noted."""
    images, masks, kept = [], [], Counter[str]()
    for place, answer in enumerate(itertools.islice(answers, part.stop - part.start)):
        if isinstance(answer, str):
            outcome.rejects[str(place)] = answer
            continue
        image, mask = answer
        images.append(image)
        kept[image.kept] += 1
        if mask is not None:
            masks.append(mask)
    outcome.kept.update(sorted(kept.items()))
    return images, masks


def _finished(plan: PackPlan, root: Path | str) -> dict[int, _Outcome]:
    """The parts whose shards are there.

    Raises:
        InputError: there are shards of something else.
    """
    names = set(file_names(root))
    parts = {part.images_name: part for part in plan.parts}
    outcomes = {}
    for name in sorted(name for name in names if SHARD_NAME.fullmatch(name)):
        try:
            facts = shard_facts(located(root, name))
        except UnreadableImageError:
            # Cut off by a kill, where the location does not write whole files; it is written again.
            continue
        part = parts.get(name)
        if part is None or facts.get("fingerprint") != part.fingerprint:
            raise InputError(
                f"{root} holds shards of another cohort, of another state of it or of another short side; give a "
                "location of its own"
            )
        if not part.masks or part.masks_name in names:
            outcomes[part.number] = _Outcome(**{each.name: facts[each.name] for each in fields(_Outcome)})
    return outcomes
