"""The prober against a real (synthetic) bundle: what it counts, what it may cost, and that nothing can break it."""

import os
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.synthetic import images, write_bundle
from holdfast.intervals import wilson
from holdfast.model.classifier import Classifier
from holdfast.server.monitor.probes.attack import ProbeTarget, radius_in_levels
from holdfast.server.monitor.probes.budget import CpuBudget
from holdfast.server.monitor.probes.flip_rate import FlipRate
from holdfast.server.monitor.probes.noise import noise
from holdfast.server.monitor.probes.pgd import pgd
from holdfast.server.monitor.probes.priority import BACKGROUND, lower_thread_priority
from holdfast.server.monitor.probes.prober import QUEUE, Prober
from holdfast.server.monitor.probes.table import ATTACKS
from holdfast.server.settings import ConfigurationError


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    return Classifier(write_bundle(Path(tmp_path_factory.mktemp("probes")) / "bundle"))


@dataclass
class Settings:
    probe_rate: float = 1.0
    probe_budget: float = 10.0
    probe_epsilons: tuple[float, ...] = (24 / 255,)
    probe_steps: int = 8


@dataclass
class Recorder:
    outcomes: list = field(default_factory=list)
    rates: dict = field(default_factory=dict)
    seconds: list = field(default_factory=list)
    shed: int = 0

    def probe_shed(self):
        self.shed += 1

    def probe_done(self, attack, epsilon, outcome, seconds):
        self.outcomes.append((attack, epsilon, outcome))
        self.seconds.append(seconds)

    def flip_rate(self, attack, epsilon, rate):
        self.rates[attack, epsilon] = rate


def wait_for(condition, seconds=10.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.005)


def target_of(classifier, image, label, radius, steps=8):
    return ProbeTarget(image, label, radius, steps, classifier.surrogate, classifier.bundle.gradient)


def candidates_of(classifier, attack, target, seed=0):
    """Every candidate of a search, answered as the prober would."""
    search = attack(target, np.random.default_rng(seed))
    found = [next(search)]
    while True:
        try:
            found.append(search.send(classifier.classify(found[-1][None]).embeddings[0]))
        except StopIteration:
            return np.stack(found)


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("radius", [1, 8, 255])
def test_every_candidate_is_a_picture_inside_the_ball(classifier, name, radius):
    for image, label in zip(*images(1, seed=5), strict=True):
        found = candidates_of(classifier, ATTACKS[name], target_of(classifier, image, int(label), radius))
        assert found.dtype == np.uint8
        assert np.abs(found.astype(int) - image).max() <= radius


def test_noise_fills_the_ball(classifier):
    image = np.full((32, 32, 3), 128, np.uint8)
    (found,) = candidates_of(classifier, noise, target_of(classifier, image, 0, 8))
    assert set(np.unique(found.astype(int) - 128)) == set(range(-8, 9))


def test_pgd_lowers_the_margin_where_noise_of_the_same_size_does_not(classifier):
    pixels, labels = images(3, seed=6)
    for image, label in zip(pixels, labels, strict=True):
        target = target_of(classifier, image, int(label), 8)
        clean = classifier.classify(image[None]).soft_margin[0]
        attacked = classifier.classify(candidates_of(classifier, pgd, target)[-1:])
        noisy = classifier.classify(candidates_of(classifier, noise, target))
        margin_of = lambda answers: classifier.surrogate.margin(answers.embeddings, np.array([label]))[0]  # noqa: B023, E731
        assert margin_of(attacked) < clean - 2
        assert abs(margin_of(noisy) - clean) < 1


def test_results_are_counted_and_pgd_flips_what_noise_does_not(classifier):
    recorder = Recorder()
    prober = Prober(Settings(), classifier, classifier.bundle.gradient, recorder, lambda: True)
    prober.start()
    pixels, _ = images(5, seed=7)
    answers = classifier.classify(pixels)
    for image, label, margin in zip(pixels, answers.labels, answers.soft_margin, strict=True):
        prober.offer(image, int(label), float(margin))
    wait_for(lambda: len(recorder.outcomes) == 2 * len(pixels))
    prober.stop()
    outcomes = {name: [o for a, _, o in recorder.outcomes if a == name] for name in ATTACKS}
    assert set(outcomes["noise"]) == {"hold"}
    assert outcomes["pgd"].count("flip") > 0.8 * len(pixels)
    assert recorder.rates["noise", 24 / 255].estimate == 0
    assert recorder.rates["pgd", 24 / 255].low > 0.5
    assert sum(recorder.seconds) > 0


def test_a_probe_that_raises_is_counted_and_the_next_one_runs(classifier):
    class Broken:
        def vjp(self, pixels, cotangents):
            raise RuntimeError("no gradient today")

    recorder = Recorder()
    prober = Prober(Settings(), classifier, Broken(), recorder, lambda: True)
    prober.start()
    for image in images(1, seed=8)[0]:
        prober.offer(image, int(classifier.classify(image[None]).labels[0]), 1.0)
    wait_for(lambda: len(recorder.outcomes) == 8)
    prober.stop()
    assert [o for a, _, o in recorder.outcomes if a == "pgd"] == ["error"] * 4
    assert [o for a, _, o in recorder.outcomes if a == "noise"] == ["hold"] * 4
    assert set(recorder.rates) == {("noise", 24 / 255)}


def test_a_busy_server_is_never_probed_and_the_queue_sheds(classifier):
    asked = 0

    def idle():
        nonlocal asked
        asked += 1
        return False

    recorder = Recorder()
    prober = Prober(Settings(), classifier, classifier.bundle.gradient, recorder, idle)
    prober.start()
    image = images(1, seed=9)[0][0]
    for _ in range(3 * QUEUE):
        prober.offer(image, 0, 1.0)
    assert recorder.shed >= 2 * QUEUE - 1
    wait_for(lambda: asked >= 3)
    prober.stop()
    assert recorder.outcomes == []


def test_offers_to_a_full_queue_return_and_are_shed(classifier):
    recorder = Recorder()
    prober = Prober(Settings(), classifier, classifier.bundle.gradient, recorder, lambda: False)  # never started
    image = images(1, seed=9)[0][0]
    for _ in range(2000):
        prober.offer(image, 0, 1.0)
    assert recorder.shed == 2000 - QUEUE


@pytest.mark.parametrize(("rate", "low", "high"), [(0.0, 0, 0), (0.25, 350, 650), (1.0, 2000, 2000)])
def test_the_rate_is_the_share_that_is_sampled(classifier, rate, low, high):
    recorder = Recorder()
    prober = Prober(Settings(probe_rate=rate), classifier, classifier.bundle.gradient, recorder, lambda: False)
    image = images(1, seed=9)[0][0]
    for _ in range(2000):
        prober.offer(image, 0, 1.0)
    assert low <= recorder.shed + (QUEUE if rate else 0) <= high


def test_the_sample_is_a_copy(classifier, monkeypatch):
    seen = []
    monkeypatch.setitem(ATTACKS, "noise", lambda target, rng: iter(seen.append(target.image) or ()))
    recorder = Recorder()
    prober = Prober(Settings(), classifier, classifier.bundle.gradient, recorder, lambda: True)
    batch = images(1, seed=9)[0]
    before = batch[0].copy()
    prober.offer(batch[0], 0, 1.0)
    batch[:] = 0
    prober.start()
    wait_for(lambda: seen)
    prober.stop()
    np.testing.assert_array_equal(seen[0], before)


def test_epsilons_must_change_a_grey_level(classifier):
    arguments = (classifier, classifier.bundle.gradient, Recorder(), lambda: True)
    with pytest.raises(ConfigurationError, match="no grey level"):
        Prober(Settings(probe_epsilons=(0.001,)), *arguments)


def test_a_search_uses_no_more_than_its_budget(classifier):
    recorder, budget = Recorder(), 0.2
    prober = Prober(Settings(probe_budget=budget), classifier, classifier.bundle.gradient, recorder, lambda: True)
    image = images(1, seed=9)[0][0]
    for _ in range(4):
        prober.offer(image, int(classifier.classify(image[None]).labels[0]), 1.0)
    began = time.monotonic()
    prober.start()
    wait_for(lambda: len(recorder.seconds) == 8, seconds=60)
    elapsed = time.monotonic() - began
    prober.stop()
    # What a second earns was in hand, and one candidate may be owed; however fast the machine is.
    assert 0 < sum(recorder.seconds) <= budget * (elapsed + 1) + max(recorder.seconds)


@given(st.lists(st.tuples(st.floats(0, 0.5), st.floats(0, 1)), min_size=1, max_size=50), st.floats(0.01, 2))
def test_the_bucket_never_grants_more_than_it_earned(work, rate):
    wall, cpu = [0.0], [0.0]
    budget = CpuBudget(rate, wall=lambda: wall[0], cpu=lambda: cpu[0])
    largest = 0.0
    for cost, pause in work:
        wait = budget.wait()
        wall[0] += wait + 1e-9  # as the prober does, before it works
        assert budget.wait() <= 1e-6
        cpu[0] += cost
        largest = max(largest, cost)
        wall[0] += cost + pause
        assert cpu[0] <= rate * (wall[0] + 1) + largest + 1e-6


def test_epsilons_are_whole_grey_levels():
    assert [radius_in_levels(n / 255) for n in (1, 2, 8, 16, 255)] == [1, 2, 8, 16, 255]
    assert radius_in_levels(0.031) == 7
    assert radius_in_levels(0.031372) == 8


@given(st.lists(st.booleans(), min_size=1, max_size=60))
def test_the_flip_rate_is_the_share_with_wilsons_interval(flips):
    rate = FlipRate()
    shown = [rate.add(flipped=flipped) for flipped in flips][-1]
    assert shown.estimate == sum(flips) / len(flips)
    assert (shown.low, shown.high) == wilson(sum(flips), len(flips))


def test_the_flip_rate_forgets():
    rate = FlipRate(window=10)
    for _ in range(10):
        rate.add(flipped=True)
    assert [rate.add(flipped=False).estimate for _ in range(10)][-1] == 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="thread priorities are Linux's")
def test_only_the_calling_thread_becomes_nicer():
    nice, before = {}, os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    if before > BACKGROUND:
        pytest.skip("these tests run at a lower priority already")

    def work():
        nice["done"] = lower_thread_priority()
        nice["thread"] = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert nice == {"done": True, "thread": BACKGROUND}
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before
