"""The tables before a run and after it."""

from dataclasses import replace

import pytest

from holdfast.console import Console
from holdfast.trainer.config import Stage
from holdfast.trainer.cost.counting import OperationCount
from holdfast.trainer.cost.dry_run import DryRun, StageDryRun
from holdfast.trainer.cost.roofline import Roofline
from holdfast.trainer.cost.tables import describe_cost, describe_throughput, format_amount, format_duration
from holdfast.trainer.loop.recorder import Throughput
from holdfast.trainer.objectives import DeaclConfig


def printed(*tables: object, width: int = 120) -> str:
    console = Console(width=width)
    with console.capture() as capture:
        for table in tables:
            console.print(table)
    return capture.get()


def test_the_tables_hold_what_was_found() -> None:
    stage = Stage("deacl", DeaclConfig(), steps=100, batch_size=50)
    timed = StageDryRun(stage, 50, OperationCount(5e12, 2e9), 0.5, 3 * 2**20)
    found = DryRun((timed,), Roofline(1e13, 1e10))
    for figure in ("100 G", "500 T", "200 GB", "50 s", "20 s", "3.0 MiB", "10 TFLOP/s", "10 GB/s"):
        assert figure in printed(describe_cost(found)), figure
    narrow = printed(describe_cost(found), width=80)
    assert "\N{HORIZONTAL ELLIPSIS}" not in narrow
    assert "expected" in narrow
    untimed = DryRun((replace(timed, seconds=None),), found.roofline)
    assert printed(describe_cost(untimed)).count("50 s") == printed(describe_cost(found)).count("50 s") - 1
    reached = [Throughput("deacl", 1000, 20.0)]
    assert "50.0%" in printed(describe_throughput(reached, found))
    assert "%" not in printed(describe_throughput(reached, None))


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.123, "0.12 s"), (38.2, "38 s"), (89.9, "90 s"), (91, "1.5 min"), (5399, "90.0 min"), (9000, "2.5 h")],
)
def test_durations_are_in_seconds_minutes_or_hours(seconds, said) -> None:
    assert format_duration(seconds) == said


@pytest.mark.parametrize(
    ("number", "said"), [(12.0, "12"), (1.5e6, "1.5 M"), (16.68e9, "16.7 G"), (3e12, "3 T"), (1.37e17, "137 P")]
)
def test_amounts_have_a_prefix(number, said) -> None:
    assert format_amount(number) == said
