import random
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from holdfast.attacks.attack import AttackKind
from holdfast.attacks.noise import NoiseAttack
from holdfast.attacks.planted import knn_answers
from holdfast.attacks.quantise import to_images, to_pixels
from holdfast.attacks.search.suite import AttackSuite
from holdfast.attacks.surrogate import TorchSoftKNN
from holdfast.attacks.third_party import (
    ApgdCE,
    ApgdTargeted,
    FabTargeted,
    HopSkip,
    SquareScores,
    SurrogateLogits,
    hop_skip,
    served_as_art_classifier,
)
from holdfast.attacks.third_party.library import load, seeded
from holdfast.attacks.victim import ABSTAINED, Victim
from holdfast.bundle.threat_model import ThreatModel
from holdfast.errors import HoldfastError
from holdfast.model.vote import VoteParameters
from tests.holdfast.attacks.small import small_setup

WHITE = [ApgdCE(0.1, 20), ApgdTargeted(0.1, 1, 20), FabTargeted(0.1, 15, 3)]
BLACK = [SquareScores(300), HopSkip(800)]
ATTACKS = [*WHITE, *BLACK]
BALLS = {"linf": ThreatModel("linf", 32 / 255), "l2": ThreatModel("l2", 2.0)}


@pytest.fixture(scope="module")
def scene():
    """A victim, and 16 images of 5 classes that it mostly answers rightly."""
    return small_setup(classes=5, exemplars=120, others=16).attacked


def propose(attack, scene, threat, seed=0, rows=slice(None)):
    victim, images, labels = scene
    pixels, truth = to_pixels(images[rows]), torch.from_numpy(labels[rows])
    return attack(victim, pixels, truth, threat, torch.Generator().manual_seed(seed)), pixels


def global_randomness():
    legacy = np.random.get_state()  # noqa: NPY002 - what a library might have touched
    return torch.get_rng_state().tolist(), legacy[1].tolist(), random.getstate()


@pytest.mark.parametrize("norm", BALLS)
@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_candidates_lie_in_the_ball_and_repeat_by_the_seed(scene, attack, norm, capfd):
    before = global_randomness()
    found, pixels = propose(attack, scene, BALLS[norm], rows=slice(6))
    moves = (found - pixels).flatten(1)
    size = moves.abs().amax(1) if norm == "linf" else moves.norm(dim=1)
    assert found.shape == pixels.shape
    assert not found.requires_grad
    assert (size <= BALLS[norm].epsilon * 1.00001).all()
    assert found.min() >= 0
    assert found.max() <= 1
    assert global_randomness() == before
    torch.manual_seed(9)
    assert torch.equal(found, propose(attack, scene, BALLS[norm], rows=slice(6))[0])
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("attack", [ApgdCE(0.1, 2), ApgdTargeted(0.1, 1, 2), SquareScores(3)], ids=str)
def test_another_seed_is_another_start(scene, attack):
    tiny = ThreatModel("linf", 1 / 255)
    assert not torch.equal(propose(attack, scene, tiny, 0)[0], propose(attack, scene, tiny, 1)[0])


@pytest.mark.parametrize("norm", BALLS)
@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_each_alone_finds_what_noise_does_not(scene, attack, norm):
    victim, images, labels = scene
    outcome = AttackSuite((attack,))(victim, images, labels, BALLS[norm])
    assert outcome.success.mean() >= 0.7
    assert NoiseAttack(draws=5)(victim, images, labels, BALLS[norm]).success.mean() < outcome.success.mean() / 2


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_one_image_or_none_will_do(scene, attack):
    assert AttackSuite((attack,))(*(scene[0], *(part[:1] for part in scene[1:])), BALLS["linf"]).success.tolist() == [True]
    found, pixels = propose(attack, scene, BALLS["linf"], rows=slice(0))
    assert found.shape == pixels.shape


def test_names_and_kinds():
    assert {attack.kind for attack in WHITE} == {AttackKind.WHITE_BOX}
    assert {attack.kind for attack in BLACK} == {AttackKind.BLACK_BOX}
    names = [str(attack) for attack in [*ATTACKS, ApgdCE(0.2), ApgdTargeted(0.1, 2), FabTargeted(0.2, 15, 3), HopSkip(900)]]
    assert len(set(names)) == len(names)
    assert max(map(len, names)) <= 60


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_without_the_library_it_says_what_to_install(scene, attack, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] in ("pyautoattack", "art")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pyautoattack", None)
    monkeypatch.setitem(sys.modules, "art", None)
    with pytest.raises(HoldfastError, match=r"holdfast\[eval\]"):
        propose(attack, scene, ThreatModel("linf", 0.5 / 255), rows=slice(1))


class TestApgd:
    def test_every_image_gets_its_best_loss_also_those_that_the_surrogate_gets_wrong(self, scene):
        victim, images, labels = scene
        wrong = (labels + 1) % 5
        found, pixels = propose(ApgdCE(0.1, 10), (victim, images, wrong), BALLS["linf"])
        logits, truth = SurrogateLogits(victim, 0.1), torch.from_numpy(wrong)
        assert (logits(pixels).argmax(1) != truth).all()
        before, after = (F.cross_entropy(logits(at), truth, reduction="none") for at in (pixels, found))
        assert (after > before).all()

    def test_the_target_is_the_wrong_class_of_that_rank(self, scene):
        victim, images, labels = scene
        logits, pixels, truth = SurrogateLogits(victim, 0.1), to_pixels(images), torch.from_numpy(labels)
        ranked = torch.stack([logits.wrong_class(pixels, truth, rank) for rank in (1, 2, 3, 4)], dim=1)
        scores = logits(pixels).gather(1, ranked)
        assert (scores.diff(dim=1) <= 0).all()
        assert (ranked != truth[:, None]).all()
        assert all(len(set(row)) == 4 for row in ranked.tolist())

        def loss(rank, at):
            scores = logits(at)
            first, _, third, fourth = scores.sort(dim=1, descending=True)[0][:, :4].unbind(1)
            ahead = scores.gather(1, ranked[:, rank - 1 : rank]) - scores.gather(1, truth[:, None])
            return float((ahead[:, 0] / (first - (third + fourth) / 2)).median())

        small = ThreatModel("linf", 3 / 255)  # in a large one DLR grows as the other logits close up, whoever is the target
        found = [propose(ApgdTargeted(0.1, rank, 20), scene, small)[0] for rank in (1, 2, 3, 4)]
        for rank in (1, 2, 3, 4):
            assert np.argmax([loss(rank, at) for at in found]) == rank - 1

    @pytest.mark.parametrize("rank", [0, 5])
    def test_a_rank_that_is_none_is_refused(self, scene, rank):
        with pytest.raises(HoldfastError, match="1 to 4"):
            propose(ApgdTargeted(0.1, rank), scene, BALLS["linf"])

    @pytest.mark.parametrize("classes", [2, 3])
    def test_with_few_classes_the_difference_of_logits_is_maximised(self, scene, classes):
        few = with_classes(scene, classes)
        assert AttackSuite((ApgdTargeted(0.1, 1, 20),))(*few, BALLS["linf"]).success.mean() >= 0.7


def with_classes(scene, classes):
    """The scene with the other classes taken out of the bank; their names remain."""
    victim, images, labels = scene
    kept = victim.surrogate.labels < classes
    bank, names = victim.surrogate.bank[kept], victim.surrogate.labels[kept]
    answer = knn_answers(victim.embed, bank, names, 5, VoteParameters(k=5))
    return Victim(victim.embed, TorchSoftKNN(bank, names, 5, 0.05), answer), images[labels < classes], labels[labels < classes]


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_classes_without_an_exemplar_do_no_harm(scene, attack):
    outcome = AttackSuite((attack,))(*with_classes(scene, 3), BALLS["linf"])
    assert outcome.success.mean() >= 0.7
    assert outcome.adversarial_labels.max() < 3


class TestSurrogateLogits:
    def test_absent_classes_get_a_finite_score_that_changes_no_other(self, scene):
        victim, images, _ = with_classes(scene, 3)
        logits = SurrogateLogits(victim, 0.1)(to_pixels(images))
        assert logits.isfinite().all()
        scores = victim.surrogate.at(0.1).log_scores(victim.embed(to_pixels(images)))
        torch.testing.assert_close(logits.softmax(1), scores.softmax(1), rtol=0, atol=0)

    def test_its_own_temperature_is_the_victims(self, scene):
        victim, images, _ = scene
        pixels = to_pixels(images)
        assert torch.equal(SurrogateLogits(victim)(pixels), SurrogateLogits(victim, 0.05)(pixels))
        assert not torch.allclose(SurrogateLogits(victim)(pixels), SurrogateLogits(victim, 0.1)(pixels))

    def test_foolbox_and_art_take_it_as_it_is(self, scene):
        victim, images, _ = scene
        module, pixels = SurrogateLogits(victim, 0.1), to_pixels(images)
        foolbox = load("foolbox").PyTorchModel(module, bounds=(0, 1))
        torch.testing.assert_close(foolbox(pixels), module(pixels))
        art = load("art.estimators.classification").PyTorchClassifier(
            module, torch.nn.CrossEntropyLoss(), (3, 10, 10), 5, clip_values=(0, 1), device_type="cpu"
        )
        np.testing.assert_allclose(art.predict(pixels.numpy()), module(pixels).detach().numpy(), atol=1e-5)


class TestSquare:
    def test_it_asks_for_the_scores_that_the_victim_names(self, scene):
        victim, images, labels = scene
        asked = []

        def scores(shown):
            asked.append(len(shown))
            with torch.no_grad():
                return victim.surrogate.log_scores(victim.embed(to_pixels(shown))).numpy()

        named = AttackSuite((SquareScores(100),))(replace(victim, scores=scores), images, labels, BALLS["linf"])
        plain = AttackSuite((SquareScores(100),))(victim, images, labels, BALLS["linf"])
        np.testing.assert_array_equal(named.adversarial, plain.adversarial)
        assert max(asked) <= len(images)
        assert len(asked) <= 101
        assert asked == sorted(asked, reverse=True)

    @pytest.mark.parametrize("norm", BALLS)
    def test_it_goes_on_until_the_served_answer_is_wrong(self, scene, norm):
        victim, images, labels = scene

        def stubborn(shown):
            return np.full(len(shown), labels[0])

        logits, own = SurrogateLogits(victim), labels[0]
        stays = replace(victim, answer=stubborn)
        found, pixels = propose(SquareScores(60), (stays, images[:1], labels[:1]), BALLS[norm])
        further, _ = propose(SquareScores(240), (stays, images[:1], labels[:1]), BALLS[norm])

        def margin(at):
            rest = logits(at)[0].clone()
            rest[own] = -torch.inf
            return float(logits(at)[0, own] - rest.max())

        assert margin(found) < 0 < margin(pixels)
        assert margin(further) < margin(found)


class TestHopSkip:
    def test_it_asks_no_more_than_its_queries_and_stops_when_it_is_there(self, scene):
        victim, images, labels = scene
        asked = []

        def answer(shown):
            asked.append(len(shown))
            return victim.answer(shown)

        spied = (replace(victim, answer=answer), images[:1], labels[:1])
        propose(HopSkip(333), spied, ThreatModel("linf", 0.5 / 255))
        assert sum(asked) == 333
        asked.clear()
        propose(HopSkip(5000), spied, ThreatModel("linf", 100 / 255))
        assert sum(asked) < 1000

    def test_more_queries_come_nearer(self, scene):
        victim, images, labels = scene
        near = []
        for queries in (100, 400, 1600):
            walk = hop_skip.BoundaryWalk(victim, images[:1], int(labels[0]), ThreatModel("l2", 0.01), queries)
            with seeded(torch.Generator().manual_seed(0)):
                hop_skip.walk_boundary(walk, hop_skip.starting_points(to_pixels(images), torch.from_numpy(labels), 0))
            assert victim.answer(walk.nearest)[0] != labels[0]
            near.append(walk.distance)
        assert near[0] > near[1] > near[2]
        assert near[2] < 0.5 * near[0]

    def test_where_nothing_is_ever_wrong_the_clean_image_comes_back(self, scene):
        victim, images, labels = scene
        for answer in (labels[0], ABSTAINED):
            silent = replace(victim, answer=lambda shown, answer=answer: np.full(len(shown), answer))
            found, pixels = propose(HopSkip(200), (silent, images[:1], labels[:1]), BALLS["linf"])
            assert torch.equal(found, pixels)

    @pytest.mark.parametrize(("norm", "epsilon"), [("linf", 4 / 255), ("l2", 0.5)])
    def test_its_noise_is_a_grey_level_at_the_rim_where_the_librarys_own_is_rounded_away(self, norm, epsilon):
        threat, d = ThreatModel(norm, epsilon), 3072
        hop = load("art.attacks.evasion.hop_skip_jump").HopSkipJump(
            served_as_art_classifier(lambda shown: np.zeros(len(shown), np.int64), classes=2, size=(32, 32)),
            norm=np.inf if norm == "linf" else 2,
        )
        hop.curr_iter = 1
        clean, rim = np.zeros((3, 32, 32)), np.full((3, 32, 32), epsilon if norm == "linf" else epsilon / d**0.5)
        noise = []
        for theta in (hop.theta, hop_skip.precision(threat, d)):
            hop.theta = theta
            noise.append(255 * hop._compute_delta(rim, clean, 0.0, 1.0) / d**0.5)
        assert noise[0] < 0.05
        assert noise[1] == pytest.approx(1)


class TestServedAsArtClassifier:
    def test_it_answers_as_the_server_does_on_the_rounded_image(self, scene):
        victim, images, _ = scene
        art = served_as_art_classifier(victim.answer, classes=5, size=(10, 10))
        pixels = (to_pixels(images) + torch.empty(len(images), 3, 10, 10).uniform_(-0.3, 0.3)).clamp(0, 1)
        predicted = art.predict(pixels.numpy())
        np.testing.assert_array_equal(predicted.argmax(1), victim.answer(to_images(pixels)))
        np.testing.assert_array_equal(predicted.sum(1), 1)
        assert (art.nb_classes, art.input_shape) == (5, (3, 10, 10))

    def test_no_answer_is_a_class_of_its_own_or_an_error(self):
        def answer(shown):
            return np.array([1, ABSTAINED])

        zeros = np.zeros((2, 3, 4, 4), np.float32)
        art = served_as_art_classifier(answer, classes=3, size=(4, 4), abstains=True)
        np.testing.assert_array_equal(art.predict(zeros).argmax(1), [1, 3])
        with pytest.raises(HoldfastError, match="abstains=True"):
            served_as_art_classifier(answer, classes=3, size=(4, 4)).predict(zeros)
