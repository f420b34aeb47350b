"""Attackers who ask a running server over gRPC, by other people's libraries and by one of our own that knows the detectors."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate

from holdfast.attacks.numpy_pgd import margin_slopes, numpy_pgd
from holdfast.attacks.third_party.library import load
from holdfast.bundle.reader import Bundle
from holdfast.bundle.threat_model import ThreatModel
from holdfast.model.preprocess import Pixels

Scores = NDArray[np.float32]

Ask = Callable[[Pixels], Scores]
"""Images uint8 [n, H, W, 3] -> the server's shares of the vote, float32 [n, C]. Raises SpentError once enough were asked."""

EPSILON = 8 / 255
"""Of attacks within a ball: what is usual for images of this size."""


DIRECTIONS = 40
"""That a walk along the edge tries from one point."""


class SpentError(Exception):
    """An attacker has asked as much as it may, or the alarm is there already."""


@dataclass(frozen=True)
class Attacker:
    """One way to attack.

    Attributes:
        name: for the table.
        run: takes what asks, an image uint8 [H, W, 3], its answered class, and a generator; ends when it is done.
        callers: how many callers share its questions.
        aimed: whether it knows of the detectors.

    """

    name: str
    run: Callable[[Ask, Pixels, int, np.random.Generator], None]
    callers: int = 1
    aimed: bool = False


def attackers(bundle: Bundle, others: Pixels, like: Pixels) -> tuple[Attacker, ...]:
    """All of them.

    Args:
        bundle: the one that is served, for the transfer of its own adversarial images.
        others: images of another kind, uint8 [n, H, W, 3], by which a thief without images of this kind asks.
        like: images of the same kind, by which a thief who has some does.

    """
    square, hop = _of_art("square_attack.SquareAttack", **SQUARE), _of_art("hop_skip_jump.HopSkipJump", starts=like, **HOP)
    return (
        Attacker("Square", square),
        Attacker("Square, L2", _of_art("square_attack.SquareAttack", **SQUARE_L2)),
        Attacker("HopSkipJump", hop),
        Attacker("boundary", _of_art("boundary.BoundaryAttack", starts=like, **BOUNDARY)),
        Attacker("transfer", _transfer(bundle, like)),
        Attacker("extraction, other images", _asking(others)),
        Attacker("extraction, like images", _asking(like)),
        Attacker("Square, 10 callers", square, callers=10),
        Attacker("HopSkipJump, 10 callers", hop, callers=10),
        Attacker("wide steps, noise of 16", wide_steps(16, grain=1), aimed=True),
        Attacker("wide steps, coarse 8", wide_steps(8, grain=4), aimed=True),
        Attacker("wide steps, coarse 16", wide_steps(16, grain=4), aimed=True),
        Attacker("wide steps, coarse 16, 10 callers", wide_steps(16, grain=4), callers=10, aimed=True),
    )


SQUARE: dict[str, Any] = {"norm": np.inf, "eps": EPSILON, "max_iter": 5000, "nb_restarts": 1, "batch_size": 1}
SQUARE_L2: dict[str, Any] = SQUARE | {"norm": 2, "eps": 0.5}
HOP: dict[str, Any] = {"norm": 2, "max_iter": 50, "batch_size": 64}
BOUNDARY: dict[str, Any] = {"targeted": False, "max_iter": 5000, "batch_size": 64}


def _of_art(name: str, starts: Pixels | None = None, **options: Any) -> Callable[[Ask, Pixels, int, np.random.Generator], None]:
    """An attack of ART, on a black box of ours; from an image of another class, where it wants one to start from."""
    module, _, kind = name.partition(".")

    def run(ask: Ask, image: Pixels, label: int, rng: np.random.Generator) -> None:
        def predict(pixels: NDArray[np.float32]) -> Scores:
            return ask(np.clip(np.rint(np.asarray(pixels).transpose(0, 2, 3, 1) * 255), 0, 255).astype(np.uint8))

        classes = ask(image[None]).shape[1]
        black_box = load("art.estimators.classification.blackbox").BlackBoxClassifierNeuralNetwork
        height, width, channels = image.shape
        model = black_box(predict, (channels, height, width), classes, clip_values=(0.0, 1.0), channels_first=True)
        np.random.seed(int(rng.integers(2**31)))  # noqa: NPY002 - the library draws from it
        attack = getattr(load(f"art.attacks.evasion.{module}"), kind)(model, verbose=False, **options)
        pixels = (image.transpose(2, 0, 1)[None] / 255).astype(np.float32)
        start = {} if starts is None else {"x_adv_init": _start(ask, starts, label, rng)}
        attack.generate(pixels, y=np.eye(classes, dtype=np.float32)[[label]], **start)

    return run


def _start(ask: Ask, starts: Pixels, label: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """An image that is answered with another class, as ART takes one."""
    while True:
        row = int(rng.integers(len(starts)))
        if ask(starts[row : row + 1])[0].argmax() != label:
            return (starts[row : row + 1].transpose(0, 3, 1, 2) / 255).astype(np.float32)


def _transfer(bundle: Bundle, images: Pixels) -> Callable[[Ask, Pixels, int, np.random.Generator], None]:
    """One adversarial image of each of many: of the served bundle itself, the best source that there is."""

    def run(ask: Ask, image: Pixels, label: int, rng: np.random.Generator) -> None:  # noqa: ARG001 - the protocol's
        for _ in range(0, len(images), 16):
            ask(adversarial_images(bundle, images[rng.permutation(len(images))[:16]]))

    return run


def adversarial_images(bundle: Bundle, images: Pixels) -> Pixels:
    """The last step of PGD-10 from each image, through the bundle's own gradient, within EPSILON: uint8 [n, H, W, 3]."""
    classifier = bundle.classifier()
    assert classifier.surrogate is not None  # noqa: S101 - of the shipped bundle
    slopes = margin_slopes(classifier.surrogate, bundle.gradient, classifier.classify(images).labels)
    search = numpy_pgd(images, slopes, ThreatModel("linf", EPSILON), steps=10, step_size=EPSILON / 4)
    candidates = next(search)
    try:
        while True:
            candidates = search.send(classifier.embed(candidates))
    except StopIteration:
        return candidates


def _asking(images: Pixels) -> Callable[[Ask, Pixels, int, np.random.Generator], None]:
    """Every image of a set, in any order."""

    def run(ask: Ask, image: Pixels, label: int, rng: np.random.Generator) -> None:  # noqa: ARG001 - the protocol's
        for row in rng.permutation(len(images)).tolist():
            ask(images[row : row + 1])

    return run


def wide_steps(size: float, grain: int) -> Callable[[Ask, Pixels, int, np.random.Generator], None]:
    """A walk along the boundary by labels alone, as HopSkipJump's, but with steps as wide as its author pleases.

    OARS widens the steps of an attack until a detector that refuses questions lets them pass. Ours refuse nothing and so tell
    nothing; but whoever has read this repository knows how wide is wide enough. Steps of coarse grain keep their size where
    images are averaged over cells.

    Args:
        size: of a step, grey levels, root of the mean square.
        grain: pixels along a side of a random direction's cells.

    """

    def run(ask: Ask, image: Pixels, label: int, rng: np.random.Generator) -> None:
        for _ in walk_along_the_edge(ask, image, label, rng, grain=grain, size=lambda: size):
            pass

    return run


def walk_along_the_edge(
    ask: Ask,
    image: Pixels,
    label: int,
    rng: np.random.Generator,
    *,
    grain: int,
    size: Callable[[], float],
    part: int | None = None,
) -> Iterator[float]:
    """From a random image of another class towards `image`, for ever.

    Args:
        ask: the server.
        image: that is attacked, uint8 [H, W, 3].
        label: that it is answered with.
        rng: draws all directions.
        grain: of these.
        size: of the next steps, grey levels.
        part: pixels along a side of the middle part that alone is changed; None: all is.

    Yields:
        The root of the mean square distance of each point on the edge from the image, grey levels.

    """
    clean, changed = image.astype(np.float32), _middle(image.shape, part)
    start = _another_class(ask, clean, changed, label, rng)
    while True:
        edge = _on_the_edge(ask, clean, start, label)
        yield float(np.sqrt(np.mean((edge - clean) ** 2)))
        width = size()
        directions = np.stack([_direction(image.shape, grain, rng) * changed for _ in range(DIRECTIONS)])
        asked: NDArray[np.float32] = (edge + width * directions).astype(np.float32)
        wrong = ask(_to_images(asked)).argmax(axis=1) != label
        step = np.tensordot(wrong - wrong.mean(), directions, axes=1)
        start = (edge + 2 * width * step / max(1e-6, float(np.sqrt(np.mean(step**2))))).astype(np.float32)


def _middle(shape: Sequence[int], part: int | None) -> NDArray[np.float32]:
    """1 in the middle part, 0 elsewhere: float32 [H, W, 1]."""
    mask = np.zeros((shape[0], shape[1], 1), np.float32)
    height, width = shape[:2] if part is None else (part, part)
    top, left = (shape[0] - height) // 2, (shape[1] - width) // 2
    mask[top : top + height, left : left + width] = 1
    return mask


def _another_class(
    ask: Ask, clean: NDArray[np.float32], changed: NDArray[np.float32], label: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    while True:
        drawn = (128 + 60 * _direction(clean.shape, 8, rng) + 20 * _direction(clean.shape, 1, rng)).clip(0, 255)
        found = (clean + changed * (drawn - clean)).astype(np.float32)
        if ask(_to_images(found[None]))[0].argmax() != label:
            return found


def _on_the_edge(ask: Ask, clean: NDArray[np.float32], start: NDArray[np.float32], label: int) -> NDArray[np.float32]:
    """Six halvings of the way between the clean image and a wrong one; the last wrong one."""
    right, wrong = 0.0, 1.0
    for _ in range(6):
        middle = (right + wrong) / 2
        point = clean + middle * (start - clean)
        right, wrong = (right, middle) if ask(_to_images(point[None]))[0].argmax() != label else (middle, wrong)
    edge: NDArray[np.float32] = clean + wrong * (start - clean)
    return edge


def _direction(shape: Sequence[int], grain: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Noise of mean square 1 whose cells have a side of `grain` pixels, smooth between them."""
    height, width, channels = shape
    cells = torch.from_numpy(rng.standard_normal((1, channels, -(-height // grain), -(-width // grain))).astype(np.float32))
    smooth = cells if grain == 1 else interpolate(cells, size=(height, width), mode="bicubic")
    drawn: NDArray[np.float32] = smooth[0].permute(1, 2, 0).numpy()
    unit: NDArray[np.float32] = drawn / np.sqrt(np.mean(drawn**2), dtype=np.float32)
    return unit


def _to_images(pixels: NDArray[np.float32]) -> Pixels:
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
