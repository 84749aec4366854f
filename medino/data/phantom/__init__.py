"""The embedded archive: DICOM radiographs of a drawn chest, with known findings and masks."""

from medino.data.phantom.archive import PhantomArchive, write_phantom
from medino.data.phantom.findings import LABELS

__all__ = ["LABELS", "PhantomArchive", "write_phantom"]
