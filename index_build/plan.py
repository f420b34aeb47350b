"""What an index will be of, class by class, and how many neighbours can vote where a class is small."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from holdfast.index_build.options import IndexBuildError
from holdfast.model.reach import reach_of
from holdfast.model.vote import MOST_NEIGHBOURS, VoteParameters

Ints = NDArray[np.int64]

SHOWN_CLASSES = 40

FEWEST_VOTERS = 5
"""A smaller set has a smaller vote, but not one in which a single wrong label decides."""


@dataclass(frozen=True, eq=False)
class IndexPlan:
    """An index before anything is embedded.

    Attributes:
        class_names: of the index.
        present: int64 [C], exemplars of each class that are there already.
        new: int64 [C], images that become exemplars.
        held_out: int64 [C], images that credibility is calibrated on, those of before included.
        test: int64 [C], images kept for an evaluation.
        vote: how neighbours vote.

    """

    class_names: tuple[str, ...]
    present: Ints
    new: Ints
    held_out: Ints
    test: Ints
    vote: VoteParameters

    @property
    def exemplars(self) -> Ints:
        """int64 [C]."""
        return self.present + self.new

    @property
    def out_of_reach(self) -> tuple[str, ...]:
        """Classes that are outvoted though all of their exemplars are among the neighbours; see `holdfast.model.reach`."""
        return tuple(self.class_names[each.label] for each in reach_of(self.exemplars, self.vote) if each.out_of_reach)

    def table(self, title: str) -> Table:
        """For a person."""
        shown = Table("class", "exemplars", title=title, title_justify="left")
        columns = {"there already": self.present, "calibration": self.held_out, "test": self.test}
        used = {name: counts for name, counts in columns.items() if counts.any()}
        for name in used:
            shown.add_column(name, justify="right")
        shown.add_column("")
        unreachable = set(self.out_of_reach)
        # The smallest classes are those that one has to know of.
        for label in sorted(np.argsort(self.exemplars, kind="stable")[:SHOWN_CLASSES].tolist()):
            numbers = (self.exemplars[label], *(counts[label] for counts in used.values()))
            name = self.class_names[label]
            shown.add_row(name, *(f"{n:,}" for n in numbers), "out of reach of the vote" if name in unreachable else "")
        if (more := len(self.class_names) - SHOWN_CLASSES) > 0:
            shown.add_row(f"and {more:,} larger classes", "", *("" for _ in used), "")
        numbers = (self.exemplars.sum(), *(counts.sum() for counts in used.values()))
        shown.add_row(f"{len(self.class_names):,} classes", *(f"{n:,}" for n in numbers), f"the {self.vote.k} nearest vote")
        return shown


def fitting_k(wanted: int, among: int, counts: Sequence[int] | Ints) -> int:
    """How many neighbours vote, where nobody says.

    Of a smaller set, the same share votes: 1,000 of 49,000 exemplars are local, 1,000 of 1,500 are nearly all there is. At
    least FEWEST_VOTERS do, never more than `wanted`, and only so many that the smallest class can be the most of them: 2 n - 1
    for its n exemplars.

    Args:
        wanted: neighbours that voted, at least 1.
        among: exemplars that they were chosen among, at least 1.
        counts: exemplars of each class.

    """
    share = round(wanted * int(np.sum(counts)) / among)
    return int(max(1, min(wanted, max(share, FEWEST_VOTERS), 2 * int(np.min(counts)) - 1)))


def refuse_counts(class_names: Sequence[str], counts: Ints, k: int) -> None:
    """Raises IndexBuildError where so many exemplars of each class cannot vote."""
    if empty := [name for name, count in zip(class_names, counts, strict=True) if count == 0]:
        others = f" and {len(empty) - 1} other classes" if len(empty) > 1 else ""
        raise IndexBuildError(f"no image becomes an exemplar of {empty[0]}{others}: add images, or hold fewer out")
    if len(counts) < 2:
        raise IndexBuildError("all exemplars are of one class: there is nothing to vote on; add images of another, or --merge")
    if not 1 <= k <= min(counts.sum(), MOST_NEIGHBOURS):
        most = f"{counts.sum()}, the number of exemplars," if counts.sum() < MOST_NEIGHBOURS else str(MOST_NEIGHBOURS)
        raise IndexBuildError(f"--k {k}: from 1 to {most} can vote")
