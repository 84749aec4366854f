"""Each error for the user has the exit status that scripts go by."""

from medino.core import InputError, MedinoError, TrainingStoppedError, UnreadableImageError


def test_bad_input_exits_with_2_and_what_failed_on_the_way_with_1() -> None:
    assert InputError.exit_status == 2
    assert TrainingStoppedError.exit_status == MedinoError.exit_status == 1
    assert all(issubclass(error, MedinoError) for error in (InputError, TrainingStoppedError, UnreadableImageError))
