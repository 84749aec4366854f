"""The report's sections: each draws from one kind of file that a run leaves."""

from medino.tracking.sections.data import data_section, manifest_facts
from medino.tracking.sections.failures import failures_section
from medino.tracking.sections.fewshot import fewshot_section
from medino.tracking.sections.images import images_section
from medino.tracking.sections.pretraining import pretraining_section
from medino.tracking.sections.provenance import provenance_section
from medino.tracking.sections.segmentation import segmentation_section
from medino.tracking.sections.summary import summary_section

__all__ = [
    "data_section",
    "failures_section",
    "fewshot_section",
    "images_section",
    "manifest_facts",
    "pretraining_section",
    "provenance_section",
    "segmentation_section",
    "summary_section",
]
