"""Bytes to pixels: manifest, readers, intensity, splits, sampler, datasets, phantom."""

from medino.data.dataset import PixelDataset
from medino.data.identity import IdentityKey
from medino.data.intensity import WINDOW_PRESETS, Intensity, NamedWindow
from medino.data.manifest import Manifest, record_rejects, rejects_path
from medino.data.phantom import PhantomArchive, write_phantom
from medino.data.pixels import Pixels, Window
from medino.data.readers import read_mask, read_pixels
from medino.data.sampler import SampleAddress, StepBatchSampler
from medino.data.scan import scan
from medino.data.schema import MANIFEST_VERSION, Reject, Sample
from medino.data.source import Source
from medino.data.splits import DEFAULT_FRACTIONS, SPLITS, assign_splits, check_splits, split_measured

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
    "Window",
    "assign_splits",
    "check_splits",
    "read_mask",
    "read_pixels",
    "record_rejects",
    "rejects_path",
    "scan",
    "split_measured",
    "write_phantom",
]
