"""bench.gpu: all steps at their smallest, and what interrupts them."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest

from bench.gpu.__main__ import main
from bench.gpu.picture import draw
from bench.gpu.pipeline import Clock, run_steps
from bench.gpu.results import Results, StepResult
from bench.gpu.scales import SCALES, TINY, Goal
from bench.gpu.steps import Place, Step, read_evaluation, steps, utilisation
from bench.harness.report import Target
from holdfast.console import Console
from holdfast.errors import HoldfastError
from holdfast.exit_status import FAILED, REFUSED
from holdfast.interrupts import TimeUpError

ROOT = Path(__file__).parents[2]
NAMES = ["training", "train", "index", "evaluate", "parity", "engine", "serve", "scan"]


def run_all(out: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """What python -m bench.gpu does, in one process: those of its steps would import torch five times."""
    command = [
        sys.executable,
        "-m",
        "tests.bench.steps_in_one_process",
        "--scale",
        "tiny",
        "--device",
        "cpu",
        "--out",
        str(out),
    ]
    return subprocess.run([*command, *flags], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    out = tmp_path_factory.mktemp("steps")
    return out, run_all(out)


@pytest.mark.slow
def test_all_steps_are_done_without_a_gpu(finished):
    out, done = finished
    # What so small a run promises it may miss; that it was measured is what counts.
    assert done.returncode in {0, FAILED}, done.stdout + done.stderr
    results = [json.loads((out / "results" / f"{name}.json").read_text()) for name in NAMES]
    assert all(result["state"] == "done" for result in results)
    by_name = {result["step"]: result for result in results}
    assert by_name["index"]["numbers"]["exemplars"] == 1197
    assert by_name["evaluate"]["numbers"]["images"] == 8
    assert by_name["parity"]["numbers"]["same_label"] == 1.0
    served = by_name["serve"]["numbers"]["served"]
    assert {(each["workers"], each["images_per_call"]) for each in served} == {(0, 4), (1, 4)}
    assert all(each["images_per_second"] > 0 and each["server_cpu_us_per_image"] > 0 for each in served)
    assert not any(each["failed_calls"] for each in served)
    assert {each["rows"] for each in by_name["scan"]["numbers"]["searches"]} == {500, 1000}
    kept = all(target["value"] >= target["bound"] for result in results for target in result["targets"])
    assert done.returncode == (0 if kept else FAILED)


@pytest.mark.slow
def test_it_ends_in_a_page_and_a_picture(finished):
    out, _ = finished
    page = (out / "gpu.md").read_text()
    assert (out / "gpu.png").read_bytes().startswith(b"\x89PNG")
    for name in NAMES:
        assert f"## {name}: " in page
    assert "python -m trainer digits-supervised" in page
    assert "| trainer / bare loop |" in page


@pytest.mark.slow
def test_what_is_done_is_not_done_again_but_what_was_deleted(finished):
    out, first = finished
    before = {name: (out / "results" / f"{name}.json").read_text() for name in NAMES}
    (out / "results" / "scan.json").unlink()
    again = run_all(out)
    assert again.returncode in {0, FAILED}, again.stdout + again.stderr
    assert again.stdout.count("done before") == len(NAMES) - 1
    after = {name: (out / "results" / f"{name}.json").read_text() for name in NAMES}
    assert {name for name in NAMES if before[name] != after[name]} == {"scan"}
    assert "done before" not in first.stdout


def test_the_list_does_nothing(tmp_path, capsys):
    assert main(["--scale", "tiny", "--device", "cpu", "--out", str(tmp_path / "out"), "--list"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("not begun") == len(NAMES)
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_done_is_said_before_anything_is(tmp_path, capsys):
    out = ["--out", str(tmp_path / "out")]
    assert main(out) == REFUSED
    assert "--data-dir" in capsys.readouterr().err
    assert main([*out, "--data-dir", str(tmp_path)]) == REFUSED
    assert "GPU" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def a_step(folder: Path, code: str, **changes: object) -> Step:
    """A step that runs some Python; what it is to leave is folder/left."""
    step = Step("one", "something", ("-c", code), lambda: ({"seen": 1}, []), folder / "left")
    return replace(step, **changes)


def leaving(folder: Path, status: int = 0) -> str:
    """Python that leaves folder/left and ends with `status`."""
    return f"import pathlib, sys; pathlib.Path({str(folder / 'left')!r}).touch(); sys.exit({status})"


def go(folder: Path, *these: Step, minutes: float = 0.0, begun: float | None = None) -> Results:
    results = Results(folder / "results", these)
    run_steps(results, TINY, Clock(minutes, time.monotonic() if begun is None else begun), Console(file=StringIO()))
    return results


def test_a_step_that_fails_stops_the_rest_and_is_begun_again(tmp_path):
    step = a_step(tmp_path, leaving(tmp_path, status=7))
    with pytest.raises(HoldfastError, match="one failed with status 7"):
        go(tmp_path, step)
    found = Results(tmp_path / "results", (step,)).of(step)
    assert found is not None
    assert found.state == "under way"
    assert not found.met


def test_a_step_that_leaves_nothing_was_not_done(tmp_path):
    with pytest.raises(HoldfastError, match="one ended well, but without"):
        go(tmp_path, a_step(tmp_path, "pass"))
    # An old file is not this step's work.
    (tmp_path / "left").write_text("old")
    with pytest.raises(HoldfastError, match="two ended well, but without"):
        go(tmp_path, a_step(tmp_path, "pass", rewrites=True, name="two"))


def test_a_missed_promise_is_a_result(tmp_path):
    missed = Target("speed", 0.5, 0.9, at_least=True)
    step = a_step(tmp_path, leaving(tmp_path, status=1), fine=(0, 1), read=lambda: ({}, [missed]))
    found = go(tmp_path, step).of(step)
    assert found is not None
    assert (found.state, found.met, found.targets) == ("done", False, (missed,))


def test_slices_add_up(tmp_path):
    """The first slice ends with 75, the second with 0; the seconds of both are counted."""
    code = f"""
import pathlib, sys
left = pathlib.Path({str(tmp_path / "left")!r})
there = left.exists()
left.touch()
sys.exit(0 if there else 75)
"""
    step = a_step(tmp_path, code, sliced=True)
    with pytest.raises(TimeUpError, match="one has more to do"):
        go(tmp_path, step)
    first = Results(tmp_path / "results", (step,)).of(step)
    both = go(tmp_path, step).of(step)
    assert (first.state, both.state) == ("under way", "done")
    assert 0 < first.seconds < both.seconds


def test_a_slice_gets_what_is_left_of_the_minutes(tmp_path):
    code = f"import sys, pathlib; pathlib.Path({str(tmp_path / 'left')!r}).write_text(sys.argv[-1])"
    go(tmp_path, a_step(tmp_path, code, sliced=True), minutes=7.0)
    assert 0 < float((tmp_path / "left").read_text()) <= 7.0


def test_no_step_is_begun_where_too_little_is_left_but_the_first(tmp_path):
    first, second = a_step(tmp_path, leaving(tmp_path)), a_step(tmp_path, leaving(tmp_path), name="second")
    with pytest.raises(TimeUpError, match="0.0 minutes are left, and second takes up to 0.5"):
        go(tmp_path, first, second, minutes=0.01, begun=time.monotonic() - 60)
    found = Results(tmp_path / "results", (first, second))
    assert found.of(first) is not None
    assert found.of(second) is None


def test_a_result_of_another_command_is_refused(tmp_path):
    go(tmp_path, a_step(tmp_path, leaving(tmp_path)))
    with pytest.raises(HoldfastError, match="measured by another command"):
        go(tmp_path, a_step(tmp_path, "pass"))


def test_a_step_hangs_on_those_that_it_needs(tmp_path):
    """What was measured of a bundle says nothing once it is trained again."""
    first, second = a_step(tmp_path, leaving(tmp_path)), a_step(tmp_path, "pass", name="second", needs=("one",))
    third = a_step(tmp_path, "pass", name="third", needs=("second",))
    results = go(tmp_path, first, second, third)
    before = [results.of(step) for step in (first, second, third)]
    assert all(found is not None and found.state == "done" for found in before)
    (tmp_path / "results" / "one.json").unlink()
    assert [results.of(step) for step in (first, second, third)] == [None, None, None]
    go(tmp_path, first, second, third)
    after = [results.of(step) for step in (first, second, third)]
    assert all(found is not None and found.state == "done" for found in after)
    assert not {found.mark for found in before} & {found.mark for found in after}


def test_a_damaged_result_is_named(tmp_path):
    step = a_step(tmp_path, leaving(tmp_path))
    (tmp_path / "results").mkdir()
    for content in ("{", "[]", "{}", '{"targets": [{}]}'):
        (tmp_path / "results" / "one.json").write_text(content)
        with pytest.raises(HoldfastError, match=r"one\.json is not a result"):
            Results(tmp_path / "results", (step,)).of(step)


def test_ctrl_c_lets_the_step_keep_what_it_has(tmp_path):
    """The signal reaches the group, as from a terminal; the step writes its file, and all of it ends with 130."""
    program = f"""
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a job in the background ignores
from pathlib import Path
from bench.gpu import __main__ as gpu
from bench.gpu.steps import Step
code = '''
import pathlib, signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)
pathlib.Path({str(tmp_path / "begun")!r}).touch()
try:
    time.sleep(30)
except KeyboardInterrupt:
    time.sleep(.5)
    pathlib.Path({str(tmp_path / "kept")!r}).touch()
'''
gpu.steps = lambda scale, place: (Step("one", "sleeps", ("-c", code), dict, Path({str(tmp_path / "left")!r})),)
sys.exit(gpu.main(["--scale", "tiny", "--device", "cpu", "--out", {str(tmp_path / "out")!r}]))
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    give_up = time.monotonic() + 30
    while not (tmp_path / "begun").exists():
        assert time.monotonic() < give_up
        assert process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 130, output
    assert (tmp_path / "kept").exists()
    assert "the same command goes on" in output


@pytest.mark.parametrize("name", SCALES)
def test_every_scale_has_the_same_steps(tmp_path, name):
    these = steps(SCALES[name], Place(tmp_path, "cuda", tmp_path / "data"))
    assert [step.name for step in these] == NAMES
    # All of it computes where it was asked to.
    assert all("cuda" in step.command for step in these)
    assert [step.name for step in these if str(tmp_path / "data") in step.command] == ["train", "index", "evaluate", "parity"]


def test_what_the_flagship_promises_is_read_from_its_report(tmp_path):
    def rate(value: float) -> dict[str, float]:
        return {"value": value, "low": value - 0.01, "high": value + 0.01}

    def threat(levels: int, value: float, knowledge: str = "bank known") -> dict[str, object]:
        return {"norm": "linf", "epsilon": levels / 255, "knowledge": knowledge, "robust": rate(value), "clean": rate(0.9)}

    report = {
        "clean": rate(0.9),
        "attacked_images": 10,
        "threats": [threat(4, 0.7), threat(8, 0.4), threat(4, 0.1, "bank unknown")],
        "sanity_checks": [{"name": "good", "passed": True}, {"name": "bad", "passed": False}],
    }
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "report.json").write_text(json.dumps(report))
    numbers, targets = read_evaluation(tmp_path, Goal(0.84, {"linf:4/255": 0.66, "linf:8/255": 0.47}))
    assert numbers["sanity_checks_failed"] == ["bad"]
    assert [(target.value, target.met) for target in targets] == [(0.9, True), (0.7, True), (0.4, False), (1, False)]
    # And the picture takes it.
    draw(tmp_path / "picture.png", {"evaluate": numbers})
    assert (tmp_path / "picture.png").stat().st_size > 10_000


def test_utilisation_is_of_all_slices(tmp_path):
    """Two stages of 10 and 20 steps of 8 images, 1 and 2 GFLOP a step, in 5 seconds, on a device of 100 GFLOP/s."""
    stages = [{"images": 8, "step": {"operations": 1e9 * number}} for number in (1, 2)]
    asked = {"stages": [{"steps": 10}, {"steps": 20}]}
    record = {"provenance": {"config": asked}, "roofline": {"operations": 1e11}, "stages": stages}
    (tmp_path / "dry_run.json").write_text(json.dumps(record))
    found = utilisation(tmp_path / "dry_run.json", 5.0)
    assert found == pytest.approx({"images_per_second": 48.0, "teraflops_per_second": 0.01, "model_flop_utilisation": 0.1})
    assert utilisation(tmp_path / "none.json", 5.0) == {}


def test_a_result_survives_being_written(tmp_path):
    step = a_step(tmp_path, "pass")
    results = Results(tmp_path / "results", (step,))
    target = Target("speed", 0.95, 0.9, at_least=True)
    result = StepResult("one", results.identity(step), step.typed, "done", 1.5, numbers={"a": [1, 2]}, targets=(target,))
    results.keep(result)
    assert results.of(step) == result
    assert result.met
