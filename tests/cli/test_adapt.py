"""`medino adapt` through the command: the whole way on a small archive, what it refuses, what it keeps to itself."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pytest
import yaml
from PIL import Image
from planted_identity import plant
from pydicom import dcmread
from pydicom.misc import is_dicom
from pytorch_lightning import Trainer
from safetensors.torch import save_file

from medino.cli import trainer
from medino.cli.main import main
from medino.core import RunFolder, read_provenance
from medino.data import Manifest, PhantomArchive, scan, write_phantom
from medino.features import FeatureTable
from medino.models import backbone_fingerprint, build_backbone, load_backbone
from medino.probes import differences, read_evidence, summaries

MARK = "DOEJANE1957"
"""An identity: in folders, file names, arguments and printed text."""

FEW_STEPS = ["--steps", "2", "--batch-size", "4", "--episodes", "3", "--shots", "[1,2]", "--segmentation-steps", "3"]
FEW_STEPS += ["--num-workers", "0", "--overlays", "1"]


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> PhantomArchive:
    """Eighteen patients with two images each; folders, file names and some of the headers name somebody."""
    folder = tmp_path_factory.mktemp("archive") / f"{MARK}_folder" / "phantom"
    archive = write_phantom(folder, patients=18, images_per_patient=2, size=48, seed=1)
    for root in (archive.images, archive.masks):
        for path in sorted(root.rglob("*")):
            if path.is_file():
                path.rename(path.with_name(f"{MARK}_{path.name}"))
    identifiers = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
    for path in sorted(path for path in archive.images.rglob("*") if path.is_file() and is_dicom(path))[::12]:
        file = dcmread(path, stop_before_pixels=True)
        plant(path, MARK, Modality=file.Modality, **{name: file[name].value for name in identifiers})
    return archive


def words(archive: PhantomArchive, run: Path, *more: str) -> list[str]:
    """The words of an `adapt` of the archive."""
    given = ["adapt", "--data", str(archive.images), "--labels", str(archive.labels), "--masks", str(archive.masks)]
    return [*given, "-o", str(run), *FEW_STEPS, *more]


@pytest.fixture(scope="session")
def finished(archive: PhantomArchive, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A finished run, made by the command in a process of its own, and what it printed."""
    run = tmp_path_factory.mktemp("runs") / "run"
    # A sitecustomize that prints stands for whatever else a user's process says.
    site = archive.images.parent / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(f"print('printed by {MARK}')\n")
    environment = {**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "medino.cli.main", *words(archive, run)]
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd=archive.images.parent, timeout=500, check=False
    )
    assert done.returncode == 0, done.stderr
    return run, done.stdout


@pytest.mark.slow
def test_a_run_leaves_the_folder_of_the_design(finished: tuple[Path, str]) -> None:
    run = RunFolder(finished[0])
    for path in (run.config, run.metrics, run.backbone, run.evidence, run.provenance, run.report):
        assert path.is_file(), path.name
    assert list(run.checkpoints.iterdir())
    assert sorted(path.name for path in run.figures.iterdir()) == [
        "cases.png",
        "contact_sheet.png",
        "patch_maps_000002.png",
    ]
    assert run.report.read_text().count("data:image/png") == 4
    assert read_provenance(run)["steps"] == 2


@pytest.mark.slow
def test_the_command_ends_with_the_numbers_that_matter(finished: tuple[Path, str]) -> None:
    lines = finished[1].strip().splitlines()[-6:]
    assert lines[0].startswith("few-shot before: ")
    assert lines[1].startswith("few-shot after: ")
    assert lines[3].startswith("On the same patients, adapted beside the others: ")
    assert lines[4].startswith("segmentation: ")
    assert lines[5] == f"report: {finished[0] / 'report.html'}"


@pytest.mark.slow
def test_patients_of_the_test_were_not_pretrained_on(finished: tuple[Path, str]) -> None:
    run = RunFolder(finished[0])
    manifest = Manifest.read(run.path / "cohort" / "cohort.parquet")
    test_patients = set(manifest.column("patient")[manifest.column("split") == "test"])
    assert test_patients
    assert not test_patients & set(read_provenance(run)["pretraining_patients"])
    assert {row.patients_seen for row in summaries(read_evidence(run.evidence))} == {0}


@pytest.mark.slow
def test_evidence_holds_both_backbones_the_floor_and_their_paired_differences(finished: tuple[Path, str]) -> None:
    evidence = read_evidence(RunFolder(finished[0]).evidence)
    baselines = {"thumbnail", "random", "cnn"}
    assert set(pc.unique(evidence["backbone"]).to_pylist()) == {"start", "adapted", *baselines}
    compared = {(row.backbone, row.compared_with) for row in differences(evidence)}
    assert {("adapted", "start"), ("adapted", "cnn")} <= compared
    assert set(pc.unique(evidence["task"]).to_pylist()) == {"classification", "segmentation"}


@pytest.mark.slow
def test_its_heads_segment_other_images(
    finished: tuple[Path, str], archive: PhantomArchive, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = finished[0]
    given = ["segment", str(archive.images), "--run", str(run / "segmentation" / "adapted")]
    assert main([*given, "--weights", str(run), "-o", str(tmp_path / "new")]) == 0
    assert len(list((tmp_path / "new" / "masks").iterdir())) == 36
    capsys.readouterr()
    assert main([*given, "--weights", str(run / "start" / "backbone.safetensors"), "-o", str(tmp_path / "no")]) == 2
    assert "backbone" in capsys.readouterr().err


@pytest.mark.slow
def test_no_byte_outside_the_manifest_s_folder_names_anybody(finished: tuple[Path, str]) -> None:
    run = finished[0]
    private = [MARK.encode(), b"PHANTOM^"]
    if len(host := socket.gethostname()) > 5:  # a shorter name is found in any weights by chance
        private.append(host.encode())
    searched = 0
    for path in run.rglob("*"):
        if not path.is_file() or path.is_relative_to(run / "cohort"):
            continue
        content = path.read_bytes()
        searched += 1
        found = [mark for mark in private if mark in content or mark.decode().encode("utf-16-le") in content]
        assert not found, f"{path.relative_to(run)} holds {found}"
        assert MARK not in str(path.relative_to(run))
    assert searched > 10


@pytest.mark.slow
def test_the_same_command_again_does_nothing_twice_and_other_settings_are_refused(
    finished: tuple[Path, str], archive: PhantomArchive, capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunFolder(finished[0])
    before = run.backbone.stat().st_mtime_ns
    assert main(words(archive, run.path)) == 0
    assert run.backbone.stat().st_mtime_ns == before
    capsys.readouterr()
    assert main([*words(archive, run.path), "--seed", "5"]) == 2
    assert "seed was 0, is 5" in one_line(capsys)


@pytest.fixture
def probe(tmp_path: Path, archive: PhantomArchive) -> tuple[Path, Path]:
    """A labelled manifest of other patients in a folder that names somebody, and the key that it was scanned with."""
    folder = tmp_path / f"{MARK}_probe"
    others = write_phantom(folder, patients=6, images_per_patient=1, size=48, seed=2)
    files = sorted(path for path in others.images.rglob("*") if path.is_file() and is_dicom(path))
    for place, path in enumerate(files):
        file = dcmread(path)
        file.PatientID, file.PatientName = f"another {place}", MARK
        file.save_as(path)
    rows = [f"{path.relative_to(others.images).as_posix()},{'ab'[place % 2]}" for place, path in enumerate(files)]
    (folder / "labels.csv").write_text("\n".join(["path,label", *rows]))
    scan([others.images], labels=folder / "labels.csv", key=folder / "key").write(folder / "probe.parquet")
    return folder / "probe.parquet", folder / "key"


@pytest.mark.slow
def test_with_a_probe_the_best_state_is_measured_and_every_setting_has_its_reason(
    archive: PhantomArchive, probe: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunFolder(tmp_path / "run")
    more = ["--probe", str(probe[0]), "--key", str(probe[1])]
    assert main(words(archive, run.path, *more)) == 0
    said = " ".join(capsys.readouterr().out.split())
    measured = FeatureTable.read(run.path / "features" / "adapted.parquet").backbone
    assert measured == backbone_fingerprint(load_backbone(run.best_backbone))
    settled = yaml.safe_load(run.config.read_text())["settled"]
    assert settled["measured state"]["value"] == "best"
    for name in ("momentum", "prototypes", "base_lr", "warmup", "sinkhorn_queue", "peak learning rate"):
        assert name in said
        assert len(settled[name]["reason"]) > 5
        assert "<path" not in settled[name]["reason"]
    assert len(read_provenance(run)["probe_patients"]) == 6
    for path in run.path.rglob("*"):
        if path.is_file() and not path.is_relative_to(run.path / "cohort"):
            assert MARK.encode() not in path.read_bytes(), path.name


@pytest.mark.slow
def test_backbone_and_heads_are_trained_in_the_precision_asked_for(
    archive: PhantomArchive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trainers: list[Trainer] = []

    def step_trainer(*given: Any, **options: Any) -> Trainer:
        trainers.append(trainer.step_trainer(*given, **options))
        return trainers[-1]

    monkeypatch.setattr("medino.cli.pipeline.step_trainer", step_trainer)
    given = ["--data", str(archive.images), "--masks", str(archive.masks), "-o", str(tmp_path / "run"), *FEW_STEPS]
    assert main(["adapt", *given, "--precision", "bf16-mixed"]) == 0
    assert [each.precision for each in trainers] == ["bf16-mixed"] * 3
    assert "bf16-mixed" in capsys.readouterr().out
    settled = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["settled"]
    assert settled["precision"] == {"value": "bf16-mixed", "reason": "as asked"}


def test_a_probe_that_the_cohort_s_key_can_t_be_compared_with_is_refused_before_training(
    archive: PhantomArchive, probe: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words(archive, tmp_path / "run"), "--probe", str(probe[0])]) == 2
    assert "the same --key" in one_line(capsys)
    own = tmp_path / "own.parquet"
    scan([archive.images], labels=archive.labels, key=probe[1]).write(own)
    assert main([*words(archive, tmp_path / "run"), "--probe", str(own), "--key", str(probe[1])]) == 2
    assert "18 of the probe's 18 patients are among those of the cohort" in one_line(capsys)
    assert not (tmp_path / "run").exists()


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line of the error."""
    error = capsys.readouterr().err
    lines = [line for line in error.splitlines() if line.startswith("medino adapt: error: ")]
    assert len(lines) == 1, error
    assert "Traceback" not in error
    return lines[0]


def test_a_missing_folder_is_one_line_and_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["adapt", "--data", str(tmp_path / "none"), "-o", str(tmp_path / "run")]) == 2
    assert "data folder" in (line := one_line(capsys))
    assert "does not exist" in line
    assert not (tmp_path / "run").exists()


def test_an_unknown_option_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["adapt", "--data", str(tmp_path), "-o", str(tmp_path / "run"), "--stepz", "3"]) == 2
    assert "stepz" in one_line(capsys)


def test_an_unknown_key_in_yaml_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({"data": str(tmp_path), "output": str(tmp_path / "run"), "stepz": 3}))
    assert main(["adapt", "--config", str(config)]) == 2
    assert "stepz" in one_line(capsys)


def test_labels_of_one_class_are_refused_before_training(
    archive: PhantomArchive, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = tmp_path / "labels.csv"
    rows = archive.labels.read_text().splitlines()
    labels.write_text("\n".join([rows[0], *[row.split(",")[0] + ",ill" for row in rows[1:]]]))
    assert main([*words(archive, tmp_path / "run"), "--labels", str(labels)]) == 2
    assert "all labels are 'ill'" in one_line(capsys)
    assert not (tmp_path / "run").exists()


def test_labels_that_name_no_image_are_refused(
    archive: PhantomArchive, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("patient,label\nnobody,ill\nno one,well\n")
    assert main([*words(archive, tmp_path / "run"), "--labels", str(labels)]) == 2
    assert "none of the 2 rows of labels.csv" in one_line(capsys)
    assert not (tmp_path / "run").exists()


def test_more_shots_than_patients_are_refused_before_training(
    archive: PhantomArchive, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words(archive, tmp_path / "run"), "--shots", "[20]"]) == 2
    assert "fewer than 20 shots" in one_line(capsys)
    assert not (tmp_path / "run").exists()


def test_weights_that_do_not_fit_are_named_by_key_and_shape(
    archive: PhantomArchive, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = dict(build_backbone("mini").state_dict())
    state["norm.weight"] = state["norm.weight"][:7].clone()
    save_file(state, tmp_path / "weights.safetensors")
    assert main([*words(archive, tmp_path / "run"), "--weights", str(tmp_path / "weights.safetensors")]) == 2
    line = one_line(capsys)
    assert "norm.weight" in line
    assert "7" in line
    assert "192" in line
    assert not (tmp_path / "run").exists()


def test_a_folder_that_holds_something_else_is_left_alone(
    archive: PhantomArchive, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "run"
    other.mkdir()
    (other / "thesis.txt").write_text("mine")
    assert main(words(archive, other)) == 2
    assert "holds no run" in one_line(capsys)
    assert [path.name for path in other.iterdir()] == ["thesis.txt"]


def test_a_mask_of_another_size_is_refused_before_training(
    archive: PhantomArchive, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from PIL import Image

    masks = tmp_path / "masks"
    shutil.copytree(archive.masks, masks)
    first = sorted(masks.rglob("*.png"))[0]
    Image.new("L", (7, 9)).save(first)
    assert main([*words(archive, tmp_path / "run"), "--masks", str(masks)]) == 2
    assert "7" in (line := one_line(capsys))
    assert "48" in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--batch_size", "1", "batch_size is 1; give 2 or more, as Sinkhorn-Knopp and KoLeo compare the images of"),
        ("--steps", "0", "steps is 0; give 1 or more"),
    ],
)
def test_numbers_that_cannot_be_used_are_refused_before_the_scan(
    option: str,
    value: str,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    scans: list[object] = []
    monkeypatch.setattr("medino.cli.cohort.scan", lambda *given, **options: scans.append(given))
    assert main(["adapt", "--data", str(tmp_path), "-o", str(tmp_path / "run"), option, value]) == 2
    assert said in one_line(capsys)
    assert scans == []
    assert not (tmp_path / "run").exists()


def test_images_smaller_than_a_patch_are_left_out_and_nothing_is_left_where_all_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    for place in range(4):
        Image.fromarray(np.full((5, 5), place, dtype=np.uint8)).save(small / f"{place}.png")
    assert main(["adapt", "--data", str(small), "-o", str(tmp_path / "run"), "--steps", "1"]) == 2
    assert "4 x smaller than the 8 pixels asked for" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
