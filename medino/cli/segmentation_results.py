"""What `medino test` leaves of a head: its cases and means as evidence in the run's folder."""

from typing import Any

from medino.core import RunFolder, patients_seen_by
from medino.probes import append_evidence
from medino.segmentation import DenseRegression, MaskedImages, Segmentation, dense_evidence, segmentation_evidence


def keep_test_results(
    run: RunFolder, model: Segmentation | DenseRegression, data: MaskedImages, weights: str | None
) -> None:
    """Add a test's results to the run's evidence; an earlier test of the same backbone and head is replaced.

    Args:
        run: the run's folder.
        model: the module, tested.
        data: what it was tested on.
        weights: the backbone's file.
    """
    config, layers = model.features.backbone.config, model.features.layers
    results: Any = model.test_results
    rows = (segmentation_evidence if isinstance(model, Segmentation) else dense_evidence)(
        results,
        dataset=data.manifest.name,
        # Not the file's name, which can name people; the fingerprint tells an adapted backbone from its start.
        backbone=f"{config.name} {model.backbone_fingerprint[:8]}",
        features="last" if layers == [config.depth - 1] else f"blocks {', '.join(map(str, layers))}",
        head=model.probe,
        patient_unit=data.manifest.patient_unit,
        pretraining_patients=patients_seen_by(weights, data.manifest.settings.get("key_id")) if weights else (),
        seed=model.seed,
    )
    append_evidence(run.evidence, rows)
