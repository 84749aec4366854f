"""What `adapt` settles by the machine that it runs on."""

from typing import Any

import pytest
import torch

from medino.cli.settling import Plan, Settled, settle_precision


@pytest.mark.parametrize(
    ("gpu", "bfloat16", "asked", "precision", "reason"),
    [
        (False, False, None, "32-true", "no GPU"),
        (True, True, None, "bf16-mixed", "the GPU computes in bfloat16"),
        (True, False, None, "32-true", "no units for bfloat16, and these losses overflow in float16"),
        (True, True, "32-true", "32-true", "as asked"),
    ],
)
def test_precision_is_bfloat16_where_a_gpu_computes_in_it(
    gpu: bool, bfloat16: bool, asked: Any, precision: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_bf16_supported(including_emulation: bool = True) -> bool:
        """As PyTorch's, which counts what it emulates unless told otherwise."""
        return including_emulation or bfloat16

    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", is_bf16_supported)
    settled = Settled()
    assert settle_precision(settled, Plan(precision=asked)) == precision
    assert settled.plain["precision"]["value"] == precision
    assert reason in settled.plain["precision"]["reason"]
