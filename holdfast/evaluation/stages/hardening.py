"""What attacked images among the exemplars are worth: accuracy with them and without them, each index attacked by itself."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from holdfast.attacks.surrogate import TorchSoftKNN
from holdfast.attacks.victim import Victim, served
from holdfast.bundle.exemplars import Flag
from holdfast.bundle.threat_model import ThreatModel
from holdfast.evaluation.context import EvaluationContext
from holdfast.evaluation.plan import EvaluationPlan, slug
from holdfast.evaluation.report.results import HardenedIndex, Measured, PairedAccuracy
from holdfast.evaluation.run import EvaluationRun
from holdfast.evaluation.sanity import measures
from holdfast.evaluation.stages.curves import attack_cost
from holdfast.intervals import Counted, difference
from holdfast.model.preprocess import Pixels
from holdfast.model.retrieval.base import Bank, bank_of
from holdfast.model.retrieval.flat import FlatIndex

Instead = Literal["the same images, not attacked", "nothing"]
Right = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class TwoIndices:
    """The same encoder and vote over two sets of exemplars, both searched exactly.

    Attributes:
        hardened: as shipped.
        plain: without exemplars that are attacked images.
        instead: what is in their place there.

    """

    hardened: Victim
    plain: Victim
    instead: Instead


def hardening_costs(plan: EvaluationPlan, balls: Sequence[ThreatModel], images: int) -> dict[str, float]:
    """Forward passes at most, for each ball."""
    cost = 2 * attack_cost(plan.curve_attack, min(images, plan.curve_images))
    return {_name(ball): cost for ball in balls}


def measure_hardening(run: EvaluationRun, balls: Sequence[ThreatModel]) -> HardenedIndex | None:
    """On all test images, clean; and on the first `curve_images` of those attacked, within each of `balls`.

    None where no exemplar is an attacked image.
    """
    context, attack = run.context, run.plan.curve_attack
    attacked = _attacked(context)
    if not attacked.any():
        for ball in balls:
            run.estimate.close(_name(ball))
        return None
    two = two_indices(context)
    test = context.splits.test

    def clean() -> PairedAccuracy:
        return _paired("clean", *(victim.answer(test.images) == test.labels for victim in (two.hardened, two.plain)))

    accuracies = [run.once("hardening-clean", PairedAccuracy, clean)]
    accuracies += [run.once(_name(ball), PairedAccuracy, _under_attack(run, two, ball)) for ball in balls]
    run.print_line("the index measured with attacked exemplars and without them")
    return HardenedIndex(
        exemplars=len(attacked),
        attacked=int(attacked.sum()),
        instead=two.instead,
        attack=str(attack),
        accuracies=tuple(accuracies),
    )


def two_indices(context: EvaluationContext) -> TwoIndices:
    """The bundle's index, and the same without attacked exemplars.

    Where the data set is at hand that they were made from, embeddings of the images as they were before the attack take their
    place; elsewhere nothing does. An index of whatever kind is searched exactly here, so that the two differ in nothing else.

    Raises:
        BundleError: the bundle's index cannot export its exemplars.

    """
    bank, attacked = bank_of(context.bundle.index), _attacked(context)
    images = _before_the_attack(context, bank.ids[attacked])
    if images is None:
        rest = Bank(bank.embeddings[~attacked], bank.ids[~attacked], bank.labels[~attacked])
        return TwoIndices(_over(context, bank), _over(context, rest), "nothing")
    embeddings = bank.embeddings.copy()
    embeddings[attacked] = context.classifier.embed(images)
    plain = Bank(embeddings, bank.ids, bank.labels)
    return TwoIndices(_over(context, bank), _over(context, plain), "the same images, not attacked")


def _attacked(context: EvaluationContext) -> Right:
    """Which rows of the index's own order are attacked images: bool [M]."""
    exemplars = context.bundle.exemplars
    rows = exemplars.rows_of(bank_of(context.bundle.index).ids)
    marked: Right = exemplars.flags[rows] & Flag.ATTACKED > 0
    return marked


def _before_the_attack(context: EvaluationContext, ids: NDArray[np.int64]) -> Pixels | None:
    """The images that exemplars were made from, uint8 [n, H, W, 3]; None where the data set lacks one of them."""
    train, exemplars = context.splits.train, context.bundle.exemplars
    known = {source: row for row, source in enumerate(train.sources)}
    rows = [known.get(source, -1) for source in exemplars.sources.take(exemplars.rows_of(ids))]
    return None if -1 in rows else train.images[rows]


def _over(context: EvaluationContext, bank: Bank) -> Victim:
    """The victim with other exemplars, rounded as the bundle's index rounds them."""
    own, surrogate = context.bundle.index, context.victim.surrogate
    index = FlatIndex.build(bank, half=isinstance(own, FlatIndex) and own.half)
    there = index.export()
    exemplars = torch.from_numpy(there.embeddings).to(context.victim.device)
    labels = torch.from_numpy(there.labels).to(context.victim.device)
    classifier = context.classifier.with_index(index, surrogate.classes, None)
    return replace(
        context.victim,
        surrogate=TorchSoftKNN(exemplars, labels, surrogate.classes, surrogate.tau, surrogate.class_weights),
        answer=served(classifier),
    )


def _under_attack(run: EvaluationRun, two: TwoIndices, ball: ThreatModel) -> Callable[[], PairedAccuracy]:
    name, some = _name(ball), slice(run.plan.curve_images)

    def standing(part: str, victim: Victim) -> Right:
        return measures.standing(
            victim,
            run.context.images[some],
            run.context.labels[some],
            ball,
            run.plan.curve_attack,
            seed=run.plan.seed,
            progress=run.progress,
            store=run.cache.file(f"{name}-{part}"),
            watch=lambda *_: run.check_deadline(name),
        )

    return lambda: _paired(str(ball), standing("as-shipped", two.hardened), standing("plain", two.plain))


def _paired(condition: str, hardened: Right, plain: Right) -> PairedAccuracy:
    counted = [Counted(right, np.ones_like(right)) for right in (hardened, plain)]
    apart = difference(*counted)
    return PairedAccuracy(
        condition=condition,
        hardened=Measured.of(counted[0].rate),
        plain=Measured.of(counted[1].rate),
        difference=apart.estimate,
        low=apart.low,
        high=apart.high,
    )


def _name(ball: ThreatModel) -> str:
    return f"hardening-{slug(ball)}"
