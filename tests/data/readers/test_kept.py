"""The list of kept tags is the whole of what is kept: without all other elements a file is described the same."""

from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.datadict import tag_for_keyword

from medino.data.readers import describe
from medino.data.readers.description import FACTS, IDENTIFIERS
from medino.data.readers.dicom_elements import HEADER_TAGS
from medino.data.readers.kept import HASHED_TAGS, KEPT_TAGS

KEPT = {*HASHED_TAGS.values(), *(name for names in KEPT_TAGS.values() for name in names)}

DECODING = {"SpecificCharacterSet", "PixelRepresentation", "PlanarConfiguration", "HighBit"}
"""What is looked at to read the others and to see that the pixels are complete."""


def test_the_list_names_columns_and_elements_that_are_read() -> None:
    assert set(KEPT_TAGS) <= set(FACTS)
    assert set(HASHED_TAGS) == set(IDENTIFIERS)
    assert HEADER_TAGS >= KEPT


@pytest.mark.parametrize("folder", ["dicom_zoo", "series_ct_head_ge", "series_mr_brain"])
def test_a_file_of_kept_elements_alone_is_described_the_same(shared_data: Path, tmp_path: Path, folder: str) -> None:
    wanted = {tag_for_keyword(name) for name in KEPT | DECODING}
    compared = 0
    for path in sorted((shared_data / folder).iterdir()):
        try:
            dataset, expected = dcmread(path), describe(path)
            if expected[0]["format"] != "dicom" or path.stat().st_size > 2**22:
                continue
            for element in list(dataset):
                if element.tag not in wanted and element.tag.group != 0x7FE0:
                    del dataset[element.tag]
            dataset.save_as(tmp_path / "reduced.dcm")
        except Exception:  # what is broken on purpose is not this promise
            continue
        assert describe(tmp_path / "reduced.dcm") == expected, path.name
        # What is filled comes from elements of the list, or from the file itself.
        filled = {name for name in FACTS for frame in expected if frame[name] is not None}
        assert filled <= {*KEPT_TAGS, "format", "transfer_syntax"}
        compared += 1
    assert compared >= 20
