"""What to train on: duplicates, leaks, shortcuts, images that show nothing, balance."""

from medino.curation.audit import CheckSettings, Findings, check_cohort
from medino.curation.clusters import Hierarchy, balanced_sample, build_hierarchy, level_sizes
from medino.curation.duplicates import Pairs, find_duplicates
from medino.curation.leaks import Torn, patients_in_two_splits, shared_by_two_patients
from medino.curation.looks import Looks, look_at_all
from medino.curation.schema import REASONS, Dropped, Duplicate
from medino.curation.selection import Curation, CurationSettings, curate, dropped_path, read_dropped, write_dropped
from medino.curation.shortcuts import Shortcut, find_shortcuts

__all__ = [
    "REASONS",
    "CheckSettings",
    "Curation",
    "CurationSettings",
    "Dropped",
    "Duplicate",
    "Findings",
    "Hierarchy",
    "Looks",
    "Pairs",
    "Shortcut",
    "Torn",
    "balanced_sample",
    "build_hierarchy",
    "check_cohort",
    "curate",
    "dropped_path",
    "find_duplicates",
    "find_shortcuts",
    "level_sizes",
    "look_at_all",
    "patients_in_two_splits",
    "read_dropped",
    "shared_by_two_patients",
    "write_dropped",
]
