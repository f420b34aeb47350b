"""The figures behind the live page."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from holdfast.server.core.observers import ObservedBatch
from holdfast.server.core.snapshot import ModelSnapshot
from holdfast.server.monitor.page.histograms import binned, binned_by_range, shares_of_classes
from holdfast.server.monitor.page.recent import LiveView
from holdfast.server.monitor.page.traffic import MetricsWindow, quantiles_of
from tests.server.running import snapshot_of
from tests.server.tiny import coloured

Values = st.lists(st.floats(-50, 50, width=32) | st.just(math.nan), max_size=60)


@pytest.fixture(scope="module")
def snapshot(tiny_bundle: Path) -> ModelSnapshot:
    return snapshot_of(tiny_bundle)


def observed(snapshot: ModelSnapshot, count: int, seed: int) -> ObservedBatch:
    images = np.concatenate([coloured(label, count, seed=seed + label) for label in range(3)])[:count]
    return ObservedBatch(snapshot, images, snapshot.classifier.classify(images), ["somebody"] * count)


@given(st.lists(st.integers(1, 12), max_size=12), st.integers(1, 10))
def test_the_latest_answers_are_kept(snapshot: ModelSnapshot, sizes: list[int], kept: int) -> None:
    view, all_margins = LiveView(kept), []
    for seed, size in enumerate(sizes):
        batch = observed(snapshot, size, seed)
        view.observe(batch)
        all_margins += batch.answers.soft_margin[:kept].tolist()
    figures = view.figures("")
    assert len(figures) == min(kept, len(all_margins))
    assert sorted(figures.soft_margin.tolist()) == sorted(all_margins[max(0, len(all_margins) - kept) :])


def test_another_bundles_answers_are_not_shown(snapshot: ModelSnapshot) -> None:
    view = LiveView()
    view.observe(observed(snapshot, 3, 1))
    assert len(view.figures("")) == 3
    assert len(view.figures("another@1")) == 0
    assert math.isnan(view.figures("another@1").abstained)


@given(Values)
def test_every_finite_value_is_counted_once(values: list[float]) -> None:
    array = np.array(values, dtype=np.float32)
    finite = int(np.isfinite(array).sum())
    for counted in (binned(array, np.linspace(0, 1, 21)), binned_by_range(array)):
        assert counted.total == finite
        assert len(counted.edges) == len(counted.counts) + 1
        assert list(counted.edges) == sorted(set(counted.edges))
        assert (counted.median is None) == (finite == 0)
    assert 1 <= len(binned_by_range(array).counts) <= 20


@given(st.lists(st.integers(0, 5), max_size=40), st.integers(1, 7))
def test_shares_of_classes_come_to_one(labels: list[int], most: int) -> None:
    shares = shares_of_classes(np.array(labels, dtype=np.int64), tuple("abcdef"), most)
    assert len(shares) <= most + 1
    assert sum(share for _, share in shares) == pytest.approx(1 if labels else 0)
    shown = [share for name, share in shares if name != "other classes"]
    assert shown == sorted(shown, reverse=True)


@given(st.lists(st.floats(1e-4, 9), min_size=1, max_size=60))
def test_quantiles_lie_in_the_bucket_of_the_true_ones(seconds: list[float]) -> None:
    bounds = (0.001, 0.01, 0.1, 1.0, 10.0, math.inf)
    buckets = [(bound, float(sum(value <= bound for value in seconds))) for bound in bounds]
    told, true = quantiles_of(buckets), sorted(seconds)
    for share, value in ((0.5, told.p50), (0.95, told.p95), (0.99, told.p99)):
        exact = true[max(0, math.ceil(share * len(true) - 1e-9) - 1)]
        low = max((bound for bound in bounds if bound < exact), default=0.0)
        high = min(bound for bound in bounds if bound >= exact)
        assert value is not None
        assert low <= value <= high + 1e-12


def test_nothing_has_no_quantiles_and_what_is_above_all_bounds_is_said_so() -> None:
    assert quantiles_of([(1.0, 0.0), (math.inf, 0.0)]).p50 is None
    assert quantiles_of([(1.0, 0.0), (math.inf, 3.0)]).p50 == math.inf


def test_metrics_are_compared_with_the_look_before() -> None:
    registry = CollectorRegistry()
    refused = Counter("holdfast_refused_images_total", "", ("reason",), registry=registry)
    waits = Histogram("holdfast_queue_wait_seconds", "", buckets=(0.1, 1.0), registry=registry)
    rates = Gauge("holdfast_flip_rate", "", ("attack", "epsilon", "bound"), registry=registry)
    refused.labels("queue").inc(5)
    window = MetricsWindow(registry)
    first = window.look()
    assert (first.seconds, dict(first.refused), first.queue.p50) == (0, {}, None)
    refused.labels("queue").inc(2)
    refused.labels("rate").inc(3)
    for _ in range(4):
        waits.observe(0.05)
    for bound, value in (("estimate", 0.5), ("low", 0.25), ("high", 0.75)):
        rates.labels("pgd", f"{8 / 255:.6g}", bound).set(value)
    second = window.look()
    assert list(second.refused.items()) == [("rate", 3), ("queue", 2)]
    assert second.images == pytest.approx(4 / second.seconds)
    assert second.queue.p50 == pytest.approx(0.05)
    (flip,) = second.flips
    assert (flip.attack, flip.epsilon, flip.low, flip.estimate, flip.high) == ("pgd", 8 / 255, 0.25, 0.5, 0.75)
