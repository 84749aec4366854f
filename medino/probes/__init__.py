"""Features to few-shot numbers: probes, the study, its statistics."""

from medino.probes.bootstrap import (
    auroc_replicates,
    balanced_accuracy_replicates,
    bca_interval,
    patient_counts,
    percentile_interval,
)
from medino.probes.classifiers import knn, nearest_mean
from medino.probes.comparisons import bootstrap_p_value, holm
from medino.probes.evidence import (
    append_evidence,
    differences,
    evidence_block,
    evidence_table,
    merge_evidence,
    of_kind,
    read_evidence,
    summaries,
    write_evidence,
)
from medino.probes.extremes import extremes
from medino.probes.logistic import logistic
from medino.probes.metrics import balanced_accuracy, macro_auroc
from medino.probes.ordered import concordance, quadratic_kappa
from medino.probes.registry import PROBES
from medino.probes.resampled import brier_score, calibration_error, cohen_kappa, macro_auprc, macro_f1
from medino.probes.results import LOWER_IS_BETTER
from medino.probes.ridge import ridge
from medino.probes.schema import EVIDENCE_VERSION, EvidenceRow
from medino.probes.spreadsheet import HEADINGS, export_csv
from medino.probes.study import FewShotStudy

__all__ = [
    "EVIDENCE_VERSION",
    "HEADINGS",
    "LOWER_IS_BETTER",
    "PROBES",
    "EvidenceRow",
    "FewShotStudy",
    "append_evidence",
    "auroc_replicates",
    "balanced_accuracy",
    "balanced_accuracy_replicates",
    "bca_interval",
    "bootstrap_p_value",
    "brier_score",
    "calibration_error",
    "cohen_kappa",
    "concordance",
    "differences",
    "evidence_block",
    "evidence_table",
    "export_csv",
    "extremes",
    "holm",
    "knn",
    "logistic",
    "macro_auprc",
    "macro_auroc",
    "macro_f1",
    "merge_evidence",
    "nearest_mean",
    "of_kind",
    "patient_counts",
    "percentile_interval",
    "quadratic_kappa",
    "read_evidence",
    "ridge",
    "summaries",
    "write_evidence",
]
