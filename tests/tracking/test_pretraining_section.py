"""The section on the adaptation says where the targets had nothing left to teach."""

import math

import numpy as np
import pytest

from medino.tracking.sections import pretraining_section

PROTOTYPES = 64


@pytest.mark.parametrize(
    ("target", "prototype", "collapsed"),
    [
        (math.log(PROTOTYPES), math.log(PROTOTYPES), True),  # every prototype alike for every image
        (0.0, 0.0, True),  # one prototype for every image
        (0.0, math.log(PROTOTYPES), False),  # one of its own for each image
        (3.0, 3.9, False),
    ],
)
def test_targets_that_are_the_same_for_all_images_are_called_so(
    target: float, prototype: float, collapsed: bool
) -> None:
    metrics = {
        "step": np.arange(3.0),
        "loss/total": np.array([5.0, 4.5, 4.0]),
        # The last logged value decides, and monitors are logged less often than losses.
        "teacher/target_entropy": np.array([1.0, target, np.nan]),
        "teacher/prototype_entropy": np.array([3.0, prototype, np.nan]),
    }
    section = pretraining_section(metrics)
    assert section is not None
    assert ("nothing left to teach" in section.html) is collapsed


def test_without_monitors_nothing_is_said_of_collapse() -> None:
    section = pretraining_section({"step": np.arange(2.0), "loss/total": np.array([5.0, 4.0])})
    assert section is not None
    assert "nothing left to teach" not in section.html
