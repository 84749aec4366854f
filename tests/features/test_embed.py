import dataclasses
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from medino.core import InputError
from medino.data import Intensity, PixelDataset, scan
from medino.features import EvaluationTransform, embed, without_rejects
from medino.models import VisionTransformer, build_backbone


@pytest.fixture
def broken_weights(backbone: VisionTransformer) -> VisionTransformer:
    broken = build_backbone(backbone.config)
    with torch.no_grad():
        broken.blocks[2].attn.proj.bias[0] = float("nan")
    return broken


def test_features_are_the_backbones_own_tokens(make_archive, backbone: VisionTransformer) -> None:
    manifest = make_archive()
    transform = EvaluationTransform.for_backbone(backbone.config)
    table = embed(backbone, manifest, batch_size=4)
    images = torch.stack([transform(PixelDataset(manifest)[row]) for row in range(len(manifest))])
    with torch.no_grad():
        tokens, all_tokens = backbone(images), backbone.intermediate(images, 4)
    expected = {
        "class": tokens.class_token,
        "mean_patch": tokens.patches.mean(dim=(1, 2)),
        "class_and_mean_patch": torch.cat([tokens.class_token, tokens.patches.mean(dim=(1, 2))], dim=1),
        "last_four": torch.cat([each.class_token for each in all_tokens], dim=1),
    }
    for features, vectors in expected.items():
        sample_ids, found = table.vectors(features)
        assert sample_ids.tolist() == manifest.column("sample_id").tolist()
        np.testing.assert_allclose(found, vectors.numpy(), atol=1e-5)
    assert table.manifest == manifest.fingerprint
    assert table.transform == transform.fingerprint


def test_the_batch_size_and_the_workers_change_nothing(make_archive, backbone: VisionTransformer) -> None:
    manifest = make_archive()
    one, other = embed(backbone, manifest, batch_size=1), embed(backbone, manifest, batch_size=5, num_workers=1)
    assert one.sample_ids.tolist() == other.sample_ids.tolist()
    for block, vectors in one.blocks.items():
        np.testing.assert_allclose(vectors, other.blocks[block], atol=1e-5)


def test_neighbouring_slices_reach_the_backbone(
    tmp_path: Path, backbone: VisionTransformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = np.random.default_rng(0).random((32, 32, 3)).astype(np.float32) * 80
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), tmp_path / "volume.nii.gz")
    manifest = scan([tmp_path / "volume.nii.gz"], key=tmp_path / "key")
    shown = []
    read = backbone.intermediate
    monkeypatch.setattr(backbone, "intermediate", lambda images, layers: shown.append(images) or read(images, layers))
    for channels in ("repeat", "neighbours"):
        intensity = Intensity(window="brain", channels=channels)
        embed(backbone, manifest, EvaluationTransform(32, intensity=intensity, mean=(0, 0, 0), std=(1, 1, 1)))
    copies, slices = shown
    assert (copies[:, 0] == copies[:, 2]).all()
    middle = manifest.column("frame").tolist().index(1)
    torch.testing.assert_close(slices[middle, 1], copies[middle, 1])
    assert (slices[middle, 0] != slices[middle, 1]).any()
    assert (slices[middle, 2] != slices[middle, 0]).any()


def test_the_backbone_is_left_in_the_mode_it_was_in(make_archive, backbone: VisionTransformer) -> None:
    training = build_backbone(backbone.config.replace(drop_path_rate=0.5)).train()
    manifest = make_archive()
    first, second = embed(training, manifest), embed(training, manifest)
    assert training.training
    np.testing.assert_array_equal(first.vectors("class")[1], second.vectors("class")[1])


def test_what_can_not_be_decoded_is_left_out_and_listed(make_archive, backbone: VisionTransformer) -> None:
    manifest = make_archive(images=5, broken=2)
    table = embed(backbone, manifest, batch_size=2)
    assert len(table) == 3
    assert {reject.path for reject in table.failures} == {"patient3.png", "patient4.png"}
    assert all(reject.reason for reject in table.failures)
    assert set(table.rejects) | set(table.sample_ids) == set(manifest.column("sample_id"))
    kept = manifest.select(np.isin(manifest.column("sample_id"), list(table.sample_ids)))
    moved = without_rejects(table, kept)
    moved.check_made_from(kept, "moved")
    assert (moved.rejects, moved.failures) == ((), ())


def test_nothing_to_embed_is_said(make_archive, backbone: VisionTransformer) -> None:
    manifest = make_archive(images=2, broken=2)
    with pytest.raises(InputError, match="none of the 2 images of archive could be decoded"):
        embed(backbone, manifest)
    with pytest.raises(InputError, match="the manifest archive is empty"):
        embed(backbone, manifest.select([]))


def test_features_that_are_not_finite_are_counted(make_archive, broken_weights: VisionTransformer) -> None:
    with pytest.raises(InputError, match="the features of 6 of 6 images are NaN or infinite"):
        embed(broken_weights, make_archive())


def test_images_with_nan_are_rejects(
    make_archive, backbone: VisionTransformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = make_archive()
    read = PixelDataset.__getitem__

    def with_nan(self: PixelDataset, index: int) -> object:
        pixels = read(self, index)
        return dataclasses.replace(pixels, values=pixels.values * float("nan")) if index == 1 else pixels

    monkeypatch.setattr(PixelDataset, "__getitem__", with_nan)
    table = embed(backbone, manifest)
    assert [reject.path for reject in table.failures] == ["patient1.png"]
    assert "not finite" in table.failures[0].reason


def test_a_size_that_does_not_fit_the_patch_is_refused(make_archive, backbone: VisionTransformer) -> None:
    with pytest.raises(InputError, match="patch"):
        embed(backbone, make_archive(), EvaluationTransform(size=30))
