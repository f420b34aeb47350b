import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.attacks.surrogate import TorchSoftKNN
from holdfast.model.surrogate import SoftKNN

CLASSES = 4


def unit(rows, dim, seed):
    return F.normalize(torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed)), dim=1)


def naive(z, bank, labels, tau):
    """The formula, one exemplar at a time."""
    scores = []
    for image in z.tolist():
        sums = [0.0] * CLASSES
        for exemplar, label in zip(bank.tolist(), labels.tolist(), strict=True):
            sums[label] += math.exp(sum(a * b for a, b in zip(image, exemplar, strict=True)) / tau)
        scores.append([math.log(total) if total else -math.inf for total in sums])
    return torch.tensor(scores)


@settings(max_examples=25)
@given(st.integers(1, 30), st.integers(0, 1000), st.sampled_from([0.02, 0.05, 0.1, 0.2]))
def test_scores_are_the_formula_and_those_of_the_served_soft_margin(rows, seed, tau):
    bank, z = unit(rows, 6, seed), unit(3, 6, seed + 1)
    labels = torch.randint(CLASSES, (rows,), generator=torch.Generator().manual_seed(seed))
    scores = TorchSoftKNN(bank, labels, CLASSES, tau).log_scores(z)
    served = SoftKNN(bank.numpy(), labels.numpy(), CLASSES, tau).log_scores(z.numpy())
    torch.testing.assert_close(scores, naive(z, bank, labels, tau), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(scores, torch.from_numpy(served), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("weights", [None, [1, 0.1, 0.5, 0.02]])
@pytest.mark.parametrize("tau", [0.02, 0.2])
def test_margin_and_its_gradient_mirror_the_served_ones(tau, weights):
    bank, labels = unit(200, 8, 0), torch.arange(200) % CLASSES
    z, own = unit(16, 8, 1).requires_grad_(), torch.arange(16) % CLASSES
    of_class = None if weights is None else torch.tensor(weights)
    loss = TorchSoftKNN(bank, labels, CLASSES, tau, of_class).margin_loss(z, own)
    (gradient,) = torch.autograd.grad(loss.sum(), z)
    served = SoftKNN(bank.numpy(), labels.numpy(), CLASSES, tau)
    if weights is not None:
        served = served.reweighed(np.array(weights))
    margin, served_gradient = served.margin_gradient(z.detach().numpy(), own.numpy())
    np.testing.assert_allclose(-loss.detach().numpy(), margin, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(-gradient.numpy(), served_gradient, rtol=1e-3, atol=1e-4)


def test_losses_say_who_wins():
    bank, labels = unit(40, 8, 0), torch.arange(40) % CLASSES
    surrogate, z = TorchSoftKNN(bank, labels, CLASSES, 0.05), unit(10, 8, 1)
    scores = surrogate.log_scores(z)
    best, order = scores.argmax(1), scores.argsort(1, descending=True)
    assert (surrogate.margin_loss(z, best) < 0).all()
    assert (surrogate.margin_loss(z, order[:, 1]) > 0).all()
    torch.testing.assert_close(surrogate.targeted_margin_loss(z, best, order[:, 1]), surrogate.margin_loss(z, best))
    torch.testing.assert_close(surrogate.cross_entropy_loss(z, best), F.cross_entropy(scores, best, reduction="none"))


def test_every_present_class_pulls_and_an_absent_one_is_left_out():
    bank = unit(30, 8, 0)
    surrogate = TorchSoftKNN(bank, torch.arange(30) % 2, CLASSES, 0.02)
    z = bank[:1].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(surrogate.margin_loss(z, torch.tensor([0])).sum(), z)
    assert gradient.norm() > 0
    assert (surrogate.log_scores(z)[:, 2:] == -torch.inf).all()


def test_another_temperature_shares_the_bank():
    surrogate = TorchSoftKNN(unit(10, 4, 0), torch.arange(10) % CLASSES, CLASSES, 0.05)
    warmer = surrogate.at(0.2)
    assert warmer.bank is surrogate.bank
    assert (warmer.tau, surrogate.tau) == (0.2, 0.05)


@pytest.mark.parametrize(
    ("labels", "tau"), [(torch.tensor([0]), 0.1), (torch.tensor([0, 4]), 0.1), (torch.tensor([0, 1]), 0.0)]
)
def test_what_cannot_be_is_refused(labels, tau):
    with pytest.raises(ValueError, match=r"match|outside|positive"):
        TorchSoftKNN(torch.eye(2), labels, CLASSES, tau)
