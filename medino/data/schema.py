"""What a manifest holds: one row for each image, slice, frame or tile, and the list of rejects.

The row never holds a name, a birth date, an accession number or a free-text tag. Who an image belongs to is kept as
keyed hashes. File paths can name people; they stay in the manifest and go nowhere else.
"""

from dataclasses import dataclass

from medino.core import column

MANIFEST_VERSION = 1
"""Schema version of the manifest and of its list of rejects."""


@dataclass(frozen=True)
class Sample:
    """One row of the manifest: where the pixels are, what they are, whose they are."""

    sample_id: str = column("keyed hash of path, frame and plane: safe to log")
    root: int = column("index into the manifest's list of scanned folders")
    path: str = column("file, relative to its root, with forward slashes")
    format: str = column("dicom, nifti or raster")
    frame: int = column("frame of a multi-frame file, slice of a volume, page of a TIFF; 0 where there is one")
    plane: int | None = column("axis that NIfTI slices are perpendicular to (0, 1, 2); null for other formats")
    patient: str = column("keyed hash of the patient, or of what stands for the patient (see patient_unit)")
    study: str = column("keyed hash of the study")
    series: str = column("keyed hash of the series")
    patient_unit: str = column("what `patient` stands for: patient, study or file")
    modality: str | None = column("DICOM modality (CT, MR, DX, ...); null where the format does not say")
    sop_class: str | None = column("DICOM SOP class UID")
    transfer_syntax: str | None = column("DICOM transfer syntax UID")
    photometric: str | None = column("photometric interpretation as stored")
    rows: int = column("height in pixels")
    columns: int = column("width in pixels")
    samples_per_pixel: int = column("1 for grey, 3 for colour")
    bits_stored: int | None = column("bits stored for each value")
    spacing_row_mm: float | None = column("distance between rows, mm")
    spacing_column_mm: float | None = column("distance between columns, mm")
    slice_position_mm: float | None = column("position along the slice's normal, mm")
    slice_thickness_mm: float | None = column("slice thickness, mm")
    manufacturer: str | None = column("manufacturer of the scanner")
    manufacturer_model: str | None = column("model of the scanner")
    body_part: str | None = column("body part examined, as coded")
    label: str | None = column("label, where given")
    mask_root: int | None = column("index into the list of mask folders")
    mask_path: str | None = column("mask file, relative to its root")
    mask_frame: int | None = column("frame or slice of the mask file")
    split: str | None = column("train, validation or test, where assigned")


@dataclass(frozen=True)
class Reject:
    """One file, or one frame of it, that can't be used, and why."""

    root: int = column("index into the manifest's list of scanned folders")
    path: str = column("file, relative to its root")
    frame: int | None = column("frame, where only that one failed")
    reason: str = column("what was wrong, in words")
