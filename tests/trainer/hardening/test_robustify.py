"""holdfast robustify: what a person types, and the bundle that comes of it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from holdfast import cli
from holdfast.bundle.reader import Bundle, read_manifest
from holdfast.bundle.threat_model import ThreatModel
from holdfast.trainer import cli as trainer_cli
from holdfast.trainer.export.trained import load_trained
from holdfast.trainer.state.source import ParentBundle
from tests.holdfast.importing.foreign import channels_mean
from tests.trainer.hardening.tiny_parents import bundle_of, photographs

ROOT = Path(__file__).parents[3]
FAST = ["--steps", "2", "--batch-size", "8", "--attack-steps", "1"]


def robustify(*typed):
    return cli.main(["robustify", *map(str, typed), *FAST])


@pytest.fixture(scope="module")
def run(transformer, photos, tmp_path_factory):
    """FARE with labels at hand, so that the bundle can be indexed by the set that it learned from."""
    out = tmp_path_factory.mktemp("robustify") / "run"
    flags = ["--epsilon", "2/255", "--adapters", "1", "--checkpoint-activations", "3"]
    assert robustify("--from", transformer, "--data", photos, "--out", out, *flags) == 0
    return out


def test_the_bundle_says_what_it_was_and_within_which_ball_it_was_hardened(run, transformer):
    manifest, parent = read_manifest(run), read_manifest(transformer)
    assert manifest.imported == parent.imported
    record = manifest.training.hardened_from
    assert (record.parent, record.parent_sha256) == ("parent", parent.files["encoder.onnx"])
    assert (record.method, record.norm, record.epsilon, record.adapters) == ("fare", "linf", 2 / 255, 1)
    assert manifest.threat_model.model() == ThreatModel("linf", 2 / 255)
    assert (manifest.input, manifest.embedding_dim) == (parent.input, parent.embedding_dim)
    assert {"encoder.onnx", "gradient.onnx"} <= manifest.files.keys()
    assert manifest.training.command.startswith("holdfast robustify")


def test_it_is_indexed_by_what_it_learned_from_and_checked(run, capsys):
    assert cli.main(["index", str(run), "--data", str(run.parent / "none")]) == 2
    assert cli.main(["index", str(run)]) == 0
    assert sorted(Bundle.open(run).class_names) == ["blue", "green", "red"]
    capsys.readouterr()
    assert cli.main(["bundle", "check", str(run)]) == 0
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "not hardened" not in shown
    assert "hardened from parent" in shown


@pytest.mark.slow
def test_it_is_attacked_by_its_own_gradient_and_by_torch(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    assert cli.main(["index", str(tmp_path / "run")]) == 0
    for gradients in ("onnx", "torch"):
        assert cli.main(["evaluate", str(tmp_path / "run"), "--images", "3", "--gradients", gradients]) == 0


def test_the_price_was_found_first(run):
    stage = json.loads((run / "checkpoint" / "dry_run.json").read_text())["stages"][0]
    assert stage["step"]["operations"] > 0
    assert stage["seconds"] > 0


def test_it_goes_on_by_robustify_and_not_by_continue_with(run, flat, tmp_path, capsys):
    assert cli.main(["train", str(run), "--continue-with", str(flat), "--out", str(tmp_path / "next")]) == 2
    assert f"holdfast robustify --from {run}" in capsys.readouterr().err
    assert ParentBundle.open(run).manifest.imported is not None


@pytest.mark.slow
def test_images_without_classes_are_enough(transformer, flat, tmp_path):
    assert (
        trainer_cli.main(["robustify", "--from", str(transformer), "--data", str(flat), "--out", str(tmp_path / "run"), *FAST])
        == 0
    )
    manifest = read_manifest(tmp_path / "run")
    assert manifest.class_names == ()
    assert cli.main(["index", str(tmp_path / "run")]) == 2  # there are no classes in what it learned from


@pytest.mark.slow
@pytest.mark.parametrize("method", ["deacl", "ssat", "trades"])
def test_every_method_makes_a_bundle(method, convolutional, photos, tmp_path):
    out = tmp_path / "run"
    assert robustify("--from", convolutional, "--data", photos, "--out", out, "--method", method, "--no-estimate-cost") == 0
    manifest = read_manifest(out)
    assert manifest.training.hardened_from.method == method
    assert ("classifier.npz" in manifest.files) == (method == "trades")


@pytest.mark.slow
def test_images_that_are_not_square_are_learned_from_as_the_encoder_takes_them(tmp_path):
    parent = bundle_of(channels_mean(("N", 3, 8, 12)), tmp_path)
    photos = photographs(tmp_path / "photos", side=(10, 9))
    out = tmp_path / "run"
    assert robustify("--from", parent, "--data", photos, "--out", out, "--no-estimate-cost") == 0
    assert read_manifest(out).input.size == (8, 12)
    assert cli.main(["index", str(out)]) == 0


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--method", "trades"], "labels"),
        (["--freeze", "99"], "layers"),
        (["--train-last", "99"], "--train-last 99"),
        (["--train-last", "1", "--freeze", "1"], "choose one"),
        (["--method", "deacl", "--clean-weight", "1"], "--clean-weight"),
        (["--robust-weight", "1"], "--robust-weight"),
        (["--epsilon", "4"], "255"),
        (["--resume"], "checkpoint"),
        (["--average", "1"], "decay"),
        (["--threads", "20"], "threads"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_sentence(flags, said, transformer, flat, tmp_path, capsys):  # noqa: PLR0917
    assert robustify("--from", transformer, "--data", flat, "--out", tmp_path / "run", *flags) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert said in error
    assert not (tmp_path / "run" / "manifest.json").exists()


def test_the_bundle_itself_is_not_written_to(transformer, flat, capsys):
    before = (transformer / "manifest.json").read_bytes()
    assert robustify("--from", transformer, "--data", flat, "--out", transformer) == 2
    assert "name another directory" in capsys.readouterr().err
    assert (transformer / "manifest.json").read_bytes() == before


def test_what_listens_and_what_is_no_set_are_refused(transformer, tmp_path, capsys):
    assert robustify("--from", ROOT / "bundles" / "fsdd-speakers", "--data", tmp_path, "--out", tmp_path / "run") == 2
    assert "listens" in capsys.readouterr().err
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert robustify("--from", transformer, "--data", tmp_path / "photos", "--out", tmp_path / "run") == 2
    assert "broken.png" in capsys.readouterr().err
    assert robustify("--from", transformer, "--data", tmp_path / "photos", "--out", tmp_path / "run", "--skip-unreadable") == 2
    assert "two or more" in capsys.readouterr().err


@pytest.mark.slow
def test_processes_of_torchrun_harden_as_threads_of_one(transformer, photos, tmp_path):
    flags = ["--from", transformer, "--data", photos, "--steps", "3", "--batch-size", "8", "--device", "cpu"]
    typed = [*map(str, flags), "--precision", "float32", "--out"]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "trainer"]
    done = subprocess.run(
        [*launcher, "robustify", *typed, str(tmp_path / "processes")], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("next: holdfast index") == 1
    assert cli.main(["robustify", *typed, str(tmp_path / "threads"), "--threads", "2"]) == 0
    one, other = (load_trained(tmp_path / name).state_dict() for name in ("processes", "threads"))
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, other[name], rtol=1e-3, atol=1e-4)
    assert read_manifest(tmp_path / "processes").training.hardened_from.method == "fare"
