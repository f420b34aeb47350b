"""A small victim for tests of attacks: random convolutions, and noisy images of classes that it mostly answers rightly."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from holdfast.attacks.planted import knn_answers
from holdfast.attacks.quantise import to_pixels
from holdfast.attacks.surrogate import TorchSoftKNN
from holdfast.attacks.victim import Embed, Victim
from holdfast.model.vote import VoteParameters


@dataclass(frozen=True)
class Setup:
    """The victim, its encoder, all images [N, 10, 10, 3] and labels; the first `exemplars` of them are its bank."""

    victim: Victim
    embed: Embed
    images: Any
    labels: Any
    exemplars: int

    @property
    def attacked(self):
        """Victim, images and labels of those that are no exemplars."""
        return self.victim, self.images[self.exemplars :], self.labels[self.exemplars :]


def small_setup(*, classes=3, exemplars=96, others=24, activation=nn.ReLU, levels=(60, 196)) -> Setup:
    """Classes are noise around one image each, whose colours lie between `levels`: the nearer, the harder."""
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 12, 3, stride=2), activation(), nn.Flatten(), nn.LazyLinear(16)).eval()
    prototypes = rng.integers(*levels, (classes, 10, 10, 3))
    number = exemplars + others
    labels = np.arange(number) % classes
    images = (prototypes[labels] + rng.integers(-40, 41, (number, 10, 10, 3))).clip(0, 255).astype(np.uint8)

    def embed(pixels):
        return F.normalize(net(pixels - 0.5), dim=1)

    with torch.no_grad():
        bank = embed(to_pixels(images[:exemplars]))
    net.requires_grad_(requires_grad=False)
    bank_labels = torch.from_numpy(labels[:exemplars])
    answer = knn_answers(embed, bank, bank_labels, classes, VoteParameters(k=5))
    victim = Victim(embed, TorchSoftKNN(bank, bank_labels, classes, 0.05), answer)
    return Setup(victim, embed, images, labels, exemplars)
