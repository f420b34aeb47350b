import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from holdfast.bundle.reader import Bundle
from holdfast.trainer import cli
from holdfast.trainer.config import Stage, TrainConfig
from holdfast.trainer.cost import dry_run_record as rehearsed
from holdfast.trainer.encoders import ResNetConfig
from holdfast.trainer.export import bundle as write_bundle
from holdfast.trainer.objectives import AmdimObjectiveConfig, SupervisedConfig
from holdfast.trainer.presets import DIGITS
from holdfast.trainer.state import checkpoint

TINY = [
    *("--encoder.width", "4", "--encoder.dim", "8", "--threads", "1", "--no-plan"),
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
    assert bundle.manifest.threat_model.epsilon == DIGITS.epsilon
    images = np.zeros((2, 32, 32, 3), dtype=np.uint8)
    assert bundle.encoder.embed(images).shape == (2, 8)
    assert bundle.gradient.vjp(images / np.float32(255), np.ones((2, 8), np.float32)).shape == images.shape
    assert (run / "log.csv").is_file()


def test_the_plan_is_told_before_the_run(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["digits", *TINY, "--out", str(tmp_path / "other"), "--start-from", str(run), "--seed", "1"]) == 2
    out, err = capsys.readouterr()
    assert "1,197 images of 10 classes" in out
    assert "M parameters" in out
    assert "seed: 0 there, 1 now" in " ".join(err.split())


def test_a_plan_changes_nothing_and_is_held_against_what_was_reached(run: Path, tmp_path: Path, capsys) -> None:
    assert cli.main([*TINY, "--plan", "--out", str(tmp_path / "x")]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "a large copy reach" in out
    assert "utilisation" in out
    assert "not counted" not in out
    first, second = (Bundle.open_encoder(path).manifest.files["encoder.onnx"] for path in (run, tmp_path / "x"))
    assert first == second


def test_resuming_a_finished_run_writes_the_same_encoder(run: Path) -> None:
    before = Bundle.open_encoder(run).manifest.files["encoder.onnx"]
    assert cli.main([*TINY, "--out", str(run), "--resume"]) == 0
    assert Bundle.open_encoder(run).manifest.files["encoder.onnx"] == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--resume"], "nothing to go on from"),
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

    def told_to_end(*arguments: object, **options: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        train_from(*arguments, **options)

    monkeypatch.setattr(cli, "train_from", told_to_end)
    assert cli.main([*TINY, "--out", str(tmp_path / "x")]) == 143
    assert "--resume" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) == handler


def test_a_slice_ends_with_a_status_of_its_own_and_the_same_command_goes_on(tmp_path, capsys) -> None:
    command = [*TINY, "--out", str(tmp_path / "x"), "--resume-if-any"]
    for step, stage in (("1", "amdim"), ("2", "amdim"), ("1", "ssat")):
        assert cli.main([*command, "--minutes", "1e-9"]) == 75
        told = " ".join(capsys.readouterr().err.split())
        assert f"after step {step} of stage '{stage}'; the same command with --resume goes on" in told
    assert cli.main([*command, "--minutes", "60"]) == 0
    assert Bundle.open_encoder(tmp_path / "x").manifest.training.steps == 4


def test_all_slices_are_told_what_the_first_rehearsed(tmp_path, monkeypatch, capsys) -> None:
    rehearsals, reads = [], []
    really, load = rehearsed.rehearse, checkpoint.load
    monkeypatch.setattr(rehearsed, "rehearse", lambda *given: rehearsals.append(given) or really(*given))
    monkeypatch.setattr(checkpoint, "load", lambda *given: reads.append(given) or load(*given))
    command = [*TINY, "--plan", "--out", str(tmp_path / "x"), "--resume-if-any"]
    told = []
    for _ in range(3):
        assert cli.main([*command, "--minutes", "1e-9"]) == 75
        told.append(" ".join(capsys.readouterr().out.split()))
    assert (len(rehearsals), len(reads)) == (1, 2)  # a checkpoint is read once in a slice
    assert len({re.findall(r"copy reach (.*?) here", text)[0] for text in told}) == 1
    assert all("utilisation" in text and "not counted" not in text for text in told)


def test_a_rehearsal_of_another_run_or_a_damaged_one_does_not_count(tmp_path, digits, monkeypatch) -> None:
    few = digits.train.take(range(200))
    stage = Stage("s", SupervisedConfig(), steps=1, batch_size=16)
    config = TrainConfig(ResNetConfig(4, 1, 8), (stage,), out=tmp_path / "x", device="cpu")
    calls = []
    really = rehearsed.rehearse
    monkeypatch.setattr(rehearsed, "rehearse", lambda *given: calls.append(given) or really(*given))
    first = rehearsed.rehearsed(config, few)
    for same in (config, replace(config, minutes=9.0, resume_if_any=True, log_every=3, whitening=0.1)):
        assert rehearsed.rehearsed(same, few) == first
    assert len(calls) == 1
    others = (
        replace(config, stages=(replace(stage, batch_size=32),)),
        replace(config, checkpoint_precision="float16"),
        replace(config, precision="float32"),
    )
    for number, other in enumerate(others, 2):
        rehearsed.rehearsed(other, few)
        assert len(calls) == number
    rehearsed.rehearsed(others[-1], few.take(range(100)))
    (config.out / rehearsed.FILE).write_text('{"circumstances": ')
    rehearsed.rehearsed(config, few)
    assert len(calls) == len(others) + 3


def test_stages_are_told_in_words() -> None:
    amdim, ssat = DIGITS.stages
    assert isinstance(amdim.objective, AmdimObjectiveConfig)
    assert write_bundle.told(amdim) == f"amdim, {amdim.steps} steps of 128"
    assert write_bundle.told(ssat).startswith("ssat (label_free, L-inf 24/255), ")


def test_the_module_sets_its_threads_to_sleep_before_torch_is_loaded() -> None:
    # In a process of its own, as torch has long been loaded here.
    code = (
        "import runpy, sys; sys.argv = ['trainer', '--help']\n"
        "try: runpy.run_module('trainer', run_name='__main__')\n"
        "except SystemExit: import os; print(os.environ['OMP_WAIT_POLICY'], os.environ['GOMP_SPINCOUNT'])"
    )
    clean = {k: v for k, v in os.environ.items() if k not in {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"}}
    done = subprocess.run([sys.executable, "-c", code], env=clean, capture_output=True, text=True, check=True)
    assert done.stdout.rstrip().endswith("PASSIVE 0")
