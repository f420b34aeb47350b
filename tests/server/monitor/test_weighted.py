from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, disable_created_metrics, enable_created_metrics, generate_latest

from holdfast.server.monitor.metrics import SECONDS
from holdfast.server.monitor.weighted import WeightedHistogram


@given(st.lists(st.tuples(st.sampled_from([0, *SECONDS]) | st.floats(0, 20), st.integers(0, 9)), max_size=20))
def test_it_shows_what_as_many_single_observations_show(observations: list[tuple[float, int]]) -> None:
    weighted, single = CollectorRegistry(), CollectorRegistry()
    ours = WeightedHistogram("a_seconds", "As long as it takes.", SECONDS, weighted)
    disable_created_metrics()
    theirs = Histogram("a_seconds", "As long as it takes.", buckets=SECONDS, registry=single)
    for seconds, count in observations:
        value = round(seconds * 1024) / 1024  # sums of these are exact
        ours.observe(value, count)
        for _ in range(count):
            theirs.observe(value)
    assert generate_latest(weighted) == generate_latest(single)
    enable_created_metrics()
