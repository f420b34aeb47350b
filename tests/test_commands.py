"""holdfast COMMAND: what a person types, and by which status each program says how it ended."""

import importlib
import os
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from holdfast import cli
from holdfast.environment import AVX512, cpu_flags, prepare_computing, prepare_libraries
from holdfast.errors import HoldfastError, RetrieverUnavailableError, install_command
from holdfast.exit_status import STATUSES, exit_status, explain_statuses
from holdfast.interrupts import Terminated, TimeUpError

ROOT = Path(__file__).parents[1]
PROGRAMS = (
    *(
        "train",
        "import",
        "robustify",
        "index",
        "quantise",
        "evaluate",
        "hand-on",
        "serve",
        "classify",
        "exemplars",
        "versions",
        "token",
        "bundle",
    ),
)
REFUSED_ARGUMENTS = {
    "train": ["digits", "--resume", "--out", "{absent}"],
    "index": ["{absent}"],
    "evaluate": ["{absent}"],
    "hand-on": ["{absent}", "{absent}-2"],
    "serve": ["--bundle", "{absent}"],
    "bundle": ["check", "{absent}"],
    "classify": ["{absent}"],
    "quantise": ["{absent}", "{absent}-int8"],
}


def python(*arguments):
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture
def environment(monkeypatch):
    """What commands set for their libraries is taken back."""
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OMP_NUM_THREADS", "OPENBLAS_CORETYPE", "ORT_DISABLE_TELEMETRY"):
        monkeypatch.setenv(name, os.environ.get(name, ""))


def test_the_commands_are_those_of_the_table():
    assert tuple(cli.COMMANDS) == PROGRAMS


def test_help_says_what_each_command_does_and_every_status(capsys):
    assert cli.main(["--help"]) == 0
    shown = capsys.readouterr().out
    for name, command in cli.COMMANDS.items():
        assert command.about in shown
        assert f"holdfast {name}" in command.example
        assert command.example in shown
    for status, meaning in STATUSES.items():
        assert f"{status}" in shown
        assert meaning in shown


def test_without_a_command_the_help_is_printed_and_the_usage_was_wrong(capsys):
    assert cli.main([]) == 2
    assert "commands:" in capsys.readouterr().out


@pytest.mark.parametrize(("typed", "meant"), [("trian", "train"), ("evalute", "evaluate"), ("server", "serve")])
def test_an_unknown_command_is_refused_with_the_nearest_one(typed, meant, capsys):
    assert cli.main([typed]) == 2
    shown = capsys.readouterr().err
    assert repr(typed) in shown
    assert repr(meant) in shown


def test_the_version_is_a_number(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.split()[0] == "holdfast"


def test_a_command_whose_extra_is_not_installed_names_it(monkeypatch, capsys):
    monkeypatch.setattr(cli.util, "find_spec", lambda name: None if name == "torch" else object())
    assert cli.main(["train", "digits"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "torch" in line
    assert "holdfast[train]" in line
    assert sys.executable in line  # another environment's pip would fetch a package of the same name that is none of ours


def test_an_extra_is_installed_from_the_checkout_where_nothing_is_installed(monkeypatch):
    def absent(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", absent)
    *_, what = shlex.split(install_command("train"))
    assert what.removesuffix("[train]") == str(Path(cli.__file__).parents[1])


def test_help_and_a_refused_command_load_no_library():
    code = (
        "import sys; from holdfast.cli import main; main(['--help']); main(['no-such-command']);"
        "sys.exit(any(name in sys.modules for name in ('numpy', 'torch', 'faiss', 'onnxruntime', 'grpc', 'rich', 'pydantic')))"
    )
    assert python("-c", code).returncode == 0


def test_serving_loads_no_torch():
    code = (
        "import sys\nfrom holdfast.cli import main\n"
        "try: main(['serve', '--help'])\n"
        "except SystemExit: sys.exit('torch' in sys.modules)"
    )
    assert python("-c", code).returncode == 0


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_help_of_a_command_has_its_name(name, environment, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main([name, "--help"])
    assert not end.value.code
    shown = capsys.readouterr().out
    assert f"holdfast {name}" in shown
    assert "usage" in shown.lower()


@pytest.mark.parametrize("name", PROGRAMS)
def test_wrong_usage_ends_with_2(name, environment, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main([name, "--no-such-flag"])
    assert end.value.code == 2
    assert f"holdfast {name}" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "arguments"), REFUSED_ARGUMENTS.items())
def test_refused_input_ends_with_2_and_one_line(name, arguments, environment, tmp_path, capsys):
    absent = tmp_path / "absent"
    assert cli.main([name, *(each.format(absent=absent) for each in arguments)]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line]
    assert line.startswith(f"holdfast {name}: ")
    assert str(absent) in line


def test_a_server_that_does_not_answer_is_a_failure_and_no_wrong_usage(environment, tmp_path, capsys):
    (tmp_path / "a.png").write_bytes(b"not looked at")
    assert cli.main(["classify", str(tmp_path / "a.png"), "--address", "127.0.0.1:1"]) == 1
    assert capsys.readouterr().err.startswith("holdfast classify: ")


@pytest.mark.parametrize(
    ("raised", "status"),
    [
        (HoldfastError("no good"), 2),
        (RetrieverUnavailableError("Milvus does not answer"), 1),
        (TimeUpError("2 minutes are over"), 75),
        (KeyboardInterrupt(), 130),
        (Terminated(), 143),
    ],
)
def test_every_way_to_end_has_its_status_and_one_line(raised, status, capsys):
    def fail():
        raise raised

    assert exit_status("holdfast test", fail, again="type it again") == status
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("holdfast test: ")
    assert ("type it again" in line) == (status not in {1, 2})
    assert status in STATUSES


def test_a_program_chooses_its_own_status_and_none_is_done():
    assert exit_status("holdfast test", lambda: None) == 0
    assert exit_status("holdfast test", lambda: 3) == 3


def test_a_bug_is_not_made_quiet():
    with pytest.raises(ZeroDivisionError):
        exit_status("holdfast test", lambda: 1 // 0)


def test_some_statuses_are_explained_on_their_own():
    shown = explain_statuses(0, 75)
    assert STATUSES[75] in shown
    assert STATUSES[3] not in shown


@pytest.mark.parametrize(("module", "name"), [("index_build", "index"), ("server", "serve")])
def test_the_programs_of_the_checkout_are_the_same_commands(module, name):
    shown = python("-m", module, "--help")
    assert shown.returncode == 0, shown.stderr
    assert f"holdfast {name}" in shown.stdout


def test_what_the_operator_has_set_stays(tmp_path):
    environment = {"OMP_WAIT_POLICY": "ACTIVE"}
    prepare_computing(environment)
    others = {"GOMP_SPINCOUNT": "0", "ORT_DISABLE_TELEMETRY": "1", "GRPC_VERBOSITY": "ERROR"}
    assert environment == {"OMP_WAIT_POLICY": "ACTIVE"} | others
    environment = {}
    prepare_libraries(environment, tmp_path / "absent")
    assert environment["OMP_NUM_THREADS"] == "1"


def test_the_flags_of_a_cpu_are_read_from_cpuinfo(tmp_path):
    (tmp_path / "cpuinfo").write_text(f"processor: 0\nflags\t\t: fpu avx2 fma {' '.join(sorted(AVX512))}\n")
    assert cpu_flags(tmp_path / "cpuinfo") >= AVX512
    assert cpu_flags(tmp_path / "absent") == frozenset()


def test_every_command_leads_to_a_main_function():
    for command in cli.COMMANDS.values():
        assert callable(importlib.import_module(command.module).main)
