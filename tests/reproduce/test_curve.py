"""The picture, and where its labels go."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reproduce.ssat import curve
from reproduce.ssat.curve import draw
from tests.reproduce.tiny import imagined


def test_the_same_result_gives_the_same_picture_and_another_another(tmp_path) -> None:
    pictures = []
    for number, broken in enumerate((0.4, 0.4, 0.1)):
        path = tmp_path / f"{number}.png"
        draw(path, imagined(300, under_b=broken))
        pictures.append(path.read_bytes())
    assert pictures[0] == pictures[1] != pictures[2]


def overlap(one, other) -> bool:
    return min(one[2], other[2]) > max(one[0], other[0]) and min(one[3], other[3]) > max(one[1], other[1])


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=1, max_size=6, unique=True))
def test_words_cover_neither_each_other_nor_points_where_there_is_room(cells) -> None:
    points = [(100.0 + 20 * x, 100.0 + 20 * y) for x, y in cells]
    boxes = curve.place_labels(points, [(60.0, 12.0)] * len(points), (0, 0, 1000, 1000), 14)
    for number, box in enumerate(boxes):
        assert (round(box[2] - box[0]), round(box[3] - box[1])) == (60, 12)
        assert min(box[:2]) >= 0
        assert max(box[2:]) <= 1000
        assert not any(overlap(box, other) for other in boxes[:number])
        assert not any(overlap(box, (x - 1, y - 1, x + 1, y + 1)) for x, y in points)


def test_a_lone_point_has_its_words_at_its_upper_right_unless_something_is_there() -> None:
    frame, ahead = (0, 0, 200, 100), 50 + 10 * np.sqrt(0.5)
    ((left, bottom, _, _),) = curve.place_labels([(50.0, 50.0)], [(30.0, 10.0)], frame, 10)
    assert (left, bottom) == pytest.approx((ahead, ahead))
    ((left, _, _, top),) = curve.place_labels([(50.0, 50.0)], [(30.0, 10.0)], frame, 10, [(55, 55, 60, 60)])
    assert (left, top) == pytest.approx((ahead, 100 - ahead))
    ((_, _, right, _),) = curve.place_labels([(190.0, 50.0)], [(30.0, 10.0)], frame, 10)
    assert right < 190
