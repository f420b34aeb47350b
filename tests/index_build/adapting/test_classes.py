import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.index_build.adapting.classes import ClassChanges, ClassError, parse_renaming
from holdfast.index_build.adapting.plan import IndexPlan, fitting_k
from holdfast.model.vote import VoteParameters

names = st.lists(st.sampled_from("abcdefgh"), unique=True, min_size=1)


@given(names, names, st.dictionaries(st.sampled_from("abcdefgh"), st.sampled_from("uvwxyz")), st.data())
def test_every_class_keeps_its_images_under_its_new_name(old, new, renamed, data):
    renamed = {name: to for name, to in renamed.items() if name in {*old, *new}}
    now = sorted({renamed.get(name, name) for name in (*old, *new)})
    order = tuple(data.draw(st.permutations(now))[: data.draw(st.integers(0, len(now)))])
    changes = ClassChanges(renamed, order)
    united = changes.united(old, new)
    assert sorted(united) == now
    assert united[: len(order)] == order
    for each in (old, new):
        assert [united[label] for label in changes.labels(each, united)] == [renamed.get(name, name) for name in each]


@pytest.mark.parametrize(
    ("renamed", "order", "said"),
    [
        ({"cow": "x"}, (), "no class cow"),
        ({"catt": "x"}, (), "did you mean cat"),
        ({"cat": "dog"}, (), "--rename dog=dog"),
        ({"cat": " "}, (), "needs a name"),
        ({}, ("cow",), "no class cow"),
        ({"cat": "x"}, ("cat",), "no class cat"),
        ({}, ("cat", "cat"), "twice"),
    ],
)
def test_what_cannot_be_done_is_said(renamed, order, said):
    with pytest.raises(ClassError, match=said):
        ClassChanges(renamed, order).united(["cat", "dog"])


def test_two_classes_of_one_name_are_refused():
    with pytest.raises(ClassError, match="two classes are called cat"):
        ClassChanges({}).united(["cat", "cat"])


def test_a_class_that_joins_another_is_named_with_it():
    changes = ClassChanges({"cat": "dog", "dog": "dog"})
    assert changes.united(["cat", "dog", "cow"]) == ("dog", "cow")
    assert changes.of(["cat", "dog", "cow"]) == {"cat": "dog"}


@pytest.mark.parametrize(("pairs", "said"), [(["cat"], "OLD=NEW"), (["=x"], "OLD=NEW"), (["a=b", "a=c"], "twice")])
def test_renaming_as_it_is_typed(pairs, said):
    with pytest.raises(ClassError, match=said):
        parse_renaming(pairs)
    assert parse_renaming(["a=b", "c=d=e"]) == {"a": "b", "c": "d=e"}


@given(st.lists(st.integers(1, 50), min_size=2, max_size=6), st.integers(1, 60), st.integers(1, 5000))
def test_the_smallest_class_can_win_with_the_k_that_is_proposed(counts, wanted, among):
    k = fitting_k(wanted, among, counts)
    assert 1 <= k <= wanted
    assert 2 * min(counts) > k
    none = np.zeros(len(counts), np.int64)
    plan = IndexPlan(tuple(map(str, range(len(counts)))), none, np.array(counts), none, none, VoteParameters(k=k))
    assert plan.out_of_reach == ()


def test_of_a_smaller_set_the_same_share_votes():
    assert fitting_k(1000, 49_000, [148] * 10) == 30
    assert fitting_k(1000, 49_000, [10_000] * 10) == 1000
    assert fitting_k(1000, 49_000, [9, 9]) == 5
    assert fitting_k(3, 49_000, [9, 9]) == 3


def test_weights_of_a_vote_decide_what_is_out_of_reach():
    none, counts = np.zeros(3, np.int64), np.array([60, 60, 6])
    equal = VoteParameters(k=15)
    for vote, reached in (
        (equal, False),
        (equal.corrected(counts, 1), True),
        (VoteParameters(k=15, weighting="exponential", temperature=0.1), True),
        (VoteParameters(k=15, weighting="exponential", temperature=50), False),
    ):
        plan = IndexPlan(("a", "b", "c"), none, counts, none, none, vote)
        assert plan.out_of_reach == (() if reached else ("c",))
