"""Images leave a run only where the callback that draws them was asked for."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pytorch_lightning.loggers import WandbLogger

from medino.core import InputError
from medino.models import PRESETS
from medino.ssl import DINOv2, PretrainingBatch
from medino.tracking import PatchMaps
from medino.tracking.patch_maps import side_by_side


def batch(step: int) -> PretrainingBatch:
    crops = torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(step))
    return PretrainingBatch(crops, torch.zeros(0, 3, 16, 16), torch.zeros(6, 16, dtype=torch.bool), step=step)


class Recorder(WandbLogger):
    """Keeps what is logged."""

    def __init__(self) -> None:
        self.logged: list[tuple[str, int | None]] = []

    def log_image(self, key: str, images: list[Any], step: int | None = None, **kwargs: Any) -> None:
        self.logged.append((key, step))


def test_the_same_images_are_drawn_every_so_many_steps(tmp_path: Path) -> None:
    module = DINOv2(backbone="mini", prototypes=16, head_hidden_dim=16, head_bottleneck_dim=8)
    logger = Recorder()
    trainer: Any = SimpleNamespace(is_global_zero=True, loggers=[logger])
    callback = PatchMaps(tmp_path, every=2, images=2)
    for step in range(5):
        callback.on_train_batch_end(trainer, module, None, batch(step), step)
    files = sorted(path.name for path in (tmp_path / "figures").iterdir())
    assert files == ["patch_maps_000002.png", "patch_maps_000004.png"]
    assert logger.logged == [("patch_maps", 1), ("patch_maps", 3)]
    one, two = (np.asarray(Image.open(tmp_path / "figures" / name)) for name in files)
    assert one.shape == (2 * 32, 2 * 32, 3)
    np.testing.assert_array_equal(one[:, :32], two[:, :32])


def test_other_processes_draw_nothing(tmp_path: Path) -> None:
    module = DINOv2(backbone="mini", prototypes=16, head_hidden_dim=16, head_bottleneck_dim=8)
    trainer: Any = SimpleNamespace(is_global_zero=False, loggers=[])
    PatchMaps(tmp_path, every=1).on_train_batch_end(trainer, module, None, batch(0), 0)
    assert not (tmp_path / "figures").exists()


def test_a_crop_is_shown_in_the_values_it_had_before_it_was_normalised() -> None:
    config = PRESETS["mini"]
    grey = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    mean, std = (torch.tensor(values).reshape(1, 3, 1, 1) for values in (config.mean, config.std))
    picture = np.asarray(side_by_side((grey - mean) / std, [torch.zeros(2, 2, 3)], config))
    np.testing.assert_allclose(picture[:, :16] / 255, grey[0].permute(1, 2, 0).numpy(), atol=1 / 255)


def test_numbers_without_meaning_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least 1"):
        PatchMaps(tmp_path, every=0)
