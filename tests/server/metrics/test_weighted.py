from math import isnan

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, disable_created_metrics, enable_created_metrics, generate_latest

from holdfast.server.metrics.metrics import NATS, SECONDS
from holdfast.server.metrics.weighted import WeightedHistogram


def exact(value: float) -> float:
    """A number near it of which sums are exact."""
    return round(value * 1024) / 1024


@given(st.lists(st.tuples(st.sampled_from([0, *SECONDS]) | st.floats(0, 20), st.integers(0, 9)), max_size=20))
def test_it_shows_what_as_many_single_observations_show(observations: list[tuple[float, int]]) -> None:
    weighted, single = CollectorRegistry(), CollectorRegistry()
    ours = WeightedHistogram("a_seconds", "As long as it takes.", SECONDS, weighted)
    disable_created_metrics()
    theirs = Histogram("a_seconds", "As long as it takes.", buckets=SECONDS, registry=single)
    for seconds, count in observations:
        value = exact(seconds)
        ours.observe(value, count)
        for _ in range(count):
            theirs.observe(value)
    assert generate_latest(weighted) == generate_latest(single)
    enable_created_metrics()


@given(st.lists(st.lists(st.sampled_from(NATS) | st.floats(-30, 30) | st.just(float("nan")), max_size=9), max_size=5))
def test_arrays_are_as_many_single_observations_without_what_is_not_finite(batches: list[list[float]]) -> None:
    weighted, single = CollectorRegistry(), CollectorRegistry()
    ours = WeightedHistogram("lead", "Nats, of either sign.", NATS, weighted)
    disable_created_metrics()
    theirs = Histogram("lead", "Nats, of either sign.", buckets=NATS, registry=single)
    for batch in batches:
        values = np.array([value if isnan(value) else exact(value) for value in batch], dtype=np.float32)
        ours.observe_all(values)
        for value in values[np.isfinite(values)].tolist():
            theirs.observe(value)
    # Where a value may be negative there is no sum, and then, by OpenMetrics, no count either.
    assert generate_latest(weighted).splitlines() == [
        line for line in generate_latest(single).splitlines() if not line.startswith(b"lead_count")
    ]
    enable_created_metrics()
