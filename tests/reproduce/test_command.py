"""The command line of a reproduction."""

from dataclasses import dataclass
from pathlib import Path
from time import perf_counter as clock

import pytest

from holdfast.exit_status import DONE, PAUSED, REFUSED
from holdfast.interrupts import TimeUpError
from reproduce.command import run_reproduction


@dataclass(frozen=True)
class OneScale:
    name: str
    about: str = "a minute"


SCALES = {name: OneScale(name) for name in ("ci", "small")}


def run(arguments, action=lambda call: None):
    calls = []
    status = run_reproduction("nothing", "Does nothing.", SCALES, lambda call: (calls.append(call), action(call))[1], arguments)
    return status, calls


def test_small_is_the_default_and_results_go_to_a_directory_of_their_own():
    status, (call,) = run([])
    assert status == DONE
    assert call.scale == SCALES["small"]
    assert call.out == Path("runs/nothing-small")
    assert call.deadline > clock() + 1e9
    assert call.command == "python -m reproduce.nothing"


def test_minutes_set_a_deadline_and_a_pause_has_its_own_status():
    def paused(call):
        assert clock() < call.deadline < clock() + 61
        raise TimeUpError("the minutes are over")

    status, (call,) = run(["--scale", "ci", "--minutes", "1", "--out", "elsewhere"], paused)
    assert status == PAUSED
    assert (call.scale, call.out) == (SCALES["ci"], Path("elsewhere"))


@pytest.mark.parametrize("arguments", [["--minutes", "-1"], ["--scale", "huge"]])
def test_wrong_usage_is_refused(arguments):
    with pytest.raises(SystemExit) as ended:
        run(arguments)
    assert ended.value.code == REFUSED
