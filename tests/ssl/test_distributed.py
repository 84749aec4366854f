"""Collectives of a process that is alone; several are in test_two_processes.py."""

import pytest
import torch

from medino.ssl.distributed import all_processes_agree


@pytest.mark.parametrize("condition", [True, False])
def test_alone_a_process_agrees_with_itself_and_asks_no_device(condition: bool) -> None:
    """A meta tensor can't be read."""
    assert all_processes_agree(condition, torch.device("meta")) is condition
