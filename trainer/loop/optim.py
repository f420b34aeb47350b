"""One step along the gradient: the optimiser, its schedule, and what was measured, read seldom so that a GPU does not wait."""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from holdfast.errors import HoldfastError
from holdfast.trainer.config import Stage
from holdfast.trainer.encoders import ImageEncoder
from holdfast.trainer.loop.averaging import MeanWeights
from holdfast.trainer.objectives import Objective, Player


class DivergedError(HoldfastError):
    """The loss or its gradient is no longer a number."""


def build_optimiser(stage: Stage, encoder: ImageEncoder, objective: Objective, *, fused: bool = False) -> torch.optim.Optimizer:
    """Adam or SGD over the encoder and what the objective learns: a group of parameters for each of its players.

    The first group is the encoder and what no player names. A fused optimiser takes a step in a kernel or two, and a number on
    the device can keep it from taking it: see `take_step`.

    Raises:
        ValueError: two players learn the same parameter.

    """
    groups = _groups(stage, encoder, objective)
    rate, decay = stage.learning_rate, stage.weight_decay
    if stage.optimiser == "sgd":
        optimiser: torch.optim.Optimizer = torch.optim.SGD(
            groups, rate, momentum=0.9, nesterov=True, weight_decay=decay, fused=fused
        )
    else:
        optimiser = torch.optim.Adam(groups, rate, betas=stage.betas, weight_decay=decay, fused=fused)
    if fused:
        # Where fused optimisers look for it; torch's own GradScaler puts it there, too.
        optimiser.found_inf = torch.zeros((), device=groups[0]["params"][0].device)  # type: ignore[attr-defined]
    return optimiser


def _groups(stage: Stage, encoder: ImageEncoder, objective: Objective) -> list[dict[str, Any]]:
    players = objective.players()
    taken = [id(parameter) for player in players for parameter in player.parameters]
    if len(set(taken)) < len(taken):
        raise ValueError(f"two of the players {', '.join(player.name for player in players)} learn the same parameter")
    both = (*encoder.parameters(), *objective.parameters())
    rest = [parameter for parameter in both if parameter.requires_grad and id(parameter) not in set(taken)]
    return [{"params": rest}, *(_group(stage, player) for player in players)]


def _group(stage: Stage, player: Player) -> dict[str, Any]:
    """A player's parameters, and beside torch's settings those that `set_learning_rate` and `take_step` read."""
    own: dict[str, Any] = {"params": player.parameters, "rate": player.rate, "column": player.column}
    own["clip"] = stage.clip if player.clip is None else player.clip
    own["schedule"] = player.schedule or stage.schedule
    if player.betas and stage.optimiser == "adam":
        own["betas"] = player.betas
    if player.weight_decay is not None:
        own["weight_decay"] = player.weight_decay
    return own


def take_step(terms: dict[str, Tensor], optimiser: torch.optim.Optimizer, stage: Stage) -> dict[str, Tensor]:
    """Take an optimiser's step along the gradients, unless something is not finite; return what was measured, 0-d tensors.

    Each player's gradient is clipped by itself. "gradient_norm" is that of the encoder and what no player names, before it is
    clipped; players have columns of their own.

    A fused optimiser skips a step that is not finite, and every step after it, without the host being asked. To skip the first
    alone is not enough: SGD's momentum, skipped at its first step, would be uninitialised memory.
    """
    loss = torch.stack(list(terms.values())).sum()
    norms = {
        group.get("column", "gradient_norm"): torch.nn.utils.clip_grad_norm_(group["params"], group.get("clip", stage.clip))
        for group in optimiser.param_groups
    }
    finite = loss.isfinite()
    for name, norm in norms.items():
        norms[name] = norm.to(loss.device)  # that of a player without a gradient lies on the CPU
        finite = finite & norms[name].isfinite()
    found: Tensor | None = getattr(optimiser, "found_inf", None)
    if found is not None:
        found.copy_(torch.maximum(found, (~finite).to(found.dtype)))
        optimiser.step()
    elif finite:
        optimiser.step()
    return {"loss": loss, **norms, **terms}


class PendingMetrics:
    """What was measured at steps that the host has not read yet: reading waits for the device."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._pending: list[tuple[int, float, dict[str, Tensor]]] = []

    def add(self, step: int, measured: dict[str, Tensor], rate: float) -> None:
        """Keep what `take_step` measured at a step, and the learning rate."""
        self._pending.append((step, rate, measured))

    def read(self) -> Iterator[tuple[int, dict[str, float]]]:
        """Each step that has been added since the last call, and its values.

        Raises:
            DivergedError: at the first that is NaN or infinite, with the stage, the step and all values.

        """
        pending, self._pending = self._pending, []
        if not pending:
            return
        numbers = torch.stack([value.float() for _, _, measured in pending for value in measured.values()]).tolist()
        for step, rate, measured in pending:
            values = {name: numbers.pop(0) for name in measured} | {"learning_rate": rate}
            check_finite(values, self._stage, step)
            yield step, values


def check_finite(values: dict[str, float], stage: Stage, step: int) -> None:
    """Stop a run whose loss or gradient is NaN or infinite.

    Raises:
        DivergedError: with the stage, the step and all values.

    """
    if not all(math.isfinite(value) for value in values.values()):
        listed = ", ".join(f"{name} {value:.6g}" for name, value in values.items())
        raise DivergedError(
            f"the training diverged at step {step} of stage {stage.name!r}: {listed}."
            " The last checkpoint is intact; try a smaller learning rate, or --precision float32."
        )


def mean_weights_of(stage: Stage, encoder: ImageEncoder) -> MeanWeights | None:
    """The running mean of the weights and of BatchNorm's statistics, if the stage wants one."""
    return MeanWeights(encoder, stage.average) if stage.average else None


def set_learning_rate(optimiser: torch.optim.Optimizer, stage: Stage, step: int) -> None:
    """Set the learning rate of a step, counted from 1, for each player."""
    for group in optimiser.param_groups:
        moving = one_cycle(stage, step) if group.get("schedule", stage.schedule) == "one-cycle" else 1.0
        group["lr"] = group.get("rate", 1.0) * stage.learning_rate * moving


def one_cycle(stage: Stage, step: int) -> float:
    """Fraction of the peak rate: a cosine up to it over the warm-up, a cosine down to nothing after it."""
    up = max(1.0, stage.warmup * stage.steps)
    through = step / up if step <= up else 1 + (step - up) / max(1.0, stage.steps - up)
    return max(0.5 - 0.5 * math.cos(math.pi * through), 1e-3)
