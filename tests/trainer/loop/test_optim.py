"""One step: its learning rate, its optimiser, and that nothing infinite moves a weight."""

import pytest
import torch

from holdfast.trainer.config import Stage
from holdfast.trainer.loop.optim import build_optimiser, set_learning_rate, take_step
from holdfast.trainer.objectives import SupervisedConfig


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
@pytest.mark.parametrize("fused", [False, True])
def test_an_infinite_gradient_moves_no_weight(optimiser, fused) -> None:
    stage = Stage("s", SupervisedConfig(), steps=1, optimiser=optimiser)
    layer = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(layer.weight)
    built = build_optimiser(stage, layer, torch.nn.Module(), fused=fused)
    root = layer.weight.abs().sqrt().sum()
    root.backward()
    values = take_step({"root": root.detach()}, built, stage)
    assert not values["gradient_norm"].isfinite()
    assert layer.weight.item() == 0
    if fused:  # nor does any step after it, which may have been taken before anybody looked
        layer.weight.grad.fill_(1.0)
        take_step({"root": root.detach()}, built, stage)
        assert layer.weight.item() == 0


def test_sgd_has_nesterovs_momentum_and_the_decay_of_its_stage() -> None:
    stage = Stage("s", SupervisedConfig(), steps=1, optimiser="sgd", weight_decay=5e-4)
    optimiser = build_optimiser(stage, torch.nn.Linear(2, 2), torch.nn.Linear(1, 1))
    assert isinstance(optimiser, torch.optim.SGD)
    assert optimiser.param_groups[0]["nesterov"]
    assert optimiser.param_groups[0]["weight_decay"] == 5e-4
    assert len(optimiser.param_groups[0]["params"]) == 4


def test_the_learning_rate_is_one_cycle() -> None:
    stage = Stage("s", SupervisedConfig(), steps=100, learning_rate=0.5, warmup=0.2)
    optimiser = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))])
    rates = []
    for step in range(1, 101):
        set_learning_rate(optimiser, stage, step)
        rates.append(optimiser.param_groups[0]["lr"])
    assert max(rates) == rates[19] == pytest.approx(0.5)
    assert rates[:20] == sorted(rates[:20])
    assert rates[19:] == sorted(rates[19:], reverse=True)
    assert 0 < rates[-1] < 0.001


@pytest.mark.parametrize("steps", [1, 7, 100])
def test_a_constant_learning_rate_is_constant(steps) -> None:
    stage = Stage("s", SupervisedConfig(), steps=steps, learning_rate=0.5, schedule="constant")
    optimiser = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], 0.1)
    for step in range(1, steps + 1):
        set_learning_rate(optimiser, stage, step)
        assert optimiser.param_groups[0]["lr"] == 0.5
