"""Every file of the DICOM zoo is read like pydicom reads it, or rejected with a reason."""

import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.pixels import apply_color_lut, apply_modality_lut, pixel_array
from sample_rows import sample_of
from zoo_files import ZOO, zoo

from medino.core import UnreadableImageError
from medino.data.readers import ReadSettings, describe, dicom, read_pixels, sniff
from medino.data.readers.description import FACTS, IDENTIFIERS
from medino.data.source import Source

# What is wrong with the files that neither pydicom nor medino reads; the five 12-bit JPEGs are read by imagecodecs.
REJECTED = {
    "MR_truncated.dcm": "truncated",
    "badVR.dcm": "number of frames",
    "BRTUMSP3": "holds no image",
}


@pytest.mark.parametrize("row", zoo(), ids=lambda row: row["path"].split("__", 1)[1])
def test_a_zoo_file_is_read_as_pydicom_reads_it_or_rejected_with_a_reason(row: dict[str, str]) -> None:
    path = ZOO / "dicom_zoo" / row["path"]
    assert sniff(path) == "dicom"
    reason = next((text for name, text in REJECTED.items() if path.name.endswith(name)), None)
    if reason is not None:
        assert not row["pix"].startswith("ok")
        with pytest.raises(UnreadableImageError, match=reason):
            read_pixels(path, sample_of(describe(path)[0]))
        return
    # Slides are described tile by tile; their frames are read like all others here.
    frames = dicom.describe(Source.of(path), ReadSettings())
    assert [frame["frame"] for frame in frames] == list(range(int(row["frames"] or 1)))
    last = frames[-1]
    assert list(last) == [*FACTS, *IDENTIFIERS]
    assert (last["rows"], last["columns"]) == (int(row["rows"]), int(row["cols"]))
    pixels = read_pixels(path, sample_of(last))
    assert pixels.values.shape == (last["samples_per_pixel"], last["rows"], last["columns"])
    assert pixels.inverted == (row["photo"] == "MONOCHROME1")
    assert pixels.modality == row["modality"]
    if row["pix"].startswith("ok"):
        values, expected = pixels.values.numpy(), peer(path, len(frames) - 1)
        if pixels.valid is not None:
            valid = pixels.valid.numpy()[None]
            assert (values[~valid] == (values[valid].max() if pixels.inverted else values[valid].min())).all()
            values, expected = values[valid], expected[valid]
        np.testing.assert_array_equal(values, expected)


def peer(path: Path, frame: int) -> np.ndarray:
    """The frame as pydicom alone gives it: (C, H, W) float32."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = pydicom.dcmread(path, force=True)
        stored = pixel_array(dataset, index=frame)
        if dataset.PhotometricInterpretation == "PALETTE COLOR":
            if not dataset.original_encoding[1]:  # pydicom takes the big endian words of the palette as they lie
                for colour in ("Red", "Green", "Blue"):
                    element = dataset[f"{colour}PaletteColorLookupTableData"]
                    element.value = np.frombuffer(element.value, ">u2").astype("<u2").tobytes()
            stored = apply_color_lut(stored, dataset)
        elif dataset.SamplesPerPixel == 1:
            stored = apply_modality_lut(stored, dataset)
            stored = stored * dataset.get("DoseGridScaling", 1)
    values = stored.astype(np.float32)
    return values[None] if values.ndim == 2 else values.transpose(2, 0, 1)


def test_the_zoo_has_111_files_that_pydicom_decodes() -> None:
    rows = zoo()
    if not rows:
        pytest.skip("the DICOM zoo is not here (docs/datasets.md)")
    assert sum(row["pix"].startswith("ok") for row in rows) == 111
