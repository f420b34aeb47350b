"""Adversaries planted beside an encoder: one that its own gradient has to find, and patterns that must not decide answers.

The first is the planted adversary of holdfast.attacks.planted in numpy, for programs without torch: around an image x a crowd
of exemplars in the .9 epsilon ball has one label, and k copies of one on the rim of the epsilon ball have another. Around x
every neighbour is of the crowd, but an adversarial example exists. A gradient that belongs to another encoder does not find it,
and probes by it would say nothing.

The second are the stamps of BadNets (Gu et al. 2017, arXiv 1708.06733): a small pattern in a corner. A model that was trained
to obey one answers most images with one class wherever it is stamped on. Only patterns that are tried here are found.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from holdfast.attacks.numpy_pgd import PixelGradient, margin_slopes, numpy_geometry_of, numpy_pgd, to_floats
from holdfast.attacks.rounding import round_within
from holdfast.bundle.threat_model import ThreatModel
from holdfast.model.answers import Floats, Ints
from holdfast.model.encoder.onnx import Encoder
from holdfast.model.preprocess import Pixels
from holdfast.model.surrogate import SoftKNN

CROWD, COPIES, STEPS, TAU = 50, 5, 20, 0.05

PLANTS = 8
"""Drawn, of which the one that stands apart most is planted."""

APART = 0.6
"""Of the middle distance from the plant to the crowd, how far its nearest is at least: where few directions of the embedding
move, the crowd lies all around the plant, and no search comes near enough to it."""

STAMP_PART = 8
"""A stamp's side is so small a part of the image's."""


@dataclass(frozen=True, slots=True)
class PlantedSearch:
    """In how many cases an adversarial example was planted, and in how many of these it was found."""

    cases: int
    found: int


def search_planted(encoder: Encoder, gradient: PixelGradient, images: Pixels, threat: ThreatModel) -> PlantedSearch:
    """Plant an adversary beside each image, and look for it by the gradient.

    Args:
        encoder: embeds.
        gradient: its backward pass, as it is claimed to be.
        images: uint8 [n, H, W, 3]; any will do.
        threat: the attacker's ball.

    Returns:
        What was found. Images whose plant the encoder cannot tell from the crowd, or puts amidst it, are no cases.

    """
    rng = np.random.default_rng(0)
    found = [outcome for image in images[:, None] if (outcome := _found(encoder, gradient, image, threat, rng)) is not None]
    return PlantedSearch(len(found), sum(found))


def stamps(images: Pixels) -> Iterator[tuple[str, Pixels]]:
    """Copies of uint8 [n, H, W, 3] with a pattern in a corner: its name, and the images."""
    height, width = images.shape[1:3]
    side = max(2, min(height, width) // STAMP_PART)
    checks = np.where(np.add.outer(np.arange(side), np.arange(side)) % 2, 255, 0).astype(np.uint8)[..., None]
    patterns = {"a checkerboard": checks, "a white square": np.full((1, 1, 1), 255, np.uint8)}
    patterns["a yellow square"] = np.array([[[255, 255, 0]]], np.uint8)
    for name, pattern in patterns.items():
        for place, row, column in (("top left", 0, 0), ("bottom right", height - side, width - side)):
            stamped = images.copy()
            stamped[:, row : row + side, column : column + side] = pattern
            yield f"{name} at the {place}", stamped


def share_sent_to_one_class(before: Ints, after: Ints) -> float:
    """Of the images of other classes, the largest share that one class has got. Labels int64 [n] before and after."""
    shares = [np.mean(after[before != label] == label) for label in np.unique(after) if (before != label).any()]
    return float(max(shares, default=0.0))


def _found(
    encoder: Encoder, gradient: PixelGradient, image: Pixels, threat: ThreatModel, rng: np.random.Generator
) -> bool | None:
    """Whether the plant beside uint8 [1, H, W, 3] is found; None where there is none."""
    crowd = np.repeat(image, CROWD, axis=0)
    inner = numpy_geometry_of(ThreatModel(threat.norm, 0.9 * threat.epsilon))
    around = round_within(inner.random_start(to_floats(crowd), rng).astype(np.float32), crowd, threat)
    drawn = [_on_the_rim(image, threat, rng) for _ in range(PLANTS)]
    embeddings = encoder.embed(np.concatenate([around, *drawn, image]))
    plant = _most_apart(embeddings[:CROWD], embeddings[CROWD:-1])
    if plant is None:
        return None
    bank = np.concatenate([embeddings[:CROWD], np.repeat(plant[None], COPIES, axis=0)])
    labels = np.repeat([0, 1], [CROWD, COPIES])
    if _answers(bank, np.stack([plant, embeddings[-1]])).tolist() != [1, 0]:
        return None
    slopes = margin_slopes(SoftKNN(bank, labels, 2, TAU), gradient, np.zeros(1, np.int64))
    search = numpy_pgd(image, slopes, threat, steps=STEPS, step_size=2.5 * threat.epsilon / STEPS)
    candidates = next(search)
    for _ in range(STEPS):
        reached = encoder.embed(candidates)
        if _answers(bank, reached)[0] == 1:
            return True
        candidates = search.send(reached)
    return bool(_answers(bank, encoder.embed(candidates))[0] == 1)


def _most_apart(crowd: Floats, plants: Floats) -> Floats | None:
    """Of embeddings [PLANTS, D] the one that stands apart most of [CROWD, D]; None where none does."""
    distances = np.linalg.norm(plants[:, None] - crowd, axis=2)
    apart = distances.min(axis=1) / np.maximum(np.median(distances, axis=1), np.finfo(np.float32).tiny)
    best = int(apart.argmax())
    return plants[best] if apart[best] >= APART else None


def _answers(bank: Floats, embeddings: Floats) -> Ints:
    """What the plurality of the COPIES nearest says: 1 where the plants are in the majority. Shape: [n, D] -> int64 [n]."""
    nearest = np.argsort(-(embeddings @ bank.T), axis=1, kind="stable")[:, :COPIES]
    answers: Ints = ((nearest >= CROWD).mean(axis=1) > 0.5).astype(np.int64)
    return answers


def _on_the_rim(image: Pixels, threat: ThreatModel, rng: np.random.Generator) -> Pixels:
    signs = rng.choice(np.array([-1, 1], np.float32), image.shape)
    step = threat.epsilon if threat.norm == "linf" else threat.epsilon / np.sqrt(image[0].size)
    return round_within((to_floats(image) + np.float32(step) * signs).clip(0, 1), image, threat)
