"""What packing is worth: rows of a shard against the DICOM files that they came from, and the codecs to choose from.

Both are read as training reads them, by `PixelDataset`, one image after the other in one process on one thread, and in
turns, so that whatever else the machine does meets both. The files lie in the page cache for both.

The JPEG 2000 slices are the CT and MR series of the shared data, encoded anew. No set of full-size radiographs is small
enough to be shared: these are Shenzhen radiographs enlarged to 3000 x 2500 pixels of 12 bits, with noise of their own
so that they compress as detectors' images do.

Run alone: `python -m tests.benchmarks.data_pack`.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import torch
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    generate_uid,
)

from medino.core import numpy_generator
from medino.data import Manifest, PixelDataset, scan
from medino.data.pack import codec
from medino.data.pack.packing import pack_manifest
from medino.data.pack.plan import PackPlan

SHARED = Path(os.environ.get("MEDINO_TEST_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))

SHORT_SIDE = 512
"""What the radiographs are packed to: more than twice the 224 pixels that DINOv2's global crops have."""

RADIOGRAPH = (3000, 2500)
NOISE = 12.0
"""Standard deviation of the noise, of 4096 grey levels: the order of a detector's at diagnostic dose."""

SYNTAXES: dict[str, tuple[str, Callable[[np.ndarray], bytes] | None]] = {
    "uncompressed": (ExplicitVRLittleEndian, None),
    "JPEG-LS": (JPEGLSLossless, lambda values: bytes(imagecodecs.jpegls_encode(values))),
    "JPEG 2000": (
        JPEG2000Lossless,
        lambda values: bytes(imagecodecs.jpeg2k_encode(values, codecformat="j2k", level=0, reversible=True)),
    ),
}

CODECS: dict[str, tuple[Callable[[np.ndarray], bytes], Callable[[bytes, np.ndarray], np.ndarray]]] = {
    "delta, bitshuffle, zstd 1 (medino's)": (
        lambda values: codec.encode(values)[1],
        lambda data, like: codec.decode(codec.WORDS, memoryview(data), like.shape, like.dtype.name),
    ),
    "delta, bitshuffle, lz4": (
        lambda values: bytes(imagecodecs.lz4_encode(_shuffled(values), header=True)),
        lambda data, like: _unshuffled(imagecodecs.lz4_decode(data, header=True), like),
    ),
    "zstd 1": (
        lambda values: bytes(imagecodecs.zstd_encode(values.tobytes(), 1)),
        lambda data, like: np.frombuffer(imagecodecs.zstd_decode(data), like.dtype).reshape(like.shape),
    ),
    "PNG": (
        lambda values: bytes(imagecodecs.png_encode(values, 1)),
        lambda data, like: imagecodecs.png_decode(data),
    ),
    "JPEG-LS": (
        lambda values: bytes(imagecodecs.jpegls_encode(values)),
        lambda data, like: imagecodecs.jpegls_decode(data),
    ),
    "JPEG XL, effort 1": (
        lambda values: bytes(imagecodecs.jpegxl_encode(values, lossless=True, effort=1, numthreads=1)),
        lambda data, like: imagecodecs.jpegxl_decode(data, numthreads=1),
    ),
}


def measure(radiographs: int = 6, slices: int = 24, rounds: int = 5, shared: Path = SHARED) -> dict[str, Any]:
    """Time both ways of reading, and the codecs.

    Args:
        radiographs: files of each transfer syntax.
        slices: CT and MR files.
        rounds: how often each file is read in each way; medians are taken.
        shared: the folder of real images.

    Returns:
        `reading`: for each kind of file, milliseconds an image from DICOM and from shards, the ratios, and bytes an
        image. `codecs`: for each codec and image, the share of the bytes that are left and the speed of decoding.
    """
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        kinds = {"CT and MR slices, JPEG 2000": _slices(Path(folder) / "slices", slices, shared)}
        images = _radiographs(radiographs, shared)
        for name in SYNTAXES:
            place = Path(folder) / name
            for number, values in enumerate(images):
                _write(place / f"{number}.dcm", values, name)
            kinds[f"radiographs of 3000 x 2500, {name}"] = place
        reading = [_reading(name, place, rounds) for name, place in kinds.items()]
    return {
        "short_side": SHORT_SIDE,
        "rounds": rounds,
        "reading": reading,
        "codecs": _codecs(images[0], shared, rounds),
    }


def _reading(name: str, folder: Path, rounds: int) -> dict[str, Any]:
    """Read all files of a folder, and their packed rows, in turns."""
    manifest = scan([folder])
    ways: dict[str, Manifest] = {"dicom": manifest}
    sizes = {"dicom": sum(path.stat().st_size for path in folder.iterdir())}
    for way, short_side in (("full", None), ("short", SHORT_SIDE)):
        packed = pack_manifest(PackPlan(manifest, short_side), str(folder.with_name(f"{folder.name}-{way}")))
        ways[way], sizes[way] = packed.manifest, packed.bytes
    datasets = {way: PixelDataset(each) for way, each in ways.items()}
    taken: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for row in range(len(manifest)):
            for way, dataset in datasets.items():
                start = time.perf_counter()
                dataset[row]
                taken[way].append(1000 * (time.perf_counter() - start))
    middle = {way: statistics.median(times) for way, times in taken.items()}
    side = min(manifest.sample(0).rows, manifest.sample(0).columns)
    return {
        "files": name,
        "resized": side > SHORT_SIDE,
        "milliseconds": middle,
        "ratio_full": middle["dicom"] / middle["full"],
        "ratio_short": middle["dicom"] / middle["short"],
        "bytes": {way: size / len(manifest) for way, size in sizes.items()},
    }


def _codecs(radiograph: np.ndarray, shared: Path, rounds: int) -> list[dict[str, Any]]:
    """Bytes and speed of each codec on a radiograph, full and resized, and on a CT slice."""
    small = torch.nn.functional.interpolate(
        torch.from_numpy(radiograph.astype(np.float32))[None, None], size=(614, 512), mode="bicubic", antialias=True
    )
    images = {
        "radiograph": radiograph,
        "radiograph, 614 x 512": small[0, 0].round().clamp(0, 4095).numpy().astype(np.uint16),
        "CT slice": _stored(_series(shared)[0]),
    }
    found = []
    for name, (encode, decode) in CODECS.items():
        for kind, values in images.items():
            data = encode(values)
            times = []
            for _ in range(rounds):
                start = time.perf_counter()
                decoded = decode(data, values)
                times.append(time.perf_counter() - start)
            if not np.array_equal(decoded, values):
                raise AssertionError(f"{name} is not lossless")
            speed = values.nbytes / statistics.median(times) / 1e6
            found.append(
                {"codec": name, "image": kind, "share": len(data) / values.nbytes, "megabytes_a_second": speed}
            )
    return found


def _radiographs(count: int, shared: Path) -> list[np.ndarray]:
    """Enlarged radiographs with noise, (3000, 2500) uint16 of 12 bits."""
    files = sorted((shared / "cxr_shenzhen").rglob("*.jp*g"))[:count]
    images = []
    for number, file in enumerate(files):
        with Image.open(file) as image:
            large = image.convert("F").resize(RADIOGRAPH[::-1], Image.Resampling.BICUBIC)
        noise = numpy_generator(0, "detector noise", number).normal(0, NOISE, RADIOGRAPH)
        images.append(np.clip(np.asarray(large) * 16 + noise, 0, 4095).round().astype(np.uint16))
    return images


def _series(shared: Path) -> list[Dataset]:
    folders = (shared / "series_ct_head_ge", shared / "series_mr_brain")
    found = (dcmread(path, force=True) for folder in folders for path in sorted(folder.rglob("*")) if path.is_file())
    return [dataset for dataset in found if "PixelData" in dataset]


def _stored(dataset: Dataset) -> np.ndarray:
    """The stored values of a slice from zero on, uint16."""
    values = dataset.pixel_array.astype(np.int32)
    return (values - values.min()).astype(np.uint16)


def _slices(folder: Path, count: int, shared: Path) -> Path:
    for number, dataset in enumerate(_series(shared)[:count]):
        _write(folder / f"{number}.dcm", _stored(dataset), "JPEG 2000")
    return folder


def _write(path: Path, values: np.ndarray, syntax: str) -> None:
    """A grey DICOM file in one of `SYNTAXES`."""
    uid, encode = SYNTAXES[syntax]
    dataset = Dataset()
    dataset.SOPClassUID = DigitalXRayImageStorageForPresentation
    dataset.SOPInstanceUID, dataset.StudyInstanceUID, dataset.SeriesInstanceUID = (
        generate_uid(entropy_srcs=[str(path), part]) for part in ("image", "study", "series")
    )
    dataset.Modality, dataset.PatientID = "DX", f"patient {path.stem}"
    dataset.Rows, dataset.Columns = values.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 0
    dataset.PixelData = values.astype("<u2").tobytes() if encode is None else encapsulate([encode(values)])
    dataset["PixelData"].VR = "OW" if encode is None else "OB"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uid
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)


def _shuffled(values: np.ndarray) -> bytes:
    steps = imagecodecs.delta_encode(values, axis=-1)
    return bytes(imagecodecs.bitshuffle_encode(steps.tobytes(), itemsize=values.itemsize))


def _unshuffled(data: bytes, like: np.ndarray) -> np.ndarray:
    steps = np.frombuffer(imagecodecs.bitshuffle_decode(data, itemsize=like.itemsize), like.dtype)
    decoded: np.ndarray = imagecodecs.delta_decode(steps.reshape(like.shape), axis=-1)
    return decoded


def tables(found: dict[str, Any]) -> str:
    """The measurement as Markdown."""
    side = found["short_side"]
    lines = [
        f"| files | DICOM, ms | shard, full size, ms | times faster | shard, short side {side}, ms | times faster | "
        "MB an image: DICOM, full, short |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for row in found["reading"]:
        spent, size = row["milliseconds"], row["bytes"]
        short = (f"{spent['short']:.2f}", f"{row['ratio_short']:.1f}") if row["resized"] else ("not larger", "")
        weights = ", ".join(f"{size[way] / 1e6:.2f}" for way in ("dicom", "full", "short"))
        lines.append(
            f"| {row['files']} | {spent['dicom']:.1f} | {spent['full']:.2f} | {row['ratio_full']:.1f} | {short[0]} | "
            f"{short[1]} | {weights} |"
        )
    images = list(dict.fromkeys(row["image"] for row in found["codecs"]))
    lines += ["", f"| codec | {' | '.join(f'{image}: share left, MB/s decoded' for image in images)} |"]
    lines.append(f"|---|{'--:|' * len(images)}")
    for name in dict.fromkeys(row["codec"] for row in found["codecs"]):
        cells = _cells(found["codecs"], name, images)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cells(rows: Sequence[dict[str, Any]], name: str, images: Sequence[str]) -> list[str]:
    by_image = {row["image"]: row for row in rows if row["codec"] == name}
    return [f"{by_image[image]['share']:.2f}, {by_image[image]['megabytes_a_second']:.0f}" for image in images]


if __name__ == "__main__":
    print(tables(measure()))
