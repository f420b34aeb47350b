import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.attacks.losses.guides import GuideBank, guided_adversary
from holdfast.bundle.threat_model import ThreatModel


def unit(rows, dim, seed):
    return F.normalize(torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed)), dim=1)


def guides_by_the_book(z, label, bank, labels, number):
    """The nearest of another class, then its nearest of the same class, by Euclidean distance."""
    foreign = [i for i in range(len(bank)) if labels[i] != label]
    leader = min(foreign, key=lambda i: float((bank[i] - z).norm()))
    mates = [i for i in range(len(bank)) if labels[i] == labels[leader]]
    mates.sort(key=lambda i: float((bank[i] - bank[leader]).norm()))
    return bank[mates[:number]]


@settings(max_examples=25)
@given(st.integers(0, 1000), st.integers(1, 12))
def test_the_sum_of_squared_distances_is_that_to_the_guides_of_the_paper(seed, number):
    bank, labels = unit(24, 6, seed), torch.arange(24) % 3
    z, own, moved = unit(4, 6, seed + 1), torch.tensor([0, 1, 2, 0]), unit(4, 6, seed + 2)
    fast = GuideBank(bank, labels).choose(z, own, number=number).squared_distances(moved)
    for row in range(4):
        guides = guides_by_the_book(z[row], own[row], bank, labels, number)
        torch.testing.assert_close(fast[row], (moved[row] - guides).square().sum(), rtol=1e-4, atol=1e-4)


def test_a_small_class_gives_fewer_guides():
    bank = unit(10, 4, 0)
    labels = torch.tensor([0] * 7 + [1] * 3)
    assert GuideBank(bank, labels).choose(bank[:2], torch.tensor([0, 0]), number=300).number.tolist() == [3, 3]


def test_a_bank_of_one_class_guides_nowhere():
    bank = GuideBank(unit(5, 4, 0), torch.zeros(5, dtype=torch.long))
    with pytest.raises(ValueError, match="another class"):
        bank.choose(unit(1, 4, 1), torch.tensor([0]))


def test_the_adversary_stays_in_the_ball_and_comes_nearer_to_its_guides():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.LazyLinear(8))
    pixels, labels = torch.rand(12, 3, 8, 8), torch.arange(12) % 3

    def embed(x):
        return F.normalize(net(x), dim=1)

    bank = GuideBank(embed(pixels), labels)
    threat = ThreatModel("linf", 8 / 255)
    attacked = guided_adversary(embed, pixels, labels, bank, threat, steps=10, step_size=2 / 255, number=3)
    assert (attacked - pixels).abs().max() <= 8 / 255 + 1e-6
    with torch.no_grad():
        guides = bank.choose(embed(pixels), labels, number=3)
        assert (guides.squared_distances(embed(attacked)) < guides.squared_distances(embed(pixels))).all()
