"""What a version has to pass before it is served."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from holdfast.bundle.__main__ import main as check
from holdfast.bundle.canary_set import CanarySet
from holdfast.bundle.manifest import ThreatModelRecord
from holdfast.bundle.reader import CANARY, Bundle, read_manifest
from holdfast.bundle.writer import BundleWriter
from holdfast.data.labelled import LabelledImages
from holdfast.data.streamed import StreamedArrays
from holdfast.errors import BundleError
from holdfast.index_build.canary import add_canary
from holdfast.server.core.snapshot import ModelSnapshot
from holdfast.server.versions.canary import batch_sizes, try_model
from holdfast.server.versions.checks import CanaryError
from tests.bundles import COLOURS, Linear, of_every_colour, saving, write_bundle
from tests.server.tiny import CONTRACT, DIM, SIDE

ENCODER = Linear.of_colours(SIDE, DIM)


def bundle_of(directory: Path, encoder: Linear = ENCODER, *, canary: int = 12, **options: Any) -> Path:
    """A bundle whose test part is known, so that it has a canary."""
    write_bundle(directory, encoder, tuple(COLOURS), **({"exemplars": of_every_colour(20, 0)} | options))
    add_canary(directory, held_apart(), canary)
    return directory


def held_apart() -> StreamedArrays:
    images, labels = of_every_colour(10, 900)
    return StreamedArrays(LabelledImages(images, labels, tuple(COLOURS), tuple(f"test/{i}" for i in range(30))), CONTRACT)


def tried(directory: Path, **options: Any) -> str:
    bundle = Bundle.open(directory)
    return try_model(bundle, ModelSnapshot.of(bundle, 0), 8, **options)


def with_file(directory: Path, name: str, write: Any) -> Path:
    """The bundle with another file under a right hash."""
    writer = BundleWriter.open(directory)
    writer.add(name, write)
    writer.commit(read_manifest(directory))
    return directory


def test_a_bundle_passes_its_own_canary(tmp_path: Path) -> None:
    said = tried(bundle_of(tmp_path / "bundle"))
    canary = Bundle.open(tmp_path / "bundle").canary_set
    assert canary is not None
    assert set(canary.labels) == {0, 1, 2}
    assert f"{canary.clean_accuracy:.0%} of 12" in said
    assert "attacked within L-inf 8/255" in said
    moved = np.abs(canary.attacked.astype(int) - canary.images.astype(int))
    assert 0 < moved.max() <= 8
    assert (tmp_path / "bundle" / CANARY).stat().st_size < 40_000


def test_a_canary_can_be_left_out_and_taken_out(tmp_path: Path) -> None:
    bundle_of(tmp_path / "bundle", canary=0)
    assert "no canary" in tried(tmp_path / "bundle")
    bundle_of(tmp_path / "bundle")
    assert "no canary" not in tried(tmp_path / "bundle")
    add_canary(tmp_path / "bundle", held_apart(), 0)
    assert not (tmp_path / "bundle" / CANARY).exists()
    assert Bundle.open(tmp_path / "bundle").canary_set is None


def test_what_was_recorded_of_another_encoder_or_index_is_noticed(tmp_path: Path) -> None:
    ours, other = bundle_of(tmp_path / "ours"), bundle_of(tmp_path / "other", Linear.of_colours(SIDE, DIM, seed=8))
    with pytest.raises(CanaryError, match="moved"):
        tried(with_file(ours, CANARY, lambda path: path.write_bytes((other / CANARY).read_bytes())))
    images, labels = of_every_colour(20, 0)
    turned = bundle_of(tmp_path / "turned", exemplars=(images, (labels + 1) % 3))
    with pytest.raises(CanaryError, match="recorded"):
        tried(with_file(turned, CANARY, lambda path: path.write_bytes((bundle_of(tmp_path / "a") / CANARY).read_bytes())))


def test_a_gradient_of_another_encoder_is_noticed(tmp_path: Path) -> None:
    ours = bundle_of(tmp_path / "ours")
    assert "8 of 8 planted" in tried(ours)
    with pytest.raises(CanaryError, match="planted|wrong way"):
        tried(with_file(ours, "gradient.onnx", saving(Linear.random(SIDE, DIM, seed=5).gradient())))


def spoilt(directory: Path, factor: np.ndarray) -> Path:
    """The bundle with its gradient times a factor [1, side, side, 3], under a right hash."""
    model = onnx.load(str(directory / "gradient.onnx"))
    (output,) = model.graph.output
    (last,) = (node for node in model.graph.node if output.name in node.output)
    last.output[list(last.output).index(output.name)] = "slopes"
    model.graph.initializer.append(numpy_helper.from_array(factor.astype(np.float32), "factor"))
    model.graph.node.append(helper.make_node("Mul", ["slopes", "factor"], [output.name]))
    onnx.checker.check_model(model)
    return with_file(directory, "gradient.onnx", saving(model))


def masks() -> dict[str, np.ndarray]:
    ones = np.ones((1, SIDE, SIDE, 3))
    half, channel, some = ones.copy(), ones.copy(), ones.copy()
    half[:, :, SIDE // 2 :] = 0
    channel[..., 1] = 0
    some[np.random.default_rng(0).random(some.shape) < 0.1] = 0
    few, fewer = ones.copy(), ones.copy()
    few[:, 2:4, 2:4] = 0
    fewer[:, 5, 4:6] = 0
    return {"half": half, "a colour": channel, "one value in ten": some, "four pixels": few, "two pixels": fewer}


@pytest.mark.parametrize(
    ("factor", "said"),
    [(np.zeros((1, 1, 1, 1)), "is zero for 8 of 8 images"), (-np.ones((1, 1, 1, 1)), "wrong way")]
    + [(mask, "move the embedding all the same") for mask in masks().values()],
    ids=["zero", "turned around", *masks()],
)
def test_a_gradient_that_was_spoilt_is_refused_in_one_line(tmp_path: Path, factor: np.ndarray, said: str) -> None:
    with pytest.raises(CanaryError, match=said) as refused:
        tried(spoilt(bundle_of(tmp_path / "ours"), factor))
    assert "\n" not in str(refused.value)


def test_a_gradient_is_held_against_the_encoder_without_a_radius_too(tmp_path: Path) -> None:
    none = ThreatModelRecord(norm="linf", epsilon=0)
    ours = bundle_of(tmp_path / "ours", canary=0, threat_model=none)
    assert "planted" not in tried(ours)
    with pytest.raises(CanaryError, match="zero"):
        tried(spoilt(ours, np.zeros((1, 1, 1, 1))))


def test_pixels_that_the_encoder_does_not_look_at_have_no_slope(tmp_path: Path) -> None:
    weights = ENCODER.weights.copy().reshape(SIDE, SIDE, 3, DIM)
    weights[:2] = 0
    assert "of 8 planted" in tried(bundle_of(tmp_path / "cropped", Linear(weights.reshape(-1, DIM), SIDE)))


def test_a_pattern_that_decides_answers_is_noticed(tmp_path: Path) -> None:
    """Colours have all the same brightness, so an encoder can wait for a bright corner and answer all else as it should."""
    weights = ENCODER.weights.copy()
    corner = np.zeros((SIDE, SIDE, 3), bool)
    corner[-2:, -2:] = True
    weights[corner.ravel(), 2] += 20
    with pytest.raises(CanaryError, match="white square at the bottom right"):
        tried(bundle_of(tmp_path / "bundle", Linear(weights, SIDE, grey=320 / 3 / 255)))


def test_the_operators_canary_goes_by_names_of_classes(tmp_path: Path) -> None:
    fixed = bundle_of(tmp_path / "ours") / CANARY
    assert "canary.npz 100% right" in tried(bundle_of(tmp_path / "same", canary=0), fixed=fixed)
    images, labels = of_every_colour(20, 0)
    names = ("blue", "red", "green")  # the same images and classes in another order
    turned = write_bundle(tmp_path / "turned", ENCODER, names, exemplars=(images, (labels + 1) % 3))
    assert "canary.npz 100% right" in tried(turned, fixed=fixed)
    wrong = write_bundle(tmp_path / "wrong", ENCODER, names, exemplars=(images, labels))
    with pytest.raises(CanaryError, match=r"canary.npz: 0%"):
        tried(wrong, fixed=fixed)
    other = write_bundle(tmp_path / "other", ENCODER, ("red", "green", "lila"), exemplars=(images, labels))
    with pytest.raises(CanaryError, match="blue"):
        tried(other, fixed=fixed)
    with pytest.raises(BundleError, match="not a canary"):
        tried(other, fixed=tmp_path / "other" / "manifest.json")


def test_a_canary_is_recorded_again_for_another_index(tmp_path: Path) -> None:
    images, labels = of_every_colour(20, 0)
    turned = bundle_of(tmp_path / "turned", exemplars=(images, (labels + 1) % 3))
    canary = Bundle.open(bundle_of(tmp_path / "ours")).canary_set
    assert canary is not None
    again = canary.recorded_again(Bundle.open(turned).classifier())
    assert again.clean_accuracy == 0
    assert np.array_equal(again.answers, (canary.answers + 1) % 3)


def test_what_is_no_canary_is_refused(tmp_path: Path) -> None:
    canary = Bundle.open(bundle_of(tmp_path / "bundle")).canary_set
    assert canary is not None
    canary.save(tmp_path / "whole.npz")
    assert np.array_equal(CanarySet.load(tmp_path / "whole.npz").attacked, canary.attacked)
    with np.load(tmp_path / "whole.npz") as file:
        columns = dict(file)
    for name, value in (("labels", columns["labels"][:3]), ("norm", np.array("l1")), ("images", columns["images"] / 255)):
        np.savez(tmp_path / "broken.npz", **(columns | {name: value}))
        with pytest.raises(BundleError):
            CanarySet.load(tmp_path / "broken.npz")


def test_every_power_of_two_is_run() -> None:
    assert [batch_sizes(most) for most in (1, 2, 3, 64)] == [[1], [1, 2], [1, 2, 3], [1, 2, 4, 8, 16, 32, 64]]


def test_bundle_check_says_whether_there_is_a_canary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle_of(tmp_path / "with")
    bundle_of(tmp_path / "without", canary=0)
    shown = []
    for name in ("with", "without"):
        assert check(["check", str(tmp_path / name)]) == 0
        shown.append(next(line for line in capsys.readouterr().out.splitlines() if line.startswith("│ canary ")))
    assert "12 test images" in shown[0]
    assert "none" in shown[1]
