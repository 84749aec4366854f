"""The sheet of the worst, the middle and the best test images: drawn where asked for, of the right images."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medino.cli import case_sheet
from medino.cli.image_sheet import Place
from medino.cli.main import main
from medino.core import RunFolder
from medino.data import Manifest, scan
from medino.features import thumbnail_features
from medino.probes import FewShotStudy, read_evidence, write_evidence
from medino.tracking import headline, outcomes


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A study of dark and bright squares, of which some are grey and hard to tell; its manifest lies beside."""
    folder, lines = tmp_path / "images", ["path,label,patient,split"]
    folder.mkdir()
    generator = np.random.default_rng(0)
    for place in range(40):
        side = place % 2
        brightness = 128 + (1 if side else -1) * generator.integers(-20, 90)
        values = generator.normal(brightness, 30, (24, 24)).clip(0, 255).astype(np.uint8)
        Image.fromarray(values).save(folder / f"{place}.png")
        split = "train" if place < 10 else "test"
        lines.append(f"{place}.png,{('dark', 'bright')[side]},patient {place},{split}")
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    manifest = scan([folder], labels=tmp_path / "labels.csv", key=tmp_path / "key", name="greys")
    manifest.write(tmp_path / "cohort.parquet")
    study = FewShotStudy(shots=(2,), episodes=5, replicates=50, probes=("nearest_mean",))
    run = RunFolder(tmp_path / "run")
    write_evidence(run.evidence, study.run({"thumbnail": thumbnail_features(manifest)}, manifest))
    return run


def test_the_report_shows_the_images_where_asked(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(run.path)]) == 0
    assert not run.case_sheet.exists()
    assert main(["report", str(run.path), "--images", str(run.path.parent / "cohort.parquet")]) == 0
    with Image.open(run.case_sheet) as sheet:
        assert np.asarray(sheet.convert("L")).std() > 10
    assert "data:image/png;base64" in run.report.read_text(encoding="utf-8")


def test_each_image_stands_in_the_row_of_its_share_of_right_predictions(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Place] = []
    monkeypatch.setattr(case_sheet, "write_image_sheet", lambda manifest, places, *rest: drawn.extend(places))
    manifest, evidence = Manifest.read(run.path.parent / "cohort.parquet"), read_evidence(run.evidence)
    assert case_sheet.write_case_sheet(evidence, manifest, run.case_sheet, None)  # type: ignore[arg-type]
    row = headline(evidence).after
    assert row is not None
    found = outcomes(evidence, row)
    assert found is not None
    right = dict(zip(found.units, found.right, strict=True))
    ids, labels = manifest.column("sample_id"), manifest.column("label")
    shown = [right[ids[place.row]] for place in drawn]
    assert len(shown) == 18
    assert sorted(right.values())[:6] == shown[:6]
    assert sorted(right.values())[-6:] == shown[12:]
    assert max(shown[:6]) <= min(shown[6:12]) <= max(shown[6:12]) <= min(shown[12:])
    for place in drawn:
        assert place.lines[0] == f"is {labels[place.row]}"
        assert f"{100 * right[ids[place.row]]:.0f} % right" in place.title


def test_what_can_not_be_shown_is_said_in_one_line(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    cohort = run.path.parent / "cohort.parquet"
    manifest = Manifest.read(cohort)
    manifest.select([split == "train" for split in manifest.column("split")]).write(run.path.parent / "other.parquet")
    for words, message in (
        (["--images", str(run.path.parent / "other.parquet")], "does not hold the images of the study"),
        ([str(run.path), "--images", str(cohort)], "--images is for the report of one run"),
    ):
        assert main(["report", str(run.path), *words]) == 2
        assert message in capsys.readouterr().err
    write_evidence(run.evidence, [])
    assert main(["report", str(run.path), "--images", str(cohort)]) == 2
    assert "no few-shot study of classes; leave out --images (masks: fewshot_masks" in capsys.readouterr().err
