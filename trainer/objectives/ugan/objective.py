"""UGAN: a classifier from few labels, between a good and a bad generator (Li et al. 2019, arXiv 1910.08540).

The classifier C is the encoder with a linear map on its embedding: l(x) are its logits, p(x) = softmax(l(x)), LSE(x) =
logsumexp(l(x)). x_l, y are labelled images, x_u are any, y^ = argmax p(x_u). The good generator G makes an image of a class, D
says whether an image and a class are a pair of the set. The bad generator B makes images whose mean embedding is that of the
set and which differ from each other: they lie between the classes.

    D:  BCE(D(x_l, y) and D(x_u', y^) -> 1) + 1/2 BCE(D(G(y), y) -> 0) + 1/2 BCE(D(x_u, y^) -> 0)
    G:  1/2 BCE(D(G(y), y) -> 1)
    B:  mean |E f(B) - E f(x_u)| + w PT                        f: the embedding; PT: pull-away
    C:  CE(x_l, y) + a H(p(x_u)) + b CE(uniform, E p(x_u))
        + e MSE(l(x_u), l(x_u''))                               x_u'': another view; the authors', on CIFAR-10
        + c E max p(x_u) BCE(D(x_u, y^) -> 1) + d CE(G(y), y)   with a good generator
        + 1/2 E [softplus(LSE(x_u)) - LSE(x_u)] + 1/2 E softplus(LSE(B))                    with a bad one

The four arms are this objective with terms left out. All players learn at once from one batch, and each term reaches the
parameters of its own player alone; the authors take turns. x_u' and x_u are the two halves of the batch.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from holdfast.attacks.pgd import frozen
from holdfast.errors import HoldfastError
from holdfast.trainer.augment import WEAK, AugmentConfig, shared_flip, view
from holdfast.trainer.encoders import ImageEncoder
from holdfast.trainer.objectives.base import ImageBatch, Objective, TrainingSet
from holdfast.trainer.objectives.head import LearnedHead
from holdfast.trainer.objectives.player import Player
from holdfast.trainer.objectives.statistics import estimate_batchnorm
from holdfast.trainer.objectives.ugan import losses
from holdfast.trainer.objectives.ugan.losses import PullAway
from holdfast.trainer.objectives.ugan.players import (
    Discriminator,
    Generator,
    Networks,
    build_discriminator,
    build_generator,
    one_hot,
)

CHUNK = 512
NO_VIEWS = replace(WEAK, flip=0.0, translate=0)
"""The images themselves."""

OWNERS = {
    **dict.fromkeys(("labelled", "entropy", "balance", "consistency", "fooling", "made", "real", "bad"), "classifier"),
    "discriminator": "discriminator",
    "good": "good_generator",
    **dict.fromkeys(("matching", "pull_away"), "bad_generator"),
}
"""Whose loss each term is."""
BALANCE_ALONE = 0.3
"""Weight b while the classifier learns alone, as the authors have it."""


@dataclass(frozen=True)
class UganConfig:
    """Learn from few labels and many images. Reads the labels that there are."""

    arm: Literal["ugan", "good", "bad", "supervised"] = "ugan"
    """Both generators; the good one alone (Triple-GAN, arXiv 1703.02291); the bad one alone (arXiv 1705.09783); neither, and no
    image without a label."""

    entropy: float = 0.3
    """Weight a of being sure of images without a label."""

    balance: float = 1e-3
    """Weight b of answering each class as often as any other."""

    fooling: float = 0.005
    """Weight c of not being sure of what the discriminator does not believe."""

    fake_weight: float = 0.1
    """Weight d of classifying the good generator's images."""

    fake_from: float = 0.3
    """Share of the steps after which these are classified: before, they do not look like their class."""

    consistency: float = 0.0
    """Weight e of answering another view of an image without a label alike; 0 draws none, the authors' is .5 on CIFAR-10. It
    needs views that differ (`augment`)."""

    consistency_from: float = 0.1
    """Share of the steps after which that is asked for."""

    alone: float = 0.0
    """Share of the steps in which the classifier learns alone, before generators and discriminator begin. The authors', with at
    most 100 labels, are 30 passes."""

    pull_away: float = 0.8
    """Weight w of making images that differ from each other."""

    pull_away_form: PullAway = "squared"
    """"squared" cosines of different images, as in Bad GAN; "mean" of all cosines, as in UGAN's code."""

    noise: int = 100
    """Numbers that an image is made of."""

    networks: Networks = "dense"
    """Of generators and discriminator: perceptrons on grey images, or convolutional ones for colour."""

    width: int = 32
    """Channels of the largest maps of convolutional ones."""

    rate: float = 3.0
    """Learning rate of generators and discriminator, as a factor of the stage's."""

    average: float = 0.999
    """Decay of the mean of the linear map's weights, as the stage's `average` is that of the encoder's."""

    alternating: bool = False
    """Take turns, one player a step, instead of all at once: as many players want as many times the steps."""

    augment: AugmentConfig = field(default_factory=lambda: NO_VIEWS)
    """How the one view of each image is drawn; by default it is the image."""

    def __post_init__(self) -> None:
        weights = (self.entropy, self.balance, self.fooling, self.fake_weight, self.pull_away, self.consistency)
        shares = (self.fake_from, self.consistency_from, self.alone)
        if not all(weight >= 0 for weight in weights) or not all(0 <= share <= 1 for share in shares):
            raise ValueError(f"UGAN needs weights of at least 0, and shares of the steps in [0, 1], not {self}")
        if not 0 <= self.average < 1:
            raise ValueError(f"UGAN needs an average of at least 0 and below 1, not {self.average}")
        if self.consistency and self.augment == NO_VIEWS:
            raise ValueError("UGAN needs views that differ for its consistency: set augment, flips and shifts for instance")
        if self.noise < 1 or self.width < 1 or not self.rate > 0:
            raise ValueError(f"UGAN needs noise and width of at least 1, and a rate above 0, not {self}")

    @property
    def has_good(self) -> bool:
        """Whether a good generator and a discriminator play."""
        return self.arm in {"ugan", "good"}

    @property
    def has_bad(self) -> bool:
        """Whether a bad generator plays."""
        return self.arm in {"ugan", "bad"}

    def build(self, encoder: ImageEncoder, classes: int) -> "Ugan":
        """A fresh objective for `encoder`."""
        return Ugan(self, encoder, classes)


class Ugan(Objective):
    """Classify few labelled images, and learn from the others by what two generators make."""

    names = tuple(OWNERS)
    labels = "some"

    def __init__(self, config: UganConfig, encoder: ImageEncoder, classes: int) -> None:
        super().__init__()
        self.config, self.classes = config, classes
        self.classifier = nn.Linear(encoder.dim, classes)
        self.mean_classifier = nn.Linear(encoder.dim, classes).requires_grad_(requires_grad=False)
        size, width = encoder.image_size, config.width
        self.good: Generator | None = None
        self.discriminator: Discriminator | None = None
        self.bad: Generator | None = None
        if config.has_good:
            self.good = build_generator(config.networks, config.noise, classes, size, width)
            self.discriminator = build_discriminator(config.networks, classes, size, width)
        if config.has_bad:
            self.bad = build_generator(config.networks, config.noise, 0, size, width)
        self.labelled: TrainingSet | None = None
        self.step = 0

    def players(self) -> tuple[Player, ...]:
        """The generators and the discriminator; the encoder and the linear map are the first player."""
        rivals = {"discriminator": self.discriminator, "good_generator": self.good, "bad_generator": self.bad}
        return tuple(Player(name, (each,), rate=self.config.rate) for name, each in rivals.items() if each is not None)

    def prepare(self, encoder: ImageEncoder, train_set: TrainingSet, step: int) -> None:  # noqa: ARG002 - the protocol's
        """Keep the labelled images, and add the last step to the mean of the linear map's weights."""
        if self.labelled is None:
            self.labelled = train_set.select(train_set.labels.ge(0).nonzero()[:, 0])
        self.step = step
        with torch.no_grad():
            for mean, weight in zip(self.mean_classifier.parameters(), self.classifier.parameters(), strict=True):
                mean.copy_(weight if step == 1 else mean.lerp(weight, 1 - self.config.average))

    def terms(self, encoder: ImageEncoder, batch: ImageBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """All players' terms, each of which reaches its own player alone."""
        config = self.config
        labelled = self._draw_labelled(len(batch), generator)
        known, y = self._view(labelled, generator), labelled.labels
        if config.arm == "supervised":
            return {"labelled": F.cross_entropy(self._logits(encoder, known), y)}
        seen, alone = self._view(batch, generator), not self._past(config.alone)
        again = [self._view(batch, generator)] if config.consistency and self._past(config.consistency_from) else []
        # Labelled and other images as one batch, so BatchNorm cannot tell them apart.
        own, logits, *others = self._logits(encoder, torch.cat([known, seen, *again])).chunk(2 + len(again))
        terms = {
            "labelled": F.cross_entropy(own, y),
            "entropy": config.entropy * losses.entropy(logits),
            "balance": (BALANCE_ALONE if alone else config.balance) * losses.imbalance(logits),
        }
        if others:
            terms["consistency"] = config.consistency * losses.inconsistency(logits, *others)
        if alone:
            return terms
        if self.good is not None:
            terms |= self._good_terms(encoder, (known, y), seen, logits, generator)
        if self.bad is not None:
            terms |= self._bad_terms(encoder, seen, logits, generator)
        return self._of_this_turn(terms)

    def finish(self, encoder: ImageEncoder, learned: TrainingSet, seed: int) -> None:
        """Let BatchNorm know the images of the set: the mean weights are not those that its running statistics are of."""
        estimate_batchnorm(encoder, learned, seed)

    def probabilities(self, encoder: ImageEncoder, pixels: Tensor) -> Tensor:
        """Of the classes, by the mean of the linear map's weights: float [N, 3, H, W] in [0, 1] -> float32 [N, K]."""
        return F.softmax(self.mean_classifier(encoder(pixels).float()), dim=1)

    def beliefs(self, encoder: ImageEncoder, train_set: TrainingSet) -> Tensor:
        """What the classifier says of each image: float32 [M, K] probabilities."""
        with frozen(encoder, self), torch.no_grad():
            return torch.cat([self.probabilities(encoder, chunk.pixels()) for chunk in train_set.chunks(CHUNK)])

    def classifier_head(self) -> LearnedHead:
        """The mean of the linear map's weights."""
        return LearnedHead.of(self.mean_classifier)

    def _good_terms(
        self, encoder: ImageEncoder, known: tuple[Tensor, Tensor], seen: Tensor, logits: Tensor, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Of the discriminator, the good generator, and the classifier that is told by both."""
        if self.good is None or self.discriminator is None:
            raise RuntimeError("this arm has no good generator")
        config, n = self.config, len(seen)
        guessed = one_hot(logits.argmax(1), self.classes)
        classes = torch.randint(self.classes, (n,), generator=generator, device=seen.device)
        asked = one_hot(classes, self.classes)
        made = self.good(self.good.draw(n, generator), asked)
        first, half = max(1, n // 5), n // 2
        pixels = torch.cat([known[0][:first], seen, made.detach()])
        pairs = torch.cat([one_hot(known[1][:first], self.classes), guessed, asked])
        found = self.discriminator(pixels, pairs, generator)
        yes, unsure, no = found[: first + half], found[first + half : first + n], found[first + n :]
        terms = {
            "discriminator": losses.believed(yes) + 0.5 * losses.doubted(no) + 0.5 * losses.doubted(unsure),
            "good": 0.5 * losses.believed(_judged(self.discriminator, made, asked, generator)),
            "fooling": config.fooling * losses.fooling(logits, torch.cat([yes[first:], unsure])),
        }
        if config.fake_weight and self._past(config.fake_from):
            with evaluating(encoder):
                terms["made"] = config.fake_weight * F.cross_entropy(self._logits(encoder, made.detach()), classes)
        return terms

    def _bad_terms(self, encoder: ImageEncoder, seen: Tensor, logits: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """Of the bad generator, and of the classifier that tells its images from the set's."""
        if self.bad is None:
            raise RuntimeError("this arm has no bad generator")
        config, n = self.config, len(seen)
        z = self.bad.draw(n, generator)
        made = self.bad(z, z.new_zeros(n, 0))
        # In training mode BatchNorm would give both means the same value. The encoder's stay as they are.
        with frozen(encoder):
            features = encoder(made).float()
            with torch.no_grad():
                goal = encoder(seen).float()
        with evaluating(encoder):
            told = self._logits(encoder, made.detach())
        return {
            "real": 0.5 * losses.real(logits),
            "bad": 0.5 * losses.generated(told),
            "matching": losses.feature_matching(features, goal),
            "pull_away": config.pull_away * losses.pull_away(features, config.pull_away_form),
        }

    def _past(self, share: float) -> bool:
        """Whether so many of the stage's steps are over."""
        return self.step > share * self.stage_steps

    def _of_this_turn(self, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        if not self.config.alternating:
            return terms
        owners = sorted({OWNERS[name] for name in terms}, key=tuple(dict.fromkeys(OWNERS.values())).index)
        turn = owners[self.step % len(owners)]
        return {name: term for name, term in terms.items() if OWNERS[name] == turn}

    def _logits(self, encoder: ImageEncoder, pixels: Tensor) -> Tensor:
        logits: Tensor = self.classifier(encoder(pixels))
        return logits.float()

    def _draw_labelled(self, n: int, generator: torch.Generator) -> ImageBatch:
        """As many labelled images as the batch has, each at most once where there are so many."""
        if self.labelled is None:
            raise RuntimeError("the labelled images are kept by prepare(), which has not been called")
        count = len(self.labelled)
        if not count:
            raise HoldfastError("UGAN needs labelled images, and no training image has a label")
        device = self.labelled.labels.device
        orders = [torch.randperm(count, generator=generator, device=device) for _ in range(-(-n // count))]
        return self.labelled.at(torch.cat(orders)[:n])

    def _view(self, batch: ImageBatch, generator: torch.Generator) -> Tensor:
        augment = self.config.augment
        return view(shared_flip(batch.pixels(), augment, generator), augment, generator)


def _judged(judge: Discriminator, pixels: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
    """The judge's logits, by which it learns nothing."""
    held = {name: parameter.detach() for name, parameter in judge.named_parameters()}
    scores: Tensor = functional_call(judge, held, (pixels, y, generator))
    return scores


@contextmanager
def evaluating(encoder: ImageEncoder) -> Iterator[None]:
    """Let images that are not of the set through an encoder that learns: by BatchNorm's running statistics, which stay."""
    modes = [(module, module.training) for module in encoder.modules()]
    encoder.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
