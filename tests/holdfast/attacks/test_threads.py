"""Batches attacked side by side: the same is found, in the same order, and an interruption costs what was under way."""

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

from holdfast.attacks.attack import AttackKind, PGDAttack
from holdfast.attacks.losses import LinearHead, Margin, SitawarinWagner
from holdfast.attacks.noise import Noise
from holdfast.attacks.quantise import to_pixels
from holdfast.attacks.search import suite as suite_module
from holdfast.attacks.search.journal import Journal
from holdfast.attacks.search.suite import AttackSuite
from holdfast.attacks.search.threads import side_by_side
from holdfast.attacks.search.worst_case import WorstCase
from holdfast.attacks.third_party import ApgdCE, ApgdTargeted, FabTargeted, HopSkip, SquareScores
from holdfast.attacks.third_party.apgd import SurrogateLogits
from holdfast.attacks.third_party.library import load, seeded
from holdfast.bundle.threat_model import ThreatModel
from tests.holdfast.attacks.small import small_setup

SMALL = ThreatModel("linf", 5 / 255)


@pytest.fixture(scope="module")
def scene():
    return small_setup(classes=5, exemplars=120, others=40).attacked


@pytest.mark.parametrize("threads", [1, 3])
def test_results_come_in_order_and_torch_computes_with_one_thread_in_each(threads):
    before = torch.get_num_threads()
    together = threading.Barrier(threads, timeout=30)

    def look(number):
        together.wait()
        return number, torch.get_num_threads() if threads > 1 else 1

    with side_by_side(threads) as each:
        assert list(each(look, range(3 * threads))) == [(number, 1) for number in range(3 * threads)]
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 4 / 255), ("l2", 0.2)])
def test_several_threads_find_what_one_finds(scene, norm, epsilon):
    victim, images, labels = scene
    attacks = (
        PGDAttack(Margin(0.1), 3),
        ApgdCE(0.1, 4),
        ApgdCE(0.1, 4),
        ApgdTargeted(0.1, 1, 4),
        PGDAttack(SitawarinWagner(5, 6), 3),
        PGDAttack(LinearHead(), 3, AttackKind.TRANSFER),
        FabTargeted(0.1, 3, 2),
        SquareScores(20),
        HopSkip(60),
        Noise(),
    )

    def attacked(threads, batch_size=7):
        worst_case = WorstCase(replace(victim, threads=threads), images, labels, ThreatModel(norm, epsilon))
        tried = AttackSuite(attacks, batch_size).run(worst_case, seed=4)
        return [(each.name, each.tried, each.found) for each in tried], worst_case.outcome()

    before = torch.get_rng_state().tolist(), np.random.get_state()[1].tolist()  # noqa: NPY002 - what libraries draw from
    (tried, one), (also, several) = attacked(1), attacked(3)
    assert (torch.get_rng_state().tolist(), np.random.get_state()[1].tolist()) == before  # noqa: NPY002
    assert tried == also
    assert 0 < one.success.sum() < len(images)
    assert len(set(one.found_by)) > 2
    for name in ("success", "adversarial", "adversarial_labels"):
        np.testing.assert_array_equal(getattr(one, name), getattr(several, name))
    assert one.found_by == several.found_by


def test_an_interruption_among_threads_loses_nothing_that_was_judged(scene, tmp_path, monkeypatch):
    victim, images, labels = scene
    victim = replace(victim, threads=2)
    suite = AttackSuite((PGDAttack(Margin(0.1), 2), PGDAttack(Margin(0.02), 2)), batch_size=5)
    whole = suite(victim, images, labels, SMALL)
    judged = []
    really = WorstCase.judge

    def judge(self, rows, name, candidates):
        if len(judged) == judge.until:
            raise KeyboardInterrupt
        really(self, rows, name, candidates)
        judged.append((name, rows[0]))

    monkeypatch.setattr(WorstCase, "judge", judge)
    for until in (3, 9):
        judge.until = until
        with pytest.raises(KeyboardInterrupt):
            suite.run(WorstCase(victim, images, labels, SMALL), store=tmp_path / "journal.npz")
        assert len(judged) == until
    judge.until = None
    worst_case = WorstCase(victim, images, labels, SMALL)
    suite.run(worst_case, store=tmp_path / "journal.npz")
    assert len(set(judged)) == len(judged)
    np.testing.assert_array_equal(worst_case.outcome().adversarial, whole.adversarial)
    assert worst_case.outcome().found_by == whole.found_by


@pytest.mark.parametrize("what", ["judge", "advance", "finish"])
def test_interrupted_right_after_anything_it_comes_to_the_same(scene, tmp_path, monkeypatch, what):
    victim, images, labels = scene
    suite = AttackSuite((PGDAttack(Margin(0.05), 2), Noise(), PGDAttack(Margin(0.2), 2)), batch_size=16)
    whole = suite(victim, images, labels, SMALL)
    owner = WorstCase if what == "judge" else Journal
    really, calls = getattr(owner, what), []

    def then_stop(*arguments, **options):
        really(*arguments, **options)
        calls.append(1)
        if len(calls) % 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(suite_module, "SAVE_EVERY_S", 1e9)  # what is there was written on the way out
    monkeypatch.setattr(owner, what, then_stop)
    while True:
        worst_case = WorstCase(victim, images, labels, SMALL)
        try:
            tried = suite.run(worst_case, store=tmp_path / "journal.npz")
        except KeyboardInterrupt:
            continue
        break
    assert len(calls) > 2
    assert [entry.name for entry in tried] == list(map(str, suite.attacks))
    np.testing.assert_array_equal(worst_case.outcome().adversarial, whole.adversarial)
    assert worst_case.outcome().found_by == whole.found_by


def test_a_journal_is_written_now_and_then_and_when_it_ends(scene, tmp_path, monkeypatch):
    victim, images, labels = scene
    suite = AttackSuite((PGDAttack(Margin(0.05), 2), Noise()), batch_size=4)
    written, save = [], np.savez
    monkeypatch.setattr(np, "savez", lambda *arguments, **arrays: written.append(1) or save(*arguments, **arrays))

    def attacked(name, pause):
        monkeypatch.setattr(suite_module, "SAVE_EVERY_S", pause)
        written.clear()
        worst_case = WorstCase(victim, images, labels, SMALL)
        batches = []
        suite.run(worst_case, store=tmp_path / name, watch=lambda *counts: batches.append(counts))
        return len(batches), len(written)

    batches, often = attacked("often.npz", 0.0)
    assert often == batches + 1  # the last step was not done when its last batch was
    assert attacked("seldom.npz", 1e9) == (batches, 2)
    assert attacked("seldom.npz", 1e9) == (0, 0)  # nothing is new
    often, seldom = (np.load(tmp_path / name) for name in ("often.npz", "seldom.npz"))
    np.testing.assert_array_equal(often["adversarial"], seldom["adversarial"])


@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 10 / 255), ("l2", 0.7)])
def test_apgd_starts_where_its_authors_do(scene, norm, epsilon):
    """Theirs draws from global random numbers, which threads share; ours must come to the same without."""
    victim, images, labels = scene
    pixels, truth = to_pixels(images[:6]), torch.from_numpy(labels[:6])
    theirs = load("pyautoattack.autopgd_base").APGDAttack(
        SurrogateLogits(victim, 0.1), n_iter=4, norm={"linf": "Linf", "l2": "L2"}[norm], eps=epsilon, loss="ce"
    )
    theirs.init_hyperparam(pixels)
    with seeded(torch.Generator().manual_seed(3)):
        expected, *_ = theirs.attack_single_run(pixels, truth)
    found = ApgdCE(0.1, 4)(victim, pixels, truth, ThreatModel(norm, epsilon), torch.Generator().manual_seed(3))
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
