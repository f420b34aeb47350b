import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageColor

from demo import picture
from demo.picture import PictureAnswer, PictureNeighbour, PictureRow, change, draw


def image(seed, side=32):
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


def answer(label, seed=0, *, credibility=0.8, abstain=False, side=32):
    neighbours = [PictureNeighbour(image(seed + i, side), label, 0.9 - i / 10) for i in range(6)]
    return PictureAnswer(image(seed, side), label, credibility, abstain, neighbours)


def pixels_of(path, color):
    drawn = np.asarray(Image.open(path).convert("RGB"))
    return int((drawn == ImageColor.getrgb(color)).all(axis=2).sum())


def test_one_row_for_each_image_1600_pixels_wide(tmp_path):
    path = tmp_path / "picture.png"
    row = PictureRow("cat", answer("cat"), answer("dog", abstain=True))
    sizes = []
    for count in (1, 3):
        draw(path, [row] * count, "title", "a subtitle with $ and _")
        with Image.open(path) as drawn:
            sizes.append(drawn.size)
    assert [width for width, _ in sizes] == [1600, 1600]
    assert sizes[1][1] - sizes[0][1] == 2 * picture.ROW


def test_the_colours_tell_who_was_fooled(tmp_path):
    path = tmp_path / "picture.png"
    outcomes = {
        "held": PictureRow("cat", answer("cat"), answer("cat")),
        "fooled": PictureRow("cat", answer("cat"), answer("dog")),
        "abstained": PictureRow("cat", answer("cat"), answer("dog", abstain=True)),
    }
    seen = {}
    for name, row in outcomes.items():
        draw(path, [row], "title")
        seen[name] = [pixels_of(path, color) for color in (picture.GREEN, picture.RED, picture.AMBER)]
    assert seen["held"][0] > seen["fooled"][0] > 0
    assert seen["fooled"][1] > seen["abstained"][1] > seen["held"][1]
    assert seen["abstained"][2] > 3 * seen["fooled"][2]


def test_the_same_rows_give_the_same_file(tmp_path):
    rows = [PictureRow("cat", answer("cat", 1), answer("a rather long class name", 2, credibility=float("nan")))]
    for name in ("one.png", "two.png"):
        draw(tmp_path / name, rows, "title")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


def test_no_rows_no_picture(tmp_path):
    with pytest.raises(ValueError, match="at least one row"):
        draw(tmp_path / "picture.png", [], "title")


@given(st.integers(0, 100), st.integers(1, 20))
def test_what_did_not_change_is_mid_grey(seed, gain):
    clean, attacked = image(seed, 4), image(seed + 1, 4)
    attacked[0] = clean[0]
    shown = change(clean, attacked, gain)
    assert (shown[0] == 128).all()
    assert ((shown > 128) == (attacked > clean)).all()
    assert ((shown < 128) == (attacked < clean)).all()


@given(st.text(min_size=1, max_size=40), st.floats(20, 200))
def test_long_words_are_set_smaller(words, width):
    size = picture._fitting(words, width, 40)
    assert 0 < size <= 40
    assert 0.68 * size * len(words) <= width + 1e-9
