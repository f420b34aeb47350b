"""What the demo says before it begins."""

from demo.cli import plan
from demo.pipeline import ENTRIES


def test_the_plan_names_what_is_trained_and_the_minutes() -> None:
    text = plan(ENTRIES)
    assert all(entry.name in text for entry in ENTRIES)
    assert "minutes" in text
    assert not any(entry.name in plan(()) for entry in ENTRIES)


def test_what_is_trained_does_not_depend_on_the_machine(tmp_path) -> None:
    assert {entry.config(tmp_path).threads for entry in ENTRIES} == {2}
