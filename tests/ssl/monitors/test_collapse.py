"""When a run is stopped, and when it is not."""

import math

import pytest

from medino.core import InputError
from medino.ssl.monitors import CollapseDetector


def verdicts(
    checks: list[tuple[float, float]], detector: CollapseDetector | None = None, use: float = 0.3
) -> list[bool]:
    """Whether the run should stop after each check of (RankMe, information), spread evenly over a run."""
    detector = detector or CollapseDetector()
    return [
        detector.update(rank, information, use, place / len(checks)) is not None
        for place, (rank, information) in enumerate(checks)
    ]


def test_a_fall_of_rank_below_a_quarter_of_its_highest_stops_at_the_third_check_in_a_row() -> None:
    assert verdicts([(40, 3), (60, 3), (14, 3), (14, 3), (14, 3)]) == [False] * 4 + [True]


def test_one_good_check_in_between_starts_the_count_anew() -> None:
    assert not any(verdicts([(60, 3), (14, 3), (14, 3), (16, 3), (14, 3), (14, 3)]))


def test_a_loss_of_half_the_rank_is_no_collapse() -> None:
    assert not any(verdicts([(60, 3)] + [(30, 3)] * 20))


def test_prototypes_that_say_nothing_stop_the_run_once_a_quarter_of_it_is_done() -> None:
    assert verdicts([(60, 0.0)] * 20).index(True) == 7
    assert verdicts([(60, 3)] * 12 + [(60, 0.001)] * 8).index(True) == 14


def test_two_prototypes_for_all_images_stop_the_run_however_sure_they_are() -> None:
    # What a centre that never moves comes to on real tiles: two of 64, and log 2 told.
    assert verdicts([(6, 0.63)] * 20, use=2 / 64).index(True) == 7
    assert not any(verdicts([(6, 0.63)] * 20, use=37 / 128))


def test_features_that_are_not_finite_are_no_better_than_collapsed() -> None:
    assert verdicts([(60, 3)] + [(math.nan, math.nan)] * 3)[-1]


def test_a_detector_goes_on_from_its_state() -> None:
    checks = [(60.0, 3.0), (14.0, 3.0), (14.0, 3.0), (14.0, 3.0)]
    before, after = CollapseDetector(), CollapseDetector()
    verdicts(checks[:3], before)
    after.load_state_dict(before.state_dict())
    assert verdicts(checks[3:], after) == [True]


@pytest.mark.parametrize(
    "wrong", [{"rank_share": 1.0}, {"least_information": -1.0}, {"least_use": 1.0}, {"patience": 0}]
)
def test_thresholds_without_meaning_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        CollapseDetector(**wrong)  # type: ignore[arg-type]
