"""Bytes to pixels: manifest, readers, intensity, splits, sampler, datasets, phantom."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from medino.data.draws import row_weights
from medino.data.identity import IdentityKey
from medino.data.manifest import Manifest, record_rejects, rejects_path
from medino.data.readers import read_mask, read_pixels
from medino.data.scan import scan
from medino.data.schema import MANIFEST_VERSION, Reject, Sample
from medino.data.slides.settings import Tiles
from medino.data.source import Source
from medino.data.splits import DEFAULT_FRACTIONS, SPLITS, assign_splits, check_splits, split_measured

if TYPE_CHECKING:
    from medino.data.dataset import PixelDataset
    from medino.data.intensity import Intensity
    from medino.data.phantom import PhantomArchive, write_phantom
    from medino.data.pixels import Pixels, Window
    from medino.data.sampler import SampleAddress, StepBatchSampler
    from medino.data.windows import WINDOW_PRESETS, NamedWindow

__all__ = [
    "DEFAULT_FRACTIONS",
    "MANIFEST_VERSION",
    "SPLITS",
    "WINDOW_PRESETS",
    "IdentityKey",
    "Intensity",
    "Manifest",
    "NamedWindow",
    "PhantomArchive",
    "PixelDataset",
    "Pixels",
    "Reject",
    "Sample",
    "SampleAddress",
    "Source",
    "StepBatchSampler",
    "Tiles",
    "Window",
    "assign_splits",
    "check_splits",
    "read_mask",
    "read_pixels",
    "record_rejects",
    "rejects_path",
    "row_weights",
    "scan",
    "split_measured",
    "write_phantom",
]

_LATE = {
    "PixelDataset": "dataset",
    "WINDOW_PRESETS": "windows",
    "Intensity": "intensity",
    "NamedWindow": "windows",
    "PhantomArchive": "phantom",
    "write_phantom": "phantom",
    "Pixels": "pixels",
    "Window": "pixels",
    "SampleAddress": "sampler",
    "StepBatchSampler": "sampler",
}
"""Names that are imported when they are asked for, and their modules: a scan needs no torch, which they do."""


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LATE[name]}"), name)
