"""A run as `adapt` leaves it, made of a real few-shot study on invented features."""

import itertools
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
import yaml

from medino.core import RunFolder, write_provenance
from medino.data import Manifest, Sample
from medino.features import FeatureTable
from medino.probes import EvidenceRow, FewShotStudy, evidence_table, merge_evidence, write_evidence
from medino.tracking import RunMetricsLogger, record_data

CLASSES = ("consolidation", "effusion", "nodule")


def phantom_manifest(patients: int = 120, patient_unit: str = "patient") -> Manifest:
    """Two images of each patient, one class each, half of the patients for testing."""
    samples = [
        Sample(
            sample_id=f"{7919 * (2 * patient + image):032x}",
            root=0,
            path=f"{patient}/{image}.dcm",
            format="dicom",
            frame=0,
            plane=None,
            patient=f"{104729 * patient:032x}",
            study=f"{patient:032x}",
            series=f"{patient:032x}",
            patient_unit=patient_unit,
            modality="DX",
            sop_class=None,
            transfer_syntax=None,
            photometric="MONOCHROME2",
            rows=64,
            columns=64,
            samples_per_pixel=1,
            bits_stored=12,
            spacing_row_mm=None,
            spacing_column_mm=None,
            slice_position_mm=None,
            slice_thickness_mm=None,
            manufacturer=("Scanner A", "Scanner B")[patient % 2],
            manufacturer_model=None,
            body_part="CHEST",
            label=CLASSES[patient % 3],
            mask_root=None,
            mask_path=None,
            mask_frame=None,
            split="train" if patient < patients // 2 else "test",
        )
        for patient in range(patients)
        for image in range(2)
    ]
    return Manifest.from_samples(samples, name="phantom")


@pytest.fixture
def make_manifest() -> Callable[..., Manifest]:
    """Makes the manifest of the run."""
    return phantom_manifest


def invented_features(manifest: Manifest, signal: float, seed: int) -> FeatureTable:
    """Gaussian classes; the patient's part is the same for every backbone, so that differences pair."""
    labels, patients = manifest.column("label"), manifest.column("patient")
    shared = np.random.default_rng(0)
    means = {label: shared.normal(size=12) for label in CLASSES}
    of_patient = {patient: shared.normal(size=12) for patient in sorted(set(patients))}
    noise = np.random.default_rng(seed).normal(size=(len(manifest), 12))
    vectors = [
        signal * means[label] + of_patient[patient] + 0.5 * own
        for label, patient, own in zip(labels, patients, noise, strict=True)
    ]
    return FeatureTable(
        sample_ids=manifest.column("sample_id"),
        blocks={(1, "class"): np.asarray(vectors, dtype=np.float32)},
        backbone=f"invented {signal}",
        manifest=manifest.fingerprint,
        transform="none",
    )


def segmentation_rows() -> list[EvidenceRow]:
    """Dice of two heads and two classes on invented cases."""
    generator = np.random.default_rng(5)
    rows = []
    for head, quality in (("linear", 6.0), ("multi_layer", 9.0)):
        where = {
            "task": "segmentation",
            "dataset": "phantom",
            "backbone": "adapted",
            "features": "last_four",
            "probe": head,
            "unit": "image",
            "patient_unit": "patient",
            "metric": "dice",
        }
        of_case = []
        for target in ("effusion", "nodule"):
            values = generator.beta(quality, 2, size=40)
            of_case.append(values)
            for case, value in enumerate(values):
                ids = {"unit_id": f"{7919 * case:032x}", "patient": f"{104729 * case:032x}"}
                rows.append(EvidenceRow(kind="outcome", target=target, value=float(value), **ids, **where))
        for target, values in (("effusion", of_case[0]), ("nodule", of_case[1]), (None, np.mean(of_case, axis=0))):
            half = 1.96 * values.std() / np.sqrt(len(values))
            facts = {"value": float(values.mean()), "low": values.mean() - half, "high": values.mean() + half}
            rows.append(EvidenceRow(kind="summary", target=target, patients=40, patients_seen=40, **facts, **where))
    return rows


def few_mask_rows() -> list[EvidenceRow]:
    """A few-shot study of masks on invented numbers: two backbones by one head, and a network of its own."""
    generator = np.random.default_rng(6)
    rows = []
    for backbone, head, quality in (("start", "linear", 4.0), ("adapted", "linear", 8.0), ("unet", "u_net", 3.0)):
        for shots, target in itertools.product((1, 4, 16), (None, "left", "right")):
            where = {
                "task": "segmentation",
                "dataset": "lungs",
                "backbone": backbone,
                "features": "last_four",
                "probe": head,
                "unit": "image",
                "patient_unit": "patient",
                "shots": shots,
                "target": target,
            }
            for metric in ("dice", "hausdorff95_mm"):
                values = generator.beta(quality + shots / 3, 2, size=10)
                for episode, value in enumerate(values):
                    rows.append(EvidenceRow(kind="episode", episode=episode, metric=metric, value=value, **where))
                ends = {"low": values.mean() - 0.05, "high": values.mean() + 0.05, "spread": values.std()}
                rows.append(
                    EvidenceRow(kind="summary", metric=metric, value=values.mean(), patients=40, **ends, **where)
                )
                if backbone == "adapted":
                    less = {"value": 0.04, "low": shots / 100 - 0.02, "high": 0.2, "p_holm": 0.03, "comparisons": 3}
                    rows.append(
                        EvidenceRow(kind="summary", metric=metric, compared_with="start", patients=40, **less, **where)
                    )
            if target is not None:
                cases = {"metric": "dice", "kind": "outcome"}
                rows += [
                    EvidenceRow(episode=episode, unit_id=f"{case:032x}", value=case / 40, **cases, **where)
                    for case in range(40)
                    for episode in range(2)
                ]
    return rows


@pytest.fixture(scope="session")
def few_masks() -> pa.Table:
    """Evidence of a few-shot study of masks."""
    return evidence_table(few_mask_rows())


@pytest.fixture(scope="session")
def evidence() -> pa.Table:
    """Two probes, three numbers of shots, three backbones of which the adapted one is better; and a segmentation."""
    manifest = phantom_manifest()
    signals = {"start": (0.45, 1), "adapted": (0.8, 2), "thumbnail": (0.3, 3)}
    features = {name: invented_features(manifest, *how) for name, how in signals.items()}
    study = FewShotStudy(shots=(1, 5, 15), episodes=4, replicates=200, probes=("nearest_mean", "knn"))
    seen = {"adapted": sorted(set(manifest.column("patient")))[:90]}
    return merge_evidence([study.run(features, manifest, seen), evidence_table(segmentation_rows())])


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory, evidence: pa.Table) -> RunFolder:
    """A run folder with evidence, metrics, provenance and config; tests read it and leave it as it is."""
    run = RunFolder(tmp_path_factory.mktemp("tracked") / "run")
    write_evidence(run.evidence, evidence)
    generator = np.random.default_rng(0)
    logger = RunMetricsLogger(run, flush_every=1000)
    for step in range(9, 2000, 10):
        part = step / 2000
        noise = generator.normal(size=6)
        metrics = {
            "loss/total": 12 - 5 * part + 0.2 * noise[0],
            "loss/dino": 7 - 3 * part + 0.1 * noise[1],
            "loss/ibot": 5 - 2 * part + 0.1 * noise[2],
            "loss/koleo": -0.1 * part + 0.02 * noise[3],
            "schedule/learning_rate": min(1.0, part / 0.1) * 1e-3 * (1 - 0.9 * part),
            "gradient_norm/backbone": 2 * np.exp(-part + 0.2 * noise[4]),
            "gradient_norm/dino_head": 0.5 * np.exp(-part + 0.2 * noise[5]),
            "teacher/rankme": 12 + 20 * part + noise[0],
            "teacher/prototypes_used": 24 + round(6 * part + noise[1]),
            "teacher/target_entropy": 5 - 2 * part + 0.1 * noise[2],
            "teacher/prototype_entropy": 6 - 0.2 * part + 0.05 * noise[3],
        }
        logger.log_metrics(metrics, step)
    logger.finalize("success")
    manifest = phantom_manifest()
    write_provenance(
        run,
        seed=0,
        fingerprints={"manifest": manifest.fingerprint, "weights": "0" * 32},
        pretraining_patients=sorted(set(manifest.column("patient")))[:90],
        patient_unit="patient",
        notes={"steps": 2000},
    )
    record_data(run, manifest)
    run.config.write_text(yaml.safe_dump({"model": {"backbone": "mini"}, "data": "<path not stored>", "seed": 0}))
    return run
