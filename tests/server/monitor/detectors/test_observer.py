"""All detectors together: failures, callers, models, and a real server whose answers stay what they are."""

import logging
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.protos.holdfast.v1 import holdfast_pb2 as pb
from holdfast.server.core.observers import ObserverContext
from holdfast.server.core.snapshot import ModelSnapshot
from holdfast.server.monitor.detectors.callers import NOBODY, CallerNumbers
from holdfast.server.monitor.detectors.detector import ALL, DetectorContext, TrafficDetector
from holdfast.server.monitor.detectors.observer import TrafficDetectors
from holdfast.server.monitor.detectors.traffic import ObservedTraffic
from holdfast.server.settings import ConfigurationError
from tests.server.monitor.detectors.watching import Watched, of_two_minds, pictures, search
from tests.server.running import Serve, wait_for
from tests.server.tiny import coloured, raw


class Failing(TrafficDetector):
    """Fails at the second batch."""

    name = "failing"

    def __init__(self, context: DetectorContext) -> None:
        super().__init__(context)
        self.batches = 0

    def look(self, traffic: ObservedTraffic) -> None:
        self.batches += 1
        if self.batches == 2:
            raise ZeroDivisionError("not today")
        self.alarm(ALL, 1.0, 1.0)


class Counting(TrafficDetector):
    """Raises at every batch, and keeps how many callers it was told to forget."""

    name = "counting"
    forgotten: list[int]

    def __init__(self, context: DetectorContext) -> None:
        super().__init__(context)
        self.forgotten = []

    def look(self, traffic: ObservedTraffic) -> None:
        for caller in traffic.callers.tolist():
            if caller != NOBODY:
                self.alarm(caller, 1.0, 1.0)

    def forget(self, caller: int) -> None:
        self.forgotten.append(caller)


def test_a_detector_that_raises_is_switched_off_with_a_metric_and_a_line_and_the_others_go_on(
    snapshot: ModelSnapshot, caplog: pytest.LogCaptureFixture
) -> None:
    watched = Watched(snapshot, {"failing": Failing, "counting": Counting})
    for turn in range(5):
        watched.show(pictures(1, turn))
    assert watched.metric("holdfast_detector_off", detector="failing") == 1
    assert watched.metric("holdfast_detector_off", detector="counting") == 0
    assert [alarm.count for alarm in watched.raised("failing")] == [1]
    assert [alarm.count for alarm in watched.raised("counting")] == [5]
    failures = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(failures) == 1
    assert "failing" in failures[0].getMessage()


def test_answers_go_on_while_detectors_fail_or_alarm(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TrafficDetectors, "every", 0.02)

    def make(context: ObserverContext) -> TrafficDetectors:
        return TrafficDetectors(context, {"failing": Failing, "counting": Counting})

    served = serve(parts={"observers": (make,)})
    for label in range(3):
        (result,) = served.stub.Classify(pb.ClassifyRequest(images=[raw(coloured(label, 1, seed=1)[0])])).results
        assert result.answer.label.index == label
        wait_for(lambda: sum(alarm.count for alarm in served.app.alarms.recent() if alarm.detector == "counting") == label + 1)  # noqa: B023
    wait_for(lambda: served.metric("holdfast_detector_off", detector="failing") == 1)
    wait_for(lambda: served.metric("holdfast_detector_images_total") == 3)
    assert served.metric("holdfast_alarms_total", detector="counting", scope="caller") == 1
    assert served.metric("holdfast_detector_cpu_seconds_total") > 0


@pytest.mark.parametrize("workers", [0, 1])
def test_a_server_watches_by_default_and_answers_as_one_that_does_not(serve: Serve, workers: int) -> None:
    image = coloured(0, 1, seed=5)[0]
    request = pb.ClassifyRequest(images=map(raw, search(image, 60, 3, seed=0)))
    watching, blind = serve(workers=workers), serve(detectors=False)
    answers = [served.stub.Classify(request).results for served in (watching, blind)]
    assert [r.answer for r in answers[0]] == [r.answer for r in answers[1]]
    wait_for(lambda: watching.metric("holdfast_detector_cpu_seconds_total") > 0)
    assert watching.metric("holdfast_detector_off") == 0


def test_callers_are_bounded_and_those_who_ask_little_are_forgotten_first(snapshot: ModelSnapshot) -> None:
    watched = Watched(snapshot, detector_callers=4)
    (image,) = pictures(1, seed=1)
    for turn in range(30):
        labels, margins = of_two_minds(2, turn)
        watched.show(search(image, 2, 7, seed=turn), "10.0.0.7", labels, margins)
        watched.show(pictures(2, 50 + turn), [f"10.1.0.{turn}", f"10.2.0.{turn}"])
    assert {alarm.caller == "" for alarm in watched.raised("query-similarity")} == {True, False}
    assert watched.metric("holdfast_detector_callers_forgotten_total") == 57


@given(st.lists(st.lists(st.integers(0, 12), min_size=1, max_size=9), max_size=30), st.integers(1, 6))
def test_numbers_are_one_callers_at_a_time(batches: list[list[int]], capacity: int) -> None:
    numbers = CallerNumbers(capacity)
    owners: dict[int, str] = {}
    for batch in batches:
        callers = [f"10.0.0.{n}" for n in batch]
        found, taken_over = numbers.numbers(callers)
        for number in taken_over:
            owners.pop(number, None)
        for caller, number in zip(callers, found.tolist(), strict=True):
            if number == NOBODY:
                assert len(set(callers)) > capacity
                continue
            assert 0 <= number < capacity
            assert owners.setdefault(number, caller) == caller
            assert numbers.key(number) == caller
            assert caller not in numbers.name(number)


def test_callers_are_hashed_unless_the_operator_wants_names(snapshot: ModelSnapshot) -> None:
    hashed, named = (Watched(snapshot, {"counting": Counting}, alarm_names=names) for names in (False, True))
    for watched in (hashed, named):
        watched.show(pictures(1, 0), "192.0.2.7")
    assert [alarm.caller for alarm in named.alarms] == ["192.0.2.7"]
    assert "192" not in hashed.alarms[0].caller


def test_another_bundle_is_watched_anew_and_another_exemplar_is_not(snapshot: ModelSnapshot) -> None:
    description = snapshot.description.model_copy(update={"bundle_version": "one"})
    first = replace(snapshot, description=description)
    watched = Watched(first, {"failing": Failing})
    for snap in (first, first, first.numbered(2)):
        watched.snapshot = snap
        watched.show(pictures(1, 0))
    assert watched.metric("holdfast_detector_off", detector="failing") == 1
    watched.snapshot = replace(first, description=description.model_copy(update={"bundle_version": "two", "version": 3}))
    watched.show(pictures(1, 0))
    assert watched.metric("holdfast_detector_off", detector="failing") == 0


def test_detectors_are_left_out_by_name_and_unknown_names_are_refused(snapshot: ModelSnapshot) -> None:
    watched = Watched(snapshot, {"failing": Failing, "counting": Counting}, detectors_off=("counting",))
    watched.show(pictures(1, 0))
    assert [alarm.detector for alarm in watched.alarms] == ["failing"]
    with pytest.raises(ConfigurationError, match="nonsense"):
        Watched(snapshot, detectors_off=("nonsense",))


def test_grey_and_tiny_images_are_looked_at_without_failing(snapshot: ModelSnapshot) -> None:
    watched = Watched(snapshot)
    flat = np.zeros((5, 32, 32, 3), np.uint8)
    watched.show(flat)
    watched.show(flat + np.arange(5, dtype=np.uint8)[:, None, None, None])
    assert watched.metric("holdfast_detector_off") == 0
