"""Images are in the report where a run keeps some, and only there."""

import base64
from pathlib import Path

from PIL import Image

from medino.core import RunFolder
from medino.tracking.sections import images_section


def test_the_last_maps_and_all_overlays_are_shown_inside_the_page(tmp_path: Path) -> None:
    names = [
        "figures/patch_maps_000010.png",
        "figures/cases.png",
        "figures/patch_maps_000020.png",
        "segmentation/adapted/figures/overlay-1-worst-ab.png",
    ]
    contents = []
    for grey, name in enumerate(names):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (3, 3), grey).save(path)
        contents.append(base64.b64encode(path.read_bytes()).decode())
    section = images_section(RunFolder(tmp_path))
    assert section is not None
    assert [content in section.html for content in contents] == [False, True, True, True]
    assert "after 20 steps" in section.html
    assert "Test image ab, one of the worst by Dice" in section.html


def test_a_run_without_images_has_no_such_section(tmp_path: Path) -> None:
    assert images_section(RunFolder(tmp_path)) is None
