"""The sampler gives one stream of samples, whatever reads it and wherever it is taken up."""

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats
from torch.utils.data import DataLoader, Dataset

from medino.core import InputError, numpy_generator
from medino.data.sampler import SampleAddress, StepBatchSampler

PATIENTS = [f"p{index % 5}" for index in range(23)]
# Patient p0 has two series, one of three slices and one of two; all others have one of four or five.
SERIES = [f"s{index % 5}{index < 12 if index % 5 == 0 else ''}" for index in range(23)]
MODES: dict[str, dict[str, object]] = {
    "rows": {},
    "series": {"uniform_over": "series"},
    "patients": {"uniform_over": "patients"},
    "slices": {"slices_per_series": 2},
    "weights": {"weights": np.arange(23) % 3},
    "all": {"uniform_over": "series", "slices_per_series": 3, "weights": np.arange(23) + 1.0},
}
MODE = pytest.mark.parametrize("mode", MODES)


def stream(mode: str = "rows", **changes: object) -> list[list[SampleAddress]]:
    settings = {"patients": PATIENTS, "series": SERIES, "batch_size": 6, "total_steps": 20, "seed": 3}
    return list(StepBatchSampler(**(settings | MODES[mode] | changes)))  # type: ignore[arg-type]


def counts_of(steps: list[list[SampleAddress]], rows: int) -> np.ndarray:
    """How often each row was drawn."""
    return np.bincount([address.row for step in steps for address in step], minlength=rows)


class Echo(Dataset):
    def __getitem__(self, address: SampleAddress) -> SampleAddress:
        return address

    def __len__(self) -> int:
        return len(PATIENTS)


@MODE
@pytest.mark.parametrize("world_size", [2, 3, 6])
def test_processes_see_together_what_one_would(mode: str, world_size: int) -> None:
    alone = stream(mode)
    parts = [stream(mode, rank=rank, world_size=world_size) for rank in range(world_size)]
    together = [[address for part in step for address in part] for step in zip(*parts, strict=True)]
    assert together == alone


@MODE
def test_a_run_taken_up_at_a_step_goes_on_exactly(mode: str) -> None:
    assert stream(mode, start_step=13) == stream(mode)[13:]


def test_rows_drawn_evenly_come_in_the_order_of_one_permutation_a_pass() -> None:
    """The order that runs had before there were other choices."""
    order = [int(row) for number in range(3) for row in numpy_generator(3, "sampler", number).permutation(23)]
    assert [address.row for step in stream(total_steps=11) for address in step] == order[:66]
    assert [address.row for step in stream(total_steps=11, series=None) for address in step] == order[:66]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_data_loader_gives_the_same_order_for_any_number_of_workers(num_workers: int) -> None:
    sampler = StepBatchSampler(PATIENTS, batch_size=6, total_steps=8, seed=3)
    loader = DataLoader(Echo(), batch_sampler=sampler, num_workers=num_workers, collate_fn=list)
    assert list(loader) == stream(total_steps=8)
    assert len(loader) == 8


def test_every_row_comes_exactly_once_in_a_pass() -> None:
    rows = [address.row for step in stream(total_steps=23) for address in step]
    passes = [rows[start : start + 23] for start in range(0, len(rows), 23)]
    assert all(sorted(one) == list(range(23)) for one in passes)
    assert passes[0] != passes[1]


@pytest.mark.parametrize("batch_size", [5, 4, 1])
def test_every_patient_comes_once_in_a_pass_and_once_more_to_fill_a_batch(batch_size: int) -> None:
    steps = stream("patients", batch_size=batch_size, total_steps=40)
    batches = -(-5 // batch_size)
    for start in range(0, 40, batches):
        drawn = Counter(PATIENTS[address.row] for step in steps[start : start + batches] for address in step)
        assert set(drawn) == set(PATIENTS)
        assert max(drawn.values()) <= (1 if 5 % batch_size == 0 else 2)


def test_every_series_gives_as_many_slices_as_asked_for_and_none_twice() -> None:
    series = np.repeat(np.arange(12), 10).astype(str)
    steps = stream(patients=series, series=series, slices_per_series=4, batch_size=8, total_steps=60)
    for start in range(0, 60, 6):
        rows = [address.row for step in steps[start : start + 6] for address in step]
        assert len(set(rows)) == 48
        assert set(Counter(series[rows]).values()) == {4}


def test_a_short_series_gives_what_it_has_where_rows_are_even_and_repeats_where_series_are() -> None:
    series = np.repeat(["short", "long", "other"], [1, 9, 6])
    even_rows = stream(patients=series, series=series, slices_per_series=3, batch_size=7, total_steps=1)
    assert Counter(series[[address.row for address in even_rows[0]]]) == {"short": 1, "long": 3, "other": 3}
    even_series = stream("series", patients=series, series=series, slices_per_series=3, batch_size=9, total_steps=1)
    assert Counter(series[[address.row for address in even_series[0]]]) == {"short": 3, "long": 3, "other": 3}


def batches_without_repeats(steps: list[list[SampleAddress]], names: np.ndarray) -> bool:
    return all(len({names[address.row] for address in step}) == len(step) for step in steps)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("batch_size", [4, 7, 16])
def test_no_two_slices_of_a_series_share_a_batch(seed: int, batch_size: int) -> None:
    generator = np.random.default_rng(seed)
    sizes = generator.integers(1, 30, 2 * batch_size + seed)
    series = np.repeat(np.arange(len(sizes)), sizes).astype(str)
    patients = np.repeat(np.arange(len(sizes)) // 2, sizes).astype(str)
    shared = {"series": series, "patients": patients, "batch_size": batch_size, "total_steps": 50, "seed": seed}
    for choice in ({"slices_per_series": 5}, {"uniform_over": "series"}, {"uniform_over": "patients"}):
        steps = stream(**shared, **choice)
        assert batches_without_repeats(steps, series)
        assert choice.get("uniform_over") != "patients" or batches_without_repeats(steps, patients)
    weights = generator.uniform(1, 3, len(sizes))[series.astype(int)]
    assert batches_without_repeats(stream(**shared, slices_per_series=5, weights=weights), series)


def test_series_are_enough_if_there_are_as_many_as_a_batch_has_places() -> None:
    series = np.repeat(np.arange(8), 40).astype(str)
    for choice in ({"uniform_over": "series"}, {"slices_per_series": 40}):
        assert batches_without_repeats(stream(patients=series, series=series, batch_size=8, **choice), series)


def test_with_too_few_series_a_batch_is_filled_all_the_same() -> None:
    for mode in MODES:
        steps = stream(mode, patients=["p"] * 4, series=list("aabb"), batch_size=6, weights=None)
        assert [len(step) for step in steps] == [6] * 20


def test_a_patient_then_a_series_then_a_slice_are_equally_likely() -> None:
    patients, series = np.repeat(["many", "few"], [40, 2]), np.repeat(list("abc"), [30, 10, 2])
    steps = stream("patients", patients=patients, series=series, batch_size=8, total_steps=1000)
    counts = counts_of(steps, 42)
    assert counts[:40].sum() == counts[40:].sum() == 4000
    assert stats.binomtest(int(counts[:30].sum()), 4000).pvalue > 1e-3
    for part in (counts[:30], counts[30:40], counts[40:]):
        assert stats.chisquare(part).pvalue > 1e-3


@pytest.mark.parametrize("mode", ["rows", "series", "patients"])
def test_weights_multiply_how_often_rows_are_drawn(mode: str) -> None:
    generator = np.random.default_rng(0)
    series, patients = np.repeat(np.arange(20), 6), np.repeat(np.arange(5), 24)
    weights = generator.choice([0.0, 1.0, 2.0, 5.0], 20)[series]
    choice = {"patients": patients.astype(str), "series": series.astype(str), "weights": weights, "batch_size": 4}
    counts = counts_of(stream(mode, **choice, total_steps=6000), 120)
    assert (counts[weights == 0] == 0).all()
    drawn = weights > 0
    assert stats.chisquare(counts[drawn], weights[drawn] / weights.sum() * 24000).pvalue > 1e-3


def test_rows_of_one_series_are_drawn_in_proportion_to_their_weights() -> None:
    weights = np.array([1.0, 2.0, 3.0, 0.0, 4.0])
    counts = counts_of(
        stream("series", patients=["p"] * 5, series=["s"] * 5, weights=weights, batch_size=1, total_steps=5000), 5
    )
    assert counts[3] == 0
    assert stats.chisquare(np.delete(counts, 3), np.delete(weights, 3) * 500).pvalue > 1e-3


def test_each_series_meets_each_batch_of_a_pass_and_each_other_equally_often() -> None:
    series = np.repeat(np.arange(12), 10).astype(str)
    steps = stream(patients=series, series=series, slices_per_series=5, batch_size=6, total_steps=4000)
    present = np.zeros((4000, 12))
    for number, step in enumerate(steps):
        present[number, [int(series[address.row]) for address in step]] = 1
    assert (present.sum(axis=1) == 6).all()
    by_batch = present.reshape(400, 10, 12).sum(axis=0)
    assert stats.chisquare(by_batch.ravel()).pvalue > 1e-3
    together = (present.T @ present)[np.triu_indices(12, 1)]
    assert abs(together / together.mean() - 1).max() < 0.1


def test_the_first_place_of_a_pass_is_uniform_over_rows() -> None:
    firsts = [step[0].row for step in stream(batch_size=23, total_steps=2300)]
    assert stats.chisquare(np.bincount(firsts, minlength=23)).pvalue > 1e-3


def test_addresses_name_their_step_and_their_place_in_the_global_batch() -> None:
    part = stream(rank=1, world_size=2, start_step=4)[0]
    assert [(address.step, address.position) for address in part] == [(4, 3), (4, 4), (4, 5)]


def test_the_seed_decides_the_order() -> None:
    assert stream(seed=3) == stream(seed=3)
    assert stream(seed=3) != stream(seed=4)


def test_patients_hashed_by_another_key_come_in_the_same_order() -> None:
    renamed = [{"p0": "z", "p1": "c", "p2": "y", "p3": "a", "p4": "m"}[patient] for patient in PATIENTS]
    assert stream("patients", patients=renamed) == stream("patients")


def test_patients_who_share_a_series_are_drawn_all_the_same() -> None:
    patients = ["a", "a", "b", "b", "c"]
    drawn = {
        patients[address.row] for step in stream("patients", patients=patients, series=["s"] * 5) for address in step
    }
    assert drawn == {"a", "b", "c"}


def test_arrow_columns_are_taken_as_they_are() -> None:
    columns = {"patients": pa.chunked_array([PATIENTS[:9], PATIENTS[9:]]), "series": pa.chunked_array([SERIES])}
    packed = {name: pa.chunked_array([["nobody"], *column.chunks]) for name, column in columns.items()}
    packed = {name: column.dictionary_encode().slice(1) for name, column in packed.items()}
    for mode in MODES:
        assert stream(mode, **columns) == stream(mode, **packed) == stream(mode)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"patients": []}, "no images to train on"),
        ({"world_size": 4}, "can't be divided among 4 processes"),
        ({"uniform_over": "studies"}, "can be 'rows', 'series' or 'patients'"),
        ({"slices_per_series": 0}, "slices_per_series is 0"),
        ({"slices_per_series": 2, "uniform_over": "patients"}, "each gives one slice a pass"),
        ({"weights": np.zeros(23)}, "one of them above zero"),
        ({"weights": -np.ones(23)}, "of zero and more"),
    ],
)
def test_settings_that_cannot_work_are_refused_in_words(changes: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        stream(**changes)
