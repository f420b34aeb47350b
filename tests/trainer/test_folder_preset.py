"""holdfast train --data DIR: a run that fits the folder, from a handful of images up."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from holdfast.data import DataError
from holdfast.data.listing import list_images
from holdfast.exit_status import REFUSED
from holdfast.index_build import cli as index_cli
from holdfast.trainer import cli
from holdfast.trainer.presets import DIGITS, PRESETS
from holdfast.trainer.presets.folder import SetSize, folder_config

TINY = ["--encoder.width", "4", "--encoder.dim", "8", "--stages.0.steps", "2", "--stages.1.steps", "2", "--no-estimate-cost"]


def folder_of(directory, counts, size=(20, 24)):
    """Class folders of noise, each class around a colour of its own."""
    random = np.random.default_rng(0)
    for label, count in enumerate(counts):
        (directory / f"class [{label}]").mkdir(parents=True)
        for i in range(count):
            noise = random.integers(0, 80, (*size, 3))
            noise[..., label % 3] += 150
            Image.fromarray(noise.astype(np.uint8)).save(directory / f"class [{label}]" / f"{i}.png")
    return directory


@pytest.fixture(scope="module")
def nine(tmp_path_factory):
    return folder_of(tmp_path_factory.mktemp("data") / "nine [red] photos", [3, 3, 3])


@given(st.integers(2, 300_000), st.data())
def test_a_run_fits_its_set(train, data):
    smallest = data.draw(st.integers(1, train // 2))
    config = folder_config(SetSize(train, smallest, 0), None, "runs/x")  # a config refuses what does not fit
    for stage in config.stages:
        assert 2 * config.threads <= stage.batch_size <= train
        assert stage.steps >= 30
    assert 1 <= config.k <= train
    assert (config.k + 1) / 2 <= smallest  # the smallest class can have the most votes
    seen = sum(stage.steps * stage.batch_size for stage in config.stages)
    assert seen <= 2_000_000 * 1.01


@given(st.integers(2, 2_000), st.integers(1, 100_000), st.data())
def test_a_set_with_images_without_labels_learns_from_them(train, unlabelled, data):
    smallest = data.draw(st.integers(1, train // 2))
    config = folder_config(SetSize(train, smallest, 0, unlabelled), None, "runs/x")
    assert [stage.name for stage in config.stages] == ["ugan", "trades"]
    assert all(2 * config.threads <= stage.batch_size <= train + unlabelled for stage in config.stages)
    assert config.k <= train


@pytest.mark.slow
def test_a_folder_with_few_labels_is_trained_and_indexed_with_guessed_ones(tmp_path, capsys):
    directory = folder_of(tmp_path / "few", [6, 6])
    folder_of(tmp_path / "more", [8, 8])
    (directory / "unlabelled").mkdir()
    for label in (0, 1):
        for path in (tmp_path / "more" / f"class [{label}]").iterdir():
            content = path.read_bytes() + b"\0"  # another file than the labelled one
            (directory / "unlabelled" / f"{label}-{path.name}").write_bytes(content)
    out = str(tmp_path / "out")
    assert cli.main(["--data", str(directory), "--out", out, *TINY, "--k", "1"]) == 0
    assert index_cli.main([out, "--pseudo", "0.1", "--threads", "1"]) == 0
    assert "without a label" in capsys.readouterr().err


@pytest.mark.parametrize("counts", [[3, 3, 3], [60, 60, 6], [1, 2], [18] * 10, [200, 2]])
def test_the_size_is_that_of_the_split(tmp_path, counts):
    listing = list_images(folder_of(tmp_path / "set", counts, size=(2, 2)))
    size = SetSize.of(listing)
    train, held, test = listing.split(calibration=size.calibration, seed=0)
    assert (size.train, size.calibration) == (len(train), len(held))
    assert size.train + size.calibration + len(test) == sum(counts)
    assert size.smallest == np.bincount(listing.labels[train]).min() >= 1


def test_data_names_a_folder_or_a_set(nine):
    sized = cli.parse(["--data", str(nine)])
    assert (sized.data, sized.data_dir, sized.out.name) == ("folder", nine, "nine [red] photos")
    assert sized.k < PRESETS["folder"][1].k
    for same in (
        [f"--data={nine}"],
        ["folder", "--data", str(nine)],
        ["--data", "folder", "--data-dir", str(nine)],
        ["folder", "--data", "folder", "--data-dir", str(nine)],
    ):
        assert cli.parse(same) == sized
    assert cli.parse(["--data", str(nine), "--k", "2", "--out", "runs/mine"]).k == 2
    other = cli.parse(["cifar10-small", "--data", str(nine)])
    assert (other.data, other.data_dir, other.k) == ("folder", nine, PRESETS["cifar10-small"][1].k)
    assert cli.parse(["--data", "digits"]) == cli.parse([]) == DIGITS


def test_what_is_neither_is_a_sentence(tmp_path, capsys):
    with pytest.raises(DataError, match="absent"):
        cli.parse(["--data", str(tmp_path / "absent")])
    assert cli.main(["--data", str(tmp_path)]) == REFUSED
    assert capsys.readouterr().err.startswith("holdfast train: ")
    assert cli.main(["folder", "--out", str(tmp_path / "x")]) == REFUSED
    assert "--data" in capsys.readouterr().err


@pytest.mark.slow
def test_nine_images_make_a_bundle_that_can_be_indexed(nine, tmp_path, capsys):
    out = tmp_path / "out [bold]"
    assert cli.main(["--data", str(nine), "--out", str(out), *TINY]) == 0
    shown = capsys.readouterr().out
    assert f"next: holdfast index '{out}'" in shown
    assert "calibrated on only 1 image" in " ".join(shown.replace("│", " ").split())
    assert index_cli.main([str(out)]) == 0
    shown = capsys.readouterr().out
    assert f"next: holdfast evaluate '{out}'" in shown
    assert "out [bold]: ready" in shown
