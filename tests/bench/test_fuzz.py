"""A few thousand mutated images in the fast suite; a million with -m slow, or by python -m bench.hostile.fuzz."""

import random
from pathlib import Path

import pytest

from bench.hostile.fuzz import FuzzState, fuzz, load, save
from bench.hostile.mutations import mutate
from bench.hostile.seeds import generated, of_folders

SEEDS = generated()


def assert_harmless(state: FuzzState, inputs: int) -> None:
    assert state.unforeseen == []
    assert state.done == inputs
    assert state.decoded + state.refused == inputs
    assert state.decoded > inputs / 20


def test_mutated_images_are_decoded_or_refused() -> None:
    state = FuzzState(seed=1)
    fuzz(state, SEEDS, 3000)
    assert_harmless(state, 3000)


def test_mutated_images_of_strangers_are_decoded_or_refused(shared_data: Path) -> None:
    state = FuzzState(seed=2)
    fuzz(state, of_folders([shared_data / "hostile-images", shared_data / "odd-images"]), 1500)
    assert_harmless(state, 1500)


@pytest.mark.slow
def test_a_million_mutated_images_are_decoded_or_refused() -> None:
    state = FuzzState(seed=3)
    fuzz(state, SEEDS, 1_000_000)
    assert_harmless(state, 1_000_000)
    assert state.memory < 1000


def test_a_run_goes_on_where_it_was_and_an_input_can_be_made_again(tmp_path: Path) -> None:
    whole, first = FuzzState(seed=4), FuzzState(seed=4)
    fuzz(whole, SEEDS, 60)
    fuzz(first, SEEDS, 25, tmp_path)
    save(first, tmp_path)
    second = load(tmp_path, seed=99)
    fuzz(second, SEEDS, 60, tmp_path)
    assert (second.seed, second.done, second.decoded) == (4, 60, whole.decoded)
    assert mutate(random.Random("4/7"), SEEDS) == mutate(random.Random("4/7"), SEEDS)


def test_an_input_that_ended_the_process_is_counted_once_and_passed_by(tmp_path: Path) -> None:
    state = FuzzState(seed=5)
    fuzz(state, SEEDS, 10, tmp_path)
    save(state, tmp_path)
    (tmp_path / "input").write_text("12\n")  # as a process leaves it that dies over input 12
    resumed = load(tmp_path, seed=5)
    fuzz(resumed, SEEDS, 20, tmp_path)
    assert [text.split(":")[0] for text in resumed.unforeseen] == ["12"]
    assert resumed.decoded + resumed.refused == 19
