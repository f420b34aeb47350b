from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.attacks.detectors import DOUBT, RESPONSE, SoftNeighbours, detectors_of, threshold_at
from holdfast.attacks.detectors.classifier import detectors_by_head
from holdfast.model import classifier as classifier_module
from tests.holdfast.attacks.detected import NAMES, Detected, K, detectors, plain, scene

__all__ = ["detectors", "plain", "scene"]


def test_a_bundle_has_the_detectors_that_mean_something(detectors):
    assert tuple(detectors) == NAMES
    unmarked = Detected(np.zeros(120))
    assert [detector.name for detector in unmarked.detectors()] == [name for name in NAMES if name != "marked neighbours"]
    assert tuple(detector.name for detector in Detected(calibrated=False).detectors()) == NAMES[1:]
    unheard_of = {detector.name for detector in Detected(headed=False).detectors()}
    assert set(NAMES) - unheard_of == {RESPONSE, DOUBT}
    uncertified = detectors_of(unmarked.bundle, unmarked.classifier.classify(unmarked.clean), unmarked.clean_labels)
    assert not {"poison tolerance", "feature shift"} & {detector.name for detector in uncertified}


@given(st.lists(st.integers(0, 9), min_size=1, max_size=60), st.floats(0, 0.99))
def test_a_threshold_keeps_the_rate_and_the_next_lower_score_would_not(values, rate):
    scores = np.array(values, dtype=float)
    threshold = threshold_at(rate, scores)
    assert (scores > threshold).sum() <= rate * len(scores) + 1e-9
    lower = scores[scores < threshold]
    if len(lower):
        assert (scores > lower.max()).sum() > rate * len(scores)


def test_impossible_thresholds_are_refused():
    with pytest.raises(ValueError, match="at least one score"):
        threshold_at(0.05, np.zeros(0))
    with pytest.raises(ValueError, match="a rate in"):
        threshold_at(1.0, np.zeros(3))


@settings(max_examples=8)
@given(st.floats(0, 0.6))
def test_detectors_keep_their_false_positive_rate(scene, rate):
    answers = scene.classify(scene.clean)
    right = answers.labels == scene.clean_labels
    for detector in scene.detectors(rate):
        if detector.name == "credibility":
            np.testing.assert_array_equal(detector.flagged(answers), answers.abstain)
            assert 0 < detector.flagged(answers).mean() <= 0.1
        else:
            assert detector.flagged(answers)[right].mean() <= rate + 1e-9


def test_scores_are_what_they_are_called(scene, detectors):
    answers = scene.classify(scene.images)
    z = scene.numpy_embed(scene.images)
    embeddings = scene.bundle.index.export().embeddings
    for n, row in enumerate(z):
        nearest = np.argsort(-embeddings @ row)[:K]
        marked = np.mean(scene.bundle.exemplars.flags[nearest] > 0)
        assert detectors["marked neighbours"].score(answers)[n] == pytest.approx(marked)
        assert detectors["k-th distance"].score(answers)[n] == pytest.approx(1 - embeddings[nearest[-1]] @ row, abs=1e-5)
    np.testing.assert_array_equal(detectors["credibility"].score(answers), -answers.credibility)
    np.testing.assert_array_equal(detectors["soft margin"].score(answers), -answers.soft_margin.astype(float))
    head = scene.bundle.head
    for row, label, response, doubt in zip(
        z, answers.labels, detectors[RESPONSE].score(answers), detectors[DOUBT].score(answers), strict=True
    ):
        raised = np.exp(head.weights.astype(float) @ row + head.bias)
        assert response == pytest.approx(-raised[label] / raised[:3].sum())
        assert doubt == pytest.approx(raised[3] / raised.sum())


@settings(max_examples=20)
@given(st.integers(0, 1000), st.integers(1, 20), st.sampled_from([0.005, 0.05, 0.5]))
def test_soft_shares_are_the_formula(seed, k, tau):
    rng = np.random.default_rng(seed)
    z, bank = (
        rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (rng.normal(size=(3, 5)), rng.normal(size=(20, 5)))
    )
    members = rng.random((20, 2)) < 0.4
    shares = SoftNeighbours(torch.from_numpy(bank).float(), k, tau).shares(
        torch.from_numpy(z), torch.from_numpy(members).float()
    )
    for n in range(3):
        similarities = [float(z[n] @ b) for b in bank]
        edge = sorted(similarities, reverse=True)[k - 1]
        weights = [1 / (1 + np.exp(-(s - edge) / tau)) for s in similarities]
        for group in range(2):
            inside = sum(w for w, member in zip(weights, members[:, group], strict=True) if member)
            assert float(shares[n, group]) == pytest.approx(inside / sum(weights), abs=1e-4)


def test_a_sharp_edge_counts_the_k_nearest(scene):
    """At half weight for the k-th itself, whose place the edge is."""
    embeddings = scene.bundle.index.export().embeddings
    bank, z = torch.from_numpy(embeddings), torch.from_numpy(scene.numpy_embed(scene.images))
    shares = SoftNeighbours(bank, K, tau=1e-6).shares(z, torch.eye(120))
    nearest = (z @ bank.T).topk(K, dim=1).indices
    expected = torch.zeros(len(z), 120).scatter(1, nearest, 1).scatter(1, nearest[:, -1:], 0.5) / (K - 0.5)
    torch.testing.assert_close(shares, expected, atol=2e-2, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_the_penalty_follows_the_score_and_has_a_gradient(scene, detectors, plain, name):
    images = np.concatenate([scene.clean, scene.images, plain.adversarial])
    answers = scene.classify(images)
    z = torch.from_numpy(answers.embeddings).requires_grad_()
    penalty = detectors[name].penalty(z, torch.from_numpy(answers.labels))
    assert penalty.shape == (len(images),)
    # The certificate falls with the share of the answer, but also with how close the neighbours lie.
    least = 0.4 if name == "feature shift" else 0.7
    assert np.corrcoef(penalty.detach().numpy(), detectors[name].score(answers))[0, 1] > least
    (gradient,) = torch.autograd.grad(penalty.sum(), z)
    assert bool((gradient.abs().amax(1) > 0).all())


@pytest.mark.parametrize("whitened", [False, True])
def test_what_is_aimed_at_a_classifier_is_what_it_computes(scene, whitened):
    head, answers = scene.bundle.head, scene.classify(scene.images)
    if whitened:
        rng = np.random.default_rng(0)
        unwhiten, centre = rng.normal(size=(16, 16)).astype(np.float32), np.full(16, 0.1, dtype=np.float32)
        head = replace(head, unwhiten=unwhiten, centre=centre)
    z, labels = torch.from_numpy(answers.embeddings), torch.from_numpy(answers.labels)
    response, doubt = detectors_by_head(head)
    np.testing.assert_allclose(np.exp(-response.penalty(z, labels).numpy()), -response.score(answers), rtol=1e-3)
    np.testing.assert_allclose(np.exp(doubt.penalty(z, labels).numpy()), doubt.score(answers), rtol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_a_small_step_down_the_penalty_lowers_it(scene, detectors, name):
    z, wanted = torch.from_numpy(scene.numpy_embed(scene.images)), torch.from_numpy(scene.labels)
    z.requires_grad_()
    before = detectors[name].penalty(z, wanted)
    (gradient,) = torch.autograd.grad(before.sum(), z)
    length = gradient.norm(dim=1, keepdim=True)
    after = detectors[name].penalty((z - 2e-4 * gradient / length).detach(), wanted)
    # To first order by the length of the gradient; the edge of the neighbourhood moves too, but counts as constant.
    assert ((before - after).detach() > 0).float().mean() > 0.95


def test_the_soft_margin_is_attacked_as_it_is_served(scene, monkeypatch):
    """On a bank so large that the server takes prototypes, too."""
    for rows in (4096, 30):
        monkeypatch.setattr(classifier_module, "PROTOTYPES", rows)
        classifier = scene.bundle.classifier()
        assert len(classifier.surrogate) == min(rows, 120)
        answers = classifier.classify(scene.images)
        detectors = {detector.name: detector for detector in detectors_of(scene.bundle, answers, scene.labels)}
        penalty = detectors["soft margin"].penalty(torch.from_numpy(answers.embeddings), torch.from_numpy(answers.labels))
        np.testing.assert_allclose(-penalty.numpy(), answers.soft_margin, atol=1e-4)
