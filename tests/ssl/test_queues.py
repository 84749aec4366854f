"""A small batch is not alone: past images join Sinkhorn-Knopp and KoLeo, and are the same after a resume."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from medino.cli.main import main
from medino.core import InputError, RunFolder
from medino.ssl import SMALL_SCALE, Anchor, DINOv2, LoRA, koleo_loss, latest_checkpoint, rankme, sinkhorn_knopp
from medino.ssl.queues import ImageQueue, image_numbers, same_images
from medino.ssl.settings import check_division
from tests.ssl.conftest import TINY_BACKBONE, tiny_data, tiny_module
from tests.ssl.test_module import BreakSteps, StopAfter, same_state

Train = Callable[..., tuple[DINOv2, dict[int, float]]]

QUEUES: dict[str, Any] = {"centering": "sinkhorn_knopp", "sinkhorn_queue": 6, "koleo_queue": 5}

EVERYTHING: dict[str, Any] = {
    **QUEUES,
    "accumulate": 2,
    "anchor": Anchor(),
    "strategy": LoRA(rank=2),
    "heads_first": {"window": 0.1, "at_most": 0.4, "ramp": 0.3},
    "warmup": 0.0,
    "separate_ibot_head": True,
}


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_a_queue_keeps_the_last_images_oldest_first() -> None:
    queue = ImageQueue(5, 3)
    assert queue.held().shape == (2, 0, 3)
    batches = [draw(2 * images, 3, seed=images) for images in (2, 2, 3)]
    numbers = [torch.tensor([1, 2]), torch.tensor([3, 4]), torch.tensor([5, 6, 7])]
    queue.push(batches[0], numbers[0])
    assert torch.equal(queue.held(), batches[0].unflatten(0, (2, 2)))
    for batch, number in zip(batches[1:], numbers[1:], strict=True):
        queue.push(batch, number)
    both = torch.cat([batch.unflatten(0, (2, -1)) for batch in batches], dim=1)
    assert torch.equal(queue.held(), both[:, -5:])
    assert queue.held_numbers().tolist() == [3, 4, 5, 6, 7]
    queue.push(draw(16, 3, seed=9), torch.arange(8))
    assert torch.equal(queue.held(), draw(16, 3, seed=9).unflatten(0, (2, 8))[:, -5:])


def test_an_image_is_known_again_by_its_id_and_one_without_is_like_no_other() -> None:
    numbers = image_numbers(["a", "b", "a"], 3)
    assert numbers[0] == numbers[2] != numbers[1]
    assert same_images(numbers, numbers[:2]).tolist() == [[True, False], [False, True], [True, False]]
    assert not same_images(image_numbers([], 2), image_numbers([], 2)).any()


def test_targets_with_a_queue_are_those_of_the_batch_and_the_queue_together(manifest: Path) -> None:
    module = tiny_module(**QUEUES)
    core = module.core
    with torch.no_grad():
        core.teacher.dino_head.last_layer.weight_g.fill_(3.0)
    batch = next(iter(tiny_data(manifest).batches(module.backbone_config, 1)))
    (alone,) = core.teach([batch], 0.05)
    past = F.normalize(draw(12, 16), dim=1)
    core.sinkhorn_queue.push(past, torch.arange(6))
    (taught,) = core.teach([batch], 0.05)
    with torch.no_grad():
        scores = torch.cat([taught.class_hidden, past]) @ core.teacher.dino_head.last_layer.weight().T
        expected = sinkhorn_knopp(scores, 0.05)[:8]
    torch.testing.assert_close(taught.probabilities, expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(taught.probabilities.sum(dim=1), torch.ones(8))
    assert float((alone.probabilities - expected).abs().max()) > 0.01


def test_koleo_with_a_queue_is_a_search_by_hand() -> None:
    features, past = draw(4, 6), draw(7, 6, seed=1)
    past[2] = 3 * features[1] + 0.01  # the nearest by far, but the same image
    same = torch.zeros(4, 7, dtype=torch.bool)
    same[1, 2] = True
    unit, unit_past = F.normalize(features.double(), dim=1), F.normalize(past.double(), dim=1)
    expected = 0.0
    for row in range(4):
        distances = [float((unit[row] - unit[other]).norm()) for other in range(4) if other != row]
        distances += [float((unit[row] - unit_past[other]).norm()) for other in range(7) if not same[row, other]]
        expected -= float(torch.tensor(min(distances)).log()) / 4
    found = koleo_loss(features.requires_grad_(), past.requires_grad_(), same)
    found.backward()
    assert float(found.detach()) == pytest.approx(expected, rel=1e-5)
    assert past.grad is None
    assert features.grad is not None


def test_one_image_has_neighbours_in_a_queue_but_not_in_itself() -> None:
    one, past = draw(1, 6), draw(3, 6, seed=1)
    nearest = (F.normalize(one, dim=1) - F.normalize(past, dim=1)).norm(dim=1).min()
    assert float(koleo_loss(one, past)) == pytest.approx(-float(nearest.log()), rel=1e-5)
    itself = koleo_loss(one.requires_grad_(), one.detach(), torch.ones(1, 1, dtype=torch.bool))
    itself.backward()
    assert float(itself.detach()) == 0
    assert one.grad is not None
    assert float(one.grad.abs().max()) == 0


def test_the_queues_hold_the_images_of_the_last_steps(manifest: Path, train: Train) -> None:
    module, _ = train(manifest, 3, module=QUEUES)
    batches = list(tiny_data(manifest).batches(module.backbone_config, 3))
    ids = [sample_id for batch in batches for sample_id in batch.sample_ids]
    assert torch.equal(module.core.koleo_queue.held_numbers(), image_numbers(ids[-5:], 5))
    assert torch.equal(module.core.sinkhorn_queue.held_numbers(), image_numbers(ids[-6:], 6))


def test_a_step_that_is_skipped_leaves_no_trace_in_the_queues(manifest: Path, train: Train) -> None:
    with pytest.warns(UserWarning, match="is skipped"):
        module, _ = train(manifest, 1, module=QUEUES, callbacks=(BreakSteps(0),))
    assert same_state(module, tiny_module(**QUEUES))


def test_a_batch_of_8_trains_and_does_not_collapse(manifest: Path, train: Train) -> None:
    small = {"prototypes": 32, "head_hidden_dim": 32, "head_bottleneck_dim": 16}
    backbone = {"backbone_settings": {**TINY_BACKBONE, "layerscale_init": 0.1}}
    settings = {**SMALL_SCALE, **small, **backbone, "base_lr": 3e-2, "sinkhorn_queue": 64, "koleo_queue": 4}
    module, losses = train(manifest, 50, module=settings, data={"batch_size": 8})
    # The watch would have stopped a run that collapsed, as it does this one without the queues.
    assert sorted(losses) == list(range(50))
    assert module.skipped_steps == 0
    assert losses[49] < 0.8 * losses[0]
    batch = next(iter(tiny_data(manifest, batch_size=8).batches(module.backbone_config, 1)))
    (taught,) = module.core.teach([batch], 0.04)
    assert taught.probabilities.argmax(dim=1).unique().numel() >= 4
    assert float(rankme(taught.tokens.class_token)) > 2


@pytest.mark.parametrize("stop", [1, 5])
def test_a_run_with_everything_on_resumes_to_the_bit(stop: int, manifest: Path, tmp_path: Path, train: Train) -> None:
    whole, losses = train(manifest, 9, run="whole", module=EVERYTHING)
    train(manifest, 9, run="parts", module=EVERYTHING, callbacks=(StopAfter(stop),))
    checkpoint = latest_checkpoint(RunFolder(tmp_path / "parts"))
    resumed, after = train(manifest, 9, run="parts", module=EVERYTHING, ckpt_path=checkpoint)
    assert after == {step: losses[step] for step in range(stop + 1, 9)}
    assert same_state(whole, resumed)
    assert whole.core.koleo_queue.held().shape[1] == 5
    assert whole.release is not None
    assert whole.release.released_at is not None


def fit(manifest: Path, run: Path, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    module = ["--model", "DINOv2", "--model.prototypes", "64", "--model.head_hidden_dim", "32"]
    data = ["--data", "PretrainingData", "--data.manifest", str(manifest), "--data.global_size", "32"]
    sizes = ["--data.local_size", "16", "--data.num_local_crops", "1", "--trainer.accelerator", "cpu"]
    trainer = ["--trainer.max_steps", "2", "--trainer.fast_dev_run", "true"]
    status = main(["fit", "-o", str(run), *module, *data, *sizes, *trainer, *words])
    return status, capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--data.batch_size", "1"], "batch_size is 1; KoLeo needs a neighbour in the batch, give 2 or more"),
        (["--data.batch_size", "4", "--model.accumulate", "4"], "it looks for one among 1 image at a time"),
        (["--data.batch_size", "4", "--model.accumulate", "3"], "can't be divided into 3 micro-batches"),
        (["--data.batch_size", "4", "--model.sinkhorn_queue", "8"], "sinkhorn_queue is for Sinkhorn-Knopp"),
        (["--data.batch_size", "4", "--model.koleo_queue", "-1"], "koleo_queue is -1; give 0 or more"),
        (["--data.batch_size", "4", "--model.heads_first.windows", "0.1"], "windows"),
        (["--data.batch_size", "4", "--model.anchor.gram", "0.1"], "gram"),
        (["--data.batch_size", "4", "--model.anchor.gram_weight", "much"], "much"),
        (["--data.batch_size", "4", "--model.heads_first.window", "7"], "heads_first.window is 7"),
    ],
)
def test_what_can_not_train_is_refused_in_words(
    words: list[str], said: str, manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, error = fit(manifest, tmp_path / "run", capsys, *words)
    assert status == 2
    assert said in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_a_process_alone_with_one_image_has_no_neighbour() -> None:
    settings = {**tiny_module().hparams, "koleo_scope": "process"}
    with pytest.raises(InputError, match="koleo_scope global"):
        check_division(settings, 2, 2)
    check_division({**settings, "koleo_scope": "global"}, 2, 2)
    check_division({**settings, "koleo_queue": 4}, 2, 2)
