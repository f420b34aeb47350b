"""One step: its learning rate, its optimiser, and that nothing infinite moves a weight."""

import pytest
import torch

from holdfast.trainer.config import Stage
from holdfast.trainer.loop.optim import build_optimiser, set_learning_rate, take_step
from holdfast.trainer.objectives import Objective, Player, SupervisedConfig


class Learns(Objective):
    """An objective that learns what it is given, each module as a player of its own where it is given with settings."""

    names = ("loss",)

    def __init__(self, *modules, **players) -> None:
        super().__init__()
        self.inner = torch.nn.ModuleList([*modules, *(player["module"] for player in players.values())])
        self._players = tuple(
            Player(name, (player["module"],), **{k: v for k, v in player.items() if k != "module"})
            for name, player in players.items()
        )

    def players(self):
        return self._players

    def terms(self, encoder, batch, generator):
        raise NotImplementedError


def linear(weight: float = 0.0) -> torch.nn.Linear:
    layer = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(layer.weight, weight)
    return layer


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
@pytest.mark.parametrize("fused", [False, True])
def test_an_infinite_gradient_moves_no_weight(optimiser, fused) -> None:
    stage = Stage("s", SupervisedConfig(), steps=1, optimiser=optimiser)
    layer = linear()
    built = build_optimiser(stage, layer, Learns(), fused=fused)
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
    optimiser = build_optimiser(stage, torch.nn.Linear(2, 2), Learns(torch.nn.Linear(1, 1)))
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


@pytest.mark.parametrize("fused", [False, True])
def test_players_have_rates_schedules_and_decays_of_their_own(fused) -> None:
    stage = Stage("s", SupervisedConfig(), steps=100, learning_rate=0.5, warmup=0.2, betas=(0.5, 0.9))
    slow = {"module": linear(), "rate": 0.1, "betas": (0.0, 0.99), "weight_decay": 0.0}
    steady = {"module": linear(), "schedule": "constant"}
    head = linear()
    optimiser = build_optimiser(stage, torch.nn.Linear(2, 2), Learns(head, slow=slow, steady=steady), fused=fused)
    rest, first, second = optimiser.param_groups
    assert head.weight in set(rest["params"])
    assert len(rest["params"]) == 3
    assert (rest["betas"], first["betas"], second["betas"]) == ((0.5, 0.9), (0.0, 0.99), (0.5, 0.9))
    assert (rest["weight_decay"], first["weight_decay"]) == (stage.weight_decay, 0.0)
    for step, height in ((20, 1.0), (10, 0.5), (100, 1e-3)):
        set_learning_rate(optimiser, stage, step)
        assert [group["lr"] for group in optimiser.param_groups] == pytest.approx([0.5 * height, 0.05 * height, 0.5])


@pytest.mark.parametrize("clips", [(None, None), (0.5, None), (None, 0.25)])
def test_no_player_shortens_the_gradient_of_another(clips) -> None:
    stage = Stage("s", SupervisedConfig(), steps=1, learning_rate=1.0, clip=2.0, optimiser="sgd", weight_decay=0.0)
    encoder, loud, quiet = linear(), linear(), linear()
    players = {"loud": {"module": loud, "clip": clips[0]}, "quiet": {"module": quiet, "clip": clips[1]}}
    optimiser = build_optimiser(stage, encoder, Learns(**players))
    (encoder.weight * 3 + loud.weight * 1e6 + quiet.weight * 0.5).sum().backward()
    measured = take_step({"loss": torch.tensor(0.0)}, optimiser, stage)
    norms = [measured[name].item() for name in ("gradient_norm", "gradient_norm_loud", "gradient_norm_quiet")]
    assert norms == [3.0, 1e6, 0.5]
    lengths = [layer.weight.grad.item() for layer in (encoder, loud, quiet)]
    assert lengths == pytest.approx([2.0, clips[0] or 2.0, min(0.5, clips[1] or 2.0)], rel=1e-5)


def test_a_player_without_a_gradient_rests() -> None:
    stage = Stage("s", SupervisedConfig(), steps=1)
    encoder, idle = linear(), linear(1.0)
    optimiser = build_optimiser(stage, encoder, Learns(idle={"module": idle}))
    encoder.weight.sum().backward()
    assert take_step({"loss": torch.tensor(0.0)}, optimiser, stage)["gradient_norm_idle"] == 0
    assert (idle.weight.item(), encoder.weight.item()) == (1.0, pytest.approx(-stage.learning_rate, rel=1e-4))


def test_two_players_cannot_learn_the_same_weights() -> None:
    shared = linear()
    with pytest.raises(ValueError, match="one, other"):
        build_optimiser(
            Stage("s", SupervisedConfig(), steps=1), linear(), Learns(one={"module": shared}, other={"module": shared})
        )
