"""A training starts with published heads where they are given, and takes their widths from the file."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from medino.core import InputError, torch_generator
from medino.models import ProjectionHead
from medino.ssl import DINOv2

BACKBONE = {"embed_dim": 24, "depth": 1, "num_heads": 2, "image_size": 32}


@pytest.fixture
def published(tmp_path: Path) -> tuple[Path, ProjectionHead]:
    """A file of a head, and the head."""
    head = ProjectionHead(24, 7, hidden_dim=10, bottleneck_dim=5, layers=2, generator=torch_generator(0, "published"))
    save_file(head.state_dict(), tmp_path / "dino_head.safetensors")
    return tmp_path / "dino_head.safetensors", head


def module(**settings: Any) -> DINOv2:
    return DINOv2(backbone_settings=BACKBONE, **settings)


def same(found: torch.nn.Module, expected: torch.nn.Module) -> bool:
    pairs = zip(found.state_dict().values(), expected.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_student_and_teacher_start_with_the_heads_given(published: tuple[Path, ProjectionHead]) -> None:
    path, head = published
    core = module(heads=str(path)).core
    assert same(core.student.dino_head, head)
    assert same(core.teacher.dino_head, head)
    assert all(parameter.requires_grad for parameter in core.student.dino_head.parameters())
    # RAD-DINO's head scores patch tokens, too.
    assert core.student.patch_head is core.student.dino_head


def test_an_ibot_head_that_was_not_published_starts_untrained(published: tuple[Path, ProjectionHead]) -> None:
    core = module(heads=str(published[0]), separate_ibot_head=True).core
    assert same(core.student.dino_head, published[1])
    assert not same(core.student.patch_head, published[1])
    assert core.student.patch_head.last_layer.weight_v.shape == (7, 5)


def test_a_checkpoint_loads_without_the_heads_file(published: tuple[Path, ProjectionHead], tmp_path: Path) -> None:
    made = module(heads=str(published[0]))
    assert {name: made.hparams[name] for name in ("prototypes", "head_hidden_dim", "head_bottleneck_dim")} == {
        "prototypes": 7,
        "head_hidden_dim": 10,
        "head_bottleneck_dim": 5,
    }
    assert "heads" not in made.hparams
    torch.save({"state_dict": made.state_dict()}, tmp_path / "own.ckpt")
    again = DINOv2(**dict(made.hparams), heads=str(tmp_path / "own.ckpt"))
    assert same(again.core.student.dino_head, published[1])


def test_another_width_than_the_files_is_refused(published: tuple[Path, ProjectionHead]) -> None:
    with pytest.raises(InputError, match="prototypes is 8, and the heads given have 7; leave prototypes out"):
        module(heads=str(published[0]), prototypes=8)
    with pytest.raises(InputError, match="the DINO head given takes tokens of width 24, and the backbone's have 32"):
        DINOv2(backbone_settings={**BACKBONE, "embed_dim": 32}, heads=str(published[0]))
    with pytest.raises(InputError, match="holds no checkpoint of a run to take heads from"):
        module(heads=str(published[0].parent))
