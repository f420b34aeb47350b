"""Trainings in processes of their own: how far they are, how they fail, and that they end with the demo."""

from pathlib import Path

import pytest
from rich.progress import Progress

from demo.cli import plan
from demo.pipeline import ENTRIES, Entry
from demo.training import TrainingProcess, steps_done, trainings
from holdfast.errors import HoldfastError

HEADER = "stage,step,seconds\n"


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        (HEADER, 0),
        (HEADER + "amdim,10,1.0\namdim,20,2.0\n", 20),
        (HEADER + "amdim,20,2.0\nssat,10,3.0\n", 30),
        (HEADER + "amdim,20,2.0\nssat,", 0),  # a line that is half written
        ("", 0),
    ],
)
def test_how_far_a_training_is_stands_in_its_log(text: str, steps: int, tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(text)
    assert steps_done(tmp_path) == steps


def test_without_a_log_nothing_is_done_yet(tmp_path: Path) -> None:
    assert steps_done(tmp_path) == 0


def test_an_error_of_the_process_reaches_who_waits_for_it(tmp_path: Path) -> None:
    entry = Entry("broken", "digits", starts_from="absent")
    training = TrainingProcess([entry], tmp_path)
    try:
        with pytest.raises(HoldfastError, match=r"broken.*absent"):
            training.wait_for(entry)
    finally:
        training.end()
    assert not training.running


def test_trainings_end_with_what_waits_for_them(tmp_path: Path) -> None:
    with trainings([ENTRIES[:1]], tmp_path, Progress(disable=True)) as by_name:
        training = by_name[ENTRIES[0].name]
        assert training.running
    assert not training.running


def test_the_plan_names_what_is_trained_and_the_minutes() -> None:
    text = plan(ENTRIES)
    assert all(entry.name in text for entry in ENTRIES)
    assert "minutes" in text
    assert not any(entry.name in plan(()) for entry in ENTRIES)
