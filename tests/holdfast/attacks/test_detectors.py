from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.attacks.adaptive import AdaptiveAttack
from holdfast.attacks.attack import PGDAttack
from holdfast.attacks.detectors import (
    AttackedSet,
    DetectorAware,
    EvasionAttack,
    SoftNeighbours,
    detectors_of,
    evasion,
    guarded,
    threshold_at,
)
from holdfast.attacks.losses import Margin, SitawarinWagner
from holdfast.attacks.quantise import to_pixels
from holdfast.attacks.search.suite import AttackSuite
from holdfast.attacks.search.worst_case import WorstCase
from holdfast.attacks.surrogate import TorchSoftKNN
from holdfast.attacks.victim import ABSTAINED, Victim
from holdfast.bundle.exemplars import Exemplars, Flag
from holdfast.bundle.threat_model import ThreatModel
from holdfast.model import classifier as classifier_module
from holdfast.model.classifier import Classifier
from holdfast.model.credibility import calibrate_retriever
from holdfast.model.retrieval.base import Bank
from holdfast.model.retrieval.flat import FlatIndex
from holdfast.model.vote import VoteParameters

THREAT = ThreatModel("linf", 30 / 255)
NAMES = ["credibility", "marked neighbours", "soft margin", "k-th distance"]
K = 7


class EvaluationContext:
    """A classifier over a small random net: exemplars 0..119, images to set thresholds on 120..219, to attack 220..259."""

    def __init__(self, flags=None, *, calibrated=True):
        rng = np.random.default_rng(1)
        torch.manual_seed(0)
        net = torch.nn.Sequential(
            torch.nn.Conv2d(3, 12, 3, stride=2), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.LazyLinear(16)
        ).eval()
        prototypes = rng.integers(60, 196, (3, 10, 10, 3))
        labels = np.arange(260) % 3
        images = (prototypes[labels] + rng.integers(-60, 61, (260, 10, 10, 3))).clip(0, 255).astype(np.uint8)
        self.embed = lambda pixels: F.normalize(net(pixels - 0.5), dim=1)
        bank = self.numpy_embed(images[:120])
        if flags is None:
            flags = np.where(rng.random(120) < 0.2, Flag.DISAGREES, 0) | np.where(rng.random(120) < 0.1, Flag.ATTACKED, 0)
        self.bundle = SimpleNamespace(
            # Ids need not be row numbers.
            index=FlatIndex.build(Bank(bank, 1000 - np.arange(120), labels[:120])),
            exemplars=Exemplars(1000 - np.arange(120), labels[:120], np.full(120, ""), flags.astype(np.uint8)),
            class_names=("a", "b", "c"),
            manifest=SimpleNamespace(vote=VoteParameters(k=K), surrogate_tau=0.05, calibration=None),
            classifier=self.new_classifier,
        )
        self.clean, self.clean_labels = images[120:220], labels[120:220]
        self.images, self.labels = images[220:], labels[220:]
        self.classifier = self.new_classifier()
        if calibrated:
            index, vote, embeddings = self.bundle.index, self.bundle.manifest.vote, self.numpy_embed(self.clean)
            self.bundle.manifest.calibration = calibrate_retriever(
                index, vote, embeddings, self.clean_labels, classes=3, coverage=0.9
            )
            self.classifier = self.new_classifier()
        surrogate = TorchSoftKNN(torch.from_numpy(bank), torch.from_numpy(labels[:120]), 3, 0.05)
        self.victim = Victim(self.embed, surrogate, lambda images: self.classifier.classify(images).labels)

    def new_classifier(self):
        manifest = self.bundle.manifest
        return Classifier(
            SimpleNamespace(embed=self.numpy_embed),
            self.bundle.index,
            classes=3,
            vote=manifest.vote,
            calibration=manifest.calibration,
            surrogate_tau=manifest.surrogate_tau,
        )

    def numpy_embed(self, images):
        with torch.no_grad():
            return self.embed(to_pixels(images)).numpy()

    def detectors(self, false_positives=0.1):
        answers = self.classifier.classify(self.clean)
        return detectors_of(
            self.bundle, answers, self.clean_labels, false_positives=false_positives, classifier=self.classifier
        )


@pytest.fixture(scope="module")
def scene():
    return EvaluationContext()


@pytest.fixture(scope="module")
def detectors(scene):
    return {detector.name: detector for detector in scene.detectors()}


@pytest.fixture(scope="module")
def plain(scene):
    attack = AdaptiveAttack(losses=(Margin(0.05), Margin(0.2)), steps=10)
    return attack(scene.victim, scene.images, scene.labels, THREAT)


def test_a_bundle_has_the_detectors_that_mean_something(detectors):
    assert list(detectors) == NAMES
    assert [detector.name for detector in EvaluationContext(np.zeros(120)).detectors()] == [
        "credibility",
        "soft margin",
        "k-th distance",
    ]
    assert [detector.name for detector in EvaluationContext(calibrated=False).detectors()] == NAMES[1:]


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
    answers = scene.classifier.classify(scene.clean)
    right = answers.labels == scene.clean_labels
    for detector in scene.detectors(rate):
        if detector.name == "credibility":
            np.testing.assert_array_equal(detector.flagged(answers), answers.abstain)
            assert 0 < detector.flagged(answers).mean() <= 0.1
        else:
            assert detector.flagged(answers)[right].mean() <= rate + 1e-9


def test_scores_are_what_they_are_called(scene, detectors):
    answers = scene.classifier.classify(scene.images)
    z = scene.numpy_embed(scene.images)
    embeddings = scene.bundle.index.export().embeddings
    for n, row in enumerate(z):
        nearest = np.argsort(-embeddings @ row)[:K]
        marked = np.mean(scene.bundle.exemplars.flags[nearest] > 0)
        assert detectors["marked neighbours"].score(answers)[n] == pytest.approx(marked)
        assert detectors["k-th distance"].score(answers)[n] == pytest.approx(1 - embeddings[nearest[-1]] @ row, abs=1e-5)
    np.testing.assert_array_equal(detectors["credibility"].score(answers), -answers.credibility)
    np.testing.assert_array_equal(detectors["soft margin"].score(answers), -answers.soft_margin.astype(float))


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
    answers = scene.classifier.classify(images)
    z = torch.from_numpy(answers.embeddings).requires_grad_()
    penalty = detectors[name].penalty(z, torch.from_numpy(answers.labels))
    assert penalty.shape == (len(images),)
    assert np.corrcoef(penalty.detach().numpy(), detectors[name].score(answers))[0, 1] > 0.7
    (gradient,) = torch.autograd.grad(penalty.sum(), z)
    assert bool((gradient.abs().amax(1) > 0).all())


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


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_is_the_margin_less_the_weighted_penalty_of_the_strongest_wrong_class(scene, detectors, name):
    pixels, labels = to_pixels(scene.images), torch.from_numpy(scene.labels)
    victim, detector = scene.victim, detectors[name]
    silent, loud = (DetectorAware(detector, 0.1, weight)(victim, pixels, labels)(pixels) for weight in (0.0, 2.5))
    torch.testing.assert_close(silent, Margin(0.1)(victim, pixels, labels)(pixels))
    scores = victim.surrogate.at(0.1).log_scores(victim.embed(pixels)).detach().numpy()
    scores[np.arange(len(scores)), scene.labels] = -np.inf
    penalty = detector.penalty(victim.embed(pixels), torch.from_numpy(scores.argmax(1)))
    torch.testing.assert_close(silent - loud, 2.5 * penalty, rtol=1e-3, atol=1e-4)


def test_the_guarded_answer_keeps_back_what_raises_the_detector(scene, detectors):
    answers = scene.classifier.classify(scene.images)
    for detector in detectors.values():
        answered = guarded(scene.classifier.classify, detector)(scene.images)
        flagged = detector.flagged(answers)
        assert (answered[flagged] == ABSTAINED).all()
        np.testing.assert_array_equal(answered[~flagged], answers.labels[~flagged])
        assert guarded(scene.classifier.classify, detector)(scene.images[:0]).shape == (0,)


@pytest.mark.parametrize("name", NAMES)
def test_evasion_counts_wrong_answers_without_a_flag(scene, detectors, plain, name):
    detector, answer = detectors[name], scene.classifier.classify
    attack = EvasionAttack(steps=8, weights=(1, 10), also=(SitawarinWagner(K, 2 * K),))
    result = evasion(detector, scene.victim, answer, AttackedSet(scene.images, scene.labels, THREAT, plain), attack)
    clean, attacked = answer(scene.images), answer(plain.adversarial)
    right = clean.labels == scene.labels
    assert (result.name, result.threat) == (name, str(THREAT))
    assert (result.false_positives.successes, result.false_positives.trials) == (
        detector.flagged(clean)[right].sum(),
        right.sum(),
    )
    assert (result.detected.successes, result.detected.trials) == (
        detector.flagged(attacked)[plain.success].sum(),
        plain.success.sum(),
    )
    open_to_attack = right & ~detector.flagged(clean)
    assert result.evaded.trials == result.evaded_plain.trials == open_to_attack.sum()
    assert result.evaded_plain.successes == (plain.success & open_to_attack & ~detector.flagged(attacked)).sum()
    assert result.evaded.successes == result.evaded_plain.successes + sum(step.found for step in result.tried)
    assert [step.name for step in result.tried][:2] == ["Sitawarin-Wagner 14 guides, k 7", f"margin tau 0.05 less 1 {name}"]
    assert len(result.tried) == 5


def test_an_attack_that_knows_of_an_detector_evades_it_more_often(scene, detectors, plain):
    """Each detector at a loose threshold: where the plain attack is mostly caught, the aware one gets through."""
    gained = 0
    for name in ("credibility", "k-th distance"):
        detector = detectors[name]
        attacked = AttackedSet(scene.images, scene.labels, THREAT, plain)
        aware = evasion(detector, scene.victim, scene.classifier.classify, attacked, EvasionAttack(steps=10))
        gained += aware.evaded.successes - aware.evaded_plain.successes
    assert plain.success.sum() > 10
    assert gained > 0


def test_what_it_finds_is_answered_wrongly_without_a_flag(scene, detectors):
    detector = detectors["credibility"]
    victim = Victim(scene.embed, scene.victim.surrogate, guarded(scene.classifier.classify, detector))
    worst_case = WorstCase(victim, scene.images, scene.labels, THREAT)
    AttackSuite((PGDAttack(DetectorAware(detector, 0.1, 10.0), 10),)).run(worst_case)
    outcome = worst_case.outcome()
    answers = scene.classifier.classify(outcome.adversarial)
    assert outcome.success.sum() > 5
    assert (answers.labels != scene.labels)[outcome.success].all()
    assert not detector.flagged(answers)[outcome.success].any()


def test_its_fingerprint_is_of_what_it_does_not_of_where_it_lies_in_memory(detectors):
    described = {repr(DetectorAware(detector, 0.1, 3.0)) for detector in detectors.values()}
    assert len(described) == len(detectors)
    assert all(" at 0x" not in text and "function" not in text for text in described)
    assert len({str(DetectorAware(detector, 0.1, 3.0)) for detector in detectors.values()}) == len(detectors)
