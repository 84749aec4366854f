"""Watching a pretraining: measures of its features, an online probe, when it has collapsed, which state was best."""

from medino.ssl.monitors.collapse import CollapseDetector
from medino.ssl.monitors.measures import (
    entropy,
    linear_cka,
    mean_cosine,
    prototype_information,
    prototype_use,
    rankme,
    student_agreement,
    teacher_health,
)
from medino.ssl.monitors.probe import Probe, leave_one_patient_out
from medino.ssl.monitors.watch import Watch

__all__ = [
    "CollapseDetector",
    "Probe",
    "Watch",
    "entropy",
    "leave_one_patient_out",
    "linear_cka",
    "mean_cosine",
    "prototype_information",
    "prototype_use",
    "rankme",
    "student_agreement",
    "teacher_health",
]
