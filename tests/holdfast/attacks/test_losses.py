import gc
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from holdfast.attacks.adaptive import LOSSES, AdaptiveAttack
from holdfast.attacks.attack import AttackKind, PGDAttack
from holdfast.attacks.losses import (
    CrossEntropy,
    FeatureMatching,
    LatentDistance,
    LinearHead,
    Margin,
    Prototypes,
    SitawarinWagner,
    Targeted,
    heads,
)
from holdfast.attacks.quantise import to_pixels
from holdfast.attacks.search.suite import AttackSuite
from holdfast.attacks.surrogate import TorchSoftKNN
from holdfast.attacks.victim import Victim
from holdfast.bundle.threat_model import ThreatModel
from tests.holdfast.attacks.small import small_setup

CLASSES, SIZES = 4, (14, 9, 11, 3)


class Toy:
    """A linear encoder and a small bank, in torch as the victim and in numpy, in double precision, as the reference."""

    def __init__(self, seed):
        rng = np.random.default_rng(seed)
        self.matrix = rng.normal(size=(12, 6))
        bank = rng.normal(size=(sum(SIZES), 6))
        self.bank = (bank / np.linalg.norm(bank, axis=1, keepdims=True)).astype(np.float32).astype(float)
        self.labels = rng.permutation(np.repeat(np.arange(CLASSES), SIZES))
        self.pixels, self.other = rng.random((2, 5, 12)).astype(np.float32)
        self.classes = rng.integers(0, CLASSES, 5)
        matrix = torch.from_numpy(self.matrix).float()
        self.victim = Victim(
            lambda pixels: F.normalize(pixels.flatten(1) @ matrix, dim=1),
            TorchSoftKNN(torch.from_numpy(self.bank).float(), torch.from_numpy(self.labels), CLASSES, 0.05),
            lambda images: np.zeros(len(images), np.int64),
        )

    def embed(self, x):
        z = x.astype(float) @ self.matrix
        return z / np.linalg.norm(z)

    def by_distance(self, z, c):
        """Squared distances to the exemplars of class c with those exemplars, the nearest first."""
        found = [(sum((z[d] - b[d]) ** 2 for d in range(6)), i) for i, b in enumerate(self.bank) if self.labels[i] == c]
        return sorted(found)

    def nearest_wrong_classes(self, z, y, number):
        nearness = []
        for c in range(CLASSES):
            if c != y:
                distances = [d for d, _ in self.by_distance(z, c)[:number]]
                nearness.append((sum(distances) / len(distances), c))
        return [c for _, c in sorted(nearness)]

    def values(self, loss, at):
        """The loss at `at` [5, 12], made for the clean pixels, and its gradient."""
        at = torch.from_numpy(at).reshape(5, 3, 2, 2).requires_grad_()
        values = loss(self.victim, torch.from_numpy(self.pixels).reshape(5, 3, 2, 2), torch.from_numpy(self.classes))(at)
        (gradient,) = torch.autograd.grad(values.sum(), at)
        return values.detach().numpy(), gradient.reshape(5, 12).numpy()

    def check(self, loss, reference, at):
        """Hold value and gradient against reference(n), which returns a function of the n-th pixels in double precision."""
        values, gradients = self.values(loss, at)
        for n in range(5):
            function, x = reference(n), at[n].astype(float)
            np.testing.assert_allclose(values[n], function(x), rtol=1e-4, atol=1e-5)
            steps = 1e-6 * np.eye(12)
            slopes = [(function(x + step) - function(x - step)) / 2e-6 for step in steps]
            np.testing.assert_allclose(gradients[n], slopes, rtol=5e-3, atol=5e-3 * np.abs(slopes).max() + 1e-6)


def sitawarin_wagner(toy, y, around, k, number):
    """The sum of relu(c_i (|z - g_i|^2 - eta_k) + 1e-5), guides chosen and eta_k taken at the pixels `around`."""
    z = toy.embed(around)
    eta = sorted(d for c in range(CLASSES) for d, _ in toy.by_distance(z, c))[k - 1]
    wrong = toy.nearest_wrong_classes(z, y, number // 2)[0]
    guides = [(+1, i) for _, i in toy.by_distance(z, wrong)[: number // 2]]
    guides += [(-1, i) for _, i in toy.by_distance(z, y)[: number // 2]]

    def loss(x):
        return -sum(max(sign * (((toy.embed(x) - toy.bank[i]) ** 2).sum() - eta) + 1e-5, 0) for sign, i in guides)

    return loss


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.integers(1, 12), st.sampled_from([2, 6, 12, 40]))
def test_sitawarin_wagner_is_the_formula_with_guides_chosen_where_it_stands(seed, k, number):
    toy = Toy(seed)
    for at in (toy.pixels, toy.other):

        def reference(n, at=at):
            return sitawarin_wagner(toy, toy.classes[n], at[n], k, number)

        toy.check(SitawarinWagner(k, number), reference, at)


def test_sitawarin_wagner_would_differ_with_the_first_guides():
    toy = Toy(0)
    values, _ = toy.values(SitawarinWagner(5, 6), toy.other)
    stale = [sitawarin_wagner(toy, toy.classes[n], toy.pixels[n], 5, 6)(toy.other[n]) for n in range(5)]
    assert np.abs(values - stale).max() > 0.1


def test_sitawarin_wagner_rests_once_its_half_is_in_and_the_other_out():
    bank = F.normalize(torch.tensor([[1.0, 0.1], [1.0, 0.2], [-1.0, 0.1], [-1.0, 0.2]]), dim=1)
    surrogate = TorchSoftKNN(bank, torch.tensor([1, 1, 0, 0]), 2, 0.05)
    victim = Victim(lambda pixels: F.normalize(pixels.flatten(1)[:, :2], dim=1), surrogate, lambda images: images)
    home, goal = (torch.tensor([x, 0.0, 0.0]).reshape(1, 3, 1, 1) for x in (-1.0, 1.0))
    loss = SitawarinWagner(k=3, number=4)(victim, home, torch.tensor([0]))
    assert loss(home) < 0
    # Of the three nearest two are of the wrong class, the third is the k-th itself and of the true one.
    torch.testing.assert_close(loss(goal), torch.tensor([-1e-5]), rtol=0.05, atol=0)


@settings(max_examples=15)
@given(st.integers(0, 10**6), st.integers(1, 3), st.sampled_from([1, 4, 40]))
def test_feature_matching_goes_to_the_middle_of_the_ranked_class(seed, rank, number):
    toy = Toy(seed)

    def reference(n):
        z = toy.embed(toy.pixels[n])
        goal = toy.nearest_wrong_classes(z, toy.classes[n], number)[rank - 1]
        chosen = toy.bank[[i for _, i in toy.by_distance(z, goal)[:number]]]
        return lambda x: -((toy.embed(x) - chosen.mean(0)) ** 2).sum()

    toy.check(FeatureMatching(rank, number), reference, toy.other)


def test_there_are_only_so_many_wrong_classes():
    toy = Toy(0)
    with pytest.raises(ValueError, match="rank 4"):
        toy.values(FeatureMatching(4), toy.pixels)
    with pytest.raises(ValueError, match="1, not 0"):
        FeatureMatching(0)
    with pytest.raises(ValueError, match="even"):
        SitawarinWagner(5, 3)


def test_classes_without_exemplars_are_no_goal():
    toy = Toy(0)
    wider = TorchSoftKNN(toy.victim.surrogate.bank, toy.victim.surrogate.labels, CLASSES + 3, 0.05)
    for loss in (SitawarinWagner(5, 6), FeatureMatching(3, 4), Prototypes(), LinearHead()):
        before = toy.values(loss, toy.other)
        toy.victim, kept = replace(toy.victim, surrogate=wider), toy.victim
        for one, two in zip(before, toy.values(loss, toy.other), strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5)
        toy.victim = kept


def test_latent_distance_is_the_squared_distance_and_needs_no_label():
    toy = Toy(3)

    def reference(n):
        return lambda x: ((toy.embed(x) - toy.embed(toy.pixels[n])) ** 2).sum()

    toy.check(LatentDistance(), reference, toy.other)
    before = toy.values(LatentDistance(), toy.other)
    toy.classes = (toy.classes + 1) % CLASSES
    for one, two in zip(before, toy.values(LatentDistance(), toy.other), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("tau", [0.02, 0.1, 1.0])
def test_prototypes_are_class_means(tau):
    toy = Toy(4)
    means = np.stack([toy.bank[toy.labels == c].mean(0) for c in range(CLASSES)])
    means /= np.linalg.norm(means, axis=1, keepdims=True)

    def reference(n):
        def log_odds(x):
            scores = means @ toy.embed(x) / tau
            shares = np.exp(scores - scores.max())
            own = shares[toy.classes[n]]
            return np.log(shares.sum() - own) - np.log(own)

        return log_odds

    toy.check(Prototypes(tau), reference, toy.other)


@pytest.mark.parametrize("ridge", [1e-3, 0.1, 10.0])
def test_the_linear_head_is_a_least_squares_fit(ridge):
    toy = Toy(5)
    rows, dim = toy.bank.shape
    damping = np.sqrt(rows * ridge * toy.bank.var(0).mean())
    # The penalty as more rows to be fitted, with target zero; the offset goes free.
    design = np.block([[toy.bank, np.ones((rows, 1))], [damping * np.eye(dim), np.zeros((dim, 1))]])
    targets = np.concatenate([np.eye(CLASSES)[toy.labels], np.zeros((dim, CLASSES))])
    solution = np.linalg.lstsq(design, targets, rcond=None)[0]

    def reference(n):
        def margin(x):
            scores = np.append(toy.embed(x), 1) @ solution
            return np.delete(scores, toy.classes[n]).max() - scores[toy.classes[n]]

        return margin

    toy.check(LinearHead(ridge), reference, toy.other)


def test_the_linear_head_is_fitted_once_per_victim_and_forgotten_with_it(monkeypatch):
    fits, fit = [], heads.Ridge.fit

    def counting(surrogate, ridge):
        fits.append(ridge)
        return fit(surrogate, ridge)

    monkeypatch.setattr(heads.Ridge, "fit", counting)
    one, two = Toy(6), Toy(7)
    for _ in range(3):
        one.values(LinearHead(), one.other)
    assert fits == [LinearHead().ridge]
    one.values(LinearHead(0.5), one.other)
    two.values(LinearHead(), two.other)
    assert fits == [LinearHead().ridge, 0.5, LinearHead().ridge]
    forgotten = [weakref.ref(toy.victim) for toy in (one, two)]
    del one, two
    gc.collect()
    assert [victim() for victim in forgotten] == [None, None]


@pytest.mark.parametrize("tau", [0.05, 0.5])
def test_cross_entropy_is_ask(tau):
    toy = Toy(8)

    def reference(n):
        def loss(x):
            shares = np.exp(toy.bank @ toy.embed(x) / tau)
            return -np.log(shares[toy.labels == toy.classes[n]].sum() / shares.sum())

        return loss

    toy.check(CrossEntropy(tau), reference, toy.other)


@pytest.mark.parametrize("rank", [1, 2, 3, 4, 7])
def test_targets_are_ranked_where_the_image_was_and_begin_again_after_the_last(rank):
    toy = Toy(8)

    def share(z, c):
        return np.log(np.exp(toy.bank[toy.labels == c] @ z / 0.05).sum())

    def reference(n):
        z, own = toy.embed(toy.pixels[n]), toy.classes[n]
        wrong = sorted((c for c in range(CLASSES) if c != own), key=lambda c: -share(z, c))
        goal = wrong[(rank - 1) % len(wrong)]
        return lambda x: share(toy.embed(x), goal) - share(toy.embed(x), own)

    toy.check(Targeted(0.05, rank), reference, toy.other)


@pytest.fixture(scope="module")
def scene():
    """A victim, and 24 images of 3 classes that it mostly answers rightly."""
    return small_setup().attacked


EVERY = (
    SitawarinWagner(5, 6),
    SitawarinWagner(5, 10),
    FeatureMatching(1, 5),
    FeatureMatching(2, 5),
    Prototypes(),
    LinearHead(),
    LatentDistance(),
)


@pytest.mark.parametrize("loss", EVERY, ids=str)
def test_each_loss_alone_fools_most_images_in_a_large_ball(scene, loss):
    victim, images, labels = scene
    threat = ThreatModel("linf", 56 / 255)
    assert AdaptiveAttack(losses=(loss,), steps=12)(victim, images, labels, threat).success.mean() > 0.6


def test_their_names_and_fingerprints_tell_them_apart():
    assert len({str(loss) for loss in EVERY}) == len({repr(loss) for loss in EVERY}) == len(EVERY)
    assert all(len(str(loss)) <= 80 for loss in EVERY)


def test_a_head_is_attacked_as_transfer(scene):
    victim, images, labels = scene
    steps = (PGDAttack(Margin(0.05), 3), PGDAttack(LinearHead(), 3, AttackKind.TRANSFER))
    assert [step.kind for step in steps] == [AttackKind.WHITE_BOX, AttackKind.TRANSFER]
    found = AttackSuite(steps)(victim, images, labels, ThreatModel("linf", 24 / 255)).found_by
    assert set(found) <= {"", str(Margin(0.05)), str(LinearHead())}


class AskedOfTheDevice(TorchDispatchMode):
    """Collects the operators whose results a host waits for when they are computed on a GPU."""

    WAITING = ("aten._local_scalar_dense", "aten.nonzero", "aten.bincount", "aten.is_nonzero", "aten.equal")

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if str(func).startswith(self.WAITING):
            self.found.append(str(func))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("norm", ["linf", pytest.param("l2", marks=pytest.mark.slow)])
def test_more_steps_ask_the_device_for_nothing_more(scene, norm):
    victim, images, labels = scene
    pixels, truth = to_pixels(images[:4]), torch.from_numpy(labels[:4])
    for loss in (*LOSSES, *EVERY, CrossEntropy(0.1)):
        asked = []
        for steps in (2, 5):
            with AskedOfTheDevice() as mode:
                PGDAttack(loss, steps)(victim, pixels, truth, ThreatModel(norm, 0.1), torch.Generator().manual_seed(0))
            asked.append(len(mode.found))
        # What is asked once in an attack may be; the first one on a linear head also fits it.
        assert asked[1] <= asked[0], str(loss)
