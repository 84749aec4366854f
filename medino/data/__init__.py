"""Bytes to pixels: manifest, readers, intensity, splits, sampler, datasets, phantom."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medino.data.dataset import PixelDataset
    from medino.data.draws import row_weights
    from medino.data.identity import IdentityKey
    from medino.data.intensity import Intensity
    from medino.data.manifest import Manifest, rejects_path
    from medino.data.phantom import PhantomArchive, write_phantom
    from medino.data.pixels import Pixels, Window
    from medino.data.readers import read_mask, read_pixels
    from medino.data.rejects import record_rejects
    from medino.data.sampler import SampleAddress, StepBatchSampler
    from medino.data.scanning.scan import scan
    from medino.data.schema import MANIFEST_VERSION, Reject, Sample
    from medino.data.slides.settings import Tiles
    from medino.data.source import Source
    from medino.data.splits import DEFAULT_FRACTIONS, SPLITS, assign_splits, check_splits, split_measured
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
    "row_weights": "draws",
    "IdentityKey": "identity",
    "Intensity": "intensity",
    "Manifest": "manifest",
    "rejects_path": "manifest",
    "PhantomArchive": "phantom",
    "write_phantom": "phantom",
    "Pixels": "pixels",
    "Window": "pixels",
    "read_mask": "readers",
    "read_pixels": "readers",
    "record_rejects": "rejects",
    "SampleAddress": "sampler",
    "StepBatchSampler": "sampler",
    "scan": "scanning.scan",
    "MANIFEST_VERSION": "schema",
    "Reject": "schema",
    "Sample": "schema",
    "Tiles": "slides.settings",
    "Source": "source",
    "DEFAULT_FRACTIONS": "splits",
    "SPLITS": "splits",
    "assign_splits": "splits",
    "check_splits": "splits",
    "split_measured": "splits",
    "WINDOW_PRESETS": "windows",
    "NamedWindow": "windows",
}
"""The modules of the names, which are imported when they are asked for: headers are read without torch and Arrow."""


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LATE[name]}"), name)
