"""The run folder: what a run leaves behind, where each part lies, and how it says what it came from."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from medino.core.errors import InputError
from medino.core.files import existing_folder, read_json, write_json

RUN_VERSION = 1
"""Schema version of `provenance.json`."""

RECORDED_PACKAGES = ("medino", "torch", "pytorch-lightning", "monai", "pydicom", "nibabel", "numpy", "pyarrow")


@dataclass(frozen=True)
class RunFolder:
    """The places in one run's folder. Every writer and reader asks here, nobody spells a file name twice."""

    path: Path

    @property
    def config(self) -> Path:
        """The settings of the run, as YAML."""
        return self.path / "config.yaml"

    @property
    def metrics(self) -> Path:
        """One row for each logged step, as CSV."""
        return self.path / "metrics.csv"

    @property
    def checkpoints(self) -> Path:
        """Lightning's checkpoints, from which the run resumes."""
        return self.path / "checkpoints"

    @property
    def backbone(self) -> Path:
        """The adapted teacher backbone; its settings lie beside it as `backbone.json`."""
        return self.path / "backbone.safetensors"

    @property
    def best_backbone(self) -> Path:
        """The teacher backbone of the best state that was watched; `backbone_best.json` says which, and by what."""
        return self.path / "backbone_best.safetensors"

    @property
    def evidence(self) -> Path:
        """The few-shot and segmentation results, one row a sample and metric."""
        return self.path / "evidence.parquet"

    @property
    def provenance(self) -> Path:
        """Versions, fingerprints, seed, keyed hashes of the patients seen in pretraining."""
        return self.path / "provenance.json"

    @property
    def rejects(self) -> Path:
        """Samples that failed in decoding while training went on."""
        return self.path / "rejects.csv"

    @property
    def skipped_steps(self) -> Path:
        """Training steps that were skipped because of NaN or infinity, with their samples."""
        return self.path / "skipped_steps.csv"

    @property
    def figures(self) -> Path:
        """Figures as files, for those who want them outside the report."""
        return self.path / "figures"

    @property
    def contact_sheet(self) -> Path:
        """A random image of each kind in the cohort, where images were asked for."""
        return self.figures / "contact_sheet.png"

    @property
    def case_sheet(self) -> Path:
        """The worst, the middle and the best test images of the few-shot study, where images were asked for."""
        return self.figures / "cases.png"

    @property
    def report(self) -> Path:
        """The self-contained HTML report."""
        return self.path / "report.html"

    @classmethod
    def existing(cls, path: str | Path) -> "RunFolder":
        """Open a run that is there.

        Raises:
            InputError: the folder is missing or holds no `provenance.json`.
        """
        run = cls(existing_folder(path, "run folder"))
        if not run.provenance.is_file():
            raise InputError(f"{path} is not a run folder (it has no provenance.json); give the folder of a medino run")
        return run


def package_versions() -> dict[str, str]:
    """Versions of the packages that decide a run's numbers, and Python's."""
    versions = {"python": platform.python_version()}
    for name in RECORDED_PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def write_provenance(
    run: RunFolder,
    *,
    seed: int,
    fingerprints: Mapping[str, str],
    pretraining_patients: Sequence[str],
    patient_unit: str,
    notes: Mapping[str, Any] | None = None,
) -> None:
    """Write `provenance.json`.

    Args:
        run: the run's folder.
        seed: the run's seed.
        fingerprints: what went in, by name ("manifest", "weights", ...).
        pretraining_patients: keyed hashes of the patients whose images were trained on.
        patient_unit: what those hashes stand for ("patient", "study", "file" or a mixture, as the manifest says).
        notes: more facts (steps done, images seen), JSON-plain.
    """
    facts = {
        "schema_version": RUN_VERSION,
        "versions": package_versions(),
        "seed": seed,
        "fingerprints": dict(sorted(fingerprints.items())),
        "patient_unit": patient_unit,
        "pretraining_patients": sorted(set(pretraining_patients)),
        **(notes or {}),
    }
    write_json(run.provenance, facts)


def read_provenance(run: RunFolder) -> dict[str, Any]:
    """Read `provenance.json`.

    Raises:
        InputError: it is missing, broken or of another schema version.
    """
    facts = read_json(run.provenance)
    if not isinstance(facts, dict):
        raise InputError(f"{run.provenance} holds no provenance; restore it or run again")
    if facts.get("schema_version") != RUN_VERSION:
        raise InputError(
            f"{run.provenance} has schema version {facts.get('schema_version')}, this medino reads {RUN_VERSION}; "
            "read it with the version that wrote it"
        )
    return facts


def patients_seen_by(weights: str | Path, key_id: str | None) -> list[str] | None:
    """The patients whose images a backbone was pretrained on or whose labels chose its best state, where it is a run's.

    Args:
        weights: the backbone's file, the folder of its run, or the name of published weights, which are nobody's run.
        key_id: names the key of the patients that these are to be compared with; None where that is not known.

    Returns:
        Keyed hashes, none for a backbone that is not a run's. None where the run's patients were hashed with another
        key: then nobody can tell who of them is among others.
    """
    weights = Path(weights)
    run = RunFolder(weights if weights.is_dir() else weights.parent)
    of_run = {path.resolve() for path in (run.backbone, run.best_backbone)}
    if not weights.exists() or not run.provenance.is_file() or (weights.is_file() and weights.resolve() not in of_run):
        return []
    facts = read_provenance(run)
    key_of_run = facts["fingerprints"].get("key")
    # A result on patients of the probe is none of patients that the backbone knows nothing of, either.
    seen = sorted({*facts["pretraining_patients"], *facts.get("probe_patients", [])})
    if seen and None not in (key_id, key_of_run) and key_id != key_of_run:
        return None
    return seen
