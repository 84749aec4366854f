"""Images that travel once and whole give the views that workers would have made."""

from pathlib import Path
from typing import Any

import pytest
import torch

from medino.models import PRESETS
from medino.ssl import PretrainingBatch
from medino.ssl.images import Images
from medino.views import ViewDraws
from tests.ssl.conftest import TINY_BACKBONE, tiny_data, tiny_module, tiny_trainer

BACKBONE = PRESETS["mini"].replace(**TINY_BACKBONE)


class Taking:
    """Stands in for the multi-crop: gives back what it is given."""

    def make(self, sources: list[torch.Tensor], draws: list[ViewDraws]) -> Any:
        return sources


@pytest.mark.parametrize("device", ["cpu"])
def test_images_of_any_kind_and_size_come_back_in_few_bytes(device: str) -> None:
    sources = [
        torch.randint(0, 2**24, (5, 7), dtype=torch.int32),
        torch.randint(-1024, 3072, (1, 3, 5)).float(),
        torch.rand(3, 4, 4),
        torch.tensor([[[0.0, 65535.0]]]),
        torch.tensor([[[-32768.0, 32767.0, 5.0]]]),
    ]
    images = Images.of(sources, [])
    assert [name for name, _ in images.kinds] == ["int32", "int16", "float32", "float32", "int16"]
    assert images.data.nbytes == 140 + 32 + 192 + 8 + 8
    for source, back in zip(sources, images.to(device).views(Taking()), strict=True):  # type: ignore[arg-type]
        assert torch.equal(back.to(source.dtype), source)


@pytest.mark.parametrize("views", ["natural", "radiology", "histology"])
@pytest.mark.parametrize("num_workers", [0, 2])
def test_the_device_makes_the_views_that_workers_would(manifest: Path, views: str, num_workers: int) -> None:
    by_workers = list(tiny_data(manifest, views=views).batches(BACKBONE, 2))
    data = tiny_data(manifest, views=views, views_on="device", num_workers=num_workers)
    for expected, sent in zip(by_workers, data.batches(BACKBONE, 2), strict=True):
        assert sent.global_crops.numel() == sent.local_crops.numel() == 0
        # 40 x 40 grey pixels of whole numbers, each image once.
        assert sent.images is not None
        assert sent.images.data.nbytes == 4 * 40 * 40 * 2
        made = sent.to("cpu").with_views(data.views_for(BACKBONE))
        assert (made.images, made.batch_size, made.sample_ids) == (None, 4, expected.sample_ids)
        for name in ("global_crops", "local_crops", "masks"):
            assert torch.equal(getattr(made, name), getattr(expected, name)), name


def test_training_with_views_on_the_device_is_training_with_views_of_workers(manifest: Path, tmp_path: Path) -> None:
    weights = []
    for views_on in ("worker", "device"):
        module = tiny_module()
        trainer = tiny_trainer(tmp_path / views_on, 3)
        trainer.fit(module, datamodule=tiny_data(manifest, views_on=views_on))
        weights.append(module.core.student.state_dict())
    for name, tensor in weights[0].items():
        assert torch.equal(tensor, weights[1][name]), name


def test_a_batch_with_crops_stays_as_it_is(manifest: Path) -> None:
    data = tiny_data(manifest)
    (batch,) = data.batches(BACKBONE, 1)
    assert isinstance(batch, PretrainingBatch)
    assert batch.with_views(data.views_for(BACKBONE)) is batch
