"""Full training steps give what the reference implementations gave: losses, gradients, student, teacher, centres."""

import numpy as np
import pytest
import torch

from medino.ssl import (
    BeforePrototypes,
    DINOv2,
    cosine_schedule,
    dino_row_weights,
    dino_targets,
    koleo_loss,
    parameter_rules,
    prototype_cross_entropy,
    sinkhorn_knopp,
)
from tests.golden_cases import GoldenCase, golden_cases
from tests.ssl.golden_steps import GoldenModule, as_floats, golden_schedules, take_golden_steps

LOSS_NAMES = {
    # Medino's name: the reference's, and what that has to be multiplied by to be the term that is added.
    "loss/dino_local": ("dino_local_crops_loss", 1),
    "loss/dino_global": ("dino_global_crops_loss", 1),
    "loss/ibot": ("ibot_loss", 2),
    "loss/koleo": ("koleo_loss", 2),
}
RELATIVE = 1e-5

cases = pytest.mark.parametrize("case", golden_cases(), ids=lambda case: case.name)


@pytest.fixture(scope="module")
def trained() -> dict[str, GoldenModule]:
    return {case.name: take_golden_steps(case) for case in golden_cases()}


@cases
def test_each_loss_term_of_each_step_is_the_references(case: GoldenCase, trained: dict[str, GoldenModule]) -> None:
    logged, steps = trained[case.name].logged, case.facts["steps"]
    assert len(logged) == len(steps)
    if case.is_dino_v1:
        np.testing.assert_allclose(as_floats(logged, "loss/total"), as_floats(steps, "loss"), rtol=RELATIVE)
        return
    losses = [step["losses"] for step in steps]
    # A term of weight 0 is not among the reference's.
    compared = {ours: named for ours, named in LOSS_NAMES.items() if named[0] in losses[0]}
    assert set(losses[0]) == {theirs for theirs, _ in compared.values()}
    for ours, (theirs, factor) in compared.items():
        np.testing.assert_allclose(as_floats(logged, ours), factor * as_floats(losses, theirs), rtol=RELATIVE)
    total = sum(factor * as_floats(losses, theirs) for theirs, factor in compared.values())
    np.testing.assert_allclose(as_floats(logged, "loss/total"), total, rtol=RELATIVE)


@cases
def test_gradients_of_the_first_step_are_the_references_after_clipping(
    case: GoldenCase, trained: dict[str, GoldenModule]
) -> None:
    ours, theirs = trained[case.name].first_gradients, case.part("step0/grad/")
    assert set(ours) == set(theirs)
    for name, gradient in theirs.items():
        assert float((ours[name] - gradient).norm()) <= 1e-4 * float(gradient.norm()), name


@cases
def test_gradient_norms_before_clipping_are_the_references(case: GoldenCase, trained: dict[str, GoldenModule]) -> None:
    for logged, step in zip(trained[case.name].logged, case.facts["steps"], strict=True):
        for part, norm in step.get("grad_norm_before_clip", {}).items():
            assert logged[f"gradient_norm/{part}"] == pytest.approx(norm, rel=1e-4)


@cases
def test_the_steps_end_on_the_references_student_teacher_and_centres(
    case: GoldenCase, trained: dict[str, GoldenModule]
) -> None:
    core = trained[case.name].core
    for network, prefix in ((core.student, "final/student/"), (core.teacher, "final/teacher/")):
        theirs = case.part(prefix)
        ours = network.state_dict()
        assert set(ours) == set(theirs)
        for name, weight in theirs.items():
            difference = (ours[name] - weight).abs()
            if name.endswith("attn.qkv.bias"):
                difference = torch.cat([difference.chunk(3)[0], difference.chunk(3)[2]])
            assert float(difference.max()) <= 1e-5, name
    for name in ("dino", "ibot"):
        if f"final/{name}_center" in case.tensors:
            center = case.tensors[f"final/{name}_center"].flatten()
            torch.testing.assert_close(core.centers[name].value.flatten(), center, atol=1e-5, rtol=0)


@cases
def test_the_biases_of_keys_have_no_gradient_but_rounding(case: GoldenCase, trained: dict[str, GoldenModule]) -> None:
    # A bias of all keys shifts the logits of a query alike, and softmax does not see it. AdamW divides the rounding
    # that is left by its own size, so that these weights walk at random, in the reference as here (attention written
    # out instead of SDPA walks elsewhere, and no nearer): the comparison of the final weights leaves them out, because
    # of what is shown here, and they move no further than AdamW can, in the student and in its average, the teacher.
    reach = sum(step["lr"] for step in case.facts["steps"])
    start, core = case.part("init/"), trained[case.name].core
    students = (core.student.state_dict(), case.part("final/student/"))
    teachers = (core.teacher.state_dict(), case.part("final/teacher/"))
    for name, gradient in case.part("step0/grad/").items():
        if name.endswith("attn.qkv.bias"):
            whole = float(gradient.norm())
            for found in (gradient, trained[case.name].first_gradients[name]):
                assert float(found.chunk(3)[1].norm()) <= 1e-5 * whole
            for weights in (*students, *teachers):
                walked = weights[name] - start[name]
                assert float(walked.chunk(3)[1].abs().max()) <= reach


@cases
def test_schedules_of_the_steps_are_the_references(case: GoldenCase) -> None:
    schedules, steps = golden_schedules(case), case.facts["steps"]
    names = {"lr": "learning_rate", "weight_decay": "weight_decay", "momentum": "momentum"}
    names |= {"teacher_temp": "teacher_temperature"}
    if not case.is_dino_v1:
        names["last_layer_lr"] = "last_layer_learning_rate"
    for step, expected in enumerate(steps):
        for theirs, ours in names.items():
            assert getattr(schedules.at(step), ours) == pytest.approx(expected[theirs], rel=1e-12, abs=1e-15)
        if "last_layer_frozen" in expected:
            assert schedules.last_layer_is_frozen(step) is expected["last_layer_frozen"]


@cases
def test_schedule_arrays_are_the_references(case: GoldenCase) -> None:
    if "schedules" not in case.facts:
        pytest.skip("the pair has no schedules of its own")
    settings = case.facts["schedule_settings"]
    for name, expected in case.facts["schedules"].items():
        made = cosine_schedule(
            settings[name]["base"],
            settings[name]["final"],
            settings["total_iterations"],
            warmup_steps=settings[name].get("warmup_iterations", 0),
            start=settings[name].get("start", 0),
            frozen_steps=settings[name].get("frozen_iterations", 0),
        )
        np.testing.assert_allclose(made, expected, rtol=1e-12, atol=1e-15)


@cases
def test_parameter_groups_are_the_references(case: GoldenCase) -> None:
    module: DINOv2 = GoldenModule(case)
    rules = parameter_rules(
        module.core.student,
        case.settings["depth"],
        case.facts["objective"],
        module.hparams["layer_decay"],
        module.hparams["patch_embed_multiplier"],
    )
    ours = {rule.name: rule for rule in rules}
    assert set(ours) == {expected["name"] for expected in case.facts["param_groups"]}
    for expected in case.facts["param_groups"]:
        rule = ours[expected["name"]]
        if case.is_dino_v1:
            assert (rule.lr_multiplier, rule.wd_multiplier) == (1.0, float(expected["weight_decayed"]))
        else:
            assert rule.lr_multiplier == pytest.approx(expected["lr_multiplier"], rel=1e-12)
            assert rule.wd_multiplier == expected["wd_multiplier"]
            assert rule.is_last_layer is expected["is_last_layer"]


@cases
def test_losses_alone_are_the_references(case: GoldenCase) -> None:
    if "loss/koleo" not in case.tensors:
        pytest.skip("the pair has no losses of their own")
    inputs = case.part("loss/")
    torch.testing.assert_close(koleo_loss(inputs["koleo_input"]), inputs["koleo"].squeeze(), rtol=RELATIVE, atol=0)
    targets = sinkhorn_knopp(inputs["teacher_logits"], 0.05)
    torch.testing.assert_close(targets, inputs["sinkhorn_0.05"], rtol=RELATIVE, atol=1e-9)
    batch_size = len(targets) // 2
    # Each of two student chunks meets each of two teacher chunks, as local crops meet the global ones.
    scores = BeforePrototypes(inputs["student_logits"], torch.eye(targets.shape[1]))
    pairs = dino_row_weights(batch_size, 2)[2 * batch_size :] * 6
    all_targets = dino_targets(targets, 2)

    def of_local_crops(rows: slice, out: torch.Tensor) -> None:
        all_targets(slice(rows.start + 2 * batch_size, rows.stop + 2 * batch_size), out)

    dino, _ = prototype_cross_entropy(scores, of_local_crops, pairs, case.facts["student_temp"])
    torch.testing.assert_close(dino, inputs["dino"].squeeze(), rtol=RELATIVE, atol=0)
