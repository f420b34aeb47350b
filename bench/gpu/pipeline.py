"""Step after step, from where the last invocation came to."""

import math
import os
import subprocess
import sys
import time
from dataclasses import dataclass, replace

from bench.gpu.results import Results, StepResult
from bench.gpu.scales import BenchScale
from bench.gpu.steps import Step
from bench.harness.environment import IN_A_ROW
from holdfast.console import Console
from holdfast.errors import HoldfastError
from holdfast.interrupts import TIME_UP, TimeUpError

INTERRUPT_GRACE_S = 60.0
"""That a step gets to keep what it has, once ctrl-c has reached it."""


@dataclass(frozen=True)
class Clock:
    """How much is left of an invocation of so many minutes; 0 is without end. `begun` is of time.monotonic."""

    minutes: float
    begun: float

    @property
    def left(self) -> float:
        """Minutes."""
        return self.minutes - (time.monotonic() - self.begun) / 60 if self.minutes else math.inf


def run_steps(results: Results, scale: BenchScale, clock: Clock, console: Console) -> None:
    """Do every step that is not done.

    Raises:
        TimeUpError: there is more to do.
        HoldfastError: a step failed.
        KeyboardInterrupt: interrupted; the step that was under way has kept what it could.

    """
    fresh = True
    for number, step in enumerate(results.steps, 1):
        heading = f"{number} of {len(results.steps)}, {step.name}: {step.does}"
        found = results.of(step)
        if found and found.state == "done":
            console.print(f"{heading}: done before", style="dim")
            continue
        needed = 0.2 if step.sliced else scale.minutes.get(step.name, 0.5)
        # The first step of an invocation is begun in any case: where slices are too short for it, it would never be.
        if clock.left < needed and not fresh:
            raise TimeUpError(f"{max(0.0, clock.left):.1f} minutes are left, and {step.name} takes up to {needed:g}")
        console.rule(heading, align="left")
        console.print(step.typed, style="dim", soft_wrap=True)
        fresh = False
        _do(step, found.seconds if found else 0.0, results, clock)


def _do(step: Step, before: float, results: Results, clock: Clock) -> None:
    begun = time.monotonic()
    result = StepResult(step.name, results.identity(step), step.typed, "under way", before, after=results.before(step))
    if step.rewrites:
        step.leaves.unlink(missing_ok=True)
    try:
        status = _run(step, clock)
    finally:
        result = replace(result, seconds=before + time.monotonic() - begun)
        results.keep(result)
    if status == TIME_UP and step.sliced:
        raise TimeUpError(f"{step.name} has more to do")
    if status not in step.fine:
        raise HoldfastError(f"{step.name} failed with status {status}, for what it says above; the same command tries again")
    if not step.leaves.is_file():
        raise HoldfastError(f"{step.name} ended well, but without {step.leaves}")
    numbers, targets = step.read()
    results.keep(replace(result, state="done", numbers=numbers, targets=tuple(targets)))


def _run(step: Step, clock: Clock) -> int:
    """The exit status of the step's command, whose output is this process's."""
    minutes = ("--minutes", f"{max(0.1, clock.left):.2f}") if step.sliced and clock.left < math.inf else ()
    process = subprocess.Popen(
        [sys.executable, *step.command, *minutes], env=os.environ | {"PYTHONUNBUFFERED": "1", IN_A_ROW: "1"}
    )
    try:
        return process.wait()
    except KeyboardInterrupt:
        # ctrl-c went to the step as well, which now writes what it has.
        try:
            process.wait(INTERRUPT_GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
        raise
