"""Pictures of patch tokens."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from medino.core import InputError
from medino.models import build_backbone
from medino.tracking import attention_maps, nearest_patches, pca_maps, similarity_maps


def tokens(seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    scale = torch.linspace(3, 0.1, 8)
    return [torch.randn(h, w, 8, generator=generator) * scale for h, w in ((6, 5), (4, 7))]


def test_the_colours_are_scikit_learns_components_of_all_images_together() -> None:
    images = tokens()
    scores = PCA(3).fit_transform(torch.cat([image.flatten(0, 1) for image in images]).double().numpy())
    colours = torch.cat([image.flatten(0, 1) for image in pca_maps(images)]).numpy()
    for component in range(3):
        inside = (colours[:, component] > 0) & (colours[:, component] < 1)
        found = np.corrcoef(colours[inside, component], scores[inside, component])[0, 1]
        assert abs(found) == pytest.approx(1, abs=1e-5)


def test_the_colours_do_not_hang_on_an_arbitrary_sign() -> None:
    """Mirroring the feature space turns every eigenvector's sign freely; the picture stays."""
    images = tokens()
    rotation, _ = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(1)))
    for turned in (rotation, -rotation):
        for before, after in zip(pca_maps(images), pca_maps([image @ turned for image in images]), strict=True):
            torch.testing.assert_close(before, after, atol=2e-4, rtol=0)


def test_the_patch_furthest_from_the_mean_is_bright() -> None:
    image = 0.01 * torch.randn(5, 5, 6, generator=torch.Generator().manual_seed(0))
    image[2, 3] += torch.tensor([5.0, 0, 0, 0, 0, 0])
    assert pca_maps([image])[0][2, 3, 0] == 1


def test_maps_keep_the_images_grids_and_stay_between_0_and_1() -> None:
    maps = pca_maps(tokens())
    assert [tuple(one.shape) for one in maps] == [(6, 5, 3), (4, 7, 3)]
    assert all(one.min() >= 0 and one.max() <= 1 and one.dtype == torch.float32 for one in maps)


def test_constant_tokens_give_no_nan() -> None:
    assert pca_maps([torch.ones(3, 3, 5)])[0].isfinite().all()


@pytest.mark.parametrize("images", [[], [torch.zeros(1, 2, 5)]])
def test_too_few_patches_are_refused_in_words(images: list[torch.Tensor]) -> None:
    with pytest.raises(InputError, match="patch tokens"):
        pca_maps(images)


def test_attention_is_the_class_tokens_share_in_each_patch() -> None:
    backbone = build_backbone("mini").eval()
    images = torch.randn(2, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    maps = attention_maps(backbone, images)
    heads = backbone.config.num_heads
    assert maps.shape == (2, heads, 32 // backbone.config.patch_size, 48 // backbone.config.patch_size)
    to_itself = backbone.last_attention(images)[:, :, 0, 0]
    torch.testing.assert_close(maps.sum(dim=(2, 3)) + to_itself, torch.ones(2, heads))


def test_the_nearest_patch_of_a_patch_is_itself_and_then_its_copy() -> None:
    images = tokens()
    images[1][3, 2] = 2.5 * images[0][4, 1]
    assert set(nearest_patches(images[0][4, 1], images, 2)) == {(0, 4, 1), (1, 3, 2)}
    likeness = similarity_maps(images[0][4, 1], images)
    assert likeness[0][4, 1] == pytest.approx(1)
    assert likeness[1][3, 2] == pytest.approx(1)
    assert nearest_patches(images[0][0, 0], images, 1000)[0] == (0, 0, 0)
    assert len(nearest_patches(images[0][0, 0], images, 1000)) == 6 * 5 + 4 * 7
