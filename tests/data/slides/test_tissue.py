"""Tissue is found where it is; glass, dust and pen are not."""

from pathlib import Path

import numpy as np
import pytest
from otsu_peer import otsu_by_definition

from medino.data.slides.dicom_slide import DicomSlide
from medino.data.slides.openslide_file import OpenSlideFile
from medino.data.slides.pyramid import read_thumbnail
from medino.data.slides.tissue import density_of, find_tissue, otsu, pen_marks, saturation_of
from medino.data.source import Source

GLASS, EOSIN, NUCLEI, DUST = (243, 242, 243), (225, 150, 190), (110, 60, 140), (120, 120, 122)
PENS = {"green": (40, 170, 130), "blue": (30, 50, 190), "black": (35, 38, 40)}


def slide(seed: int = 0) -> np.ndarray:
    """Glass with some noise, tissue in rows 40 to 120 and columns 30 to 150."""
    generator = np.random.default_rng(seed)
    image = np.full((160, 200, 3), GLASS, dtype=np.int16)
    image[40:120, 30:150] = EOSIN
    image[40:120, 30:150][generator.random((80, 120)) < 0.2] = NUCLEI
    return np.clip(image + generator.integers(-3, 4, image.shape), 0, 255).astype(np.uint8)


TRUTH = np.zeros((160, 200), dtype=bool)
TRUTH[40:120, 30:150] = True


def test_tissue_is_found_to_the_pixel() -> None:
    found = find_tissue(slide(), least_area=50, largest_hole=50)
    assert np.array_equal(found.tissue, TRUTH)
    assert not found.pen.any()


def test_specks_go_and_holes_are_filled_up_to_the_stated_areas() -> None:
    image = slide()
    image[10:15, 10:15] = EOSIN
    image[10:20, 60:70] = EOSIN
    image[50:55, 50:55] = GLASS
    image[80:90, 80:90] = GLASS
    expected = TRUTH.copy()
    expected[10:20, 60:70] = True
    expected[80:90, 80:90] = False
    assert np.array_equal(find_tissue(image, least_area=26, largest_hole=25).tissue, expected)
    expected[10:15, 10:15] = True
    expected[50:55, 50:55] = False
    assert np.array_equal(find_tissue(image, least_area=25, largest_hole=24).tissue, expected)


def test_dust_and_shadows_are_dense_but_grey_and_no_tissue() -> None:
    image = slide()
    image[10:30, 160:190] = DUST
    assert np.array_equal(find_tissue(image, 50, 50).tissue, TRUTH)


@pytest.mark.parametrize("color", PENS)
def test_pen_marks_are_no_tissue_wherever_they_lie(color: str) -> None:
    image = slide()
    image[60:68, :] = PENS[color]
    found = find_tissue(image, 50, 50, stroke=3)
    assert found.pen[60:68].all()
    assert not found.tissue[60:68].any()
    # Two pixels of rim on each side, no more.
    assert not found.pen[:58].any()
    assert not found.pen[70:].any()
    assert np.array_equal(found.tissue[:58], TRUTH[:58])
    assert find_tissue(image, 50, 50, stroke=None).pen.sum() == 0


def test_what_is_narrower_than_a_stroke_is_no_pen_mark() -> None:
    image = slide()
    image[60:66, 60:66] = PENS["black"]
    assert pen_marks(image, stroke=6).any()
    assert not pen_marks(image, stroke=7).any()


@pytest.mark.parametrize("color", [EOSIN, NUCLEI, (150, 110, 170), (120, 80, 50), (200, 30, 60), (160, 140, 200)])
def test_stains_are_no_pen_marks(color: tuple[int, int, int]) -> None:
    """Eosin, haematoxylin light and dark, DAB, blood, pale haematoxylin."""
    assert not pen_marks(np.full((20, 20, 3), color, dtype=np.uint8)).any()


def test_an_empty_slide_has_no_tissue_and_a_full_field_is_all_tissue() -> None:
    generator = np.random.default_rng(0)
    glass = np.clip(generator.normal(GLASS, 1.0, (80, 80, 3)), 0, 255).astype(np.uint8)
    assert not find_tissue(glass, 20, 20).tissue.any()
    full = slide()[40:120, 30:150]
    assert find_tissue(full, 20, 20).tissue.all()


@pytest.mark.parametrize("seed", range(5))
def test_otsus_threshold_is_the_one_of_its_definition(seed: int) -> None:
    generator = np.random.default_rng(seed)
    values = np.concatenate([generator.normal(0.2, 0.05, 3000), generator.normal(0.6, 0.1, 1000 + 500 * seed)])
    ours = otsu(values, (0.0, 1.0))
    assert ours == pytest.approx(otsu_by_definition(np.clip(values, 0, 1)), abs=1.5 / 256)


def test_otsu_of_a_single_value_is_the_lower_bound() -> None:
    assert otsu(np.full(10, 0.3), (0.0, 1.0)) == 0.0
    assert otsu(np.zeros(0), (0.0, 1.0)) == 0.0


def test_saturation_and_density_are_what_their_formulas_give() -> None:
    image = np.array([[[255, 255, 255], [200, 100, 50], [0, 0, 0], [26, 26, 26]]], dtype=np.uint8)
    assert saturation_of(image)[0] == pytest.approx([0, 0.75, 0, 0])
    expected = [0, -np.log10(np.array([200, 100, 50]) / 255).mean(), np.log10(255), -np.log10(26 / 255)]
    assert density_of(image)[0] == pytest.approx(expected, rel=1e-5)


def test_the_real_slides_have_their_tissue_and_one_of_them_its_pens(shared_data: Path) -> None:
    """Points chosen by eye: in tissue, on glass, under pen; in parts of width and height."""
    looked_at = {
        "tcga-cr-7395-01a-01-ts1.svs": (
            [(0.2, 0.5), (0.75, 0.14), (0.5, 0.6)],
            [(0.2, 0.05), (0.05, 0.9), (0.95, 0.2)],
            [],
        ),
        "cmu-1-small-region.svs": ([(0.5, 0.4), (0.35, 0.9), (0.68, 0.75)], [(0.1, 0.2), (0.95, 0.6), (0.2, 0.6)], []),
        "small_dicom_wsi.dcm": (
            [(0.3, 0.5), (0.28, 0.15), (0.8, 0.7)],
            [(0.1, 0.8), (0.55, 0.7), (0.5, 0.02)],
            [(0.3, 0.035), (0.155, 0.2), (0.62, 0.4), (0.535, 0.105)],
        ),
    }
    for name, (tissue, glass, pen) in looked_at.items():
        source = Source(shared_data / "wsi" / name)
        image = read_thumbnail(DicomSlide(source) if name.endswith("dcm") else OpenSlideFile(source), 4.0).values
        found = find_tissue(image, 100, 500)
        height, width = image.shape[:2]
        kinds = [
            ["tissue" if found.tissue[place] else "pen" if found.pen[place] else "glass" for place in places]
            for places in ([(int(y * height), int(x * width)) for x, y in points] for points in (tissue, glass, pen))
        ]
        assert kinds == [["tissue"] * len(tissue), ["glass"] * len(glass), ["pen"] * len(pen)], name
