import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from holdfast.bundle.reader import Bundle
from holdfast.trainer import cli
from holdfast.trainer.presets import DIGITS
from holdfast.trainer.state import checkpoint
from tests.trainer.tiny_runs import same

TINY = [
    *("--encoder.width", "4", "--encoder.dim", "8", "--threads", "1", "--no-estimate-cost"),
    *("--stages.0.steps", "2", "--stages.1.steps", "2", "--stages.0.batch-size", "16", "--stages.1.batch-size", "16"),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "tiny"
    assert cli.main([*TINY, "--out", str(out)]) == 0
    return out


def test_one_command_leaves_a_bundle_that_lacks_only_its_index(run: Path) -> None:
    bundle = Bundle.open_encoder(run)
    training = bundle.manifest.training
    assert training.data.name == "digits"
    assert training.data.calibration == 200
    assert training.steps == 4
    assert training.command.startswith("python -m trainer --encoder.width 4")
    assert "ssat (label_free" in training.objective
    assert bundle.head is None
    assert bundle.manifest.threat_model.epsilon == DIGITS.epsilon
    images = np.zeros((2, 32, 32, 3), dtype=np.uint8)
    assert bundle.encoder.embed(images).shape == (2, 8)
    assert bundle.gradient.vjp(images / np.float32(255), np.ones((2, 8), np.float32)).shape == images.shape
    assert (run / "log.csv").is_file()


def test_the_run_is_described_before_it_begins(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["digits", *TINY, "--out", str(tmp_path / "other"), "--start-from", str(run), "--seed", "1"]) == 2
    out, err = capsys.readouterr()
    assert "1,197 images" in out
    assert "M parameters" in out
    assert "seed: 0 there, 1 now" in " ".join(err.split())


@pytest.fixture
def without_export(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exporting takes most of a tiny run, and has tests of its own."""
    monkeypatch.setattr(cli, "write_bundle", lambda *_: "not exported")


def test_a_cost_estimate_changes_nothing_and_is_compared_with_what_was_reached(run, tmp_path, capsys, without_export) -> None:
    assert cli.main([*TINY, "--estimate-cost", "--out", str(tmp_path / "x")]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert re.search(r"[\d.]+ TFLOP/s, [\d.]+ GB/s", out)
    assert re.search(r"\d%", out)
    assert same(checkpoint.load_encoder(run), checkpoint.load_encoder(tmp_path / "x"))


@pytest.mark.slow
def test_resuming_a_finished_run_writes_the_same_encoder(run: Path) -> None:
    before = Bundle.open_encoder(run).manifest.files["encoder.onnx"]
    assert cli.main([*TINY, "--out", str(run), "--resume"]) == 0
    assert Bundle.open_encoder(run).manifest.files["encoder.onnx"] == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--resume"], "no checkpoint"),
        (["cifar10-small", "--data-dir", "absent"], "absent"),
    ],
)
def test_mistakes_end_in_a_sentence_not_a_traceback(arguments, said, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == 2
    err = capsys.readouterr().err
    assert said in " ".join(err.split())
    assert "Traceback" not in err


def test_an_interrupted_run_says_how_to_go_on(tmp_path, monkeypatch, capsys) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "train_from", interrupt)
    assert cli.main([*TINY, "--out", str(tmp_path / "x")]) == 130
    assert "--resume" in capsys.readouterr().err


def test_sigterm_ends_a_run_as_ctrl_c_does(tmp_path, monkeypatch, capsys) -> None:
    handler = signal.getsignal(signal.SIGTERM)
    train_from = cli.train_from

    def send_sigterm(*arguments: object, **options: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        train_from(*arguments, **options)

    monkeypatch.setattr(cli, "train_from", send_sigterm)
    assert cli.main([*TINY, "--out", str(tmp_path / "x")]) == 143
    assert "--resume" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) == handler


def test_a_slice_ends_with_a_status_of_its_own_and_the_same_command_goes_on(tmp_path, capsys, without_export) -> None:
    command = [*TINY, "--out", str(tmp_path / "x"), "--resume-if-any"]
    for step, stage in (("1", "amdim"), ("2", "amdim"), ("1", "ssat")):
        assert cli.main([*command, "--minutes", "1e-9"]) == 75
        err = " ".join(capsys.readouterr().err.split())
        assert f"step {step} of stage '{stage}'" in err
        assert "--resume" in err
    assert cli.main([*command, "--minutes", "60"]) == 0
    assert checkpoint.load(tmp_path / "x").position.step == 2


def test_all_slices_show_what_the_first_ones_dry_run_found(tmp_path, monkeypatch, capsys) -> None:
    reads = []
    load = checkpoint.load
    monkeypatch.setattr(checkpoint, "load", lambda *given: reads.append(given) or load(*given))
    command = [*TINY, "--estimate-cost", "--out", str(tmp_path / "x"), "--resume-if-any"]
    outputs = []
    for _ in range(3):
        assert cli.main([*command, "--minutes", "1e-9"]) == 75
        outputs.append(" ".join(capsys.readouterr().out.split()))
    assert len(reads) == 2  # a checkpoint is read once in a slice
    assert len({re.findall(r"([\d.]+ TFLOP/s, [\d.]+ GB/s)", text)[0] for text in outputs}) == 1
    assert all(re.search(r"\d%", text) for text in outputs)


def test_the_module_sets_its_threads_to_sleep_before_torch_is_loaded() -> None:
    # In a process of its own, as torch has long been loaded here; it ends where it would load it.
    code = """
import os, runpy, sys
class Torch:
    def find_spec(self, name, *_):
        if name == "torch":
            print(os.environ["OMP_WAIT_POLICY"], os.environ["GOMP_SPINCOUNT"])
            raise SystemExit
sys.meta_path.insert(0, Torch())
sys.argv = ["trainer", "--help"]
runpy.run_module("trainer", run_name="__main__")
"""
    clean = {k: v for k, v in os.environ.items() if k not in {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"}}
    done = subprocess.run([sys.executable, "-c", code], env=clean, capture_output=True, text=True, check=True)
    assert done.stdout == "PASSIVE 0\n"
