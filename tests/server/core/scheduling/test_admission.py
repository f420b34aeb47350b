"""What is admitted: bounds for all and for one, predictions, and the memory that is spent on callers."""

import time
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from holdfast.server.core.errors import CallerLimitError, DeadlineError, NotInTimeError, QueueFullError
from holdfast.server.core.scheduling.admission import Admission, AdmissionLimits, Demand, Permit
from holdfast.server.core.scheduling.callers import MOST_CALLERS, CallerRates, caller_key
from holdfast.server.core.scheduling.prediction import Backlog
from holdfast.server.metrics.metrics import Metrics

REFUSED = "holdfast_refused_images_total"


def admission(limits: AdmissionLimits, backlog: Backlog | None = None) -> tuple[Admission, Metrics]:
    metrics = Metrics()
    return Admission(limits, metrics, lambda: backlog or Backlog()), metrics


def refused(metrics: Metrics, reason: str) -> float:
    return metrics.registry.get_sample_value(REFUSED, {"reason": reason}) or 0.0


demands = st.lists(
    st.tuples(st.sampled_from("abcde"), st.integers(1, 60), st.integers(0, 500), st.booleans()), min_size=1, max_size=60
)


@given(demands, st.sampled_from([0.2, 0.5, 0.8, 1.0]))
def test_bounds_hold_and_all_is_given_back(asked: list[tuple[str, int, int, bool]], share: float) -> None:
    limits = AdmissionLimits(images=100, share=share, reply_bytes=1000)
    admitting, _ = admission(limits)
    permits: list[Permit] = []
    for caller, images, reply_bytes, leaves in asked:
        alone = not permits
        try:
            permits.append(admitting.take(Demand(images, caller=caller, reply_bytes=reply_bytes)))
        except QueueFullError as error:
            assert error.retry_after >= 0.01
            assert images > 100 or not alone  # a call that is alone is never refused
        assert admitting.admitted == sum(permit.demand.images for permit in permits) <= 100
        assert admitting.reply_bytes == sum(permit.demand.reply_bytes for permit in permits) <= 1000
        if leaves and permits:
            gone = permits.pop(0)
            gone.release()
            gone.release()  # counts once
    for permit in permits:
        with permit:
            permit.decoded()
            permit.answered()
    assert (admitting.admitted, admitting.reply_bytes) == (0, 0)


@hypothesis_settings(max_examples=10)
@given(st.integers(1, 30), st.sampled_from([0.3, 0.5, 0.7]))
def test_greedy_callers_leave_room_for_another(greedy: int, share: float) -> None:
    admitting, metrics = admission(AdmissionLimits(images=1000, share=share))
    held: Counter[str] = Counter()
    for turn in range(1500):
        caller = f"greedy {turn % greedy}"
        try:
            admitting.take(Demand(1, caller=caller))
            held[caller] += 1
        except CallerLimitError:
            pass
    assert admitting.admitted < 1000
    assert max(held.values()) <= share * 1000
    assert max(held.values()) - min(held.values()) <= 2
    assert admitting.take(Demand(1, caller="another")).demand.images == 1
    assert refused(metrics, "caller") > 0
    assert refused(metrics, "queue") == 0


def test_replies_that_nobody_takes_are_refused_more() -> None:
    admitting, metrics = admission(AdmissionLimits(images=1000, share=0.5, reply_bytes=10_000))
    admitting.take(Demand(1, caller="reads nothing", reply_bytes=4000))
    with pytest.raises(CallerLimitError):
        admitting.take(Demand(1, caller="reads nothing", reply_bytes=4000))
    assert admitting.take(Demand(1, caller="another", reply_bytes=2000))
    with pytest.raises(QueueFullError):
        admitting.take(Demand(1, caller="a third", reply_bytes=4001))
    assert refused(metrics, "replies") == 2


def test_what_cannot_be_ready_in_time_is_refused_with_the_time_to_wait() -> None:
    admitting, metrics = admission(AdmissionLimits(images=1000), Backlog(queued=100, callers=1, per_image=0.01, alone=0.01))
    first = admitting.take(Demand(1, time.monotonic() + 0.1))  # alone: it is tried, whatever was measured
    with pytest.raises(NotInTimeError) as caught:
        admitting.take(Demand(1, time.monotonic() + 0.1))
    assert 0.5 < caught.value.retry_after < 2
    admitting.take(Demand(1, time.monotonic() + 5))
    admitting.take(Demand(1))
    with pytest.raises(DeadlineError):
        admitting.take(Demand(1, time.monotonic() - 0.1))
    first.release()
    assert refused(metrics, "deadline") == 1


def test_decoding_ahead_counts_towards_the_deadline() -> None:
    admitting, _ = admission(AdmissionLimits(images=1000))
    costly = admitting.take(Demand(1, decoding=3.0))
    with pytest.raises(NotInTimeError):
        admitting.take(Demand(1, time.monotonic() + 1))
    costly.decoded()
    admitting.take(Demand(1, time.monotonic() + 1))


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@given(st.lists(st.tuples(st.floats(0, 3), st.integers(1, 50)), min_size=1, max_size=80))
def test_a_rate_is_kept_over_any_stretch(asked: list[tuple[float, int]]) -> None:
    clock = Clock()
    rates = CallerRates(10.0, 20.0, clock)
    taken: list[tuple[float, int]] = []
    for pause, images in asked:
        clock.now += pause
        wait = rates.wait("a", images)
        if wait:
            assert wait > 0
            clock.now += wait * (1 + 1e-9) + 1e-9
            assert rates.wait("a", images) <= 1e-6  # and then it is let in
        rates.take("a", images)
        taken.append((clock.now, images))
    # A call above the burst is let through by a full bucket: so at most the burst, the rate, and one such call.
    for first in range(len(taken)):
        since = taken[first][0]
        images = [count for at, count in taken[first:] if at >= since]
        assert sum(images) <= 20 + 10 * (clock.now - since) + 50 + 1e-6


def test_rates_are_each_callers_own() -> None:
    metrics = Metrics()
    admitting = Admission(AdmissionLimits(images=1000, rate=10, burst=1), metrics, Backlog)
    for _ in range(10):
        admitting.take(Demand(1, caller="a")).release()
    with pytest.raises(CallerLimitError) as caught:
        admitting.take(Demand(5, caller="a"))
    assert 0.3 < caught.value.retry_after <= 0.5
    admitting.take(Demand(10, caller="b")).release()
    assert refused(metrics, "rate") == 5


def test_addresses_without_end_take_bounded_memory() -> None:
    admitting = Admission(AdmissionLimits(images=1000, share=0.5, rate=10), Metrics(), Backlog)
    rates = CallerRates(10.0, 20.0)
    for number in range(MOST_CALLERS + 500):
        admitting.take(Demand(1, caller=str(number))).release()
        rates.take(str(number), 1)
    assert len(rates) == MOST_CALLERS
    assert admitting.admitted == 0


def test_who_counts_as_one_caller() -> None:
    assert caller_key("10.0.0.7") == "10.0.0.7"
    assert caller_key("2001:db8:1:2:3:4:5:6") == caller_key("2001:db8:1:2::") != caller_key("2001:db8:1:3::")
    assert caller_key("::ffff:10.0.0.7") == "10.0.0.7"
    assert caller_key("a token's name: with a colon") == "a token's name: with a colon"
