"""A small labelled set with known structure, and tables of features of it."""

from collections.abc import Callable

import numpy as np
import pytest

from medino.data import Manifest, Sample
from medino.features import FeatureTable

MakeManifest = Callable[..., Manifest]
MakeFeatures = Callable[..., FeatureTable]


def _sample(place: int, image: int, label: str | None, split: str | None) -> Sample:
    return Sample(
        sample_id=f"sample-{place:03}-{image}",
        root=0,
        path=f"{place}/{image}.png",
        format="raster",
        frame=0,
        plane=None,
        patient=f"patient-{place:03}",
        study=f"study-{place:03}",
        series=f"series-{place:03}-{image // 2}",
        patient_unit="patient",
        modality=None,
        sop_class=None,
        transfer_syntax=None,
        photometric=None,
        rows=8,
        columns=8,
        samples_per_pixel=1,
        bits_stored=8,
        spacing_row_mm=None,
        spacing_column_mm=None,
        slice_position_mm=None,
        slice_thickness_mm=None,
        manufacturer=None,
        manufacturer_model=None,
        body_part=None,
        label=label,
        mask_root=None,
        mask_path=None,
        mask_frame=None,
        split=split,
    )


@pytest.fixture
def make_manifest() -> MakeManifest:
    """A manifest of patients with one class each; the first half of each class's patients trains."""

    def make(classes: int = 3, patients_a_class: int = 24, images_a_patient: int = 3, **facts: object) -> Manifest:
        samples = []
        for place in range(classes * patients_a_class):
            split = "train" if place < classes * patients_a_class // 2 else "test"
            label = f"class {place % classes}"
            samples += [_sample(place, image, label, split) for image in range(images_a_patient)]
        return Manifest.from_samples(samples, name="blobs", **facts)

    return make


@pytest.fixture
def make_features() -> MakeFeatures:
    """Gaussian classes around their means, with a part that a patient's images share."""

    def make(manifest: Manifest, signal: float = 1.0, seed: int = 0, dimensions: int = 16) -> FeatureTable:
        generator = np.random.default_rng(seed)
        labels, patients = manifest.column("label"), manifest.column("patient")
        means = {label: generator.normal(size=dimensions) for label in sorted({str(label) for label in labels})}
        shared = {patient: generator.normal(size=dimensions) for patient in sorted(set(patients))}
        vectors = np.stack(
            [
                signal * means[str(label)] + shared[patient] + generator.normal(size=dimensions)
                for label, patient in zip(labels, patients, strict=True)
            ]
        ).astype(np.float32)
        return FeatureTable(
            sample_ids=manifest.column("sample_id"),
            blocks={(1, "class"): vectors},
            backbone=f"backbone {seed}",
            manifest=manifest.fingerprint,
            transform="none",
        )

    return make
