"""What a reader says of one frame, slice or page: fields of `Sample` that a file itself tells, and raw identifiers."""

FACTS = (
    "format",
    "frame",
    "plane",
    "modality",
    "sop_class",
    "transfer_syntax",
    "photometric",
    "rows",
    "columns",
    "samples_per_pixel",
    "bits_stored",
    "spacing_row_mm",
    "spacing_column_mm",
    "slice_position_mm",
    "slice_thickness_mm",
    "position_mm",
    "orientation",
    "stack",
    "tile_left",
    "tile_top",
    "tile_side",
    "burned_in",
    "age",
    "sex",
    "manufacturer",
    "manufacturer_model",
    "body_part",
    "label",
    "split",
)
"""Fields of `Sample`."""

IDENTIFIERS = ("patient_id", "study_uid", "series_uid", "sop_instance_uid", "accession_number")
"""Raw identifiers. They name people: to be hashed and thrown away, never stored."""


def description(**known: object) -> dict[str, object]:
    """A dict with all of `FACTS` and `IDENTIFIERS`, None where not given."""
    return {**dict.fromkeys(FACTS + IDENTIFIERS), **known}
