"""Token maps of a manifest's images, computed once and kept on the disk: fp16, memory-mapped.

A store is a folder: `maps.npy` (N, V, h, w, D) float16, an array that NumPy opens, and `maps.json`, what it was made
from. It is written beside its place and moved there when it is whole; a stopped one goes on at the image it came to.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Subset

from medino.core import InputError, free_bytes, read_json, size_in_words, track, write_json
from medino.core.files import DISK_FULL
from medino.data import Manifest
from medino.features.embed import ReadImages, readable_and_not
from medino.features.table import check_made_from
from medino.features.token_maps import MapMaker
from medino.features.transform import EvaluationTransform
from medino.features.variants import AS_IS, VARIANTS, check_variants

MAPS_VERSION = 1
"""Schema version of a store of maps."""

MAPS_FILE, FACTS_FILE = "maps.npy", "maps.json"

PART = ".part"
"""Ends the name of a store that is not whole yet."""

LARGEST = float(np.finfo(np.float16).max)


@dataclass(frozen=True, eq=False)
class MapStore:
    """The kept maps of N images in V variants.

    Attributes:
        maps: (N, V, h, w, D) float16, on the disk; zeros for an image that could not be decoded.
        sample_ids: (N,) the manifest's ids, in its order.
        variants: the V names of `VARIANTS`; the first is the image as it is.
        layers: blocks that the tokens are of, side by side; none for a floor without a backbone.
        patch_size: side of a patch, pixels of the transform's result.
        backbone: fingerprint of the checkpoint, or name of a floor.
        manifest: fingerprint of the manifest.
        transform: the evaluation transform's settings, `EvaluationTransform(**...)` but for the intensity's own.
        rejects: sample ids that could not be decoded.
        facts: more that was kept with the maps (the backbone's name, the patients seen in pretraining).
    """

    maps: np.ndarray
    sample_ids: np.ndarray
    variants: tuple[str, ...]
    layers: tuple[int, ...]
    patch_size: int
    backbone: str
    manifest: str
    transform: Mapping[str, Any]
    rejects: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.sample_ids)

    @classmethod
    def open(cls, folder: str | Path) -> "MapStore":
        """Open a store; no map is read before it is asked for.

        Raises:
            InputError: it is missing, not whole, of another version, or its two files don't fit each other.
        """
        folder = Path(folder)
        if not (folder / FACTS_FILE).is_file():
            stopped = folder.with_name(folder.name + PART).is_dir()
            state = "is not whole: its making was stopped" if stopped else "holds no maps"
            raise InputError(f"{folder} {state}; keep the maps again")
        found = read_json(folder / FACTS_FILE)
        if not isinstance(found, dict) or found.get("schema_version") != MAPS_VERSION:
            raise InputError(f"{folder} is of another version of medino's maps than {MAPS_VERSION}; keep them again")
        try:
            maps = np.load(folder / MAPS_FILE, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise InputError(f"{folder / MAPS_FILE} can't be read ({error}); keep the maps again") from error
        ids = np.array(found["sample_ids"], dtype=object)
        if list(maps.shape) != found["made_from"]["shape"] or maps.dtype != np.float16 or len(maps) != len(ids):
            raise InputError(f"{folder / MAPS_FILE} is not what {FACTS_FILE} beside it says; keep the maps again")
        made_from = found["made_from"]
        return cls(
            maps=maps,
            sample_ids=ids,
            variants=tuple(made_from["variants"]),
            layers=tuple(made_from["layers"]),
            patch_size=made_from["patch_size"],
            backbone=made_from["backbone"],
            manifest=made_from["manifest"],
            transform=made_from["transform"],
            rejects=tuple(found["rejects"]),
            facts=found["facts"],
        )

    def tokens(self, rows: Sequence[int] | np.ndarray, variant: str = AS_IS) -> torch.Tensor:
        """(B, h, w, D) float32 maps of some rows, in one of the kept variants."""
        return torch.from_numpy(self.maps[np.asarray(rows), self.variants.index(variant)].astype(np.float32))

    def check_made_from(self, manifest: Manifest, name: str) -> None:
        """Refuse maps of another manifest; see `FeatureTable.check_made_from`."""
        check_made_from(self.manifest, manifest, name)


def keep_maps(
    folder: str | Path,
    maker: MapMaker,
    manifest: Manifest,
    transform: EvaluationTransform,
    *,
    variants: Sequence[str] = (AS_IS,),
    batch_size: int = 32,
    num_workers: int = 0,
    facts: Mapping[str, Any] | None = None,
    announce: Callable[[str], None] = print,
) -> MapStore:
    """Compute the maps of all images of a manifest, or open those that are there already.

    Args:
        folder: where the store is or goes. Where it was made from the same backbone, manifest, transform, layers and
            variants it is only opened; where such a making was stopped it goes on.
        maker: makes the maps of a batch of images.
        manifest: all rows; those that can't be decoded are listed in `rejects`.
        transform: makes the images.
        variants: ways of mirroring and turning whose maps are kept as well, `as_is` first. Each is computed from the
            mirrored image and takes as much room again.
        batch_size: images at once.
        num_workers: processes that decode.
        facts: more to keep with the maps, JSON-plain.
        announce: is told the size before anything is written.

    Raises:
        InputError: the manifest is empty or none of it can be decoded, the transform's size does not fit the patch,
            the folder holds maps of something else, the disk has too little room, or a map has a value that fp16 does
            not hold.
    """
    folder = Path(folder)
    check_variants(variants)
    manifest.check_roots()
    manifest.check_sides(maker.patch_size)
    if not len(manifest):
        raise InputError(f"the manifest {manifest.name} is empty: there are no maps to keep; scan again")
    if transform.size % maker.patch_size:
        raise InputError(
            f"the transform's size is {transform.size}, which is no multiple of the patch of {maker.patch_size} pixels"
        )
    side = transform.size // maker.patch_size
    made_from: dict[str, Any] = {
        "backbone": maker.fingerprint,
        "manifest": manifest.fingerprint,
        # As it reads from a file, where a tuple is a list.
        "transform": json.loads(json.dumps(transform.settings)),
        "layers": list(maker.layers),
        "variants": list(variants),
        "patch_size": maker.patch_size,
        "shape": [len(manifest), len(variants), side, side, maker.channels],
    }
    if folder.exists():
        return _reused(folder, made_from)
    part = _Part(folder, made_from)
    _announce(folder, part, announce)
    rows = range(part.done, len(manifest))
    images = Subset(ReadImages(manifest, transform), rows)
    loader = DataLoader(images, batch_size=batch_size, num_workers=num_workers, collate_fn=readable_and_not)
    for readable, batch, unreadable in track(loader, "keeping token maps (batches)"):
        part.append(_maps(maker, batch, readable, variants, len(readable) + len(unreadable), part), unreadable)
    if len(part.rejects) == len(manifest):
        reason = next(iter(unreadable.values()))
        raise InputError(f"none of the {len(manifest)} images of {manifest.name} could be decoded: {reason}")
    part.finish(manifest.column("sample_id"), dict(facts or {}))
    return MapStore.open(folder)


def _maps(
    maker: MapMaker, images: torch.Tensor, readable: Sequence[int], variants: Sequence[str], count: int, part: "_Part"
) -> np.ndarray:
    """(B, V, h, w, D) fp16 of the next B rows; zeros where an image could not be read."""
    maps = np.zeros((count, *part.shape[1:]), dtype=np.float16)
    for place, variant in enumerate(variants):
        if not readable:
            continue
        made = maker(VARIANTS[variant](images)).float().cpu()
        if not made.abs().max() <= LARGEST:
            raise InputError(
                f"the token maps have values that are not finite or above {LARGEST:.0f}, which fp16 does not hold; "
                "check the weights (a run that diverged leaves such ones)"
            )
        maps[np.asarray(readable) - part.done, place] = made.numpy()
    return maps


def _reused(folder: Path, made_from: Mapping[str, Any]) -> MapStore:
    """The store that is there, once it is the one that is meant."""
    store = MapStore.open(folder)
    found = read_json(folder / FACTS_FILE)["made_from"]
    differing = [name for name in made_from if made_from[name] != found.get(name)]
    if differing:
        raise InputError(
            f"{folder} holds maps of another {' and '.join(differing)}; give another folder, or delete this one"
        )
    return store


def _announce(folder: Path, part: "_Part", announce: Callable[[str], None]) -> None:
    """Say how large the store will be, and refuse it where the disk has no room for it."""
    images, variants, height, width, channels = part.shape
    free, needed = free_bytes(folder), part.missing_bytes
    going_on = f" ({part.done} are there already)" if part.done else ""
    ways = f" in {variants} variants" if variants > 1 else ""
    announce(
        f"token maps {folder.name}: {images} images{ways}{going_on}, {height} x {width} patches of {channels} "
        f"numbers in fp16: {size_in_words(part.row_bytes * images)}; {size_in_words(free)} are free"
    )
    if needed > free:
        raise InputError(
            f"the token maps need {size_in_words(needed)} more, and the disk of {folder} has {size_in_words(free)} "
            "free; free some, choose another folder, or keep fewer layers, variants or pixels"
        )


class _Part:
    """A store in the making: rows are appended, so that what was done is seen from the file.

    Args:
        folder: where the whole store will be.
        made_from: what it is made from; a part that was made from something else is begun anew.
    """

    def __init__(self, folder: Path, made_from: Mapping[str, Any]) -> None:
        self.folder, self.path = folder, folder.with_name(folder.name + PART)
        self.made_from = dict(made_from)
        self.shape = tuple(made_from["shape"])
        self.row_bytes = int(np.prod(self.shape[1:])) * np.dtype(np.float16).itemsize
        self.done = 0
        self.rejects: list[int] = []
        progress = self.path / FACTS_FILE
        if progress.is_file() and (found := read_json(progress))["made_from"] == self.made_from:
            self.done = found["done"]
            self.rejects = found["rejects"]

    @property
    def missing_bytes(self) -> int:
        """What is still to be written."""
        return (self.shape[0] - self.done) * self.row_bytes

    def append(self, maps: np.ndarray, rejects: Iterable[int]) -> None:
        """Write the next rows, then say that they are there.

        Raises:
            InputError: the disk is full.
        """
        file = self.path / MAPS_FILE
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if self.done == 0:
                header = {"descr": "<f2", "fortran_order": False, "shape": self.shape}
                with file.open("wb") as begun:
                    np.lib.format.write_array_header_2_0(begun, header)
            with file.open("r+b") as opened:
                np.lib.format.read_magic(opened)
                np.lib.format.read_array_header_2_0(opened)
                # What a stopped run wrote after it last said how far it was is written again.
                opened.seek(self.done * self.row_bytes, 1)
                opened.truncate()
                opened.write(maps.astype("<f2", copy=False).tobytes())
        except OSError as error:
            if error.errno not in DISK_FULL:
                raise
            raise InputError(
                f"{self.path} can't be written ({error.strerror}); free some space, then run the command again: "
                "it goes on where it stopped"
            ) from error
        self.done += len(maps)
        self.rejects += rejects
        self._say({"done": self.done, "rejects": self.rejects})

    def finish(self, sample_ids: np.ndarray, facts: Mapping[str, Any]) -> None:
        """Move the store to its place."""
        rejects = [sample_ids[row] for row in self.rejects]
        self._say({"sample_ids": sample_ids.tolist(), "rejects": rejects, "facts": facts})
        self.path.rename(self.folder)

    def _say(self, more: Mapping[str, Any]) -> None:
        write_json(self.path / FACTS_FILE, {"schema_version": MAPS_VERSION, "made_from": self.made_from, **more})
