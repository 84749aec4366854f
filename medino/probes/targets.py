"""What a study may ask for: classes, labels, ordered classes or numbers, each with its design and its probes."""

from collections.abc import Collection, Sequence

from medino.core import InputError
from medino.data import Manifest
from medino.probes.class_design import ClassDesign
from medino.probes.continuous import REGRESSIONS
from medino.probes.continuous_design import ContinuousDesign
from medino.probes.design import Design, Draws
from medino.probes.multilabel_design import MultilabelDesign
from medino.probes.registry import LEARNERS, PROBES
from medino.probes.sources import FeatureSource, Source
from medino.probes.units import Units

TASKS = {"classes": "classification", "multilabel": "multilabel", "ordinal": "ordinal", "continuous": "regression"}
"""The targets, and how the evidence calls what is done with each."""

USUAL_PROBES = ("nearest_mean", "knn", "logistic")


def probes_for(target: str) -> Collection[str]:
    """The probes that a study of this target can be asked for."""
    return REGRESSIONS if target == "continuous" else PROBES


def usual_probes(target: str) -> tuple[str, ...]:
    """The probes of a study of this target that names none."""
    return tuple(REGRESSIONS) if target == "continuous" else USUAL_PROBES


def what_reads(probe: str) -> type[Source]:
    """The kind of source that a probe learns from."""
    return FeatureSource if probe in REGRESSIONS else LEARNERS[probe].reads


def check_target(target: str, order: Sequence[str], separator: str) -> None:
    """Refuse an unknown target, and settings that don't belong to it.

    Raises:
        InputError: they don't.
    """
    if target not in TASKS:
        raise InputError(f"there is no target {target!r}; choose one of {', '.join(TASKS)}")
    if target == "ordinal" and len(order) < 2:
        raise InputError("an ordinal target needs the order of its classes, from the least to the most (--order)")
    if target != "ordinal" and order:
        raise InputError(f"an order of classes belongs to an ordinal target, not to {target!r}; leave it out")
    repeated = [label for place, label in enumerate(order) if label in order[:place]]
    if repeated:
        raise InputError(f"the order names the class {repeated[0]!r} twice; name each once")
    if not separator:
        raise InputError("the separator of labels is empty; give what stands between them, such as '|'")


def make_design(
    target: str, manifest: Manifest, units: Units, draws: Draws, order: Sequence[str], separator: str
) -> Design:
    """The design of a study of this target.

    Raises:
        InputError: labels or splits can't carry it.
    """
    if target == "multilabel":
        return MultilabelDesign(manifest, units, draws, separator)
    if target == "continuous":
        return ContinuousDesign(manifest, units, draws)
    return ClassDesign(manifest, units, draws, order)
