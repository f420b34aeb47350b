"""The attack of all adversarial objectives: its threat model and its strength."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Generator, Tensor, nn

from holdfast.attacks.pgd import frozen, pgd
from holdfast.bundle.threat_model import Norm, ThreatModel
from holdfast.tyro_flags import Epsilon


@dataclass(frozen=True)
class AttackConfig:
    """PGD from a random start, once for every image of every batch: few steps, as they cost most of the training."""

    norm: Norm = "linf"
    """The norm in which the attacker may move."""

    epsilon: Epsilon = 8 / 255
    """How far the attacker may move, in pixels of [0, 1]."""

    steps: int = 4
    """Gradient steps of the attack."""

    step_size: Epsilon = 3 / 255
    """Length of each step, in pixels of [0, 1]."""

    def __post_init__(self) -> None:
        ThreatModel(self.norm, self.epsilon)  # refuses what is no ball, before anything has been trained
        if self.norm == "linf" and self.step_size > 1:
            raise ValueError(f"a step of {self.step_size:g}: pixels are in [0, 1]; did you mean {self.step_size:g}/255?")
        if self.steps < 0:
            raise ValueError(f"the steps of an attack must be at least 0, not {self.steps}")

    @property
    def threat(self) -> ThreatModel:
        """The ball in which the attacker may move."""
        return ThreatModel(self.norm, self.epsilon)

    def adversary(self, loss: Callable[[Tensor], Tensor], pixels: Tensor, generator: Generator, *held: nn.Module) -> Tensor:
        """The attacked images: see `pgd`. Modules in `held`, which `loss` goes through, are frozen meanwhile: see `frozen`."""
        with frozen(*held):
            return pgd(loss, pixels, self.threat, steps=self.steps, step_size=self.step_size, generator=generator)
