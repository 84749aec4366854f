"""Notebooks run from the first cell to the last, and are kept without outputs."""

import resource
from dataclasses import replace
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import DeadKernelError

from medino.data import Manifest
from medino.features import FeatureTable
from medino.probes import FewShotStudy, of_kind, patient_counts
from medino.tracking import headline
from tests.sample_rows import sample_of

NOTEBOOKS = sorted((Path(__file__).resolve().parents[1] / "notebooks").glob("*.ipynb"))
FEW_SHOT = NOTEBOOKS[0].parent / "few_shot_study.ipynb"

PROCESSOR_SECONDS = 60
"""Of a whole notebook, on one core: with the start of its kernel it takes less than two minutes on a machine of its
own. A limit on its processor time holds on a busy machine, too; what needs more is killed."""

HANGING_SECONDS = 300
"""Of a cell that waits without computing."""


def bounded() -> None:
    """Limit the processor time of the process that is to be the kernel."""
    resource.setrlimit(resource.RLIMIT_CPU, (PROCESSOR_SECONDS, PROCESSOR_SECONDS))


def client(notebook: nbformat.NotebookNode, folder: Path) -> NotebookClient:
    return NotebookClient(
        notebook, timeout=HANGING_SECONDS, kernel_name="python3", resources={"metadata": {"path": folder}}
    )


@pytest.fixture(autouse=True)
def _environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_outputs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert not cell.outputs, f"clear the outputs of {path.name}: they can hold images of patients"
            assert cell.execution_count is None


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_as_it_is(path: Path, tmp_path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    client(notebook, tmp_path).execute(preexec_fn=bounded)
    figures = [
        output
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if output.output_type == "display_data" and "image/png" in output.data
    ]
    assert figures


def test_a_notebook_that_computes_too_long_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.test_notebooks.PROCESSOR_SECONDS", 4)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("while True:\n    pass")])
    with pytest.raises(DeadKernelError):
        client(notebook, tmp_path).execute(preexec_fn=bounded)


def test_the_interval_is_computed_by_hand_where_resamples_lack_a_class(capsys: pytest.CaptureFixture[str]) -> None:
    samples, vectors = [], []
    for place in range(36):
        rare, split = place % 18 < 4, "train" if place < 18 else "test"
        facts = {"sample_id": f"s{place}", "patient": f"p{place}", "label": "rare" if rare else "usual", "split": split}
        samples.append(sample_of({**facts, "format": "raster"}))
        vectors.append(np.random.default_rng(place).normal(rare, 1, 6))
    manifest = Manifest.from_samples(samples, name="few")
    table = FeatureTable(
        sample_ids=manifest.column("sample_id"),
        blocks={(1, "class"): np.array(vectors, dtype=np.float32)},
        backbone="b",
        manifest=manifest.fingerprint,
        transform="none",
    )
    study = FewShotStudy(shots=(2,), episodes=3, probes=("logistic",), seed=5, replicates=300)
    evidence = study.run({"one": table, "other": replace(table, backbone="c")}, manifest)
    after = headline(evidence).after
    assert after.replicates_lacking_class
    (cell,) = [cell for cell in nbformat.read(FEW_SHOT, as_version=4).cells if "patient_counts(" in cell.source]
    known = {"np": np, "of_kind": of_kind, "patient_counts": patient_counts, "evidence": evidence, "after": after}
    exec(cell.source, known)
    assert f"{after.replicates_lacking_class} of 300 resamples lack a class" in capsys.readouterr().out
