"""What the benchmark of objects without labels writes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Picture

from medino.features import EvaluationTransform, PatchPixels
from tests.benchmarks import unsupervised as module
from tests.benchmarks.unsupervised import dice, main, sheet


def bright_squares(name: str, data: Path, transform: EvaluationTransform) -> list[module.Image]:
    found = []
    for number in range(5):
        image = torch.full((3, 64, 96), 0.1)
        image[:, 16:32, 16 + 8 * number : 40 + 8 * number] = 0.9
        shown = torch.nn.functional.interpolate(image[None], size=(transform.size, transform.size))[0]
        found.append((shown, image, image[0] > 0.5))
    return found


def test_a_sheet_of_each_set_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "read", bright_squares)
    monkeypatch.setattr(module, "makers_of", lambda name: {"pixels": PatchPixels(module.PATCH)})
    monkeypatch.setattr(module, "SHEETS", tmp_path / "runs")
    page = tmp_path / "unsupervised.md"
    monkeypatch.setattr("sys.argv", ["unsupervised", "--data", str(tmp_path), "--page", str(page)])
    assert main() == 0
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"lungs.png", "nuclei.png"}
    assert "| none | Otsu | 1.000 [1.000, 1.000] | 1.000 [1.000, 1.000] |" in page.read_text()
    with Picture.open(tmp_path / "runs" / "nuclei.png") as picture:
        assert picture.width > picture.height > 400


def test_a_sheet_draws_each_object_where_it_was_found() -> None:
    image, mask = torch.zeros(3, 20, 30), torch.zeros(20, 30, dtype=torch.int64)
    mask[2:8, 2:8], mask[12:18, 12:25] = 1, 2
    figure = sheet([image, image], {"objects": [mask, torch.zeros_like(mask)]})
    plain, found, *below = [np.asarray(axes.images[0].get_array()) for axes in figure.axes]
    assert [axes.get_title() for axes in figure.axes] == ["image", "objects", "", ""]
    assert not plain.any()
    np.testing.assert_array_equal(found.any(axis=2), (mask > 0).numpy())
    assert (found[2, 2] != found[12, 12]).any()
    assert not any(each.any() for each in below)


def test_dice_of_two_squares_and_of_nothing() -> None:
    one, other = torch.zeros(4, 4, dtype=torch.bool), torch.zeros(4, 4, dtype=torch.bool)
    assert dice(one, other) == 1
    one[:2], other[1:3] = True, True
    assert dice(one, other) == 0.5
