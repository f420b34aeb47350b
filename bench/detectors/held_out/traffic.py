"""Benign traffic that no detector was tuned on: other pictures, other motion, other callers and schedules than the tuned kinds.

It is drawn by a number. Rules and thresholds are not to be chosen by what it raises: where they are, its draw is spent, and
what is said of false alarms is to be measured on another one.
"""

from collections.abc import Callable, Collection, Iterator, Sequence

import numpy as np
from PIL import Image

from bench.detectors.benign import NOT_LABELLED, OF_NO_CLASS, BenignTraffic
from bench.detectors.held_out import films, pictures
from bench.detectors.held_out.sources import HeldOutSources, as_rgb
from holdfast.model.answers import Ints
from holdfast.model.preprocess import Pixels

FRAMES = 300

MakeTraffic = Callable[["HeldOutDraw"], BenignTraffic]


class HeldOutDraw:
    """One kind of one draw.

    Args:
        sources: pictures.
        scale: of how many there are.
        rng: draws all else.

    """

    def __init__(self, sources: HeldOutSources, scale: float, rng: np.random.Generator) -> None:
        self.sources, self.scale, self.rng, self.side = sources, scale, rng, sources.side

    def count(self, number: int) -> int:
        """So many, scaled."""
        return max(1, round(number * self.scale))

    def alike(self, count: int) -> tuple[Pixels, Ints]:
        """Images of the bundle's own kind with their labels, as many as wanted where there are."""
        rows = self.rng.permutation(len(self.sources.alike))[: self.count(count)]
        return self.sources.alike[rows], self.sources.labels[rows]

    def squares(self, count: int) -> list[tuple[Image.Image, int]]:
        """Half of them images of the bundle's own kind, half parts of photographs; each with its label."""
        images, labels = self.alike(count // 2)
        alike = [Image.fromarray(image).resize((96, 96), Image.Resampling.BICUBIC) for image in images]
        others = [(self.square(), NOT_LABELLED) for _ in range(self.count(count - count // 2))]
        return [*zip(alike, labels.tolist(), strict=True), *others]

    def films(
        self, name: str, text: str, count: int, film: Callable[[], Pixels], *, label: int = NOT_LABELLED
    ) -> BenignTraffic:
        """So many films, one after another, each of a caller of its own; all of one label."""
        return in_turn(name, text, [(film(), label) for _ in range(self.count(count))], each=1)

    def photo(self) -> Image.Image:
        """Any photograph."""
        return self.sources.photos[int(self.rng.integers(len(self.sources.photos)))]

    def square(self) -> Image.Image:
        """A square part of any photograph."""
        photo = self.photo()
        part = int(min(photo.size) * self.rng.uniform(0.4, 1))
        left, top = (int(self.rng.integers(0, size - part + 1)) for size in photo.size)
        return photo.crop((left, top, left + part, top + part))


def in_turn(name: str, text: str, parts: Sequence[tuple[Pixels, int]], *, each: int) -> BenignTraffic:
    """Parts, each of one label, one after another, so many `each` of one caller."""
    names = [f"{name}-{number // each}" for number, (part, _) in enumerate(parts) for _ in part]
    return BenignTraffic(name, text, *_joined(parts, names))


def _joined(parts: Sequence[tuple[Pixels, int]], names: Sequence[str]) -> tuple[Pixels, tuple[str, ...], Ints]:
    labels = np.repeat([label for _, label in parts], [len(part) for part, _ in parts])
    return np.concatenate([part for part, _ in parts]), tuple(names), labels


def _ordinary(draw: HeldOutDraw) -> BenignTraffic:
    images, labels = draw.alike(10_000)
    names = tuple(f"user-{number}" for number in (draw.rng.zipf(1.3, len(images)) - 1) % 200)
    return BenignTraffic("ordinary", "different images of 200 callers, some of whom ask much", images, names, labels)


def _daily(draw: HeldOutDraw) -> BenignTraffic:
    stock, labels = draw.alike(2500)
    days, right = [], []
    for _ in range(6):
        fresh = draw.rng.permutation(len(stock))[: max(1, len(stock) // 50)]
        others = draw.rng.integers(0, len(draw.sources.alike), len(fresh))
        stock, labels = stock.copy(), labels.copy()
        stock[fresh], labels[fresh] = draw.sources.alike[others], draw.sources.labels[others]
        days.append(stock)
        right.append(labels)
    shown, text = np.concatenate(days), "one caller's stock, six times, a fiftieth of it new"
    return BenignTraffic("daily batch", text, shown, ("job",) * len(shown), np.concatenate(right))


def _thumbnails(draw: HeldOutDraw) -> BenignTraffic:
    squares = [square for square in draw.squares(500) for _ in range(10)]
    shown = np.stack([pictures.thumbnail(picture, draw.side, draw.rng) for picture, _ in squares])
    order = draw.rng.permutation(np.tile(np.arange(len(shown)), 3))
    names = tuple(f"browser-{number}" for number in draw.rng.integers(0, 80, len(order)))
    labels, text = (
        np.array([label for _, label in squares]),
        "10 of each picture in other sizes and formats, 3 times, of 80 callers",
    )
    return BenignTraffic("thumbnails", text, shown[order], names, labels[order])


def _uploads(draw: HeldOutDraw) -> BenignTraffic:
    squares = [(pictures.uploads(picture, 12, draw.side, draw.rng), label) for picture, label in draw.squares(800)]
    shown, _, labels = _joined(squares, ())
    order = np.argsort(np.arange(len(shown)) + draw.rng.uniform(0, 300, len(shown)))  # many at a time, each in its order
    names = tuple(f"poster-{number}" for number in draw.rng.integers(0, 150, len(order)))
    text = "each picture saved and uploaded again 11 times, of 150 callers"
    return BenignTraffic("re-uploads", text, shown[order], names, labels[order])


def _retries(draw: HeldOutDraw) -> BenignTraffic:
    images, labels = draw.alike(3000)
    rows = np.repeat(np.arange(len(images)), draw.rng.integers(1, 8, len(images)))
    tries = np.concatenate([np.arange(count) for count in np.bincount(rows)])
    order = np.argsort(rows + 2.0**tries, kind="stable")  # after 1, 2, 4, ... others
    rows = rows[order]
    names, text = tuple(f"client-{row % 30}" for row in rows), "each up to 7 times, identical, after pauses that double"
    return BenignTraffic("retries", text, images[rows], names, labels[rows])


def _editor(draw: HeldOutDraw) -> BenignTraffic:
    sessions = [(pictures.edits(picture, draw.side, draw.rng), label) for picture, label in draw.squares(400)]
    return in_turn("editor", "sessions with an editor, 4 of each caller", sessions, each=4)


def _views(draw: HeldOutDraw) -> BenignTraffic:
    asked = [(pictures.views(picture, 16, draw.side, draw.rng), label) for picture, label in draw.squares(1000)]
    return in_turn("views", "16 views of each picture, 50 pictures of each caller", asked, each=50)


def _pans(draw: HeldOutDraw) -> BenignTraffic:
    return draw.films(
        "pans", "photographs, panned and zoomed", 150, lambda: films.pan(draw.photo(), FRAMES, draw.side, draw.rng)
    )


def _hand_held(draw: HeldOutDraw) -> BenignTraffic:
    return draw.films(
        "hand-held", "shaking, noisy cameras", 100, lambda: films.hand_held(draw.photo(), FRAMES, draw.side, draw.rng)
    )


def _passing(draw: HeldOutDraw) -> BenignTraffic:
    def film() -> Pixels:
        thing = draw.sources.clothes[int(draw.rng.integers(len(draw.sources.clothes)))]
        return films.passing(draw.square(), thing, FRAMES, draw.side, draw.rng)

    return draw.films("passing", "a thing goes by before a still scene", 80, film)


def _time_lapse(draw: HeldOutDraw) -> BenignTraffic:
    return draw.films(
        "time lapse",
        "a still scene in changing light",
        60,
        lambda: films.time_lapse(draw.square(), FRAMES, draw.side, draw.rng),
    )


def _slides(draw: HeldOutDraw) -> BenignTraffic:
    def film() -> Pixels:
        return films.slide_show([draw.square() for _ in range(8)], FRAMES, draw.side, draw.rng)

    return draw.films("slide show", "photographs faded into each other", 60, film)


def _screens(draw: HeldOutDraw) -> BenignTraffic:
    def film() -> Pixels:
        first = int(draw.rng.integers(len(draw.sources.digits) - 40))
        return films.screen(draw.square(), draw.sources.digits[first : first + 40], FRAMES, draw.side, draw.rng)

    return draw.films("screens", "a picture under a clock, a pointer and text", 60, film)


def _hands(draw: HeldOutDraw) -> BenignTraffic:
    def film() -> Pixels:
        return films.hand_held(draw.sources.hands[int(draw.rng.integers(len(draw.sources.hands)))], FRAMES, draw.side, draw.rng)

    return draw.films("hands", "films of hands, each of one caller", 60, film, label=OF_NO_CLASS)


def _other_tasks(draw: HeldOutDraw) -> BenignTraffic:
    digits, clothes = draw.sources.digits[: draw.count(8000)], draw.sources.clothes[: draw.count(8000)]
    shown = np.concatenate([as_rgb(digits, draw.side), as_rgb(clothes, draw.side)])
    names = [f"digits-{n % 10}" for n in range(len(digits))] + [f"clothes-{n % 10}" for n in range(len(clothes))]
    order = draw.rng.permutation(len(shown))
    asked_by, labels = tuple(names[row] for row in order.tolist()), np.full(len(order), OF_NO_CLASS)
    return BenignTraffic("other tasks", "MNIST and Fashion-MNIST, of 20 callers", shown[order], asked_by, labels)


KINDS: dict[str, MakeTraffic] = {
    "ordinary": _ordinary,
    "daily batch": _daily,
    "thumbnails": _thumbnails,
    "re-uploads": _uploads,
    "retries": _retries,
    "editor": _editor,
    "views": _views,
    "pans": _pans,
    "hand-held": _hand_held,
    "passing": _passing,
    "time lapse": _time_lapse,
    "slide show": _slides,
    "screens": _screens,
    "hands": _hands,
    "other tasks": _other_tasks,
}
MIXTURE, BALANCER = "mixture", "load balancer"
NAMES = (*KINDS, MIXTURE, BALANCER)


def held_out_traffic(
    sources: HeldOutSources, scale: float, draw: int, names: Collection[str] = NAMES
) -> Iterator[BenignTraffic]:
    """Every kind by itself; then a part of each at a time, beside ordinary images, of all its callers and of one address."""
    for number, (name, make) in enumerate(KINDS.items()):
        if name in names:
            yield make(HeldOutDraw(sources, scale, np.random.default_rng([draw, 1, number])))
    if MIXTURE in names:
        yield mixture(sources, scale, draw, 2)
    if BALANCER in names:
        mixed = mixture(sources, scale / 2, draw, 3)
        text = "another such mixture, under one address"
        yield BenignTraffic(BALANCER, text, mixed.images, ("balancer",) * len(mixed.images), mixed.labels)


def mixture(sources: HeldOutSources, scale: float, draw: int, which: int) -> BenignTraffic:
    """A twentieth of all kinds at a time, each caller in its own order, with ordinary images beside them."""
    seeds = ([draw, which, number] for number in range(len(KINDS) + 2))
    kinds = [make(HeldOutDraw(sources, scale / 20, np.random.default_rng(next(seeds)))) for make in KINDS.values()]
    kinds.append(_ordinary(HeldOutDraw(sources, scale, np.random.default_rng(next(seeds)))))
    names = [name for kind in kinds for name in kind.callers]
    order = _interleaved(names, np.random.default_rng(next(seeds)))
    images = np.concatenate([kind.images for kind in kinds])[order]
    labels = np.concatenate([kind.labels_of(np.arange(len(kind.images))) for kind in kinds])[order]
    text = "a twentieth of each kind, all at a time, beside ordinary images"
    return BenignTraffic(MIXTURE, text, images, tuple(names[row] for row in order), labels)


def _interleaved(names: Sequence[str], rng: np.random.Generator) -> list[int]:
    """Rows in another order, in which each caller's stay in theirs, spread evenly over a part of the time."""
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        rows.setdefault(name, []).append(row)
    times = np.empty(len(names))
    for own in rows.values():
        begin, end = np.sort(rng.uniform(0, 1, 2)).tolist()
        times[own] = np.linspace(begin, end, len(own))
    return [int(row) for row in np.argsort(times, kind="stable")]
