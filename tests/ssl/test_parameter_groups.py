"""Clipping and the step's settings act on the right parameters."""

import pytest
import torch
from torch import nn

from medino.ssl import clip_gradients, parameter_rules
from medino.ssl.parameter_groups import optimizer_groups, set_step_settings
from tests.ssl.conftest import tiny_module


def with_gradients(*values: float) -> nn.ParameterList:
    parameters = nn.ParameterList([nn.Parameter(torch.zeros(1)) for _ in values])
    for parameter, value in zip(parameters, values, strict=True):
        parameter.grad = torch.tensor([value])
    return parameters


def gradients(parameters: nn.ParameterList) -> list[float]:
    return [float(parameter.grad) for parameter in parameters]


def test_each_sub_module_is_clipped_on_its_own() -> None:
    parts = {"backbone": with_gradients(3.0, 4.0), "dino_head": with_gradients(1.0, 1.0)}
    norms = clip_gradients(parts, max_norm=2.5, each_parameter=False)
    assert float(norms["backbone"]) == pytest.approx(5.0)
    assert float(norms["dino_head"]) == pytest.approx(2**0.5)
    assert gradients(parts["backbone"]) == pytest.approx([1.5, 2.0])
    assert gradients(parts["dino_head"]) == [1.0, 1.0]


def test_each_parameter_is_clipped_on_its_own_for_dino_v1() -> None:
    parts = {"backbone": with_gradients(3.0, -4.0)}
    clip_gradients(parts, max_norm=3.5, each_parameter=True)
    assert gradients(parts["backbone"]) == pytest.approx([3.0, -3.5])


def test_a_norm_of_zero_clips_nothing() -> None:
    parts = {"backbone": with_gradients(30.0)}
    clip_gradients(parts, max_norm=0, each_parameter=False)
    assert gradients(parts["backbone"]) == [30.0]


def test_every_trained_parameter_is_in_one_group_with_its_own_rate_and_decay() -> None:
    student = tiny_module().core.student
    rules = {rule.name: rule for rule in parameter_rules(student, depth=2, layer_decay=0.5)}
    optimizer = torch.optim.AdamW(optimizer_groups(student, rules.values()), lr=1.0)
    set_step_settings(optimizer, learning_rate=0.1, last_layer_learning_rate=0.0, weight_decay=0.2)
    group_of = {id(parameter): group for group in optimizer.param_groups for parameter in group["params"]}
    assert len(group_of) == sum(len(group["params"]) for group in optimizer.param_groups)
    for name, parameter in student.named_parameters():
        group = group_of[id(parameter)]
        expected = 0.0 if "last_layer" in name else 0.1 * rules[name].lr_multiplier
        assert group["lr"] == pytest.approx(expected)
        assert group["weight_decay"] == pytest.approx(0.2 * rules[name].wd_multiplier)
    assert rules["backbone.patch_embed.proj.weight"].lr_multiplier == pytest.approx(0.2 * 0.5**3)
    assert rules["backbone.norm.weight"].lr_multiplier == 1.0
