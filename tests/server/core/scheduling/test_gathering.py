"""What a batch waits for, by what came while the ones before it were formed and run."""

from hypothesis import given
from hypothesis import strategies as st

from holdfast.server.core.scheduling.gathering import Gathering


def batch(gathering: Gathering, *arrivals: int, meanwhile: int = 0) -> None:
    """One image after the other until so many wait, a batch of all of them, and others while it runs."""
    for waiting in arrivals:
        gathering.came(waiting)
    gathering.began(arrivals[-1], arrivals[-1])
    for waiting in range(1, meanwhile + 1):
        gathering.came(waiting)
    gathering.ended()


def test_a_newcomer_is_not_waited_with() -> None:
    assert Gathering().expected() == 0


def test_whoever_comes_while_a_batch_runs_is_expected_together_with_it() -> None:
    gathering = Gathering()
    batch(gathering, 1, meanwhile=3)
    batch(gathering, 3, meanwhile=1)
    batch(gathering, 4)
    assert gathering.expected() == 4


@given(st.integers(1, 300))
def test_callers_are_expected_as_long_as_they_come_and_no_longer(callers: int) -> None:
    gathering = Gathering()
    for _ in range(3):
        batch(gathering, *range(1, callers + 1))
        assert gathering.expected() <= callers
    assert gathering.expected() == callers
    for _ in range(3):
        batch(gathering, 1)
    assert gathering.expected() == 1


def test_two_who_met_by_chance_do_not_hold_up_the_next() -> None:
    gathering = Gathering()
    for _ in range(5):
        batch(gathering, 1)
    batch(gathering, 1, meanwhile=1)
    batch(gathering, 1)
    assert gathering.expected() == 1
