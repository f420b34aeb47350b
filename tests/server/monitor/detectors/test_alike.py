"""Images that are alike, whatever batches they come in, and what their steps say."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from holdfast.model.images.sketches import Sketcher
from holdfast.model.preprocess import Pixels
from holdfast.server.monitor.detectors.alike.cluster import Cluster, Normal, Query
from holdfast.server.monitor.detectors.alike.near import NearImages
from holdfast.server.monitor.detectors.alike.steps import ImageStep
from holdfast.server.monitor.detectors.alike.tables import AlikeCandidates, ClusterTable, Visit
from holdfast.server.monitor.detectors.traffic import ObservedTraffic
from tests.server.monitor.detectors.watching import film, pictures, search

NORMAL = Normal(alike=0.9, doubtful=0.3, edge=0.05, decline=0.1)


def queries_of(images: Pixels, rng: np.random.Generator) -> list[Query]:
    """Embeddings of mean colours, and margins that fall."""
    colours = images.mean(axis=(1, 2)) - 128
    embeddings = (colours / np.linalg.norm(colours, axis=1, keepdims=True)).astype(np.float32)
    margins = np.linspace(2, -1, len(images)) + rng.normal(0, 0.05, len(images))
    return [
        Query(float(at), image, z, int(m < 0), float(m), abs(float(m)) / 4)
        for at, (image, z, m) in enumerate(zip(images, embeddings, margins, strict=True))
    ]


def candidates(images: Pixels, queries: list[Query]) -> AlikeCandidates:
    sketches = Sketcher((32, 32, 3)).sketches(images)
    return AlikeCandidates.of(sketches, np.stack([q.embedding for q in queries]), queries, [{} for _ in queries])


def visited(table: ClusterTable, images: Pixels, queries: list[Query], edges: Sequence[int]) -> list[Visit]:
    """The images that are no new ones, by their numbers, in batches from edge to edge."""
    return [
        Visit(start + row, cluster)
        for start, stop in pairwise(edges)
        for row, cluster in table.visit(candidates(images[start:stop], queries[start:stop]), range(stop - start), NORMAL)
    ]


@hypothesis_settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.lists(st.integers(1, 39), max_size=6), st.integers(2, 12), st.sampled_from([0, 3]))
def test_images_belong_where_they_do_in_whatever_batches_they_come(seed: int, cuts: list[int], capacity: int, dim: int) -> None:
    rng = np.random.default_rng(seed)
    base = pictures(4, seed)
    images = np.concatenate([search(base[number], 1, 3, seed + at) for at, number in enumerate(rng.integers(0, 4, 40))])
    queries = queries_of(images, rng)
    by_batch = visited(ClusterTable(capacity, dim), images, queries, sorted({0, 40, *cuts}))
    one_by_one = visited(ClusterTable(capacity, dim), images, queries, range(41))
    assert [visit.row for visit in by_batch] == [visit.row for visit in one_by_one]
    for (_, one), (_, other) in zip(by_batch, one_by_one, strict=True):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            assert one.first is other.first
            assert (one.alike, one.evidence) == (other.alike, other.evidence)


@hypothesis_settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 12), st.lists(st.integers(1, 20), min_size=1, max_size=8))
def test_of_images_that_are_like_none_the_latest_stay(seed: int, capacity: int, sizes: list[int]) -> None:
    """Whichever batches they come in: the latest `capacity` are there when they are asked again, and no others."""
    images = np.random.default_rng(seed).choice(np.uint8([0, 255]), (sum(sizes), 8, 8, 3)).repeat(4, axis=1).repeat(4, axis=2)
    queries = queries_of(images, np.random.default_rng(seed))
    edges = [0, *np.cumsum(sizes).tolist()]
    table = ClusterTable(capacity)
    assert not visited(table, images, queries, edges)
    latest = range(max(0, len(images) - capacity), len(images))
    for row in (*latest, *range(latest.start)[-1:]):
        again = table.visit(candidates(images[row : row + 1], queries[row : row + 1]), range(1), NORMAL)
        assert [tuple(visit) for visit in again] == ([(0, None)] if row in latest else [])


def traffic_of(images: Pixels, queries: list[Query], callers: np.ndarray, batches: Sequence[int]) -> list[ObservedTraffic]:
    """The same, as it is observed, in batches from edge to edge."""
    return [
        ObservedTraffic(
            0.0,
            images[start:stop],
            callers[start:stop],
            np.stack([query.embedding for query in queries[start:stop]]),
            np.array([query.label for query in queries[start:stop]]),
            np.array([[(1 + query.lead) / 2, (1 - query.lead) / 2] for query in queries[start:stop]], np.float32),
            np.array([query.margin for query in queries[start:stop]], np.float32),
            np.zeros(stop - start, np.float32),
        )
        for start, stop in pairwise(batches)
    ]


@hypothesis_settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.lists(st.integers(1, 59), max_size=6), st.integers(1, 30))
def test_callers_are_told_apart_in_whatever_batches_they_come(seed: int, cuts: list[int], callers: int) -> None:
    rng = np.random.default_rng(seed)
    base = pictures(12, seed)
    images = np.concatenate([search(base[number], 1, 3, seed + at) for at, number in enumerate(rng.integers(0, 12, 60))])
    queries, asked_by = queries_of(images, rng), rng.integers(-1, callers, 60)
    found = []
    for edges in (range(61), sorted({0, 60, *cuts})):
        near, new, variants = NearImages(Sketcher((32, 32, 3)), NORMAL, 40, 4), [], []
        for traffic in traffic_of(images, queries, asked_by, edges):
            variants += near.variants(traffic)
            new += near.new(traffic).tolist()
        clusters = sorted((caller, cluster.alike, round(cluster.evidence, 6)) for caller, cluster in variants)
        found.append((new, clusters))
    assert found[0] == found[1]


def evidence_of(images: Pixels, margins: np.ndarray, lead: float = 0.5) -> float:
    """The most that one cluster of all images ever has."""
    none = np.ones(2, np.float32)
    asked = [Query(0.0, image, none, 0, float(m), lead) for image, m in zip(images, margins, strict=True)]
    cluster, most = Cluster.begin(asked[0]), 0.0
    for query in asked[1:]:
        cluster.add(query, NORMAL, {})
        most = max(most, cluster.evidence)
    return most


@pytest.mark.parametrize("seed", range(5))
def test_a_search_by_scores_is_evident_by_where_it_asks_and_not_by_its_answers(seed: int) -> None:
    """Every better image is where the next ones are asked around; so it is found before it has moved any answer."""
    rng = np.random.default_rng(seed)
    (best,), asked = pictures(1, seed), []
    for step in range(60):
        tried = best.astype(int)
        top, left = rng.integers(0, 24, 2)
        tried[top : top + 8, left : left + 8] += rng.choice([-12, 12], 3)
        asked.append(np.clip(tried, 0, 255).astype(np.uint8))
        best = asked[-1] if step % 10 == 0 else best
    margins = np.where(np.arange(60) % 10 == 0, 3 - 0.001 * np.arange(60), 3.1)
    assert evidence_of(np.stack(asked), margins) >= 12


@pytest.mark.parametrize("seed", range(5))
def test_what_goes_on_the_way_it_went_is_no_search_whatever_its_answers(seed: int) -> None:
    one, other = pictures(2, seed).astype(float)
    faded = np.stack([np.rint(one + share * (other - one)).astype(np.uint8) for share in np.linspace(0, 1, 60)])
    rng = np.random.default_rng(seed)
    for images in (faded, film(60, seed)):
        assert evidence_of(images, rng.normal(0, 0.2, 60), lead=0.0) < 4


@pytest.mark.parametrize("seed", range(5))
def test_what_goes_by_before_a_doubtful_scene_that_stands_still_is_no_search(seed: int) -> None:
    (scene,), rng = pictures(1, seed), np.random.default_rng(seed)
    shown = []
    for at in range(60):
        frame = scene.copy()
        frame[8:16, at // 2 : at // 2 + 8] = (250, 20, 20)
        shown.append(np.clip(frame + rng.normal(0, 1, frame.shape), 0, 255).astype(np.uint8))
    margins = np.where(np.arange(60) < 20, 2.0, 0.5) + rng.normal(0, 0.1, 60)  # it falls for good, once it is hidden
    assert evidence_of(np.stack(shown), margins) < 8


@hypothesis_settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.integers(8, 40), st.integers(8, 40))
def test_a_step_has_the_cosine_and_the_spread_of_its_definition(seed: int, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    first, second, third = rng.integers(0, 256, (3, height, width, 3), dtype=np.uint8)
    step = ImageStep.between(second, third, ImageStep.between(first, second, None))
    a, b = second.astype(float) - first, third.astype(float) - second
    assert step.square == pytest.approx(np.mean(b * b), rel=1e-4)
    assert step.cosine == pytest.approx(np.vdot(a, b) / np.linalg.norm(a) / np.linalg.norm(b), abs=1e-4)
    assert 0 < step.spread <= 1 + 1e-6
    assert ImageStep.between(first, first, None).spread == 1
    one_cell = first.copy()
    one_cell[:4, :4] ^= 128
    found = ImageStep.between(first, one_cell, None)
    assert found.spread == pytest.approx(1 / ((height // 4) * (width // 4)), rel=1e-5)
    assert found.is_local == (found.spread < 0.45)
