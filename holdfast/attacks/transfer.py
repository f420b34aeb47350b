"""Transfer: adversarial examples of another classifier, handed to the victim.

What fools the vote without having seen it says that the white-box attacks before it were too weak.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from holdfast.attacks.attack import Attack, AttackBatch, AttackKind, PGDAttack
from holdfast.attacks.losses import AttackLoss, Margin
from holdfast.attacks.onnx_embedding import OnnxEmbedding
from holdfast.attacks.surrogate import surrogate_of
from holdfast.attacks.victim import Victim
from holdfast.bundle.reader import Bundle
from holdfast.errors import ContractMismatchError
from holdfast.model.classifier import Classifier
from holdfast.model.preprocess import Pixels

SOFT = Margin(0.1)
"""A wide temperature: the finest details of another bank are the least likely to hold for this one."""


@dataclass(frozen=True)
class FromBundle(Attack):
    """PGD on a loss of another victim: its encoder, its bank, its surrogate. Papernot et al., arXiv 1605.07277.

    Attributes:
        name: of the source, for reports.
        source: whose gradients are taken; it must take the same images and know the same classes. See `open`.
        loss: what is maximised there.
        steps: how many gradients are taken.
        sha256: of the source's encoder and bank, so that an interrupted attack is not resumed with another one.
        kind: what it knows of the victim: nothing.

    """

    name: str
    source: Victim = field(repr=False)
    loss: AttackLoss = SOFT
    steps: int = 40
    sha256: str = ""
    kind: AttackKind = AttackKind.TRANSFER

    @classmethod
    def open(cls, directory: Path, *, like: Bundle, loss: AttackLoss = SOFT, steps: int = 40, threads: int = 1) -> Self:
        """The transfer from the bundle in `directory` to the bundle `like`.

        It is opened on the CPU, wherever `like` answers: its own answers decide nothing, and gradient.onnx runs there.

        Args:
            directory: a complete bundle.
            like: the bundle that is attacked.
            loss: what is maximised on the source's bank.
            steps: how many gradients are taken.
            threads: of ONNX Runtime.

        Raises:
            BundleError: see `Bundle.open`.
            ContractMismatchError: it takes other images or knows other classes than `like`.

        """
        bundle = Bundle.open(directory, threads=threads)
        if bundle.manifest.input != like.manifest.input or bundle.class_names != like.class_names:
            raise another_task(bundle, str(like.directory), like.manifest.input.shape, like.class_names)
        return cls.of(bundle, loss=loss, steps=steps)

    @classmethod
    def of(cls, bundle: Bundle, *, loss: AttackLoss = SOFT, steps: int = 40) -> Self:
        """The transfer from an open bundle, to whatever takes the same images and knows the same classes."""
        files = bundle.manifest.files
        digest = f"{files['encoder.onnx']} {bundle.manifest.index_sha256}"
        # Not the name in its manifest: runs of one preset share that, and the bundle that is attacked may be one of them.
        return cls(bundle.directory.absolute().name, _victim_of(bundle), loss, steps, digest)

    def __str__(self) -> str:
        return f"transfer from {self.name}, {self.loss}"

    def run(self, batch: AttackBatch) -> Tensor:
        """The candidates that look best to the source, whatever the victim is."""
        device, generator = self.source.device, batch.generator
        if generator.device != device:
            seed = torch.randint(2**62, (), generator=generator, device=generator.device)
            generator = torch.Generator(device).manual_seed(int(seed))
        pixels, labels, best = (each.to(device) for each in (batch.pixels, batch.labels, batch.best))
        there = AttackBatch(self.source, pixels, labels, batch.threat, generator, best)
        return PGDAttack(self.loss, self.steps).run(there).to(batch.victim.device)


def another_task(source: Bundle, victim: str, shape: tuple[int, int, int], class_names: Sequence[str]) -> ContractMismatchError:
    """What to raise where `source` has other images or classes than a victim of these, so that nothing can be transferred."""
    return ContractMismatchError(
        f"{source.directory} takes {source.manifest.input.shape} and knows {', '.join(source.class_names)};"
        f" {victim} takes {shape} and knows {', '.join(class_names)}: name a source of the same images and classes"
    )


def _victim_of(bundle: Bundle) -> Victim:
    @cache  # A classifier compresses its bank, which takes seconds, and a source of transfer is hardly ever asked.
    def classifier() -> Classifier:
        return bundle.classifier()

    def answer(images: Pixels) -> NDArray[np.int64]:
        return classifier().classify(images).labels

    return Victim(OnnxEmbedding(bundle), surrogate_of(bundle), answer)
