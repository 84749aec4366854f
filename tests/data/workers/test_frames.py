"""A file of many frames has the time limit for each of them."""

from frame_tasks import decode_frames

from medino.data.workers import Limits, Workers, read_all


def test_the_time_limit_begins_anew_with_each_frame_that_a_reader_announces() -> None:
    workers = Workers(limits=Limits(seconds=2.0))
    announced, silent = read_all(decode_frames, [(5, True), (5, False)], workers, "decoding")
    assert announced == "5 frames"
    assert "longer than the 2 s" in str(silent)
