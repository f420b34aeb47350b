from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from holdfast.attacks.adaptive import AdaptiveAttack
from holdfast.attacks.aimed import AimedAttack, DetectorAware, LeastSuspicious, LogOdds
from holdfast.attacks.attack import PGDAttack
from holdfast.attacks.detectors import CREDIBILITY, Detector
from holdfast.attacks.losses import Margin
from holdfast.attacks.noise import Noise
from holdfast.attacks.quantise import to_pixels
from holdfast.attacks.search.suite import AttackSuite
from holdfast.attacks.search.worst_case import NAME
from holdfast.attacks.surrogate import TorchSoftKNN
from holdfast.attacks.victim import Victim
from holdfast.bundle.threat_model import ThreatModel
from holdfast.model.classifier import Classifier
from holdfast.model.credibility import Calibration
from holdfast.model.retrieval.base import Bank
from holdfast.model.retrieval.flat import FlatIndex
from holdfast.model.vote import VoteParameters
from tests.holdfast.attacks.detected import NAMES, THREAT, detectors, plain, scene

__all__ = ["detectors", "plain", "scene"]


def search_of(scene, detector):
    return LeastSuspicious(scene.victim, scene.images, scene.labels, THREAT, classify=scene.classify, detector=detector)


# Losses


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_the_log_odds_are_of_one_class_against_all_others(scene, rank):
    pixels, labels = to_pixels(scene.images), torch.from_numpy(scene.labels)
    moved = (pixels + 0.1).clamp(0, 1)
    values = LogOdds(0.1, rank)(scene.victim, pixels, labels)(moved).detach().numpy()
    bank, classes = scene.victim.surrogate.bank.numpy(), scene.victim.surrogate.labels.numpy()

    def weights(embeddings):
        each = np.exp(embeddings.astype(np.float64) @ bank.T / 0.1)
        return np.stack([each[:, classes == c].sum(1) for c in range(3)], axis=1)

    clean, attacked = (weights(scene.embed(x).detach().numpy()) for x in (pixels, moved))
    for n, label in enumerate(scene.labels):
        seen = attacked if rank == 0 else clean
        strongest = sorted((c for c in range(3) if c != label), key=lambda c: -seen[n, c])
        wanted = strongest[max(rank, 1) - 1]
        share = attacked[n, wanted] / attacked[n].sum()
        assert values[n] == pytest.approx(np.log(share / (1 - share)), abs=1e-3)


def test_credibility_grows_with_the_log_odds_at_the_temperature_of_the_vote(scene):
    """Where all exemplars vote, weighted as the soft kNN weighs them."""
    everything = scene.new_classifier().with_vote(VoteParameters(k=120, weighting="exponential", temperature=0.1))
    answers = everything.classify(scene.images)
    own = answers.probabilities[np.arange(len(answers.labels)), answers.labels].astype(np.float64)
    other = torch.from_numpy((answers.labels + 1) % 3)
    odds = LogOdds(0.1)(scene.victim, to_pixels(scene.images), other)(to_pixels(scene.images)).detach().numpy()
    np.testing.assert_allclose(odds, np.log(own / (1 - own)), atol=0.05)


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


def test_its_fingerprint_is_of_what_it_does_not_of_where_it_lies_in_memory(detectors):
    described = {repr(DetectorAware(detector, 0.1, 3.0)) for detector in detectors.values()}
    assert len(described) == len(detectors)
    assert all(" at 0x" not in text and "function" not in text for text in described)
    assert len({str(DetectorAware(detector, 0.1, 3.0)) for detector in detectors.values()}) == len(detectors)


# The search


@pytest.mark.parametrize("name", NAMES)
def test_no_image_ends_more_suspected_than_the_plain_attack_left_it(scene, detectors, plain, name):
    detector = detectors[name]
    search = search_of(scene, detector)
    search.inherit(np.array(plain.found_by, NAME), plain.adversarial)
    AimedAttack(0.1, 6).suite(detector).run(search)
    found = search.aimed_outcome()
    for images in (scene.images, plain.adversarial):
        before = scene.classify(images)
        suspicion = np.where(before.labels != scene.labels, detector.score(before), np.inf)
        assert (found.suspicion <= suspicion).all()
    assert plain.success.sum() > 10
    assert (found.suspicion < suspicion)[plain.success].any()


def test_what_it_says_is_what_is_served(scene, detectors):
    detector = detectors["credibility"]
    search = search_of(scene, detector)
    AimedAttack(0.1, 6).suite(detector).run(search)
    found = search.aimed_outcome()
    answers = scene.classify(found.adversarial)
    np.testing.assert_array_equal(answers.labels, found.adversarial_labels)
    np.testing.assert_array_equal(answers.labels != scene.labels, found.wrong)
    np.testing.assert_array_equal(-answers.credibility[found.wrong], found.suspicion[found.wrong])
    assert np.isinf(found.suspicion[~found.wrong]).all()
    reach = np.abs(found.adversarial.astype(int) - scene.images).max()
    assert 0 < reach <= round(THREAT.epsilon * 255)
    clean_wrong = scene.classify(scene.images).labels != scene.labels
    assert found.wrong[clean_wrong].all()


def test_an_image_is_attacked_on_after_it_was_fooled(scene, detectors):
    detector = detectors["credibility"]
    search = search_of(scene, detector)
    AttackSuite((Noise(),)).run(search)
    first = search.aimed_outcome().suspicion.copy()
    (tried,) = AttackSuite((PGDAttack(LogOdds(0.1), 20, onward=True),)).run(search)
    assert tried.tried == len(scene.images)
    assert (search.aimed_outcome().suspicion < first)[np.isfinite(first)].any()


def test_an_interrupted_search_goes_on_and_comes_to_the_same(scene, detectors, tmp_path):
    detector = detectors["credibility"]
    suite = replace(AimedAttack(0.1, 4).suite(detector), batch_size=16)
    whole = search_of(scene, detector)
    suite.run(whole)

    class StoppedError(Exception):
        pass

    def stop(number, images, waiting):
        if number == 2:
            raise StoppedError

    with pytest.raises(StoppedError):
        suite.run(search_of(scene, detector), store=tmp_path / "journal.npz", watch=stop)
    again = search_of(scene, detector)
    suite.run(again, store=tmp_path / "journal.npz")
    one, other = whole.aimed_outcome(), again.aimed_outcome()
    np.testing.assert_array_equal(one.suspicion, other.suspicion)
    np.testing.assert_array_equal(one.adversarial, other.adversarial)
    assert one.found_by == other.found_by


# A wrong answer that abstention stops, and another one that it does not


REACH = 50 / 255


def between(places):
    """Points (x, y) float [N, 2] on a sphere, seen from above."""
    return F.normalize(torch.cat([torch.ones(len(places), 1), places], dim=1), dim=1)


def crossroads():
    """Images in the middle of class 0. One way out leads to a crowd of three classes, the other to class 1 and some of class 0.

    The margin over class 0 is largest in the crowd, where class 1 has less than half of the vote.
    """
    rng = np.random.default_rng(0)
    groups = [((0, 0), 0, 20), ((1, 0), 1, 6), ((1, 0), 2, 5), ((1, 0), 3, 5), ((0, 1), 1, 12), ((0, 1), 0, 4)]
    places = np.concatenate([np.tile(place, (count, 1)) for place, _, count in groups]).astype(np.float32)
    labels = np.concatenate([np.full(count, label) for _, label, count in groups])
    bank = between(torch.from_numpy(places + rng.normal(0, 0.05, places.shape).astype(np.float32)))

    def embed(pixels):
        return between((pixels[:, :2].mean((2, 3)) - 0.5) / REACH)

    classifier = Classifier(
        SimpleNamespace(embed=lambda images: embed(to_pixels(images)).numpy()),
        FlatIndex.build(Bank(bank.numpy(), np.arange(len(labels)), labels)),
        classes=4,
        vote=VoteParameters(k=12, weighting="exponential", temperature=0.1),
        calibration=Calibration(nonconformity=tuple(np.linspace(0, 0.5, 20)), abstain_below=0.2, coverage=0.9),
        surrogate_tau=0.1,
    )
    images = rng.integers(122, 134, (12, 4, 4, 3)).astype(np.uint8)
    surrogate = TorchSoftKNN(bank, torch.from_numpy(labels), 4, 0.1)
    return images, classifier, Victim(embed, surrogate, lambda images: classifier.classify(images).labels)


def test_abstention_stops_an_attack_that_ignores_it_and_not_one_that_aims_at_it():
    images, classifier, victim = crossroads()
    labels, threat = np.zeros(len(images), np.int64), ThreatModel("linf", REACH)
    clean = classifier.classify(images)
    assert (clean.labels == 0).all()
    assert not clean.abstain.any()
    plain = AdaptiveAttack(losses=tuple(map(Margin, (0.05, 0.1))), steps=30)(victim, images, labels, threat)
    assert plain.success.all()
    assert classifier.classify(plain.adversarial).abstain.all()

    detector = Detector(CREDIBILITY, -0.2, lambda answers: -answers.credibility, lambda z, _: z.sum(1), by_share=True)
    search = LeastSuspicious(victim, images, labels, threat, classify=classifier.classify, detector=detector)
    search.inherit(np.array(plain.found_by, NAME), plain.adversarial)
    AimedAttack(0.1, 20).suite(detector).run(search)
    answers = classifier.classify(search.aimed_outcome().adversarial)
    assert (answers.labels != 0).all()
    assert not answers.abstain.any()
