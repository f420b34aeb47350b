"""A classifier over a small random net, with everything that its detectors need."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from holdfast.attacks.adaptive import AdaptiveAttack
from holdfast.attacks.detectors import NAMES, detectors_of
from holdfast.attacks.losses import Margin
from holdfast.attacks.quantise import to_pixels
from holdfast.attacks.surrogate import TorchSoftKNN
from holdfast.attacks.victim import Victim
from holdfast.bundle.exemplars import Exemplars, Flag
from holdfast.bundle.threat_model import ThreatModel
from holdfast.evaluation.victim import certified
from holdfast.model.classifier import Classifier
from holdfast.model.credibility import calibrate_retriever
from holdfast.model.retrieval.base import Bank
from holdfast.model.retrieval.flat import FlatIndex
from holdfast.model.vote import VoteParameters
from tests.heads import head_of_means

__all__ = ["NAMES", "THREAT", "Detected", "K", "detectors", "plain", "scene"]

THREAT = ThreatModel("linf", 30 / 255)
K = 7


class Detected:
    """A classifier over a small random net: exemplars 0..119, images to set thresholds on 120..219, to attack 220..259."""

    def __init__(self, flags=None, *, calibrated=True, headed=True):
        rng = np.random.default_rng(1)
        torch.manual_seed(0)
        net = torch.nn.Sequential(
            torch.nn.Conv2d(3, 12, 3, stride=2), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.LazyLinear(16)
        ).eval()
        prototypes = rng.integers(60, 196, (3, 10, 10, 3))
        labels = np.arange(260) % 3
        images = (prototypes[labels] + rng.integers(-60, 61, (260, 10, 10, 3))).clip(0, 255).astype(np.uint8)
        self.embed = lambda pixels: F.normalize(net(pixels - 0.5), dim=1)
        bank = self.numpy_embed(images[:120])
        if flags is None:
            flags = np.where(rng.random(120) < 0.2, Flag.DISAGREES, 0) | np.where(rng.random(120) < 0.1, Flag.ATTACKED, 0)
        self.bundle = SimpleNamespace(
            # Ids need not be row numbers.
            index=FlatIndex.build(Bank(bank, 1000 - np.arange(120), labels[:120])),
            exemplars=Exemplars(1000 - np.arange(120), labels[:120], np.full(120, ""), flags.astype(np.uint8)),
            class_names=("a", "b", "c"),
            manifest=SimpleNamespace(vote=VoteParameters(k=K), surrogate_tau=0.05, calibration=None),
            classifier=self.new_classifier,
            head=head_of_means(bank, labels[:120], 3) if headed else None,
        )
        self.clean, self.clean_labels = images[120:220], labels[120:220]
        self.images, self.labels = images[220:], labels[220:]
        self.classifier = self.new_classifier()
        if calibrated:
            index, vote, embeddings = self.bundle.index, self.bundle.manifest.vote, self.numpy_embed(self.clean)
            self.bundle.manifest.calibration = calibrate_retriever(
                index, vote, embeddings, self.clean_labels, classes=3, coverage=0.9
            )
            self.classifier = self.new_classifier()
        surrogate = TorchSoftKNN(torch.from_numpy(bank), torch.from_numpy(labels[:120]), 3, 0.05)
        self.victim = Victim(self.embed, surrogate, lambda images: self.classifier.classify(images).labels)

    def new_classifier(self):
        manifest = self.bundle.manifest
        return Classifier(
            SimpleNamespace(embed=self.numpy_embed),
            self.bundle.index,
            classes=3,
            vote=manifest.vote,
            calibration=manifest.calibration,
            surrogate_tau=manifest.surrogate_tau,
        )

    def classify(self, images):
        """All that can be said of answers."""
        return certified(self.classifier)(images)

    def numpy_embed(self, images):
        with torch.no_grad():
            return self.embed(to_pixels(images)).numpy()

    def detectors(self, false_positives=0.1):
        answers = self.classify(self.clean)
        return detectors_of(
            self.bundle, answers, self.clean_labels, false_positives=false_positives, classifier=self.classifier
        )


@pytest.fixture(scope="module")
def scene():
    return Detected()


@pytest.fixture(scope="module")
def detectors(scene):
    return {detector.name: detector for detector in scene.detectors()}


@pytest.fixture(scope="module")
def plain(scene):
    attack = AdaptiveAttack(losses=(Margin(0.05), Margin(0.2)), steps=10)
    return attack(scene.victim, scene.images, scene.labels, THREAT)
