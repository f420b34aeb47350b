"""Verdicts on the claims, and the words for them."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from holdfast.intervals import Counted, Difference, difference
from reproduce.kept_results import read, written
from reproduce.ssat.claims import LITTLE, MORE, Claim, claims_of, under
from reproduce.ssat.scales import SMALL
from reproduce.ssat.tables import markdown, sentences
from reproduce.verdicts import Word, judge, together
from tests.reproduce.tiny import imagined


@given(st.floats(-1, 1), st.floats(0, 1), st.floats(0, 1), st.floats(-0.2, 0.2))
def test_a_verdict_is_where_the_interval_lies(estimate, below, above, margin) -> None:
    found = Difference(estimate, estimate - below, estimate + above)
    word = judge(found, margin)
    assert (word == Word.HOLDS) == (found.low > margin)
    assert (word == Word.FAILS) == (found.high < margin)
    # A verdict turns with the claim: what is ahead by more than m is not ahead by less.
    mirrored = judge(Difference(-estimate, -found.high, -found.low), -margin)
    assert {Word.HOLDS: Word.FAILS, Word.FAILS: Word.HOLDS, Word.OPEN: Word.OPEN}[word] == mirrored


def counted(success, trial) -> Counted:
    return Counted(np.array(success, dtype=bool), np.array(trial, dtype=bool))


def test_few_images_decide_nothing() -> None:
    none, half = (counted(success, [True] * 10) for success in ([False] * 10, [True, False] * 5))
    assert judge(difference(none, none), MORE) == Word.OPEN
    assert judge(difference(half, half), MORE) == Word.OPEN
    assert judge(difference(counted([False] * 10, [False] * 10), none), MORE) == Word.OPEN


@given(st.lists(st.sampled_from(Word), max_size=5))
def test_one_ball_can_refute_and_all_must_agree(words) -> None:
    word = together(words)
    assert (word == Word.FAILS) == (Word.FAILS in words)
    assert (word == Word.HOLDS) == (bool(words) and all(w == Word.HOLDS for w in words))


def test_the_published_figures_bear_out_the_papers_claims_and_an_attack_that_breaks_all_refutes_them() -> None:
    result = imagined(5000, under_b=0.0)
    assert set(under(result.verdicts, "pgd-knn").values()) == {Word.HOLDS}
    broken = under(result.verdicts, "ladder")
    assert all((word == Word.HOLDS) == (claim.measure == "clean" or claim.margin < 0) for claim, word in broken.items())
    said = sentences(result)
    assert said[0].startswith("Under (a) the paper's PGD-kNN. Holds (8 of the paper's 8): AMDIM's DSR exceeds")
    assert said[1].startswith("Under (b) the adaptive ladder. Holds (4 of the paper's 8): SSAT's first checkpoint costs less")
    assert "Does not hold (4 of the paper's 8): AMDIM's DSR exceeds" in said[1]
    assert said[2].count("does not hold under (b)") == 5
    text = markdown(result)
    assert text.count("**does not hold**") == 2 * 5
    assert all(sentence in text for sentence in said)
    assert "| SSAT guided, 50 steps | 83." in text
    for block in text.split("\n\n"):  # every table is rectangular
        widths = {line.count("|") for line in block.splitlines() if line.startswith("|")}
        assert len(widths) <= 1


def test_a_dozen_images_decide_little_and_it_is_said() -> None:
    result = imagined(12, under_b=0.5)
    words = [verdict.word for verdict in result.verdicts]
    assert words.count(Word.OPEN) > len(words) * 0.7
    assert "Not decided at this sample size" in sentences(result)[0]


def test_a_clean_claim_is_the_same_under_every_attack() -> None:
    result = imagined(500, under_b=0.3)
    claim: Claim
    for claim in claims_of(SMALL.checkpoints):
        differences = {v.difference for v in result.verdicts if v.claim == claim}
        assert (len(differences) == 1) == (claim.measure == "clean")
    assert next(c for c in claims_of((1, 2)) if c.margin == LITTLE).measure == "clean"


@given(st.lists(st.booleans(), max_size=50))
def test_bits_come_back(bits) -> None:
    assert read(written(np.array(bits, dtype=bool))).tolist() == bits
