"""A frame of a large file costs the memory of a frame, not of the file; measured in a process of its own."""

import struct
import subprocess
import sys
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from pydicom import dcmread, uid
from pydicom.encaps import get_frame

SIDE = 1024
FRAME_BYTES = SIDE * SIDE * 2
MOST_FRAMES = 20
"""What reading one frame may need, in stored frames: float64 and float32 copies are 4 and 2 of them."""
ENCAPSULATED_FRAMES = 100

CHILD = """
import resource, sys
from pathlib import Path
from medino.data.readers import dicom
from medino.data.readers.settings import DEFAULT_SETTINGS
from medino.data.source import Source
sys.path.insert(0, sys.argv[1])
from sample_rows import sample_of

def read(path, frame):
    source = Source.of(Path(path))
    facts = dicom.describe(source, DEFAULT_SETTINGS)[frame]
    return dicom.read(source, sample_of(facts)).values

read(sys.argv[2], 0)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for frame in map(int, sys.argv[4:]):
    print(int(read(sys.argv[3], frame)[0, 5, 7]), end=" ")
print(1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before))
"""


def grown(small: Path, large: Path, *frames: int) -> tuple[list[int], int]:
    """One value of each frame, and by how many bytes the peak of a process grew that had read a small file before."""
    tests = str(Path(__file__).parents[2])
    command = [sys.executable, "-c", CHILD, tests, str(small), str(large), *map(str, frames)]
    *values, growth = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()
    return [int(value) for value in values], int(growth)


@pytest.fixture
def small(write_dicom) -> Path:
    """A file whose reading has loaded all that is loaded once."""
    return write_dicom(np.zeros((8, 8), np.uint16), "small.dcm")


def test_a_native_file_of_two_gigabytes_needs_the_memory_of_its_frames(write_dicom, small: Path) -> None:
    frames = 2**31 // FRAME_BYTES - 1
    path = write_dicom(np.zeros((1, SIDE, SIDE), np.uint16), NumberOfFrames=frames)
    length = struct.pack("<L", FRAME_BYTES)
    whole = path.read_bytes()
    place = whole.rindex(b"\xe0\x7f\x10\x00OW\0\0" + length) + 8
    with path.open("r+b") as file:
        # Sparse: the frames that nobody writes take no room on the disk.
        file.seek(place)
        file.write(struct.pack("<L", frames * FRAME_BYTES))
        for frame in (3, frames - 1):
            file.seek(place + 4 + frame * FRAME_BYTES)
            file.write(np.full(SIDE * SIDE, frame, np.uint16).tobytes())
        file.truncate(place + 4 + frames * FRAME_BYTES)
    values, growth = grown(small, path, 0, 3, frames - 1)
    assert values == [0, 3, frames - 1]
    assert growth < MOST_FRAMES * FRAME_BYTES


@pytest.mark.slow
@pytest.mark.parametrize(
    ("syntax", "offsets"),
    [(uid.RLELossless, "none"), (uid.JPEGLSLossless, "basic"), (uid.JPEGExtended12Bit, "extended")],
)
def test_an_encapsulated_file_of_hundreds_of_megabytes_needs_the_memory_of_its_frames(
    write_dicom, small: Path, syntax: str, offsets: str
) -> None:
    generator = np.random.default_rng(0)
    image = generator.integers(0, 4096, (SIDE, SIDE)).astype(np.uint16)
    fragment = encoded(image, syntax, write_dicom)
    path = write_dicom(image[None], BitsStored=12, HighBit=11, NumberOfFrames=ENCAPSULATED_FRAMES)
    write_fragments(path, syntax, fragment, offsets)
    assert path.stat().st_size > ENCAPSULATED_FRAMES * FRAME_BYTES / 2
    values, growth = grown(small, path, 1, ENCAPSULATED_FRAMES - 1)
    assert np.ptp(values) == 0
    if syntax != uid.JPEGExtended12Bit:
        assert values[0] == image[5, 7]
    assert growth < MOST_FRAMES * FRAME_BYTES


def encoded(image: np.ndarray, syntax: str, write_dicom) -> bytes:
    if syntax == uid.JPEGLSLossless:
        frame = imagecodecs.jpegls_encode(image)
    elif syntax == uid.JPEGExtended12Bit:
        frame = imagecodecs.jpeg_encode(image, level=100, bitspersample=12)
    else:
        dataset = dcmread(write_dicom(image, "one.dcm"))
        dataset.compress(syntax)
        frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    return frame + bytes(len(frame) % 2)


def write_fragments(path: Path, syntax: str, fragment: bytes, offsets: str) -> None:
    """Encapsulate one frame many times, without all of them in memory."""
    dataset = dcmread(path)
    dataset.file_meta.TransferSyntaxUID = syntax
    steps = np.arange(ENCAPSULATED_FRAMES) * (len(fragment) + 8)
    if offsets == "extended":
        dataset.ExtendedOffsetTable = steps.astype("<u8").tobytes()
        dataset.ExtendedOffsetTableLengths = np.full(ENCAPSULATED_FRAMES, len(fragment), "<u8").tobytes()
    del dataset.PixelData
    dataset.save_as(path, enforce_file_format=True)
    table = steps.astype("<u4").tobytes() if offsets == "basic" else b""
    item, end = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
    with path.open("ab") as file:
        file.write(b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff" + item + struct.pack("<L", len(table)) + table)
        for _ in range(ENCAPSULATED_FRAMES):
            file.write(item + struct.pack("<L", len(fragment)) + fragment)
        file.write(end + bytes(4))
