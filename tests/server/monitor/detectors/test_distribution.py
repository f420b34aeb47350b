"""Detectors that look at what answers are like, not at images."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.server.core.snapshot import ModelSnapshot, no_calibration
from holdfast.server.monitor.detectors.distribution.histograms import BINS, RecentHistograms
from tests.server.monitor.detectors.watching import Watched, pictures


def test_images_of_the_bundles_own_kind_raise_nothing(snapshot: ModelSnapshot) -> None:
    watched = Watched(snapshot)
    for turn in range(18):
        watched.show(pictures(60, 100 + turn), [f"10.0.0.{n % 3}" for n in range(60)])
    assert watched.alarms == ()


def test_images_of_another_kind_are_unlike_and_drift(snapshot: ModelSnapshot) -> None:
    watched = Watched(snapshot)
    for turn in range(32):
        watched.show(pictures(60, turn), "10.0.0.7", distances=np.full(60, 2, np.float32))  # as none of the bundle's has
    (unlike,) = watched.raised("extraction-distribution")
    assert unlike.caller
    (drift,) = watched.raised("drift")
    assert drift.caller == ""


def test_variants_of_one_image_count_once_for_distributions(snapshot: ModelSnapshot) -> None:
    watched = Watched(snapshot)
    images = pictures(4, 0)
    for _ in range(50):
        watched.show(np.repeat(images, 8, axis=0), "10.0.0.7", distances=np.full(32, 2, np.float32))
    assert not watched.raised("extraction-distribution")
    assert not watched.raised("drift")


def test_doubtful_answers_of_one_caller_are_a_burst(snapshot: ModelSnapshot) -> None:
    watched = Watched(snapshot)
    calm, doubtful = np.full(10, 50.0, np.float32), np.full(10, -50.0, np.float32)
    for turn in range(4):
        callers = ["10.0.0.7"] * 10 + ["10.0.0.8"] * 10
        watched.show(pictures(20, 300 + turn), callers, margins=np.concatenate([doubtful, calm]))
    (alarm,) = (alarm for alarm in watched.raised("low-margin") if alarm.caller)
    for turn in range(10):
        watched.show(pictures(10, 400 + turn), "10.0.0.7", margins=calm)
    (settled,) = (alarm for alarm in watched.raised("low-margin") if alarm.caller)
    watched.show(pictures(10, 500), "10.0.0.7", margins=calm)
    assert settled in watched.raised("low-margin")
    assert settled.when == alarm.when


def test_who_asks_all_over_the_space_is_reported_after_many_images(snapshot: ModelSnapshot) -> None:
    watched = Watched(snapshot, coverage_images=400, coverage_above=0.4)
    for turn in range(6):
        watched.show(pictures(60, 600 + turn), "10.0.0.7")
        watched.show(np.repeat(pictures(5, 600), 20, axis=0), "10.0.0.8")
    assert not watched.raised("extraction-coverage")
    for turn in range(10):
        watched.show(pictures(60, 700 + turn), "10.0.0.7")
    (alarm,) = watched.raised("extraction-coverage")
    assert alarm.score >= 0.4
    assert watched.metric("holdfast_extraction_coverage_ratio", caller=alarm.caller) > 0


def test_a_bundle_without_held_out_images_is_watched_for_alike_images_alone(snapshot: ModelSnapshot) -> None:
    watched = Watched(replace(snapshot, load_calibration=no_calibration))
    for turn in range(20):
        watched.show(pictures(60, turn), "10.0.0.7", distances=np.full(60, 2, np.float32))
    assert watched.alarms == ()
    assert watched.metric("holdfast_detector_off") == 0


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=60), st.lists(st.floats(-5, 5), min_size=1, max_size=60))
def test_the_distance_is_kolmogorovs_at_the_quantiles(reference: list[float], values: list[float]) -> None:
    ascending = np.sort(np.array(reference, np.float32))
    histograms = RecentHistograms(ascending, 2, memory=1e12)
    histograms.add(np.ones(len(values), np.intp), np.array(values, np.float32))
    edges = np.quantile(ascending, np.arange(1, BINS) / BINS)
    seen = np.array(values, np.float32)
    expected = max(abs((seen < e).mean() - (ascending < e).mean()) for e in edges)
    assert histograms.distance(np.array([1]))[0] == pytest.approx(expected, abs=1e-6)
    assert histograms.size(np.array([0, 1])).tolist() == pytest.approx([0, len(values)])


def test_histograms_forget() -> None:
    histograms = RecentHistograms(np.arange(100, dtype=np.float32), 1, memory=50)
    histograms.add(np.zeros(500, np.intp), np.full(500, 1000, np.float32))
    assert histograms.distance(np.array([0]))[0] > 0.9
    for _ in range(50):
        histograms.add(np.zeros(10, np.intp), np.arange(0, 100, 10, dtype=np.float32))
    assert histograms.distance(np.array([0]))[0] < 0.1
