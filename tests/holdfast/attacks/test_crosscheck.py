"""Our own attacks, losses and projections held against those of foolbox, ART and pyautoattack."""

from dataclasses import replace
from math import inf

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.attacks.attack import PGDAttack
from holdfast.attacks.geometry import geometry_of
from holdfast.attacks.losses import CrossEntropy, Margin, Targeted
from holdfast.attacks.noise import NoiseAttack
from holdfast.attacks.pgd import pgd
from holdfast.attacks.planted import planted_adversary
from holdfast.attacks.quantise import to_pixels
from holdfast.attacks.search.suite import AttackSuite
from holdfast.attacks.third_party import ApgdCE, ApgdTargeted, SquareScores, SurrogateLogits
from holdfast.attacks.third_party.library import load
from holdfast.bundle.threat_model import ThreatModel
from holdfast.model.preprocess import InputContract, fit
from holdfast.trainer.encoders import ResNetConfig, build_encoder
from tests.holdfast.attacks.small import small_setup

BALLS = {"linf": ThreatModel("linf", 8 / 255), "l2": ThreatModel("l2", 0.7)}
CLASSES = 5


@pytest.fixture(scope="module")
def scene():
    """A victim, and 40 images of 5 classes that it mostly answers rightly."""
    return small_setup(classes=CLASSES, exemplars=120, others=40, activation=torch.nn.SiLU, levels=(0, 256)).attacked


def as_tensors(scene):
    return scene[0], to_pixels(scene[1]), torch.from_numpy(scene[2])


def ours(victim, pixels, labels, threat, *, steps, step_size):
    loss = CrossEntropy(0.1)(victim, pixels, labels)
    return pgd(loss, pixels, threat, steps=steps, step_size=step_size, random_start=False)


@pytest.mark.parametrize("steps", [1, 2, 3, 10])
@pytest.mark.parametrize("norm", BALLS)
class TestPgd:
    """The n-th iterate is what a run of n steps ends at."""

    def test_foolbox_visits_the_same_points(self, scene, norm, steps):
        victim, pixels, labels = as_tensors(scene)
        threat, foolbox = BALLS[norm], load("foolbox")
        size = threat.epsilon / 4
        attack = {"linf": foolbox.attacks.LinfPGD, "l2": foolbox.attacks.L2PGD}[norm]
        model = foolbox.PyTorchModel(SurrogateLogits(victim, 0.1), bounds=(0, 1))
        theirs = attack(abs_stepsize=size, steps=steps, random_start=False).run(
            model, pixels, foolbox.criteria.Misclassification(labels), epsilon=threat.epsilon
        )
        torch.testing.assert_close(ours(victim, pixels, labels, threat, steps=steps, step_size=size), theirs, rtol=0, atol=1e-5)

    def test_art_visits_the_same_points(self, scene, norm, steps):
        """Away from black and white: ART clips to them before it projects into the ball, foolbox and we do so after."""
        victim, pixels, labels = as_tensors(scene)
        pixels = 0.25 + 0.5 * pixels
        threat = BALLS[norm]
        size = threat.epsilon / 4
        classifier = load("art.estimators.classification").PyTorchClassifier(
            SurrogateLogits(victim, 0.1),
            torch.nn.CrossEntropyLoss(reduction="sum"),
            (3, 10, 10),
            CLASSES,
            clip_values=(0, 1),
            device_type="cpu",
        )
        attack = load("art.attacks.evasion").ProjectedGradientDescent(
            classifier,
            norm={"linf": inf, "l2": 2}[norm],
            eps=threat.epsilon,
            eps_step=size,
            max_iter=steps,
            num_random_init=0,
            verbose=False,
        )
        theirs = torch.from_numpy(attack.generate(pixels.numpy(), y=labels.numpy()))
        torch.testing.assert_close(ours(victim, pixels, labels, threat, steps=steps, step_size=size), theirs, rtol=0, atol=1e-5)


@settings(max_examples=25)
@given(st.sampled_from([0.02, 0.05, 0.1, 0.2, 1.0]), st.integers(0, 1000))
def test_our_losses_are_the_libraries_losses_of_the_surrogates_logits(scene, tau, seed):
    victim, pixels, _ = as_tensors(scene)
    rng = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (len(pixels),), generator=rng)
    targets = (labels + torch.randint(1, CLASSES, (len(pixels),), generator=rng)) % CLASSES
    surrogate = victim.surrogate.at(tau)
    logits = SurrogateLogits(victim, tau)
    with torch.no_grad():
        z, scores = victim.embed(pixels), logits(pixels)
        close = {"rtol": 1e-5, "atol": 1e-4}
        torch.testing.assert_close(
            surrogate.cross_entropy_loss(z, labels), F.cross_entropy(scores, labels, reduction="none"), **close
        )
        margin, _ = load("pyautoattack.square").SquareAttack(logits).margin_and_loss(pixels, labels)
        torch.testing.assert_close(surrogate.margin_loss(z, labels), -margin, **close)
        order = scores.sort(dim=1, descending=True)[0]
        base = load("pyautoattack.autopgd_base")
        dlr = base.APGDAttack(logits, eps=1.0).dlr_loss(scores, labels)
        torch.testing.assert_close(surrogate.margin_loss(z, labels), dlr * (order[:, 0] - order[:, 2]), **close)
        targeted = base.APGDAttack_targeted(logits, eps=1.0)
        targeted.y_target = targets
        scale = order[:, 0] - 0.5 * (order[:, 2] + order[:, 3])
        torch.testing.assert_close(
            surrogate.targeted_margin_loss(z, labels, targets), targeted.dlr_loss_targeted(scores, labels) * scale, **close
        )


@settings(max_examples=40)
@given(
    st.one_of(
        st.tuples(st.just("linf"), st.floats(0.01, 1)),  # a larger one reaches beyond the pixels, and is refused
        st.tuples(st.just("l2"), st.floats(0.01, 3)),
    ),
    st.floats(0.01, 2),
    st.integers(0, 1000),
)
def test_our_projections_are_the_libraries(threat, spread, seed):
    norm, epsilon = threat
    rng = torch.Generator().manual_seed(seed)
    clean = torch.rand(5, 3, 4, 4, generator=rng)
    pixels = clean + spread * torch.randn(clean.shape, generator=rng)
    projected = geometry_of(ThreatModel(norm, epsilon)).project(pixels, clean)
    foolbox = load("foolbox")
    attack = {"linf": foolbox.attacks.LinfPGD, "l2": foolbox.attacks.L2PGD}[norm]()
    eagerpy = load("eagerpy")
    theirs = attack.project(eagerpy.astensor(pixels), eagerpy.astensor(clean), epsilon).raw.clamp(0, 1)
    torch.testing.assert_close(projected, theirs, rtol=0, atol=1e-5)
    moved = load("art.utils").projection((pixels - clean).numpy(), epsilon, {"linf": inf, "l2": 2}[norm])
    torch.testing.assert_close(projected, (clean + torch.from_numpy(moved)).clamp(0, 1), rtol=0, atol=1e-5)


@pytest.mark.parametrize("norm", BALLS)
def test_our_suite_and_apgd_find_the_same_images_but_for_a_few(scene, norm):
    """Neither finds all or nothing. The margin alone would miss a few: some ways lead through a class that is no rival yet."""
    victim, images, labels = scene
    threat = {"linf": ThreatModel("linf", 14 / 255), "l2": ThreatModel("l2", 0.5)}[norm]
    taus, ranks = (0.05, 0.2), range(1, CLASSES)
    ours = [PGDAttack(loss, 40) for loss in (*map(Margin, taus), *(Targeted(0.1, rank) for rank in ranks))]
    apgd = [*(ApgdCE(tau, 40) for tau in taus), *(ApgdTargeted(0.1, rank, 40) for rank in ranks)]
    mine, theirs = (AttackSuite(tuple(steps))(victim, images, labels, threat).success for steps in (ours, apgd))
    assert 0.2 < theirs.mean() < 0.8
    assert (theirs & ~mine).sum() <= 1
    assert (mine & ~theirs).sum() <= 1


@pytest.fixture(scope="module")
def embed():
    """A random encoder whose BatchNorm has seen images."""
    torch.manual_seed(0)
    encoder = build_encoder(ResNetConfig(width=8, dim=64))
    for module in encoder.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        encoder.train()(to_pixels(blurred_noise(64)))
    encoder.eval().requires_grad_(False)
    return lambda pixels: F.normalize(encoder(pixels), dim=1)


class TestPlanted:
    """Plants that exist by construction; see `holdfast.attacks.planted`."""

    def test_apgd_over_several_temperatures_finds_them(self, embed):
        suite = AttackSuite(tuple(ApgdCE(tau, 40) for tau in (0.02, 0.05, 0.1, 0.2)))
        result = planted_adversary(embed, blurred_noise(6), BALLS["linf"], suite, crowd=300)
        assert (result.cases, result.rate) == (6, 1.0)

    def test_square_on_vote_counts_does_not(self, embed):
        result = planted_adversary(embed, blurred_noise(6), BALLS["linf"], on_counts(SquareScores(150)), crowd=300)
        assert (result.cases, result.rate) == (6, 0.0)

    def test_noise_does_not(self, embed):
        result = planted_adversary(embed, blurred_noise(6), BALLS["linf"], NoiseAttack(draws=20), crowd=300)
        assert (result.cases, result.rate) == (6, 0.0)


def blurred_noise(count):
    coarse = np.random.default_rng(1).integers(0, 256, (count, 4, 4, 3), dtype=np.uint8)
    return np.stack([fit(image, InputContract(height=32, width=32)) for image in coarse])


def on_counts(step, k=5):
    """An attack by `step` whose victim shows the number of votes of each class, and no better scores."""

    def attack(victim, images, labels, threat, **options):
        bank, names = victim.surrogate.bank, victim.surrogate.labels

        def counts(shown):
            with torch.no_grad():
                nearest = (victim.embed(to_pixels(shown)) @ bank.T).topk(k, dim=1).indices
            return F.one_hot(names[nearest], victim.surrogate.classes).sum(1).float().numpy()

        return AttackSuite((step,))(replace(victim, scores=counts), images, labels, threat, **options)

    return attack
