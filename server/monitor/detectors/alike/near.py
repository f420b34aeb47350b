"""Finds, for each image that is asked, an earlier one that it is a variant of: of the same caller, and of all.

Two images are alike where their sketches differ by no more than noise or a step of an attack does, and their embeddings by less
than those of different images. Neither alone would do: a model finds two pictures of one car alike, and a sketch two skies.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from holdfast.model.images.sketches import Sketcher
from holdfast.server.monitor.detectors.alike.cluster import Changes, ClusterCounts, Normal, Query
from holdfast.server.monitor.detectors.alike.tables import AlikeCandidates, ClusterTable
from holdfast.server.monitor.detectors.callers import NOBODY
from holdfast.server.monitor.detectors.reference import lead_of_vote
from holdfast.server.monitor.detectors.traffic import ObservedTraffic


class Variant(NamedTuple):
    """An image that is a variant of another.

    Attributes:
        caller: the caller's number, or ALL (-1) where images of all callers were compared.
        counts: of its cluster, when it was put into it: later images of the same batch do not count yet.

    """

    caller: int
    counts: ClusterCounts


@dataclass(eq=False)
class _Seen:
    """What was made of one batch; `new` [N] says which images are variants of none, neither of the caller's nor of any."""

    traffic: ObservedTraffic
    queries: list[Query]
    changes: list[Changes]
    variants: tuple[Variant, ...] = ()
    new: NDArray[np.bool_] | None = None


class NearImages:
    """Of all callers together, and of each of a bounded number.

    Args:
        sketcher: for the images of the model that is served.
        normal: what answers are like where nobody attacks.
        images: of all callers that a new one is compared with.
        caller_images: of one caller that a new one of the same caller is compared with.

    """

    def __init__(self, sketcher: Sketcher, normal: Normal, images: int, caller_images: int) -> None:
        self._sketcher, self.normal = sketcher, normal
        self._all, self._caller_images = ClusterTable(images), caller_images
        self._of_callers: dict[int, ClusterTable] = {}
        self._seen: _Seen | None = None

    def variants(self, traffic: ObservedTraffic) -> tuple[Variant, ...]:
        """Variants of earlier images, in whatever batches they come. Computed once for each batch."""
        return self._compared(traffic).variants

    def new(self, traffic: ObservedTraffic) -> NDArray[np.bool_]:
        """Which images are neither identical with an earlier one nor a variant: bool [N]."""
        new = self._compared(traffic).new
        assert new is not None  # noqa: S101 - set where it is compared
        return new

    def queries(self, traffic: ObservedTraffic) -> tuple[list[Query], list[Changes]]:
        """The images of a batch, as they are kept, and what is known of how each differs from others."""
        seen = self._look_at(traffic)
        return seen.queries, seen.changes

    def forget(self, caller: int) -> None:
        """That number belongs to another caller from now on."""
        self._of_callers.pop(caller, None)

    def _look_at(self, traffic: ObservedTraffic) -> _Seen:
        if self._seen is None or self._seen.traffic is not traffic:
            numbers = traffic.labels.tolist(), traffic.soft_margin.tolist(), lead_of_vote(traffic.probabilities).tolist()
            parts = zip(self._sketcher.details(traffic.images), traffic.embeddings, *numbers, strict=True)
            # Copies, or one image that is kept would keep its whole batch.
            queries = [Query(traffic.now, detail.copy(), z.copy(), *rest) for detail, z, *rest in parts]
            self._seen = _Seen(traffic, queries, [{} for _ in queries])
        return self._seen

    def _compared(self, traffic: ObservedTraffic) -> _Seen:
        seen = self._look_at(traffic)
        if seen.new is None:
            seen.new = np.ones(len(traffic), np.bool_)  # where comparing fails, it fails once
            seen.variants = tuple(self._compare(seen, seen.new))
        return seen

    def _compare(self, seen: _Seen, new: NDArray[np.bool_]) -> Iterator[Variant]:
        traffic = seen.traffic
        images = AlikeCandidates.of(self._sketcher.sketches(traffic.images), traffic.embeddings, seen.queries, seen.changes)
        for row, cluster in self._all.visit(images, range(len(traffic)), self.normal):
            new[row] = False
            if cluster is not None:
                yield Variant(NOBODY, cluster.counts)
        order = np.argsort(traffic.callers, kind="stable")
        by_caller, edges = images.take(order), np.flatnonzero(np.diff(traffic.callers[order], prepend=NOBODY)).tolist()
        for start, stop in pairwise((*edges, len(traffic))):
            caller = int(traffic.callers[order[start]])
            table = self._of_callers.get(caller)
            if table is None:
                table = self._of_callers[caller] = ClusterTable(self._caller_images, images.embeddings.shape[1])
            for row, cluster in table.visit(by_caller, range(start, stop), self.normal):
                new[order[row]] = False
                if cluster is not None:
                    yield Variant(caller, cluster.counts)
