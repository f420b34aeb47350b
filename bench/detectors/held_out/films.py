"""Films of kinds that no detector was tuned on: pictures uint8 [frames, side, side, 3] of one photograph or of several."""

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from holdfast.model.preprocess import Pixels

SHARP = 3
"""Times the size at which frames are drawn that are turned, before they are made small."""

Numbers = NDArray[np.float64]


def pan(photo: Image.Image, frames: int, side: int, rng: np.random.Generator) -> Pixels:
    """A window that glides and zooms over a photograph, from one place to the next: from hardly to many pixels a frame."""
    stops = int(rng.integers(2, 16))
    shortest = min(photo.size)
    sizes = rng.uniform(0.35, 0.9, stops) * shortest
    places = [(rng.uniform(0, photo.width - size), rng.uniform(0, photo.height - size)) for size in sizes]
    path = _eased(np.column_stack([np.array(places), sizes]), frames)
    shown = []
    for left, top, size in path:
        right, bottom = min(left + size, photo.width), min(top + size, photo.height)
        box = (max(0.0, left), max(0.0, top), right, bottom)
        shown.append(np.asarray(photo.resize((side, side), Image.Resampling.BILINEAR, box=box)))
    return np.stack(shown)


def hand_held(photo: Image.Image, frames: int, side: int, rng: np.random.Generator) -> Pixels:
    """A camera in a hand: it shakes and turns, its exposure jumps, its sensor is noisy, and some films are JPEGs."""
    large = SHARP * side
    zoom = min(photo.size) / large * rng.uniform(0.5, 0.8)
    shake = _walk(frames, 2, rng, pull=0.05) * rng.uniform(0.3, 3) * SHARP
    turn = np.deg2rad(_walk(frames, 1, rng, pull=0.05)[:, 0] * rng.uniform(0.2, 2))
    exposure = 1 + 0.08 * np.cumsum(rng.choice([-1, 0, 1], frames, p=[0.02, 0.96, 0.02])).clip(-3, 3)
    noise, quality = rng.uniform(0, 5), int(rng.choice([0, 60, 85]))
    shown = []
    for (right, down), angle, light in zip(shake, turn, exposure, strict=True):
        cos, sin = zoom * np.cos(angle), zoom * np.sin(angle)
        middle = (photo.width / 2 - (cos - sin) * large / 2 + right, photo.height / 2 - (sin + cos) * large / 2 + down)
        seen = photo.transform(
            (large, large), Image.Transform.AFFINE, (cos, -sin, middle[0], sin, cos, middle[1]), Image.Resampling.BILINEAR
        )
        pixels = np.asarray(seen.reduce(SHARP)) * light + rng.normal(0, noise, (side, side, 3))
        shown.append(_jpeg(_pixels(pixels), quality))
    return np.stack(shown)


def passing(scene: Image.Image, thing: NDArray[np.uint8], frames: int, side: int, rng: np.random.Generator) -> Pixels:
    """A thing that goes by before a scene that stands still. `thing` is grey [h, w], black where it is not."""
    large = SHARP * side
    behind = scene.resize((large, large), Image.Resampling.BILINEAR)
    size = int(large * rng.uniform(0.25, 0.6))
    shape = Image.fromarray(thing).resize((size, size), Image.Resampling.BILINEAR)
    colour = Image.new("RGB", (size, size), tuple(int(value) for value in rng.integers(0, 256, 3)))
    across = rng.uniform(-size, large) + np.cumsum(rng.normal(rng.uniform(-3, 3), 0.5, frames))
    down = rng.uniform(0, large - size) + 4 * _walk(frames, 1, rng, pull=0.02)[:, 0]
    noise, shown = rng.uniform(0, 2), []
    for left, top in zip(across, down, strict=True):
        frame = behind.copy()
        around = (left + size) % (large + size) - size  # what leaves at one side comes back at the other
        frame.paste(colour, (round(around), round(top)), shape)
        shown.append(_pixels(np.asarray(frame.reduce(SHARP)) + rng.normal(0, noise, (side, side, 3))))
    return np.stack(shown)


def time_lapse(scene: Image.Image, frames: int, side: int, rng: np.random.Generator) -> Pixels:
    """A scene that stands still, while the light gets warmer and colder, a shadow goes over it, and a lamp flickers."""
    still = np.asarray(scene.resize((side, side), Image.Resampling.BILINEAR)).astype(np.float64)
    warmth = 0.15 * np.sin(np.linspace(0, rng.uniform(1, 6), frames) + rng.uniform(0, 6))
    edges, flicker = np.linspace(-0.5, 1.5, frames), rng.uniform(0, 0.03)
    noise, columns, shown = rng.uniform(0.5, 3), np.linspace(0, 1, side), []
    for number in range(frames):
        shadow = 1 - 0.4 / (1 + np.exp(-12 * (columns - edges[number])))
        light = shadow[None, :, None] * (1 + np.array([1, 0, -1]) * warmth[number]) * (1 + flicker * (-1) ** number)
        shown.append(_pixels(still * light + rng.normal(0, noise, still.shape)))
    return np.stack(shown)


def slide_show(slides: Sequence[Image.Image], frames: int, side: int, rng: np.random.Generator) -> Pixels:
    """Pictures that are shown for a while and then faded into the next one."""
    still = [np.asarray(slide.resize((side, side), Image.Resampling.BILINEAR)).astype(np.float64) for slide in slides]
    held, faded = int(rng.integers(5, 30)), int(rng.integers(8, 40))
    shown: list[Pixels] = []
    number = 0
    while len(shown) < frames:
        before, after = still[number % len(still)], still[(number + 1) % len(still)]
        shown += [_pixels(before)] * held
        shown += [_pixels(before + share * (after - before)) for share in np.linspace(0, 1, faded)]
        number += 1
    return np.stack(shown[:frames])


def screen(scene: Image.Image, digits: NDArray[np.uint8], frames: int, side: int, rng: np.random.Generator) -> Pixels:
    """A picture on a screen: a clock counts in its corner, a pointer goes over it, a line of text changes below."""
    still = np.asarray(scene.resize((side, side), Image.Resampling.BILINEAR))
    clocks = digits[:, ::4, ::4]
    pointer = (side / 2 + 5 * _walk(frames, 2, rng, pull=0.02)).clip(0, side - 3)
    text, shown = rng.integers(0, 2, (2, side)), []
    for number in range(frames):
        frame = still.copy()
        frame[:7, -14:-7] = clocks[number // 10 % len(clocks), :, :, None]
        frame[:7, -7:] = clocks[(7 * number + 1) % len(clocks), :, :, None]
        if number % 25 == 0:
            text = rng.integers(0, 2, (2, side))
        frame[-3:-1] = 255 * text[:, :, None]
        down, right = pointer[number].astype(int)
        frame[down : down + 3, right : right + 2] = 255
        shown.append(frame)
    return np.stack(shown)


def _eased(stops: Numbers, frames: int) -> Numbers:
    """From stop to stop, slowly at first and at last. Shape: [n, d] -> [frames, d]."""
    place = np.linspace(0, len(stops) - 1, frames)
    begin = np.minimum(place.astype(int), len(stops) - 2)
    share = place - begin
    share = (share * share * (3 - 2 * share))[:, None]
    path: Numbers = stops[begin] * (1 - share) + stops[begin + 1] * share
    return path


def _walk(steps: int, dims: int, rng: np.random.Generator, *, pull: float) -> Numbers:
    """Numbers that wander and are pulled back to 0. Shape: [steps, dims]."""
    place, path = np.zeros(dims), []
    for push in rng.normal(0, 1, (steps, dims)):
        place = place * (1 - pull) + push
        path.append(place)
    return np.array(path)


def _pixels(values: NDArray[np.floating]) -> Pixels:
    pixels: Pixels = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return pixels


def _jpeg(pixels: Pixels, quality: int) -> Pixels:
    """As a JPEG of that quality brings it back; 0: as it is."""
    if not quality:
        return pixels
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer).convert("RGB"))
