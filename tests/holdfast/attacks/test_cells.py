"""The loss that aims at what an inverted file does not look at."""

import numpy as np
import torch
import torch.nn.functional as F

from holdfast.attacks.losses import gap_losses
from holdfast.attacks.losses.cells import ProbedMargin
from holdfast.attacks.surrogate import TorchSoftKNN
from holdfast.attacks.victim import Victim
from holdfast.evaluation.suites import WHITE_BOX, Effort, SuiteOptions, costed_suite
from holdfast.model.retrieval.approximate.ivf import IvfIndex
from holdfast.model.retrieval.base import Bank, nearest
from holdfast.model.retrieval.flat import FlatIndex
from tests.holdfast.model.retrieval.test_flat import unit

LABELS = np.arange(2000) % 3
BANK = Bank(unit(0, 2000, 12), np.arange(2000), LABELS)


def victim_of(bank: Bank) -> Victim:
    """Its images are embeddings already: [N, D, 1, 1]."""
    soft = TorchSoftKNN(torch.from_numpy(bank.embeddings), torch.from_numpy(bank.labels), 3, 0.05)
    return Victim(lambda pixels: F.normalize(pixels.flatten(1), dim=1), soft, lambda images: np.zeros(len(images), np.int64))


def test_only_an_index_that_does_not_look_at_all_has_a_gap() -> None:
    index = IvfIndex.build(BANK)
    assert gap_losses(FlatIndex.build(BANK)) == ()
    assert gap_losses(index.probing(index.cells)) == ()
    losses = gap_losses(index.probing(3))
    assert len(losses) > 0
    options = SuiteOptions(Effort(steps=3), classes=3, k=5)
    known = SuiteOptions(Effort(steps=3), classes=3, k=5, gap=losses)
    names = [str(each.attack) for each in costed_suite(WHITE_BOX, options)]
    more = [str(each.attack) for each in costed_suite(WHITE_BOX, known)]
    assert set(more) - set(names) == {str(loss) for loss in losses}


def test_it_is_the_margin_of_the_exemplars_that_are_looked_at() -> None:
    """With a sharp edge: the soft kNN over those cells alone, and of those that the index indeed looks at."""
    index = IvfIndex.build(BANK).probing(4)
    victim, queries = victim_of(BANK), unit(3, 20, 12)
    labels = torch.from_numpy(np.arange(20) % 3)
    centroids = index.centroids
    loss = ProbedMargin(torch.from_numpy(centroids), 4, tau=0.05, width=1e-6)(victim, torch.zeros(20, 12, 1, 1), labels)
    found = loss(torch.from_numpy(queries)[:, :, None, None]).numpy()
    cells = (BANK.embeddings @ centroids.T).argmax(1)
    for i, query in enumerate(queries):
        looked_at = np.isin(cells, np.argsort(-(centroids @ query))[:4])
        seen = nearest(index, queries[i : i + 1], 2000).ids[0]
        assert np.isin(seen[seen >= 0], np.flatnonzero(looked_at)).mean() > 0.99
        # The last cell lies on the edge itself, where a sigmoid is a half.
        last = cells == np.argsort(-(centroids @ query))[3]
        weights = np.where(last, 0.5, 1.0) * looked_at
        scores = [np.log((weights * np.exp(BANK.embeddings @ query / 0.05))[c == LABELS].sum()) for c in range(3)]
        own = scores.pop(i % 3)
        assert abs(found[i] - (max(scores) - own)) < 1e-2


def test_its_gradient_hides_the_own_class_though_the_whole_bank_holds() -> None:
    """A step along it lowers what the looked-at cells say for the true class by more than what the whole bank says."""
    index = IvfIndex.build(BANK).probing(3)
    victim, queries = victim_of(BANK), torch.from_numpy(unit(4, 30, 12))[:, :, None, None]
    labels = torch.arange(30) % 3
    (loss, *_) = gap_losses(index)
    gap = loss(victim, queries, labels)
    moved = queries.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(gap(moved).sum(), moved)
    assert bool(gradient.isfinite().all())
    step = queries + 0.05 * F.normalize(gradient.flatten(1), dim=1)[:, :, None, None]
    assert float((gap(step) > gap(queries)).float().mean()) > 0.9
