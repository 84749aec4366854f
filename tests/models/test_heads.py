"""The projection head: names, weight norm, gain and initial weights."""

import pytest
import torch

from medino.core import torch_generator
from medino.models import ProjectionHead


def head(**settings: object) -> ProjectionHead:
    sizes = {"hidden_dim": 20, "bottleneck_dim": 8, **settings}
    return ProjectionHead(12, 16, generator=torch_generator(0, "head"), **sizes)


def inputs(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch_generator(0, "inputs"))


def test_parameters_have_the_published_names() -> None:
    names = {name: tuple(parameter.shape) for name, parameter in head().named_parameters()}
    assert names == {
        "mlp.0.weight": (20, 12),
        "mlp.0.bias": (20,),
        "mlp.2.weight": (20, 20),
        "mlp.2.bias": (20,),
        "mlp.4.weight": (8, 20),
        "mlp.4.bias": (8,),
        "last_layer.weight_g": (16, 1),
        "last_layer.weight_v": (16, 8),
    }


def test_one_layer_is_a_single_linear_layer_and_two_have_one_gelu() -> None:
    assert set(head(layers=1).state_dict()) >= {"mlp.weight", "mlp.bias"}
    assert set(head(layers=2).state_dict()) >= {"mlp.0.weight", "mlp.2.weight"}
    assert head(layers=1).mlp.weight.shape == (8, 12)


def test_scores_are_cosines_while_the_gain_is_one() -> None:
    projection = head()
    x = inputs(5, 7, 12)
    scores = projection(x)
    assert scores.shape == (5, 7, 16)
    bottleneck = projection.mlp(x)
    cosines = torch.nn.functional.cosine_similarity(bottleneck[..., None, :], projection.last_layer.weight_v, dim=-1)
    torch.testing.assert_close(scores, cosines)


def test_weight_norm_is_pytorch_s() -> None:
    ours = head().double().last_layer
    with torch.no_grad():
        ours.weight_g.copy_(torch.linspace(0.5, 2, 16)[:, None])
    peer = torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(8, 16, bias=False).double())
    with torch.no_grad():
        peer.parametrizations.weight.original0.copy_(ours.weight_g)
        peer.parametrizations.weight.original1.copy_(ours.weight_v)
    x = inputs(4, 8).double()
    torch.testing.assert_close(ours(x), peer(x))
    ours(x).square().sum().backward()
    peer(x).square().sum().backward()
    torch.testing.assert_close(ours.weight_v.grad, peer.parametrizations.weight.original1.grad)
    torch.testing.assert_close(ours.weight_g.grad, peer.parametrizations.weight.original0.grad)


def test_a_fixed_gain_is_not_trained() -> None:
    assert head().last_layer.weight_g.requires_grad
    fixed = head(fixed_gain=True).last_layer
    assert not fixed.weight_g.requires_grad
    assert (fixed.weight_g == 1).all()


def test_initial_weights_follow_the_generator_and_the_recipe() -> None:
    def build(seed: int) -> dict[str, torch.Tensor]:
        return ProjectionHead(64, 512, 64, 32, generator=torch_generator(seed, "head")).state_dict()

    weights = build(0)
    assert all(torch.equal(value, build(0)[key]) for key, value in weights.items())
    assert not torch.equal(weights["mlp.0.weight"], build(1)["mlp.0.weight"])
    assert weights["mlp.2.weight"].std() == pytest.approx(0.02, rel=0.05)
    assert weights["last_layer.weight_v"].std() == pytest.approx((3 * 32) ** -0.5, rel=0.05)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_zero_bottleneck_gives_zero_scores_not_nan(dtype: torch.dtype) -> None:
    projection = head().to(dtype)
    with torch.no_grad():
        projection.mlp[4].weight.zero_()
    assert (projection(inputs(3, 12).to(dtype)) == 0).all()
