"""The chunked cross-entropy is the plain one: value, gradients, any number of rows, shared and separate prototypes."""

import pytest
import torch
import torch.nn.functional as F

from medino.models import BackboneConfig, ProjectionHead, build_backbone
from medino.ssl import BeforePrototypes, Network, prototype_cross_entropy
from medino.ssl import prototypes as module
from medino.ssl.prototypes import Targets, cross_entropies, through_heads

ROWS, WIDTH, PROTOTYPES, TEMPERATURE = 7, 5, 11, 0.1


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


def plain(hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    logits = hidden @ weight.T / TEMPERATURE
    return (F.cross_entropy(logits, targets, reduction="none") * weights).sum()


def written(targets: torch.Tensor) -> Targets:
    """Targets that are there already."""

    def write(rows: slice, out: torch.Tensor) -> None:
        out.copy_(targets[rows])

    return write


def with_gradients(*tensors: torch.Tensor) -> list[torch.Tensor]:
    return [tensor.clone().requires_grad_() for tensor in tensors]


@pytest.mark.parametrize("rows_held", [1, 3, 100])
def test_the_sum_and_its_gradients_are_those_of_all_scores_at_once(
    rows_held: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(module.CHUNK_ENTRIES, "cpu", rows_held * PROTOTYPES)
    targets, weights = drawn(ROWS, PROTOTYPES, seed=1).softmax(dim=1), drawn(ROWS).abs()
    inputs = F.normalize(drawn(ROWS, WIDTH), dim=1), drawn(PROTOTYPES, WIDTH)
    seen: list[int] = []

    def write(rows: slice, out: torch.Tensor) -> None:
        seen.append(len(targets[rows]))
        out.copy_(targets[rows])

    hidden, weight = with_gradients(*inputs)
    total, parts = prototype_cross_entropy(BeforePrototypes(hidden, weight), write, weights, TEMPERATURE)
    (3 * total).backward()
    expected_hidden, expected_weight = with_gradients(*inputs)
    expected = plain(expected_hidden, expected_weight, targets, weights)
    (3 * expected).backward()
    torch.testing.assert_close(total, expected)
    torch.testing.assert_close(parts.sum(), expected.detach())
    torch.testing.assert_close(hidden.grad, expected_hidden.grad)
    torch.testing.assert_close(weight.grad, expected_weight.grad)
    assert max(seen) == min(rows_held, ROWS)
    assert sum(seen) == ROWS


def test_no_rows_give_zero_with_zero_gradients() -> None:
    hidden, weight = with_gradients(torch.empty(0, WIDTH), drawn(PROTOTYPES, WIDTH))
    rows = BeforePrototypes(hidden, weight)
    total, parts = prototype_cross_entropy(rows, written(torch.empty(0, PROTOTYPES)), torch.empty(0), TEMPERATURE)
    total.backward()
    assert (float(total.detach()), parts.shape) == (0, (0,))
    assert weight.grad is not None
    assert float(weight.grad.abs().max()) == 0


def test_scores_of_any_size_give_finite_losses() -> None:
    hidden, weight = with_gradients(1e3 * drawn(ROWS, WIDTH), drawn(PROTOTYPES, WIDTH))
    targets = drawn(ROWS, PROTOTYPES).softmax(dim=1)
    total, _ = prototype_cross_entropy(
        BeforePrototypes(hidden, weight), written(targets), torch.ones(ROWS), TEMPERATURE
    )
    total.backward()
    assert bool(total.isfinite())
    assert hidden.grad is not None
    assert bool(hidden.grad.isfinite().all())


@pytest.mark.parametrize("separate", [False, True])
def test_kinds_of_tokens_together_are_the_kinds_alone(separate: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    # Three rows at a time, so that one chunk holds rows of both.
    monkeypatch.setitem(module.CHUNK_ENTRIES, "cpu", 3 * PROTOTYPES)
    generator = torch.Generator().manual_seed(0)
    heads = [ProjectionHead(8, PROTOTYPES, 6, WIDTH, generator=generator) for _ in range(1 + separate)]
    tiny = BackboneConfig(embed_dim=8, depth=1, num_heads=1, patch_size=8, image_size=16)
    network = Network(build_backbone(tiny), *heads)
    tokens = {"dino": drawn(4, 8), "ibot": drawn(5, 8)}
    targets = {kind: drawn(len(rows), PROTOTYPES).softmax(dim=1) for kind, rows in tokens.items()}
    weights = {kind: drawn(len(rows)).abs() for kind, rows in tokens.items()}
    answers = through_heads(network, tokens["dino"], tokens["ibot"])
    assert (answers["dino"].weight is answers["ibot"].weight) is not separate
    total, parts = cross_entropies(
        answers, {kind: written(probabilities) for kind, probabilities in targets.items()}, weights, TEMPERATURE
    )
    expected = {
        kind: (F.cross_entropy(head(tokens[kind]) / TEMPERATURE, targets[kind], reduction="none") * weights[kind])
        for kind, head in (("dino", network.dino_head), ("ibot", network.patch_head))
    }
    for kind, losses in expected.items():
        torch.testing.assert_close(parts[kind], losses.detach())
    gradients = torch.autograd.grad(total, list(network.dino_head.parameters()), retain_graph=separate)
    whole = sum(losses.sum() for losses in expected.values())
    for found, wanted in zip(gradients, torch.autograd.grad(whole, list(network.dino_head.parameters())), strict=True):
        # Untrained, the MLP gives next to nothing, and its normalisation enlarges rounding.
        assert float((found - wanted).norm()) <= 1e-3 * float(wanted.norm())
