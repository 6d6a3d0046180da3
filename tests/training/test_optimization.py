import math

import pytest
import torch
from torch import nn

from hetsearch.training.optimization import learning_rate, make_optimizer
from hetsearch.training.recipe import OptimizerConfig, ScheduleConfig


def test_the_rate_rises_in_a_line_and_falls_in_a_cosine() -> None:
    schedule = ScheduleConfig(warmup=0.1)
    rates = [learning_rate(step, 100, 2.0, schedule) for step in range(100)]
    assert rates[:10] == pytest.approx([0.2 * (step + 1) for step in range(10)])
    assert rates[10] == pytest.approx(2.0)
    assert rates[55] == pytest.approx(1.0)  # half of the 90 steps after the warm-up
    assert rates[99] == pytest.approx(1 + math.cos(math.pi * 89 / 90))


def test_without_warmup_the_first_step_has_the_whole_rate() -> None:
    assert learning_rate(0, 10, 0.5, ScheduleConfig(warmup=0)) == 0.5


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_weight_decay_spares_biases_and_norms(name: str) -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    optimizer = make_optimizer(network, OptimizerConfig.model_validate({"name": name, "weight_decay": 0.3}))
    decayed = {id(p) for group in optimizer.param_groups if group["weight_decay"] == 0.3 for p in group["params"]}
    spared = {id(p) for group in optimizer.param_groups if group["weight_decay"] == 0.0 for p in group["params"]}
    assert decayed == {id(network[0].weight)}
    assert spared == {id(network[0].bias), id(network[1].weight), id(network[1].bias)}


def test_a_step_goes_downhill() -> None:
    weight = nn.Parameter(torch.tensor([[1.0]]))
    holder = nn.Module()
    holder.weight = weight
    optimizer = make_optimizer(holder, OptimizerConfig(name="sgd", lr=0.1, weight_decay=0, momentum=0))
    weight.square().sum().backward()
    optimizer.step()
    assert weight.item() == pytest.approx(0.8)
