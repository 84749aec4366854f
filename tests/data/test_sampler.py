"""The sampler gives one stream of samples, whatever reads it and wherever it is taken up."""

from collections import Counter

import numpy as np
import pytest
from scipy import stats
from torch.utils.data import DataLoader, Dataset

from medino.core import InputError
from medino.data.sampler import SampleAddress, StepBatchSampler

PATIENTS = [f"p{index % 5}" for index in range(23)]
MODES = ("rows", "patients")


def stream(**changes: object) -> list[list[SampleAddress]]:
    settings = {"patients": PATIENTS, "batch_size": 6, "total_steps": 20, "seed": 3} | changes
    return list(StepBatchSampler(**settings))  # type: ignore[arg-type]


class Echo(Dataset):
    def __getitem__(self, address: SampleAddress) -> SampleAddress:
        return address

    def __len__(self) -> int:
        return len(PATIENTS)


@pytest.mark.parametrize("uniform_over", MODES)
@pytest.mark.parametrize("world_size", [2, 3, 6])
def test_processes_see_together_what_one_would(uniform_over: str, world_size: int) -> None:
    alone = stream(uniform_over=uniform_over)
    parts = [stream(uniform_over=uniform_over, rank=rank, world_size=world_size) for rank in range(world_size)]
    together = [[address for part in step for address in part] for step in zip(*parts, strict=True)]
    assert together == alone


@pytest.mark.parametrize("uniform_over", MODES)
def test_a_run_taken_up_at_a_step_goes_on_exactly(uniform_over: str) -> None:
    assert stream(uniform_over=uniform_over, start_step=13) == stream(uniform_over=uniform_over)[13:]


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


def test_every_patient_comes_exactly_once_in_a_pass() -> None:
    patients = [PATIENTS[address.row] for step in stream(uniform_over="patients") for address in step]
    assert all(len(set(patients[start : start + 5])) == 5 for start in range(0, len(patients), 5))


def test_a_batch_larger_than_the_data_goes_on_into_the_next_pass() -> None:
    counts = Counter(address.row for address in stream(batch_size=50, total_steps=1)[0])
    assert len(counts) == 23
    assert set(counts.values()) == {2, 3}


def test_rows_of_a_patient_are_equally_likely() -> None:
    patients = ["many"] * 40 + ["few"] * 2
    steps = stream(patients=patients, batch_size=8, total_steps=1000, uniform_over="patients")
    counts = np.bincount([address.row for step in steps for address in step], minlength=42)
    assert counts[:40].sum() == counts[40:].sum() == 4000
    assert stats.chisquare(counts[:40]).pvalue > 1e-3
    assert stats.chisquare(counts[40:]).pvalue > 1e-3


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
    assert stream(patients=renamed, uniform_over="patients") == stream(uniform_over="patients")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"patients": []}, "no images to train on"),
        ({"world_size": 4}, "can't be divided among 4 processes"),
        ({"uniform_over": "studies"}, "can be 'rows' or 'patients'"),
    ],
)
def test_settings_that_cannot_work_are_refused_in_words(changes: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        stream(**changes)
