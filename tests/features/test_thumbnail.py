import numpy as np
import pytest
import torch

from medino.core import numpy_generator
from medino.features import thumbnail_features
from medino.features.thumbnail import thumbnail_vectors


def test_every_image_gets_one_finite_vector(make_archive) -> None:
    manifest = make_archive()
    sample_ids, vectors = thumbnail_features(manifest).vectors("last_four")
    assert sample_ids.tolist() == manifest.column("sample_id").tolist()
    assert vectors.shape == (6, 12 * 12 * 3 + 3 * 16 + 4 * 8)
    assert np.isfinite(vectors).all()


def test_a_constant_image_has_its_brightness_and_no_gradient() -> None:
    vectors = thumbnail_vectors(torch.full((1, 3, 96, 96), 0.5))[0]
    torch.testing.assert_close(vectors[:432], torch.full((432,), 0.5 / 12))
    assert vectors[432:480].square().sum() == pytest.approx(1)
    assert vectors[480:].abs().max() == 0


@pytest.mark.parametrize(("axis", "orientation"), [(3, 0), (2, 4)])
def test_the_gradient_of_a_ramp_has_its_orientation(axis: int, orientation: int) -> None:
    ramp = torch.linspace(0, 1, 96).reshape([-1 if place == axis else 1 for place in range(4)])
    gradients = thumbnail_vectors(ramp.expand(1, 3, 96, 96))[0, 480:].reshape(8, 4).square()
    torch.testing.assert_close(gradients[orientation].sum(), torch.tensor(1.0))


def test_a_turned_image_has_the_same_colours() -> None:
    images = torch.from_numpy(numpy_generator(0, "thumbnail").random((2, 3, 96, 96), dtype=np.float32))
    turned = thumbnail_vectors(images.rot90(1, (2, 3)))
    torch.testing.assert_close(thumbnail_vectors(images)[:, 432:480], turned[:, 432:480])
