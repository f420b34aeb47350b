"""Traffic of callers who attack nobody, the repetitive kinds above all: made of real images, and of what happens to them."""

import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from holdfast.data import LabelledImages
from holdfast.model.answers import Ints
from holdfast.model.preprocess import Pixels

ENLARGED, MARGIN = 4, 16
"""Films are made at four times the size and cropped by so many pixels at each side: motion may be of a part of a pixel."""


NOT_LABELLED, OF_NO_CLASS = -1, -2
"""In the place of a label: of an image that nobody has labelled, and of one of none of the bundle's classes."""


@dataclass(frozen=True, eq=False)
class BenignTraffic:
    """N images in the order in which they are asked.

    Attributes:
        name: for the table.
        text: what it is.
        images: uint8 [N, H, W, 3].
        callers: N names.
        labels: int64 [N], the right ones, NOT_LABELLED or OF_NO_CLASS; None where no image is labelled.

    """

    name: str
    text: str
    images: Pixels
    callers: tuple[str, ...]
    labels: Ints | None = None

    def labels_of(self, rows: NDArray[np.intp]) -> Ints:
        """Those of some images: int64 [n]."""
        return np.full(len(rows), NOT_LABELLED) if self.labels is None else self.labels[rows]


def benign_traffic(found: LabelledImages, scale: float, seed: int = 0) -> Iterator[BenignTraffic]:
    """Every kind, of images that the model has not been trained on. `scale` multiplies how many there are of each."""
    rng = np.random.default_rng(seed)
    images = found.images

    def some(count: int) -> Pixels:
        return images[rng.permutation(len(images))[: max(1, round(count * scale))]]

    def callers(count: int, among: int) -> tuple[str, ...]:
        return tuple(f"caller-{number}" for number in rng.integers(0, among, count))

    ordinary = some(8000)
    yield BenignTraffic("ordinary", "different images, of 50 callers", ordinary, callers(len(ordinary), 50))
    yield BenignTraffic("batch job", "different images, of one caller", ordinary, ("caller-0",) * len(ordinary))
    of_one = images[found.labels == 3][: max(1, round(1000 * scale))]
    yield BenignTraffic("one class", "different images of one class, of one caller", of_one, ("caller-0",) * len(of_one))
    yield _thumbnails(some(150), rng)
    yield _retries(some(1500), rng)
    yield _films(some(40), rng)
    yield _cameras(some(40), rng)
    yield _crawler(some(3000), rng)


def _thumbnails(images: Pixels, rng: np.random.Generator) -> BenignTraffic:
    """Each as it is and as JPEGs of several qualities and sizes, asked again and again in any order."""
    variants = np.concatenate([images, *(_encoded(images, quality, side) for quality in (50, 75, 95) for side in (32, 48))])
    order = rng.permutation(np.tile(np.arange(len(variants)), 4))
    names = tuple(f"caller-{n}" for n in rng.integers(0, 100, len(order)))
    return BenignTraffic("thumbnails", "each in 7 encodings, 4 times, of 100 callers", variants[order], names)


def _retries(images: Pixels, rng: np.random.Generator) -> BenignTraffic:
    """The very same bytes up to five times in a row."""
    rows = np.repeat(np.arange(len(images)), rng.integers(1, 6, len(images)))
    return BenignTraffic("retries", "each up to 5 times, identical", images[rows], tuple(f"caller-{n % 20}" for n in rows))


def _films(images: Pixels, rng: np.random.Generator, frames: int = 300) -> BenignTraffic:
    """Pictures that drift, turn to and fro and zoom by parts of a pixel a frame; each is one caller's."""
    shown = np.concatenate([_film(image, frames, rng) for image in images])
    names = tuple(f"caller-{n}" for n in np.repeat(np.arange(len(images)), frames))
    return BenignTraffic("films", f"{frames} frames each, moved by parts of a pixel", shown, names)


def _film(image: Pixels, frames: int, rng: np.random.Generator) -> Pixels:
    side = image.shape[0] * ENLARGED
    whole = Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC)
    across, down, zoom = (_wander(frames, size, rng) for size in (4.0, 4.0, 0.02))
    shown = []
    for right, below, closer in zip(across, down, 1 + zoom, strict=True):
        middle = side / 2 * (1 - closer)
        moved = whole.transform(
            whole.size,
            Image.Transform.AFFINE,
            (closer, 0, right + middle, 0, closer, below + middle),
            Image.Resampling.BICUBIC,
        )
        cropped = moved.crop((MARGIN, MARGIN, side - MARGIN, side - MARGIN))
        shown.append(np.asarray(cropped.resize((image.shape[1], image.shape[0]), Image.Resampling.BOX)))
    return np.stack(shown)


def _wander(steps: int, size: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """A smooth path that keeps within about +-2 size; steps are of about a third of size."""
    speed, place, path = 0.0, 0.0, []
    for push in rng.normal(0, 0.1 * size, steps):
        speed = 0.9 * speed + push - 0.02 * place
        place += speed
        path.append(place)
    return np.array(path).clip(-3 * size, 3 * size)


def _cameras(images: Pixels, rng: np.random.Generator, frames: int = 300) -> BenignTraffic:
    """A scene that stands still, under light that changes slowly, with a sensor's noise of 2 grey levels."""
    shown = []
    for image in images:
        light = 1 + 0.03 * np.sin(np.linspace(0, 3, frames))
        noise = rng.normal(0, 2, (frames, *image.shape))
        shown.append(np.clip(np.rint(image * light[:, None, None, None] + noise), 0, 255).astype(np.uint8))
    names = tuple(f"caller-{n}" for n in np.repeat(np.arange(len(images)), frames))
    return BenignTraffic("cameras", f"{frames} frames each of a still scene with noise", np.concatenate(shown), names)


def _crawler(images: Pixels, rng: np.random.Generator) -> BenignTraffic:
    """One caller that comes back to a third of what it has seen, encoded anew."""
    again = _encoded(images[: len(images) // 3], 80, images.shape[2])
    shown = np.concatenate([images, again])
    order = np.concatenate([np.arange(len(images)), len(images) + rng.permutation(len(again))])
    return BenignTraffic("crawler", "different images, a third of them once more", shown[order], ("caller-0",) * len(order))


def _encoded(images: Pixels, quality: int, side: int) -> Pixels:
    height, width = images.shape[1:3]
    encoded = []
    for image in images:
        buffer = io.BytesIO()
        Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR).save(buffer, "JPEG", quality=quality)
        decoded = Image.open(buffer).convert("RGB").resize((width, height), Image.Resampling.BILINEAR)
        encoded.append(np.asarray(decoded))
    return np.stack(encoded)
