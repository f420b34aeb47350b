"""What honest programs do to pictures: scale, encode, upload again, edit, and look at in several ways before they decide."""

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from holdfast.model.preprocess import Pixels

EDIT_STEPS = 40
"""Of one session with a photograph: each is looked at."""

Edit = Callable[[Image.Image, float], Image.Image]
"""An edit of a picture by an amount in [-1, 1]; 0 changes nothing."""


def _hue(picture: Image.Image, amount: float) -> Image.Image:
    hue, *rest = picture.convert("HSV").split()
    turned = hue.point([(value + round(60 * amount)) % 256 for value in range(256)])
    return Image.merge("HSV", (turned, *rest)).convert("RGB")


def _rotated(picture: Image.Image, amount: float) -> Image.Image:
    return ImageOps.expand(picture, picture.width // 4).rotate(15 * amount, Image.Resampling.BILINEAR)


def _cropped(picture: Image.Image, amount: float) -> Image.Image:
    edge = abs(amount) * picture.width / 4
    return picture.resize(picture.size, Image.Resampling.BILINEAR, (edge, edge, picture.width - edge, picture.height - edge))


EDITS: tuple[Edit, ...] = (
    lambda picture, amount: ImageEnhance.Brightness(picture).enhance(1 + 0.6 * amount),
    lambda picture, amount: ImageEnhance.Contrast(picture).enhance(1 + 0.6 * amount),
    lambda picture, amount: ImageEnhance.Color(picture).enhance(1 + amount),
    lambda picture, amount: ImageEnhance.Sharpness(picture).enhance(1 + 4 * amount),
    lambda picture, amount: picture.filter(ImageFilter.GaussianBlur(3 * abs(amount))),
    _hue,
    _rotated,
    _cropped,
)

SIZES = (16, 20, 24, 40, 56, 64, 96)
FORMATS: tuple[tuple[str, dict[str, int]], ...] = (
    ("PNG", {}),
    ("JPEG", {"quality": 30}),
    ("JPEG", {"quality": 70}),
    ("JPEG", {"quality": 90}),
    ("WEBP", {"quality": 40}),
    ("WEBP", {"quality": 80}),
    ("GIF", {}),
)
WAYS = (Image.Resampling.NEAREST, Image.Resampling.BOX, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)


def shown(picture: Image.Image, side: int) -> Pixels:
    """As the model sees it: uint8 [side, side, 3]."""
    return np.asarray(picture.convert("RGB").resize((side, side), Image.Resampling.BILINEAR))


def thumbnail(picture: Image.Image, side: int, rng: np.random.Generator) -> Pixels:
    """Made smaller or larger, encoded in some format, and fitted to the model."""
    size, way = int(rng.choice(SIZES)), WAYS[int(rng.integers(len(WAYS)))]
    return shown(_encoded(picture.resize((size, size), way), *FORMATS[int(rng.integers(len(FORMATS)))]), side)


def uploads(picture: Image.Image, generations: int, side: int, rng: np.random.Generator) -> Pixels:
    """A picture that is saved and uploaded again and again, each time a little worse: uint8 [generations, side, side, 3]."""
    seen = [shown(picture, side)]
    for _ in range(generations - 1):
        picture = _encoded(picture, "JPEG", {"quality": int(rng.integers(60, 96))})
        if rng.random() < 0.3:
            edge = rng.uniform(0, 0.01) * picture.width
            picture = picture.resize(
                picture.size, Image.Resampling.BICUBIC, (edge, edge, picture.width - edge, picture.height - edge)
            )
        seen.append(shown(picture, side))
    return np.stack(seen)


def edits(picture: Image.Image, side: int, rng: np.random.Generator) -> Pixels:
    """A session with an editor: sliders are moved to and fro, and every step is looked at."""
    chosen = [EDITS[number] for number in rng.permutation(len(EDITS))[: int(rng.integers(1, 4))]]
    seen, steps = [], EDIT_STEPS // len(chosen)
    for edit in chosen:
        amounts = np.concatenate([[0.0], np.cumsum(rng.normal(rng.choice([-1, 1]) * 0.03, 0.03, steps - 1))]).clip(-1, 1)
        seen += [shown(edit(picture, float(amount)), side) for amount in amounts]
        picture = edit(picture, float(amounts[-1]))
    return np.stack(seen)


def views(picture: Image.Image, count: int, side: int, rng: np.random.Generator) -> Pixels:
    """A caller who asks about each image in several views and takes the mean: mirrored, shifted, cut, a little brighter."""
    seen = []
    for number in range(count):
        part = picture.width * rng.uniform(0.85, 1)
        left, top = rng.uniform(0, picture.width - part, 2)
        view = picture.resize((side, side), Image.Resampling.BILINEAR, (left, top, left + part, top + part))
        view = ImageOps.mirror(view) if number % 2 else view
        seen.append(np.asarray(ImageEnhance.Brightness(view).enhance(rng.uniform(0.9, 1.1))))
    return np.stack(seen)


def _encoded(picture: Image.Image, form: str, options: dict[str, int]) -> Image.Image:
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return Image.open(buffer).convert("RGB")
