"""The list of kept tags: of a DICOM header a manifest holds what comes from these elements, and nothing else."""

from medino.data.readers.description import IDENTIFIERS

_PLACE = ("ImagePositionPatient", "ImageOrientationPatient", "DetectorInformationSequence")
_GRID = ("GridFrameOffsetVector", "SliceVector", "SpacingBetweenSlices")
_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")

KEPT_TAGS: dict[str, tuple[str, ...]] = {
    "frame": ("NumberOfFrames",),
    "modality": ("Modality",),
    "sop_class": ("SOPClassUID",),
    "photometric": ("PhotometricInterpretation",),
    "rows": ("Rows",),
    "columns": ("Columns",),
    "samples_per_pixel": ("SamplesPerPixel", "PhotometricInterpretation"),
    "bits_stored": ("BitsStored", "BitsAllocated"),
    "spacing_row_mm": ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", *_GROUPS),
    "spacing_column_mm": ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", *_GROUPS),
    "slice_position_mm": (*_PLACE, *_GRID, *_GROUPS),
    "slice_thickness_mm": ("SliceThickness", *_GROUPS),
    "position_mm": (*_PLACE, *_GRID, *_GROUPS),
    "orientation": (*_PLACE, *_GROUPS),
    "stack": (
        "ImageType",
        "KVP",
        "EchoNumbers",
        "EchoTime",
        "InversionTime",
        "DiffusionBValue",
        "DiffusionGradientOrientation",
        "TemporalPositionIdentifier",
        "NominalPercentageOfCardiacPhase",
        "TriggerTime",
        "AcquisitionNumber",
        *_GROUPS,
    ),
    "burned_in": ("BurnedInAnnotation", "SOPClassUID", "ImageType", "SequenceOfUltrasoundRegions"),
    "age": ("PatientAge",),
    "sex": ("PatientSex",),
    "manufacturer": ("Manufacturer",),
    "manufacturer_model": ("ManufacturerModelName",),
    "body_part": ("BodyPartExamined",),
}
"""Columns of the manifest and the elements that each comes from. The transfer syntax is the one of the file's meta
information; of functional groups the same elements count as of the top level, under the names of the standard."""

HASHED_TAGS = dict(
    zip(
        IDENTIFIERS,
        ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "AccessionNumber"),
        strict=True,
    )
)
"""Elements of which keyed hashes are made, by what readers call them. An accession number's finds labels and is kept in
a scan's journal alone."""
