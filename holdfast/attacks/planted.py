"""The planted adversary: a test that an attack can find what is surely there.

For each image x a bank is made of {z(x + u): u uniform in the .9 epsilon ball}, labelled 0, and k copies of z(x_p),
labelled 1, with x_p on the rim of the epsilon ball. Around x every neighbour says 0, but x_p itself is answered 1: an
adversarial example exists by construction. An attack that does not find it says nothing about robustness; one on vote
counts, or on the k nearest alone, never does, since no gradient leads from the crowd to the plant.
"""

from dataclasses import dataclass
from math import sqrt

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from holdfast.attacks.noise import noisy
from holdfast.attacks.quantise import to_images_within, to_pixels
from holdfast.attacks.search.worst_case import WorstCaseAttack
from holdfast.attacks.surrogate import TorchSoftKNN
from holdfast.attacks.victim import AnswerFunction, Embed, Victim
from holdfast.bundle.threat_model import ThreatModel
from holdfast.console import Progress
from holdfast.intervals import wilson
from holdfast.model.preprocess import Pixels
from holdfast.model.retrieval.base import Bank, nearest
from holdfast.model.retrieval.flat import FlatIndex
from holdfast.model.vote import VoteParameters, vote

CROWD, PLANT = 0, 1

CROWD_VALUES = 2**23
"""Values of the images of a crowd that are in memory at once."""


@dataclass(frozen=True, eq=False)
class PlantedResult:
    """Which plants an attack found.

    Attributes:
        found: bool [cases].
        void: images that made no case: the encoder could not tell the plant from the crowd, so that x was answered
            1 or x_p was answered 0. Many of these mean a collapsed encoder.

    """

    found: NDArray[np.bool_]
    void: int

    @property
    def cases(self) -> int:
        """In how many cases an adversarial example existed."""
        return len(self.found)

    @property
    def rate(self) -> float:
        """The fraction found; NaN where there was no case."""
        return float(self.found.mean()) if self.cases else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % Wilson interval of the rate."""
        return wilson(int(self.found.sum()), self.cases)


def planted_adversary(
    embed: Embed,
    images: Pixels,
    threat: ThreatModel,
    attack: WorstCaseAttack,
    *,
    k: int = 5,
    crowd: int = 1000,
    seed: int = 0,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> PlantedResult:
    """Plant an adversary beside each image and count how many `attack` finds.

    Args:
        embed: pixels float [N, 3, H, W] -> L2-normalised embeddings [N, D], differentiable, BatchNorm held still.
        images: uint8 [N, H, W, 3]; any will do, labels are not needed.
        threat: the attacker's ball; epsilon must be at least one grey level to leave room for a plant.
        attack: what is under test.
        k: neighbours that vote, and copies of the plant.
        crowd: exemplars around x; so dense a crowd keeps random noise from stumbling upon the plant.
        seed: of the crowd, the plant and the attack.
        device: where embeddings are computed.
        progress: where to show a bar; none without.

    """
    generator = torch.Generator(device).manual_seed(seed)
    found: list[bool] = []
    bar = progress or Progress(disable=True)
    task = bar.add_task("planted adversaries", total=len(images))
    for case, image in enumerate(images[:, None]):
        victim, plant = _case(embed, image, threat, generator, k=k, crowd=crowd)
        if victim.answer(np.concatenate([image, plant])).tolist() == [CROWD, PLANT]:
            outcome = attack(victim, image, np.array([CROWD]), threat, seed=seed + case)
            found.append(bool(outcome.success[0]))
        bar.update(task, advance=1, description=f"planted adversaries: {sum(found)} of {len(found)} found")
    return PlantedResult(np.array(found, dtype=bool), len(images) - len(found))


def _case(
    embed: Embed, image: Pixels, threat: ThreatModel, generator: torch.Generator, *, k: int, crowd: int
) -> tuple[Victim, Pixels]:
    """The victim whose bank is crowd and plant around uint8 [1, H, W, 3], and the planted image."""
    clean = to_pixels(image, generator.device)
    plant = _on_the_rim(image, clean, threat, generator)
    inner = ThreatModel(threat.norm, 0.9 * threat.epsilon)
    with torch.no_grad():
        size = max(1, CROWD_VALUES // clean.numel())
        parts = [min(size, crowd - start) for start in range(0, crowd, size)]
        around = [embed(noisy(clean.expand(part, -1, -1, -1), inner, generator)) for part in parts]
        bank = torch.cat([*around, embed(to_pixels(plant, generator.device)).expand(k, -1)])
    labels = torch.tensor([CROWD] * crowd + [PLANT] * k, device=generator.device)
    surrogate = TorchSoftKNN(bank, labels, 2, tau=0.05)
    return Victim(embed, surrogate, knn_answers(embed, bank, labels, 2, VoteParameters(k=k))), plant


def _on_the_rim(image: Pixels, clean: Tensor, threat: ThreatModel, generator: torch.Generator) -> Pixels:
    signs = torch.empty_like(clean).uniform_(-1, 1, generator=generator).sign()
    length = 1 if threat.norm == "linf" else sqrt(clean.numel())
    return to_images_within(clean + threat.epsilon / length * signs, image, threat)


def knn_answers(embed: Embed, bank: Tensor, labels: Tensor, classes: int, parameters: VoteParameters) -> AnswerFunction:
    """Served answers of a bank without a bundle: the same index and the same vote, embeddings by `embed`.

    Args:
        embed: pixels -> L2-normalised embeddings.
        bank: float [M, D].
        labels: integers [M] in [0, classes).
        classes: how many.
        parameters: of the vote.

    """
    index = FlatIndex.build(Bank(bank.cpu().numpy(), np.arange(len(bank)), labels.cpu().numpy()))

    def answer(images: Pixels) -> NDArray[np.int64]:
        with torch.no_grad():
            z = embed(to_pixels(images, bank.device)).float().cpu().numpy()
        neighbours = nearest(index, z, parameters.k)
        return vote(neighbours.similarities, neighbours.labels, classes, parameters).labels

    return answer
