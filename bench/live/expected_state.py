"""What the callers of a server that is killed send, and what each of them expects to be there afterwards."""

import random
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from holdfast.protos.holdfast.admin.v1 import admin_pb2, exemplar_pb2
from holdfast.protos.holdfast.admin.v1.admin_pb2_grpc import AdminServiceStub
from holdfast.protos.holdfast.v1 import image_pb2

Listed = Mapping[int, tuple[str, str]]
"""Label and source of every exemplar that is not deleted, by id."""


@dataclass
class Expected:
    """What one caller knows.

    Attributes:
        name: the begin of its sources.
        shape: of an image.
        labels: of its exemplars, by id.
        gone: ids that it has deleted.
        sizes: exemplars of each addition, by request.
        of: their ids, once it is acknowledged.
        pending: the change that it has no answer to.

    """

    name: str
    shape: tuple[int, int, int]
    labels: dict[int, str] = field(default_factory=dict)
    gone: set[int] = field(default_factory=set)
    sizes: dict[str, int] = field(default_factory=dict)
    of: dict[str, Sequence[int]] = field(default_factory=dict)
    pending: "Change | None" = None
    number: int = 0

    def next(self, draw: random.Random) -> "Change":
        """Another change; it is pending until it is acknowledged."""
        self.number += 1
        request = f"{self.name}-{self.number}"
        kind = draw.choices(("add", "relabel", "delete"), (6, 1, 1))[0] if len(self.labels) > 8 else "add"
        if kind == "add":
            count = draw.randint(1, 4)
            self.sizes[request] = count
            change = Change(request, kind, labels=[f"class {draw.randint(0, 5)}" for _ in range(count)])
        else:
            ids = draw.sample(sorted(self.labels), 2)
            change = Change(request, kind, ids=ids, labels=[f"class {draw.randint(0, 5)}"] * 2)
        self.pending = change
        return change

    def acknowledge(self, ids: Sequence[int]) -> None:
        """The pending change is made; ids are those of the answer to an addition."""
        change, self.pending = self.pending, None
        assert change is not None  # noqa: S101
        if change.kind == "delete":
            self.gone |= set(change.ids)
            for each in change.ids:
                del self.labels[each]
        else:
            if change.kind == "add":
                self.of[change.request] = ids
            self.labels |= dict(zip(change.ids or ids, change.labels, strict=True))

    def lost(self, there: Listed) -> int:
        """How many of its acknowledged changes are not there."""
        undecided = self.pending.ids if self.pending is not None else []
        decided = (pair for pair in self.labels.items() if pair[0] not in undecided)
        missing = sum(there.get(each, ("", ""))[0] != label for each, label in decided)
        return missing + sum(each in there for each in self.gone)

    def half_applied(self, there: Listed) -> int:
        """Of how many of its changes a part is there and another is not."""
        found: Counter[str] = Counter(source.rpartition("/")[0] for _, source in there.values())
        halves = sum(found[request] not in {0, size} for request, size in self.sizes.items() if request not in self.of)
        return halves + (self.pending is not None and self._is_half_applied(self.pending, there))

    def _is_half_applied(self, change: "Change", there: Listed) -> bool:
        """Whether a part of a relabelling or a deletion is made and another is not."""
        if change.kind == "delete":
            return len({each in there for each in change.ids}) > 1
        if change.kind == "relabel":
            made = {there[each][0] == label for each, label in zip(change.ids, change.labels, strict=True) if each in there}
            same = any(self.labels[each] == label for each, label in zip(change.ids, change.labels, strict=True))
            return len(made) > 1 and not same
        return False


@dataclass(frozen=True)
class Change:
    """One request."""

    request: str
    kind: str
    labels: list[str]
    ids: list[int] = field(default_factory=list)

    def send(self, stub: AdminServiceStub, shape: tuple[int, int, int]) -> list[int]:
        """Make it. Returns the ids of what it added. Raises grpc.RpcError."""
        if self.kind == "delete":
            stub.DeleteExemplars(admin_pb2.DeleteExemplarsRequest(ids=self.ids, request_id=self.request), timeout=30)
            return []
        if self.kind == "relabel":
            updates = [exemplar_pb2.ExemplarUpdate(id=i, label=label) for i, label in zip(self.ids, self.labels, strict=True)]
            stub.UpdateExemplars(admin_pb2.UpdateExemplarsRequest(updates=updates, request_id=self.request), timeout=30)
            return []
        noise = np.random.default_rng(zlib.crc32(self.request.encode()))
        exemplars = [
            exemplar_pb2.NewExemplar(
                image=image_pb2.Image(
                    raw=image_pb2.RawImage(
                        data=noise.integers(0, 256, shape, dtype=np.uint8).tobytes(),
                        shape=shape,
                        dtype=image_pb2.DATA_TYPE_UINT8,
                    )
                ),
                label=label,
                source=f"{self.request}/{place}",
            )
            for place, label in enumerate(self.labels)
        ]
        reply = stub.AddExemplars(admin_pb2.AddExemplarsRequest(exemplars=exemplars, request_id=self.request), timeout=30)
        return [result.added.id for result in reply.results]


def listed(stub: AdminServiceStub) -> Listed:
    """What a server says that is there."""
    found: dict[int, tuple[str, str]] = {}
    after = -1
    while True:
        reply = stub.ListExemplars(admin_pb2.ListExemplarsRequest(page_size=1000, after_id=after), timeout=60)
        found |= {each.id: (each.label, each.source) for each in reply.exemplars}
        if not reply.HasField("next_after_id"):
            return found
        after = reply.next_after_id
