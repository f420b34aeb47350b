"""A page says no less than it has itself shown, whichever of its runs showed it."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from holdfast.bundle.threat_model import ThreatModel
from holdfast.evaluation.report.beyond import with_beyond
from holdfast.evaluation.report.results import AimedThreat, Measured, ThreatResult
from holdfast.intervals import Rate

ROWS = (3, 5, 8, 13, 21, 34, 55, 89)
BALLS = (ThreatModel("linf", 4 / 255), ThreatModel("linf", 8 / 255), ThreatModel("l2", 0.5))
some_rows = st.lists(st.sampled_from(ROWS), unique=True).map(sorted)


def share(count):
    return Measured.of(Rate(count, len(ROWS)))


def aimed(wrong, answered):
    return AimedThreat(
        threat=str(BALLS[1]),
        wrong=share(len(wrong)),
        answered=share(answered),
        ignoring=share(0),
        wrong_images=tuple(wrong),
        steps=(),
    )


def suite(ball, wrong, *, says_which):
    rates = {"clean": share(len(ROWS)), "robust": share(len(ROWS) - len(wrong)), "dsr": share(0)}
    which = tuple(wrong) if says_which else None
    return ThreatResult(
        norm=ball.norm, epsilon=ball.epsilon, knowledge="bank known", inherited=0, wrong_images=which, steps=(), **rates
    )


@given(some_rows, st.data(), st.lists(st.tuples(st.sampled_from(BALLS), some_rows, st.booleans()), max_size=5))
def test_what_any_attack_found_counts_and_nothing_twice(wrong, data, others) -> None:
    stopped = data.draw(st.integers(0, len(wrong)))
    results = [suite(ball, rows, says_which=which) for ball, rows, which in others]
    own = aimed(wrong, len(wrong) - stopped)
    joined = with_beyond(own, BALLS[1], results, rows=ROWS, same_images=True)
    counted = [rows for ball, rows, _ in others if ball.norm == "linf"]
    known = set(wrong).union(*(rows for ball, rows, which in others if which and ball.norm == "linf"))
    assert joined.wrong.successes == max(len(known), *map(len, [wrong, *counted]))
    assert joined.beyond == joined.wrong.successes - len(wrong)
    assert joined.stopped == stopped  # what is not known to be stopped is not
    assert set(joined.wrong_images) == known
    assert joined.ignoring == own.ignoring


@given(some_rows, some_rows, st.booleans())
def test_of_other_images_only_those_count_that_were_attacked_here(wrong, theirs, which) -> None:
    attacked = ROWS[:4]
    own = aimed([row for row in wrong if row in attacked], 0)
    joined = with_beyond(own, BALLS[1], [suite(BALLS[1], theirs, says_which=which)], rows=attacked, same_images=False)
    more = {row for row in theirs if row in attacked} - set(wrong) if which else set()
    assert joined.beyond == len(more)


def test_what_was_joined_is_not_counted_again() -> None:
    results = [suite(BALLS[1], ROWS[:6], says_which=True)]
    once = with_beyond(aimed(ROWS[:2], 1), BALLS[1], results, rows=np.array(ROWS).tolist(), same_images=True)
    again = with_beyond(once, BALLS[1], results, rows=ROWS, same_images=True)
    assert again.wrong == once.wrong
    assert once.beyond == 4
