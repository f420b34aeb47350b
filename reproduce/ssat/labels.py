"""Where words go beside points, so that they cover neither points nor each other."""

from collections.abc import Iterable, Iterator, Sequence
from math import cos, pi, sin

Box = tuple[float, float, float, float]
"""Left, bottom, right, top."""

REACHES = (1.0, 1.8, 2.8, 4.0, 5.5, 7.5, 10.0)
EIGHTHS = (1, 7, 3, 5, 2, 6, 0, 4)
"""Directions in the order of preference: the diagonal ones first, as error bars lie along the others."""


def place(
    points: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    frame: Box,
    gap: float,
    others: Iterable[Box] = (),
) -> list[Box]:
    """A box for the words of each point, chosen in order, each as near as it goes.

    Args:
        points: where they are.
        sizes: width and height of the words.
        frame: within which words should stay.
        gap: from a point to the nearest words; points are so wide for the words of others.
        others: what else should not be covered.

    Returns:
        The boxes. Where there is no free place the one that covers the least of what is there.

    """
    taken = [(x - gap / 2, y - gap / 2, x + gap / 2, y + gap / 2) for x, y in points]
    taken += others
    placed: list[Box] = []
    for point, size in zip(points, sizes, strict=True):
        best = min(_around(point, size, gap), key=lambda box: _cost(box, [*taken, *placed], frame))
        placed.append(best)
    return placed


def _around(point: tuple[float, float], size: tuple[float, float], gap: float) -> Iterator[Box]:
    """Boxes around a point, the nearest first; each touches the end of a line from the point with its own near side."""
    width, height = size
    for reach in REACHES:
        for eighth in EIGHTHS:
            across, up = cos(eighth * pi / 4), sin(eighth * pi / 4)
            left = point[0] + reach * gap * across - width * (1 - _sign(across)) / 2
            bottom = point[1] + reach * gap * up - height * (1 - _sign(up)) / 2
            yield left, bottom, left + width, bottom + height


def _cost(box: Box, others: Iterable[Box], frame: Box) -> float:
    """Area that is covered twice, and ten times the area outside the frame."""
    area = (box[2] - box[0]) * (box[3] - box[1])
    return sum(_common(box, other) for other in others) + 10 * (area - _common(box, frame))


def _common(one: Box, other: Box) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, width) * max(0.0, height)


def _sign(value: float) -> int:
    return 0 if abs(value) < 1e-9 else 1 if value > 0 else -1
