"""Every program ends with the same status for the same kind of fault, and says it in a line without a traceback."""

import errno
import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from holdfast.exit_status import DONE, FAILED, REFUSED, describe_os_error, exit_status
from holdfast.flags import positive, whole_number
from holdfast.interrupts import INTERRUPTED
from tests.refusals import one_line

ROOT = Path(__file__).parents[1]
ENVIRONMENT = dict(os.environ)
"""Of processes: as it was before tests changed theirs."""

PROGRAMS = {
    "holdfast train": "holdfast.trainer.cli",
    "holdfast index": "holdfast.index_build.cli",
    "holdfast evaluate": "holdfast.evaluation.cli.command",
    "holdfast serve": "holdfast.server.__main__",
    "holdfast classify": "holdfast.client.__main__",
    "holdfast bundle": "holdfast.bundle.__main__",
    "demo": "demo.cli",
    "reproduce.ssat": "reproduce.ssat.cli",
    "bench": "bench.planted",
}
NAMES_OF_USAGE = {
    "holdfast classify": "python -m holdfast.client",
    "demo": "python -m demo",
    "reproduce.ssat": "python -m reproduce.ssat",
    "bench": "python -m bench.planted",
}
BEFORE = {"holdfast classify": ["classify"]}

ABSENT = {
    "holdfast train": ["--data", "{absent}"],
    "holdfast index": ["{absent}"],
    "holdfast evaluate": ["{absent}"],
    "holdfast serve": ["{absent}"],
    "holdfast bundle": ["check", "{absent}"],
    "bench": ["--bundle", "{absent}"],
}
"""Arguments that name a thing that is not there."""

OUT_OF_RANGE = {
    "holdfast train": ["digits", "--threads", "0"],
    "holdfast index": ["runs/x", "--batch-size", "0"],
    "holdfast serve": ["runs/x", "--port", "99999"],
    "holdfast classify": ["classify", "{picture}", "--neighbours", "-1"],
    "demo": ["--images", "-5"],
    "reproduce.ssat": ["--images", "0"],
}


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """What commands set for their libraries is taken back."""
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OMP_NUM_THREADS", "OPENBLAS_CORETYPE"):
        monkeypatch.setenv(name, os.environ.get(name, ""))


@pytest.fixture
def typed(tmp_path):
    """Fills in paths."""
    Image.new("RGB", (2, 2)).save(tmp_path / "picture.png")
    return lambda arguments: [
        each.format(absent=tmp_path / "absent [x]", picture=tmp_path / "picture.png") for each in arguments
    ]


def status_of(program, arguments):
    """How a program ends: argparse and tyro leave by SystemExit, everything else returns."""
    try:
        return importlib.import_module(PROGRAMS[program]).main(arguments)
    except SystemExit as ended:
        return ended.code


def said(capsys):
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err + shown.out
    return shown.err


@pytest.mark.parametrize("program", PROGRAMS)
def test_an_unknown_flag_is_wrong_usage(program, capsys):
    assert status_of(program, [*BEFORE.get(program, []), "--no-such-flag"]) == REFUSED
    assert NAMES_OF_USAGE.get(program, program) in said(capsys)


@pytest.mark.parametrize("program", ABSENT)
def test_what_is_not_there_is_refused_in_a_line_that_names_it(program, typed, capsys):
    assert status_of(program, typed(ABSENT[program])) == REFUSED
    lines = said(capsys).strip().splitlines()
    assert lines[-1].startswith(f"{program}: ")
    assert "absent [x]" in lines[-1]


@pytest.mark.parametrize("program", OUT_OF_RANGE)
def test_a_number_out_of_range_is_refused(program, typed, capsys):
    assert status_of(program, typed(OUT_OF_RANGE[program])) == REFUSED
    assert said(capsys).strip()


@pytest.mark.parametrize("command", ["classify", "info", "health"])
def test_no_server_is_a_failure(command, typed, capsys):
    images = typed(["{picture}"]) if command == "classify" else []
    assert status_of("holdfast classify", [command, *images, "--address", "127.0.0.1:1", "--timeout", "5"]) == FAILED
    (line,) = said(capsys).strip().splitlines()
    assert line.startswith(f"holdfast {command}: ")
    assert "127.0.0.1:1" in line


def test_a_missing_picture_is_wrong_usage(tmp_path, capsys):
    assert status_of("holdfast classify", ["classify", str(tmp_path / "absent.png")]) == REFUSED
    assert "absent.png" in said(capsys)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (FileNotFoundError(2, "No such file or directory", "/a/[b]"), REFUSED),
        (PermissionError(13, "Permission denied", b"/a/\xff"), REFUSED),
        (OSError(28, "No space left on device", "/a/c"), FAILED),
        (ConnectionResetError(104, "Connection reset by peer"), FAILED),
    ],
)
def test_an_error_of_a_file_is_one_line(error, status, capfd):
    def fail():
        raise error

    assert exit_status("holdfast test", fail) == status
    (line,) = capfd.readouterr().err.splitlines()
    assert line == f"holdfast test: {describe_os_error(error)}".encode(errors="backslashreplace").decode()
    assert error.strerror in line


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), OSError(errno.EMFILE, "Too many open files"), MemoryError()]
)
def test_what_a_machine_has_no_more_of_is_one_line(error, capfd):
    def fail():
        raise error

    assert exit_status("holdfast test", fail) == FAILED
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("holdfast test: ")


INTERRUPTED_IMPORT = """
import os, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have had it ignored
class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == sys.argv[-1]:
            sys.argv.pop()
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupting())
import runpy
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""
"""Runs a module, and interrupts it as soon as it imports another."""


@pytest.mark.parametrize(
    ("module", "arguments", "imported"),
    [
        ("holdfast", ["train", "digits"], "torch"),
        ("holdfast", ["index", "runs/x"], "onnxruntime"),
        ("server", ["runs/x"], "faiss"),
    ],
)
def test_ctrl_c_while_libraries_are_loaded_is_one_line(module, arguments, imported):
    command = [sys.executable, "-c", INTERRUPTED_IMPORT, module, *arguments, imported]
    done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == INTERRUPTED, done.stderr
    assert one_line(done.stderr).endswith(": interrupted")


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="there is no /dev/full here")
@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["bundle", "check", "bundles/cifar10-small"]])
def test_a_standard_output_that_takes_nothing_is_one_line(arguments):
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "holdfast", *arguments]
        done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == FAILED
    assert "No space left" in one_line(done.stderr)


def test_an_error_of_the_system_that_is_of_no_file_is_a_bug():
    def fail():
        raise OSError("something else")

    with pytest.raises(OSError, match="something else"):
        exit_status("holdfast test", fail)


def test_a_program_that_is_done_says_so():
    assert exit_status("holdfast test", lambda: None) == DONE


@pytest.mark.parametrize(
    ("read", "good", "bad"), [(whole_number(0, 9), "9", ["-1", "10", "x", "1.5"]), (positive, "0.5", ["0"])]
)
def test_types_of_flags(read, good, bad):
    assert float(read(good)) == float(good)
    for each in bad:
        with pytest.raises(Exception, match="must be"):
            read(each)
