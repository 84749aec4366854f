"""Real images broken by seed, and what the readers make of them: used by the tests and by `make fuzz`."""

import gzip
import re
import struct
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from medino.core import UnreadableImageError
from medino.data.readers import ReadSettings, read_pixels
from medino.data.readers.description import FACTS
from medino.data.reading import frames_or_reason
from medino.data.schema import Sample
from medino.data.source import Source
from medino.data.workers import Limits

LIMITS = Limits(seconds=90.0, megabytes=2048)
LARGEST = 2**21
"""Originals beyond this many bytes are left out: their mutations would only take longer."""

FEW = 6
"""Originals from each folder other than the zoo."""

FAULT = "which is a fault of medino's"

_LONG = re.compile(rb"(?:OB|OW|OD|OF|OL|SQ|UC|UN|UR|UT)\0\0(....)", re.DOTALL)
_SHORT = re.compile(rb"(?:AE|AS|CS|DA|DS|FD|FL|IS|LO|PN|SH|SL|SS|TM|UI|UL|US)(..)", re.DOTALL)
_ELEMENT = re.compile(rb"..\0.(?:AE|AS|CS|DA|DS|FD|FL|IS|LO|PN|SH|SL|SS|TM|UI|UL|US)(..)", re.DOTALL)
_LENGTHS = (0, 1, 0x7F, 0xFFFE, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)


@dataclass(frozen=True)
class Mutation:
    """One broken file: which original, which other one gives it a part, and the seed that says how."""

    seed: int
    original: Path
    donor: Path


def originals(folder: Path) -> list[Path]:
    """The DICOM zoo, and some files of every other kind."""
    found = sorted((folder / "dicom_zoo").glob("*"))
    for other, pattern in (
        ("series_ct_head_ge", "*"),
        ("series_mr_brain", "*"),
        ("hippocampus", "*/*.nii*"),
        ("cxr_shenzhen", "**/*.*"),
        ("wbc_dataset1", "**/*.*"),
        ("dsb2018_nuclei", "**/*.*"),
        ("lc25000_lung", "**/*.*"),
        ("wsi", "*"),
    ):
        files = sorted(path for path in (folder / other).glob(pattern) if path.suffix != ".csv")
        found += files[:: max(len(files) // FEW, 1)][:FEW]
    return [path for path in found if path.is_file() and path.stat().st_size <= LARGEST]


def mutations(folder: Path, seeds: range) -> Iterator[Mutation]:
    """One mutation for each seed, over all originals in turn."""
    files = originals(folder)
    for seed in seeds:
        yield Mutation(seed, files[seed % len(files)], files[(seed * 7 + 3) % len(files)])


def mutated(mutation: Mutation) -> bytes:
    """The bytes of a mutation; those of a gzip file are broken inside, half of the time."""
    random = np.random.default_rng(mutation.seed)
    content, donor = _content(mutation.original), _content(mutation.donor)
    inside = content[:2] == b"\x1f\x8b" and random.random() < 0.5
    broken = bytearray(gzip.decompress(content) if inside else content)
    ways = (_flip, _truncate, _splice, _element, _length, _length, _erase)
    for _ in range(1 if random.random() < 0.7 else 3):
        ways[random.integers(len(ways))](broken, donor, random)
    return gzip.compress(bytes(broken), 1) if inside else bytes(broken)


def outcome(mutation: Mutation) -> str:
    """What is made of a mutation: `read`, or the reason why not."""
    suffix = "".join(mutation.original.suffixes[-2:])
    with tempfile.TemporaryDirectory(prefix="Doe^Jane") as folder:
        path = Path(folder) / f"image{suffix}"
        path.write_bytes(mutated(mutation))
        source = Source(path)
        frames = frames_or_reason((source, ReadSettings()))
        if isinstance(frames, str):
            return frames
        blank = dict.fromkeys(Sample.__dataclass_fields__)
        for place in sorted({0, len(frames) // 2, len(frames) - 1}):
            facts = blank | {name: frames[place][name] for name in FACTS}
            try:
                pixels = read_pixels(source, Sample(**facts))
            except UnreadableImageError as error:
                return str(error)
            if pixels.values.ndim != 3 or not np.isfinite(pixels.values.numpy()).all():
                raise ValueError("pixels that are none")
    return "read"


def failed(told: str) -> bool:
    """Whether an outcome is none that a user should ever see."""
    return not told or len(told) > 200 or FAULT in told or "--time_limit" in told or "Doe" in told


@lru_cache(maxsize=256)
def _content(path: Path) -> bytes:
    return path.read_bytes()


def _place(broken: bytearray, random: np.random.Generator) -> int:
    """Somewhere: in the header, small as it is, as often as in the pixels."""
    end = min(len(broken), 2048) if random.random() < 0.5 else len(broken)
    return int(random.integers(end)) if end else 0


def _flip(broken: bytearray, donor: bytes, random: np.random.Generator) -> None:
    for _ in range(random.integers(1, 9) if broken else 0):
        broken[_place(broken, random)] = int(random.integers(256))


def _truncate(broken: bytearray, donor: bytes, random: np.random.Generator) -> None:
    del broken[int(random.integers(len(broken) + 1)) :]


def _erase(broken: bytearray, donor: bytes, random: np.random.Generator) -> None:
    start = _place(broken, random)
    del broken[start : start + int(random.integers(1, 257))]


def _splice(broken: bytearray, donor: bytes, random: np.random.Generator) -> None:
    """A piece of another file, put in or written over."""
    begin = int(random.integers(max(len(donor), 1)))
    piece, start = donor[begin : begin + int(random.integers(1, 1025))], _place(broken, random)
    broken[start : start + (len(piece) if random.random() < 0.5 else 0)] = piece


def _element(broken: bytearray, donor: bytes, random: np.random.Generator) -> None:
    """A whole element of another DICOM file, before one of this file."""
    given, here = list(_ELEMENT.finditer(donor[:8192])), list(_ELEMENT.finditer(bytes(broken[:8192])))
    if given and here:
        chosen, start = given[random.integers(len(given))], here[random.integers(len(here))].start()
        broken[start:start] = donor[chosen.start() : chosen.end() + struct.unpack("<H", chosen[1])[0]]
    else:
        _splice(broken, donor, random)


def _length(broken: bytearray, donor: bytes, random: np.random.Generator) -> None:
    """A length that can't be: of a DICOM element where there is one, else four bytes anywhere."""
    value = _LENGTHS[random.integers(len(_LENGTHS))]
    fields = [*_LONG.finditer(bytes(broken[:8192])), *_SHORT.finditer(bytes(broken[:8192]))]
    if fields and random.random() < 0.8:
        field = fields[random.integers(len(fields))]
        start, size = field.start(1), len(field[1])
    else:
        start, size = _place(broken, random), 4
    written = (value & (2 ** (8 * size) - 1)).to_bytes(size, "little" if random.random() < 0.8 else "big")
    broken[start : start + size] = written[: max(len(broken) - start, 0)]
