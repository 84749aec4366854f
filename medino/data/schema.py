"""What a manifest holds: one row for each image, slice, frame or tile, and the list of rejects.

The row never holds a name, a birth date, an accession number or a free-text tag. Who an image belongs to is kept as
keyed hashes. File paths can name people; they stay in the manifest and go nowhere else.
"""

from dataclasses import dataclass

from medino.core import column, optional

MANIFEST_VERSION = 2
"""Schema version of the manifest and of its list of rejects."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One row of the manifest: where the pixels are, what they are, whose they are."""

    sample_id: str = column("keyed hash of path, frame and plane: safe to log")
    root: int = column("index into the manifest's list of scanned folders")
    path: str = column("file, relative to its root, with forward slashes")
    member: str | None = optional("file inside a zip archive, array of an NPZ file")
    file_bytes: int | None = optional("size of the file on disk, bytes")
    format: str = column("dicom, nifti, raster, npz, slide or packed")
    frame: int = column("frame of a file, slice of a volume, page of a TIFF, tile of a slide; 0 where there is one")
    plane: int | None = optional("axis that NIfTI slices are perpendicular to (0, 1, 2); null for other formats")
    patient: str = column("keyed hash of the patient, or of what stands for the patient (see patient_unit)")
    study: str = column("keyed hash of the study")
    series: str = column("keyed hash of the series")
    instance: str | None = optional("keyed hash of the DICOM instance")
    patient_unit: str = column("what `patient` stands for: patient, study or file")
    age: str | None = optional("age of the patient in whole years; 89+ above 89")
    sex: str | None = optional("sex of the patient as coded: F, M or O")
    modality: str | None = optional("DICOM modality (CT, MR, DX, ...); null where the format does not say")
    sop_class: str | None = optional("DICOM SOP class UID")
    transfer_syntax: str | None = optional("DICOM transfer syntax UID")
    photometric: str | None = optional("photometric interpretation as stored")
    rows: int = column("height in pixels")
    columns: int = column("width in pixels")
    samples_per_pixel: int = column("1 for grey, 3 for colour")
    bits_stored: int | None = optional("bits stored for each value")
    spacing_row_mm: float | None = optional("distance between rows, mm")
    spacing_column_mm: float | None = optional("distance between columns, mm")
    slice_position_mm: float | None = optional("position along the slice's normal, mm")
    slice_thickness_mm: float | None = optional("slice thickness, mm")
    position_mm: list[float] | None = optional("centre of the first pixel in DICOM's patient axes, mm")
    orientation: list[float] | None = optional("direction cosines of a row and of a column in the patient, six numbers")
    stack: str | None = optional("what may part the volumes of one series, such as `echo 2; b 1000`")
    tile_left: int | None = optional("left edge of a slide's tile, pixels of the full resolution")
    tile_top: int | None = optional("top edge of a slide's tile, pixels of the full resolution")
    tile_side: int | None = optional("side of a slide's tile, pixels of the full resolution")
    burned_in: str | None = optional("why text may be burned in: annotation, secondary capture, ultrasound")
    manufacturer: str | None = optional("manufacturer of the scanner")
    manufacturer_model: str | None = optional("model of the scanner")
    body_part: str | None = optional("body part examined, as coded")
    label: str | None = optional("label, where given")
    mask_root: int | None = optional("index into the list of mask folders")
    mask_path: str | None = optional("mask file, relative to its root")
    mask_member: str | None = optional("file inside a zip archive that the mask is")
    mask_frame: int | None = optional("frame or slice of the mask file")
    split: str | None = optional("train, validation or test, where assigned")

    def reject(self, reason: str) -> "Reject":
        """The reject that takes this row's place in the manifest."""
        return Reject(self.root, self.path, self.frame, reason, self.member)


@dataclass(frozen=True)
class Reject:
    """One file, or one frame of it, that can't be used, and why."""

    root: int = column("index into the manifest's list of scanned folders")
    path: str = column("file, relative to its root")
    frame: int | None = column("frame, where only that one failed")
    reason: str = column("what was wrong, in words")
    member: str | None = optional("file inside an archive, where only that one failed")
