"""A tensor on its way to the device that computes."""

from typing import Any

import pytest
import torch

from medino.core import to_device


def test_what_is_there_already_is_not_copied() -> None:
    tensor = torch.arange(3)
    assert to_device(tensor, torch.device("cpu")) is tensor


def test_a_tensor_comes_to_another_device() -> None:
    assert to_device(torch.arange(3), torch.device("meta")).device.type == "meta"


def test_to_a_gpu_it_goes_through_pinned_memory_without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    def pin_memory(tensor: torch.Tensor) -> torch.Tensor:
        calls.append("pinned")
        return tensor

    def to(tensor: torch.Tensor, *given: Any, **options: Any) -> torch.Tensor:
        calls.append((given, options))
        return tensor

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin_memory)
    monkeypatch.setattr(torch.Tensor, "to", to)
    to_device(torch.arange(3), torch.device("cuda", 0))
    assert calls == ["pinned", ((torch.device("cuda", 0),), {"non_blocking": True})]
