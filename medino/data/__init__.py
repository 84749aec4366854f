"""Bytes to pixels: manifest, readers, intensity, splits, sampler, datasets, phantom."""

from medino.data.manifest import Manifest, record_rejects
from medino.data.pixels import Pixels, Window
from medino.data.sampler import SampleAddress, StepBatchSampler
from medino.data.schema import MANIFEST_VERSION, Reject, Sample

__all__ = [
    "MANIFEST_VERSION",
    "Manifest",
    "Pixels",
    "Reject",
    "Sample",
    "SampleAddress",
    "StepBatchSampler",
    "Window",
    "record_rejects",
]
