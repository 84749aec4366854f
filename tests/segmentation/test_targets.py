from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from PIL import Image

from medino.core import InputError
from medino.data import scan
from medino.features import EvaluationTransform
from medino.segmentation import Segmentation, SegmentationData
from medino.segmentation.targets import ClassTarget, bits_of, classes_of

TrainerMaker = Callable[..., pl.Trainer]

REGIONS: dict[str, int | list[int]] = {"background": 0, "whole": [1, 2, 4], "core": [1, 4], "enhancing": 4}
COLOURED: dict[str, int | list[int]] = {"background": 0, "red": [1, 3], "green": [2, 3]}
SMALL = EvaluationTransform(size=64)


@pytest.fixture(scope="module")
def coloured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest of 20 drawn images: a red square (1) and a green one (2) that overlap where they are yellow (3)."""
    folder = tmp_path_factory.mktemp("coloured")
    generator = np.random.default_rng(0)
    for part in ("images", "masks"):
        (folder / part).mkdir()
    for number in range(20):
        image, mask = generator.normal(60, 6, (64, 64, 3)), np.zeros((64, 64), dtype=np.uint8)
        for channel, value in ((0, 1), (1, 2)):
            top, left = generator.integers(0, 4, 2) * 8
            where = slice(top, top + 32), slice(left, left + 32)
            image[(*where, channel)] = generator.normal(200, 6, (32, 32))
            mask[where] += value
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(folder / "images" / f"{number:02d}.png")
        Image.fromarray(mask).save(folder / "masks" / f"{number:02d}.png")
    manifest = scan([folder / "images"], masks=folder / "masks")
    splits = ["train"] * 12 + ["validation"] * 2 + ["test"] * 6
    manifest.with_column("split", splits).write(folder / "cohort.parquet")
    return folder / "cohort.parquet"


def coloured_data(manifest: Path, **settings: Any) -> SegmentationData:
    return SegmentationData(str(manifest), COLOURED, SMALL, **{"batch_size": 6, "overlapping": True, **settings})


def test_a_class_may_be_several_values() -> None:
    target = ClassTarget({"background": [0, 9], "lung": [1, 2], "heart": 3})
    mask = torch.tensor([[0, 9, 1], [2, 3, 0]])
    assert target.encoded(mask, "a").tolist() == [[0, 0, 1], [1, 2, 0]]
    assert target.decoded(torch.tensor([[0, 1, 2]])).tolist() == [[0, 1, 3]]


def test_overlapping_classes_share_values() -> None:
    mask = torch.tensor([[0, 1, 2, 4]])
    bits = ClassTarget(REGIONS, overlapping=True).encoded(mask, "a")
    whole, core, enhancing = classes_of(bits, 3)
    assert whole.tolist() == [[False, True, True, True]]
    assert core.tolist() == [[False, True, False, True]]
    assert enhancing.tolist() == [[False, False, False, True]]


def test_bits_and_classes_are_each_others_inverse() -> None:
    classes = torch.rand(2, 16, 3, 4, generator=torch.Generator().manual_seed(0)) < 0.5
    assert torch.equal(classes_of(bits_of(classes), 16), classes)
    assert int(bits_of(torch.ones(16, 1, 1, dtype=torch.bool))) == 2**16 - 1


@pytest.mark.parametrize("overlapping", [False, True])
def test_values_of_no_class_are_named(overlapping: bool) -> None:
    target = ClassTarget({"background": 0, "lung": [1, 2]}, overlapping)
    with pytest.raises(
        InputError, match=r"mask of sample abc holds the values 3, 7, class_values has .*lung: \[1, 2\]"
    ):
        target.encoded(torch.tensor([[0, 7], [3, 1]]), "abc")


@pytest.mark.parametrize(
    ("values", "overlapping", "message"),
    [
        ({"background": 0}, False, "at least one class"),
        ({"background": 0, "lung": []}, False, "each with a value"),
        ({"background": 0, "lung": [1, 1]}, False, "a value of its own"),
        ({"background": 0, "lung": [1, 2], "heart": 2}, False, "or set overlapping in model and data"),
        ({"background": 0, "lung": [0, 1]}, True, "share no value with the background"),
        ({"background": 0, "lung": [1, 2], "heart": [2, 1]}, True, "are one class"),
        ({"background": 0} | {str(value): value for value in range(1, 18)}, True, "at most 16"),
    ],
)
def test_class_values_without_a_meaning_are_refused(
    values: dict[str, int | list[int]], overlapping: bool, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        ClassTarget(values, overlapping)


def test_the_loss_of_overlapping_classes_is_dice_plus_binary_cross_entropy() -> None:
    generator = torch.Generator().manual_seed(0)
    scores, bits = torch.randn(2, 2, 8, 8, generator=generator), torch.randint(4, (2, 8, 8), generator=generator)
    shares, entropies, dice = scores.sigmoid(), [], []
    for index in range(2):
        share, truth = shares[:, index], (bits >> index & 1).float()
        entropies.append(-(truth * share.log() + (1 - truth) * (1 - share).log()).mean())
        dice.append(1 - (2 * (share * truth).sum() + 1e-5) / (share.sum() + truth.sum() + 1e-5))
    expected = torch.stack(entropies).mean() + torch.stack(dice).mean()
    torch.testing.assert_close(Segmentation(list(COLOURED), overlapping=True).loss_of(scores, bits), expected)


def test_overlapping_classes_are_learnt_measured_drawn_and_written(
    coloured: Path, trainer: TrainerMaker, tmp_path: Path
) -> None:
    model, runner, data = (
        Segmentation(list(COLOURED), overlapping=True, learning_rate=1e-2, save_overlays=1),
        trainer(60),
        coloured_data(coloured),
    )
    runner.fit(model, data)
    (metrics,) = runner.test(model, datamodule=data, verbose=False)
    assert metrics["test/dice/red"] > 0.9
    assert metrics["test/dice/green"] > 0.9
    assert len(model.test_results) == 6 * 2
    assert len(list((tmp_path / "figures").glob("overlay-*.png"))) == 1

    predictions = runner.predict(model, datamodule=data)
    assert predictions is not None
    written = [np.asarray(Image.open(path)) for path in (tmp_path / "masks").glob("*.png")]
    assert len(written) == 20
    assert set(np.unique(np.stack(written)).tolist()) == {0, 1, 2, 3}


def test_model_and_data_must_agree_on_overlap(coloured: Path, trainer: TrainerMaker) -> None:
    with pytest.raises(InputError, match="overlapping is False in the model and True in the data"):
        trainer().fit(Segmentation(list(COLOURED)), coloured_data(coloured))


@pytest.mark.parametrize("overlapping", [False, True])
def test_masks_of_nothing_but_background_train_and_test(
    tmp_path: Path, trainer: TrainerMaker, overlapping: bool
) -> None:
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
    for number in range(4):
        noise = np.random.default_rng(number).integers(0, 255, (64, 64), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / "images" / f"{number}.png")
        Image.fromarray(np.zeros((64, 64), dtype=np.uint8)).save(tmp_path / "masks" / f"{number}.png")
    manifest = scan([tmp_path / "images"], masks=tmp_path / "masks")
    manifest.with_column("split", ["train", "train", "train", "test"]).write(tmp_path / "cohort.parquet")
    values = {"background": 0, "lung": 1}
    data = SegmentationData(str(tmp_path / "cohort.parquet"), values, SMALL, batch_size=3, overlapping=overlapping)
    model, runner = Segmentation(list(values), overlapping=overlapping, learning_rate=1e-2), trainer(20)
    runner.fit(model, data)
    assert all(parameter.isfinite().all() for parameter in model.head.parameters())
    (metrics,) = runner.test(model, datamodule=data, verbose=False)
    assert metrics["test/dice/lung"] == 1.0


def not_a_number(path: Path) -> None:
    values = np.zeros((64, 64), dtype=np.float32)
    values[3, 4] = np.nan
    Image.fromarray(values).save(path, format="TIFF")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [(not_a_number, "not whole numbers"), (lambda path: path.write_bytes(b""), "the mask file can't be decoded")],
    ids=["nan", "empty"],
)
def test_a_mask_that_can_not_be_read_leaves_its_image_out_with_a_warning(
    tmp_path: Path, damage: Callable[[Path], Any], reason: str
) -> None:
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
        for number in range(3):
            Image.fromarray(np.zeros((64, 64), dtype=np.uint8)).save(tmp_path / part / f"{number}.tiff")
    manifest = scan([tmp_path / "images"], masks=tmp_path / "masks").with_column("split", ["train"] * 3)
    manifest.write(tmp_path / "cohort.parquet")
    damage(tmp_path / "masks" / "1.tiff")
    data = SegmentationData(str(tmp_path / "cohort.parquet"), {"background": 0, "lung": 1}, SMALL)
    with pytest.warns(UserWarning, match=f"1 of 3 images are left out; .*({reason})"):
        data.setup("fit")
    assert [sample_id for sample_id, _ in data.rejects] == [manifest.sample(1).sample_id]
    assert len(data.training_cases()) == 2
