"""What a full evaluation is asked to do."""

from dataclasses import asdict, dataclass, field
from typing import Any

from holdfast.attacks.adaptive import AdaptiveAttack
from holdfast.bundle.threat_model import ThreatModel
from holdfast.evaluation.suites import Effort
from holdfast.model.device_choice import DeviceChoice, Precision

CURVE_STEPS, PROBE_STEPS = 20, 40


@dataclass(frozen=True)
class Settings:
    """Of a full evaluation.

    Attributes:
        balls: within which the ladders are climbed; those of a norm in ascending order of epsilon.
        images: test images that are attacked; None for all.
        curve_images: how many of them the curves and the gates look at.
        plants: test images beside which an adversary is planted.
        effort: how hard the ladder tries.
        seed: of the draw of images and of all attacks.
        threads: of ONNX Runtime; and as many batches are attacked side by side on a CPU.
        serve_on: where the answers that decide are computed; see `open_served`; and `serve_in`.

    """

    balls: tuple[ThreatModel, ...]
    images: int | None = 1000
    curve_images: int = 300
    plants: int = 40
    effort: Effort = field(default_factory=Effort)
    seed: int = 0
    threads: int = 1
    serve_on: DeviceChoice = "cpu"
    serve_in: Precision = "float32"

    @property
    def identity(self) -> dict[str, Any]:
        """What must be the same for earlier work to count. Threads need not; what was taken by `serve_on` is the scene's."""
        balls = [f"{ball.norm} {ball.epsilon:.9g}" for ball in self.balls]
        own = {"balls": balls, "images": self.images, "images of curves": self.curve_images, "plants": self.plants}
        return own | asdict(self.effort) | {"seed": self.seed}

    @property
    def curve_attack(self) -> AdaptiveAttack:
        """White box, quick, and the same at every epsilon."""
        return AdaptiveAttack(steps=min(CURVE_STEPS, self.effort.steps), batch_size=self.effort.batch_size)

    @property
    def one_step_attack(self) -> AdaptiveAttack:
        """The same with a single gradient."""
        return AdaptiveAttack(steps=1, batch_size=self.effort.batch_size)

    @property
    def probing_attack(self) -> AdaptiveAttack:
        """For the gates that ask whether an attack finds what is surely there."""
        return AdaptiveAttack(steps=min(PROBE_STEPS, self.effort.steps), batch_size=self.effort.batch_size)
