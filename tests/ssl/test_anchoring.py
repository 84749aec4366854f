"""The student is held near the model that it started from: by distances that are zero there, logged and restored."""

import csv
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from medino.core import InputError, RunFolder
from medino.ssl import Anchor, DINOv2, ExPLoRA, LoRA, PretrainingBatch, latest_checkpoint
from medino.ssl.anchoring import Anchoring, feature_distances, gram_distances, unmasked_crops
from tests.ssl.conftest import tiny_data, tiny_module
from tests.ssl.test_module import StopAfter, same_state

Train = Callable[..., tuple[DINOv2, dict[int, float]]]

STRATEGIES = {"full": None, "lora": LoRA(rank=2), "explora": ExPLoRA(free_blocks=1, rank=2)}


def unit_tokens(seed: int) -> torch.Tensor:
    drawn = torch.randn(3, 5, 7, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.nn.functional.normalize(drawn, dim=-1)


def first_batch(manifest: Path, module: DINOv2) -> PretrainingBatch:
    return next(iter(tiny_data(manifest).batches(module.backbone_config, 1)))


def storage(parameters: list[torch.nn.Parameter]) -> int:
    return sum(each.nbytes for each in {each.data_ptr(): each for each in parameters}.values())


def test_the_feature_distance_is_one_minus_the_cosine() -> None:
    student, start = unit_tokens(0), unit_tokens(1)
    expected = (1 - torch.cosine_similarity(student, start, dim=-1)).mean(dim=1)
    torch.testing.assert_close(feature_distances(student, start), expected)


def test_the_gram_distance_is_that_of_a_loop_over_pairs_of_patches() -> None:
    student, start = unit_tokens(0), unit_tokens(1)
    for crop, distance in enumerate(gram_distances(student, start)):
        squares = [
            (float(student[crop, i] @ student[crop, j]) - float(start[crop, i] @ start[crop, j])) ** 2
            for i in range(5)
            for j in range(5)
        ]
        assert float(distance) == pytest.approx(sum(squares) / 25, rel=1e-12)


def test_the_gram_distance_leaves_the_tokens_free_to_turn_together() -> None:
    student = unit_tokens(0)
    turn = torch.linalg.qr(torch.randn(7, 7, generator=torch.Generator().manual_seed(2), dtype=torch.float64))[0]
    assert float(gram_distances(student @ turn, student).max()) < 1e-24
    assert float(feature_distances(student @ turn, student).min()) > 0.1


@pytest.mark.parametrize("name", STRATEGIES)
def test_at_the_start_both_distances_and_their_gradients_are_zero(name: str, manifest: Path) -> None:
    module = tiny_module(anchor=Anchor(), strategy=STRATEGIES[name], drop_path_rate=0.0)
    batch, core = first_batch(manifest, module), module.core
    student = core.student.backbone(batch.global_crops, batch.masks)
    terms = core.anchoring.terms(batch.global_crops, student.patches, batch.masks, unmasked_crops([batch], False))
    anchor = terms["anchor_feature"] + terms["anchor_gram"]
    anchor.backward()
    assert float(anchor.detach()) < 1e-9
    gradients = [value.grad for value in module.core.student.parameters() if value.grad is not None]
    assert gradients
    assert max(float(gradient.abs().max()) for gradient in gradients) < 1e-5


def test_the_distances_are_those_of_the_crops_in_which_nothing_is_masked(manifest: Path) -> None:
    module = tiny_module(anchor=Anchor(feature_weight=0.5, gram_weight=2.0), drop_path_rate=0.0)
    batch, core = first_batch(manifest, module), module.core
    unmasked = ~batch.masks.any(dim=1)
    assert 0 < int(unmasked.sum()) < len(unmasked)
    with torch.no_grad():
        for value in core.student.backbone.parameters():
            value.add_(0.05 * torch.randn(value.shape, generator=torch.Generator().manual_seed(3)))
        terms = core.compute_losses(batch, 0.05).terms
        both = [
            torch.nn.functional.normalize(network(batch.global_crops[unmasked]).patches.flatten(1, 2), dim=-1)
            for network in (core.student.backbone, core.anchoring.start)
        ]
    torch.testing.assert_close(terms["anchor_feature"], 0.5 * feature_distances(*both).mean())
    torch.testing.assert_close(terms["anchor_gram"], 2.0 * gram_distances(*both).mean())
    assert float(terms["anchor_feature"]) > 1e-3


def test_a_strong_anchor_keeps_the_student_nearer_to_the_start(manifest: Path, train: Train) -> None:
    def distance(weight: float, run: str) -> float:
        module, _ = train(
            manifest, 6, run=run, module={"anchor": Anchor(weight, 0.0), "drop_path_rate": 0.0, "momentum": 0.0}
        )
        crops = first_batch(manifest, module).global_crops
        with torch.no_grad():
            tokens = [
                torch.nn.functional.normalize(network(crops).patches.flatten(1, 2), dim=-1)
                for network in (module.core.student.backbone, module.core.anchoring.start)
            ]
        return float(feature_distances(*tokens).mean())

    assert distance(1000.0, "strong") < 0.5 * distance(1e-9, "weak")


@pytest.mark.parametrize("name", STRATEGIES)
def test_what_is_frozen_is_held_once_and_the_start_has_no_adapters(name: str) -> None:
    plain = tiny_module(strategy=STRATEGIES[name])
    module = tiny_module(strategy=STRATEGIES[name], anchor=Anchor())
    start = module.core.anchoring.start
    assert not any("lora" in key for key, _ in start.named_parameters())
    more = storage(list(module.parameters())) - storage(list(plain.parameters()))
    learning = [
        value
        for key, value in plain.core.student.backbone.named_parameters()
        if value.requires_grad and "lora" not in key
    ]
    assert more == storage(learning)
    expected = dict(tiny_module().core.student.backbone.named_parameters())
    assert all(torch.equal(value, expected[key]) for key, value in start.named_parameters())


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_resumed_run_is_held_by_the_same_start(name: str, manifest: Path, tmp_path: Path, train: Train) -> None:
    settings = {"strategy": STRATEGIES[name], "anchor": Anchor(10.0, 10.0)}
    whole, losses = train(manifest, 6, run="whole", module=settings)
    train(manifest, 6, run="parts", module=settings, callbacks=(StopAfter(2),))
    checkpoint = latest_checkpoint(RunFolder(tmp_path / "parts"))
    # Another seed: the start must be the checkpoint's, not what the module was built with.
    loaded = DINOv2.load_from_checkpoint(checkpoint, weights_only=True, seed=5)
    start = whole.core.anchoring.start.state_dict()
    assert all(torch.equal(value, start[key]) for key, value in loaded.core.anchoring.start.state_dict().items())
    resumed, after = train(manifest, 6, run="parts", module=settings, ckpt_path=checkpoint)
    assert after == {step: losses[step] for step in (3, 4, 5)}
    assert same_state(whole, resumed)


def test_while_the_backbone_is_held_there_is_nothing_to_anchor(manifest: Path, train: Train, tmp_path: Path) -> None:

    from medino.tracking import RunMetricsLogger

    run = RunFolder(tmp_path / "run")
    heads_first = {"at_most": 0.5, "least_improvement": -100.0, "ramp": 0.0}
    settings = {"anchor": {"feature_weight": 2.0}, "heads_first": heads_first, "warmup": 0.0, "drop_path_rate": 0.0}
    train(manifest, 6, module=settings, logger=RunMetricsLogger(run))
    with run.metrics.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for name in ("loss/anchor_feature", "loss/anchor_gram"):
        values = [float(row[name]) for row in rows]
        assert values[:3] == [0, 0, 0]
        assert values[3] < 1e-9
        assert all(math.isfinite(value) and value > 1e-9 for value in values[4:])


def test_where_every_crop_is_masked_there_is_nothing_to_compare(manifest: Path, train: Train) -> None:
    with pytest.raises(InputError, match="lower mask_probability"):
        train(manifest, 1, module={"anchor": {}}, data={"mask_probability": 1.0})


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"weight": 1.0}, "anchor has no setting 'weight'; it has feature_weight, gram_weight"),
        ({"gram_weight": -1.0}, r"anchor\.gram_weight is -1\.0; give 0 or more"),
        ({"gram_weight": "much"}, r"anchor\.gram_weight is 'much'; give a float"),
        ({"gram_weight": True}, r"anchor\.gram_weight is True; give a float"),
        ({"gram_weight": 0, "feature_weight": 0}, "both weights of anchor are 0"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        tiny_module(anchor=settings)


def test_an_anchoring_stays_in_evaluation_mode() -> None:
    anchoring = Anchoring(Anchor(), tiny_module().core.student.backbone)
    assert not anchoring.train().start.training
