"""What evidence is: one tidy table from which figures and reports draw, and nothing else."""

from dataclasses import dataclass

from medino.core import column

EVIDENCE_VERSION = 3
"""Schema version of the evidence."""


@dataclass(frozen=True)
class EvidenceRow:
    """One row of evidence. `kind` says which of four it is.

    - `outcome`: one test unit in one episode (target, predicted, scores), or one case's metric in segmentation.
    - `support`: one unit that an episode learned from.
    - `episode`: a metric of one episode over all test units.
    - `summary`: a metric averaged over episodes with its interval; with `compared_with`, the paired difference
      `backbone - compared_with`.
    """

    kind: str = column("outcome, support, episode or summary")
    task: str = column("classification, multilabel, ordinal, regression or segmentation")
    dataset: str = column("name of the labelled set")
    backbone: str = column("name of the backbone or baseline")
    features: str = column("class, mean_patch, class_and_mean_patch, last_four; for segmentation the layers used")
    probe: str = column("name of the probe (`medino fewshot --probes`), or end_to_end; for segmentation the head")
    unit: str = column("what is counted: image, series, study or patient")
    patient_unit: str = column("what stands for the patient: patient, study, file or a mixture joined by +")
    shots: int | None = column(
        "labelled units a class, positive ones a label, or, for regression and masks, in all", None
    )
    episode: int | None = column("which draw of the support set", None)
    metric: str | None = column(
        "balanced_accuracy, auroc, auprc, macro_f1, kappa, brier, calibration_error; of ordered targets mae, "
        "concordance, quadratic_kappa; of masks dice, surface_dice and hausdorff95 with their unit",
        None,
    )
    value: float | None = column("the metric, or the paired difference", None)
    low: float | None = column("lower end of the 95 % interval over test patients", None)
    high: float | None = column("upper end of it", None)
    interval: str | None = column("percentile or bca: which one low and high are; null for a head's own test", None)
    low_percentile: float | None = column("lower end of the percentile interval", None)
    high_percentile: float | None = column("upper end of it", None)
    low_bca: float | None = column("lower end of the bias-corrected and accelerated interval", None)
    high_bca: float | None = column("upper end of it", None)
    seed: int | None = column("of a summary: the study's seed, of its support sets and resamples", None)
    resamples: int | None = column("resamples of the test patients that were drawn for the interval", None)
    replicates: int | None = column("how many of them give the metric a value", None)
    replicates_lacking_class: int | None = column(
        "how many of these lack a class that the test patients have; the metric is then that of the others", None
    )
    p_value: float | None = column("of a paired difference: two-sided, from the resamples", None)
    p_resamples: int | None = column(
        "resamples that were drawn for p_value; the first of them are the interval's", None
    )
    p_holm: float | None = column(
        "the same by Holm over all comparisons of this metric, of masks in this class, with the same backbone", None
    )
    comparisons: int | None = column("how many comparisons those are: backbones, probes, numbers of shots", None)
    spread: float | None = column("standard deviation over support draws", None)
    patients: int | None = column("number of test patients", None)
    patients_seen: int | None = column(
        "how many of them were seen unlabelled in pretraining; null where nobody can tell", None
    )
    draw: str | None = column("patients or images: what the shots are", None)
    classes_left_out: str | None = column(
        "classes or labels of too few patients that were left out, joined by a comma", None
    )
    compared_with: str | None = column("the other backbone of a paired difference", None)
    unit_id: str | None = column("keyed hash of the unit", None)
    patient: str | None = column("keyed hash of its patient", None)
    target: str | None = column(
        "true class; the labels with their separator; for segmentation the class measured", None
    )
    predicted: str | None = column("predicted class, or labels with their separator", None)
    scores: list[float] | None = column("score of each class or label, in the order of the summaries' `classes`", None)
    classes: list[str] | None = column("of a summary: the classes in sorted or the stated order, or the labels", None)
    target_value: float | None = column("of an outcome with a continuous target: the true value", None)
    predicted_value: float | None = column("of the same: the predicted value", None)
