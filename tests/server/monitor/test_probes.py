"""The prober against a real (synthetic) bundle: what it counts, what it may cost, and that nothing can break it."""

import os
import sys
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest

from bench.synthetic import images, write_bundle
from holdfast.errors import HoldfastError
from holdfast.model.classifier import Classifier
from holdfast.server.core.holder import ModelHolder
from holdfast.server.core.observers import ObservedBatch
from holdfast.server.core.snapshot import ModelSnapshot
from holdfast.server.metrics.metrics import Metrics
from holdfast.server.monitor.probes.attack import ProbeTarget, radius_in_levels
from holdfast.server.monitor.probes.budget import CpuBudget
from holdfast.server.monitor.probes.noise import noise
from holdfast.server.monitor.probes.pgd import pgd
from holdfast.server.monitor.probes.priority import BACKGROUND, lower_thread_priority
from holdfast.server.monitor.probes.prober import QUEUE, Prober
from holdfast.server.monitor.probes.square import square
from holdfast.server.monitor.probes.stability import StabilityEstimate
from holdfast.server.monitor.probes.state import load_estimates, save_estimates
from holdfast.server.monitor.probes.table import ATTACKS
from holdfast.server.settings import ConfigurationError
from tests.server.running import metric_of, wait_for


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> ModelSnapshot:
    return ModelSnapshot.of(write_bundle(Path(tmp_path_factory.mktemp("probes")) / "bundle"), version=1)


@pytest.fixture(scope="module")
def classifier(snapshot: ModelSnapshot) -> Classifier:
    return snapshot.classifier


@dataclass
class Settings:
    probe_rate: float = 1.0
    probe_budget: float = 10.0
    probe_epsilons: tuple[float, ...] = (24 / 255,)
    probe_steps: int = 8
    probe_queries: int = 6
    probe_attacks: tuple[str, ...] = ("noise", "pgd")
    probe_state: Path | None = None


class Probing:
    """A prober that is shown batches, and what it makes of them."""

    def __init__(self, snapshot, settings=None, *, idle=lambda: True, capacity=QUEUE):
        self.holder, self.metrics = ModelHolder(snapshot), Metrics()
        self.prober = Prober(settings or Settings(), self.holder, self.metrics, idle, capacity)

    def __enter__(self):
        self.prober.start()
        return self

    def __exit__(self, *exception):
        self.prober.stop()

    def show(self, pixels, snapshot=None):
        snapshot = snapshot or self.holder.current
        answers = snapshot.classifier.classify(pixels)
        self.prober.observe(ObservedBatch(snapshot, pixels, answers, ["10.0.0.7"] * len(pixels)))

    def metric(self, name, **labels):
        return metric_of(generate_latest(self.metrics.registry).decode(), name, **labels)

    @property
    def ended(self):
        return self.metric("holdfast_probe_total")

    @property
    def shed(self):
        return self.metric("holdfast_probe_shed_total")

    def rate(self, attack, bound="estimate"):
        return self.metric("holdfast_flip_rate", attack=attack, bound=bound)


def target_of(snapshot, image, label, radius):
    return ProbeTarget(image, label, radius, 8, 60, snapshot.classifier.surrogate, snapshot.gradient)


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
def test_every_candidate_is_a_picture_inside_the_ball(snapshot, classifier, name, radius):
    for image, label in zip(*images(1, seed=5), strict=True):
        found = candidates_of(classifier, ATTACKS[name], target_of(snapshot, image, int(label), radius))
        assert found.dtype == np.uint8
        assert np.abs(found.astype(int) - image).max() <= radius


def test_noise_fills_the_ball(snapshot, classifier):
    image = np.full((32, 32, 3), 128, np.uint8)
    (found,) = candidates_of(classifier, noise, target_of(snapshot, image, 0, 8))
    assert set(np.unique(found.astype(int) - 128)) == set(range(-8, 9))


def test_pgd_lowers_the_margin_where_noise_of_the_same_size_does_not(snapshot, classifier):
    pixels, labels = images(3, seed=6)
    for image, label in zip(pixels, labels, strict=True):
        target = target_of(snapshot, image, int(label), 8)
        clean = classifier.classify(image[None]).soft_margin[0]
        attacked = classifier.classify(candidates_of(classifier, pgd, target)[-1:])
        noisy = classifier.classify(candidates_of(classifier, noise, target))
        margin_of = lambda answers: classifier.surrogate.margin(answers.embeddings, np.array([label]))[0]  # noqa: B023, E731
        assert margin_of(attacked) < clean - 2
        assert abs(margin_of(noisy) - clean) < 1


def test_results_are_counted_and_pgd_flips_what_noise_does_not(snapshot):
    pixels, _ = images(5, seed=7)
    with Probing(snapshot) as probing:
        probing.show(pixels)
        wait_for(lambda: probing.ended == 2 * len(pixels))
        assert probing.metric("holdfast_probe_total", attack="noise", outcome="hold") == len(pixels)
        assert probing.metric("holdfast_probe_total", attack="pgd", outcome="flip") > 0.8 * len(pixels)
        wait_for(lambda: probing.rate("pgd", "low") > 0.5)  # which is shown once all of them have ended
        assert probing.rate("noise") == 0
        assert probing.metric("holdfast_probe_cpu_seconds_total") > 0


def test_a_probe_that_raises_is_counted_and_the_next_one_runs(snapshot):
    class Broken:
        def vjp(self, pixels, cotangents):
            raise RuntimeError("no gradient today")

    broken = replace(snapshot, load_gradient=Broken)
    with Probing(broken) as probing:
        probing.show(images(1, seed=8)[0])
        wait_for(lambda: probing.ended == 8)
        assert probing.metric("holdfast_probe_total", attack="pgd", outcome="error") == 4
        assert probing.metric("holdfast_probe_total", attack="noise", outcome="hold") == 4
        assert 'holdfast_flip_rate{attack="pgd"' not in generate_latest(probing.metrics.registry).decode()


def test_a_busy_server_is_never_probed_and_the_queue_sheds(snapshot):
    looks = threading.Semaphore(0)

    def busy():
        looks.release()
        return False

    with Probing(snapshot, idle=busy, capacity=8) as probing:
        for _ in range(6):
            probing.show(images(1, seed=9)[0])  # four at a time
        for _ in range(3):
            assert looks.acquire(timeout=10)
        # At most eight wait, and those that it works on have left the queue.
        assert probing.shed in {8, 12, 16}
        assert probing.metric("holdfast_probe_unseen_answers_total") == probing.shed  # at a rate of 1 all are sampled
        assert probing.ended == 0


@pytest.mark.parametrize(("rate", "low", "high"), [(0.0, 0, 0), (0.25, 350, 650), (1.0, 2000, 2000)])
def test_the_rate_is_the_share_that_is_sampled(snapshot, rate, low, high):
    probing = Probing(snapshot, Settings(probe_rate=rate), capacity=0)  # never started, so all that is sampled is shed
    pixels = np.repeat(images(1, seed=9)[0], 10, axis=0)
    for _ in range(50):
        probing.show(pixels)
    assert low <= probing.shed <= high


def test_the_sample_is_a_copy(snapshot):
    idle = threading.Event()
    pixels = images(2, seed=9)[0]
    with Probing(snapshot, idle=idle.is_set) as probing:
        probing.show(pixels)
        pixels[:] = 0  # which has another label, and would flip at once
        idle.set()
        wait_for(lambda: probing.ended == 16)
        assert probing.metric("holdfast_probe_total", attack="noise", outcome="hold") == 8


def test_samples_and_flip_rates_of_a_model_that_is_no_longer_served_are_dropped(snapshot):
    idle = threading.Event()
    pixels = images(2, seed=9)[0]
    following = replace(snapshot, description=snapshot.description.model_copy(update={"version": 2}))
    with Probing(snapshot, idle=idle.is_set) as probing:
        probing.show(pixels)
        probing.holder.publish(following)
        wait_for(lambda: probing.shed == len(pixels))
        idle.set()
        probing.show(pixels[:2])
        probing.show(pixels[:3], snapshot)  # a batch that had begun before
        wait_for(lambda: probing.ended == 4 and probing.shed == len(pixels) + 3)
        # Of two probes: Wilson's interval is as wide as that.
        wait_for(lambda: probing.rate("noise", "high") > 0.6)


def test_epsilons_must_change_a_grey_level(snapshot):
    with pytest.raises(ConfigurationError, match="no grey level"):
        Probing(snapshot, Settings(probe_epsilons=(0.001,)))


def test_a_model_that_cannot_be_probed_is_not_published(snapshot):
    threat = snapshot.description.threat_model.model_copy(update={"norm": "l2"})
    other = replace(snapshot, description=snapshot.description.model_copy(update={"version": 2, "threat_model": threat}))
    probing = Probing(snapshot, Settings(probe_epsilons=()))
    with pytest.raises(HoldfastError, match="probe-epsilons"):
        probing.holder.publish(other)
    assert probing.holder.current is snapshot
    with pytest.raises(HoldfastError, match="probe-epsilons"):
        Probing(other, Settings(probe_epsilons=()))


def test_a_search_uses_no_more_than_its_budget(snapshot):
    began = time.monotonic()
    with Probing(snapshot, Settings(probe_budget=0.02)) as probing:
        pixels = images(8, seed=9)[0]
        wait_for(lambda: probing.show(pixels) or probing.ended >= 6)
    spent = probing.metric("holdfast_probe_cpu_seconds_total")
    # .02 in hand, .02 earned a second, and one candidate of debt
    assert 0 < spent < 0.02 * (1 + time.monotonic() - began) + 0.03


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


def test_square_lowers_the_margin_without_a_gradient(snapshot, classifier):
    class Blind:
        def vjp(self, pixels, cotangents):
            raise AssertionError("it asks for a gradient")

    for image, label in zip(*images(1, seed=6), strict=True):
        target = replace(target_of(snapshot, image, int(label), 24), gradient=Blind())
        found = classifier.classify(candidates_of(classifier, square, target))
        margins = classifier.surrogate.margin(found.embeddings, np.full(len(found.labels), label))
        assert len(margins) == 60
        assert margins[30:].min() < margins[0]


@pytest.mark.parametrize("every", [0.0, 1000.0])
def test_what_was_found_outlasts_a_restart(snapshot, tmp_path, monkeypatch, every):
    monkeypatch.setattr("holdfast.server.monitor.probes.prober.SAVE_EVERY_S", every)
    known = replace(snapshot, description=snapshot.description.model_copy(update={"bundle_version": "a bundle"}))
    settings = Settings(probe_state=tmp_path / "probes.json")
    with Probing(known, settings) as probing:
        probing.show(images(3, seed=7)[0])
        wait_for(lambda: probing.ended == 24 and probing.rate("pgd", "high") > 0)
        wait_for(lambda: every > 0 or settings.probe_state.exists())
        before = {bound: probing.rate("pgd", bound) for bound in ("estimate", "low", "high")}
    with Probing(known, settings) as again:
        wait_for(lambda: again.rate("pgd", "high") > 0)
        assert {bound: again.rate("pgd", bound) for bound in before} == before


@pytest.mark.parametrize(
    "spoil", [lambda text: text[: len(text) // 2], lambda text: text.replace("a bundle", "another"), lambda _: ""]
)
def test_a_state_that_will_not_do_begins_anew(snapshot, tmp_path, spoil):
    estimate = StabilityEstimate()
    for selection in estimate.answered(np.zeros(3), np.array([1]), np.array([0.5])):
        estimate.probed(selection, flipped=True)
    path = tmp_path / "probes.json"
    save_estimates(path, "a bundle", "8 steps", {("pgd", 0.1): estimate})
    assert load_estimates(path, "a bundle", "8 steps")["pgd", 0.1].interval() == estimate.interval()
    assert load_estimates(path, "a bundle", "9 steps") == {}
    path.write_text(spoil(path.read_text()))
    assert load_estimates(path, "a bundle", "8 steps") == {}


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
