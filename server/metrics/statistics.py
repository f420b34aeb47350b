"""How many calls were answered and where their time went, by the version of the model that answered."""

import time
from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.server.core.description import ModelDescription
    from holdfast.server.core.request import BatchSlice

KEPT_VERSIONS = 8
"""Versions whose statistics are kept; of more, those that answered last."""

_KEPT_BATCHES = 64


@dataclass(slots=True)
class DurationSum:
    """How often something was done, and how many seconds it took in all."""

    count: int = 0
    seconds: float = 0.0

    @property
    def ns(self) -> int:
        """The same in nanoseconds."""
        return round(self.seconds * 1e9)

    def add(self, seconds: float) -> None:
        """Once more."""
        self.count += 1
        if seconds > 0:
            self.seconds += seconds


@dataclass(slots=True)
class VersionStatistics:
    """What this process has done with one version of a model. Durations are of calls, not of images.

    Attributes:
        name, version: of the model; `version` is the bundle's.
        answered_at: when a call was last answered, in seconds since 1970; 0 where none was.
        images: that were answered.
        batches: that they were in. A batch that several processes had images in counts in each.
        success, fail: whole calls, from their arrival to their answer or error.
        decoding, queue, model: of answered calls, from images as they were sent to pixels; waiting for the model; its run.
        returning: the rest of the time between a call's last decoded image and its answers.

    """

    name: str
    version: str
    answered_at: float = 0.0
    images: int = 0
    batches: int = 0
    success: DurationSum = field(default_factory=DurationSum)
    fail: DurationSum = field(default_factory=DurationSum)
    decoding: DurationSum = field(default_factory=DurationSum)
    queue: DurationSum = field(default_factory=DurationSum)
    model: DurationSum = field(default_factory=DurationSum)
    returning: DurationSum = field(default_factory=DurationSum)


class CallStatistics:
    """Counts the calls of one process, whichever API they came by. Belongs to one event loop."""

    def __init__(self) -> None:
        self._versions: OrderedDict[tuple[str, str], VersionStatistics] = OrderedDict()
        self._batches: deque[float] = deque(maxlen=_KEPT_BATCHES)
        self._latest_batch = 0.0

    def __iter__(self) -> Iterator[VersionStatistics]:
        """Of each version, the one that was used last at the end."""
        return iter(tuple(self._versions.values()))

    def of(self, model: "ModelDescription") -> VersionStatistics:
        """Of this version; with zeros where it has answered nothing."""
        key = (model.name, model.bundle_version)
        found = self._versions.get(key)
        if found is None:
            found = self._versions[key] = VersionStatistics(*key)
            if len(self._versions) > KEPT_VERSIONS:
                self._versions.popitem(last=False)
        return found

    def failed(self, model: "ModelDescription", seconds: float) -> None:
        """A call came to no answer, or its caller left; `model` was served at the time."""
        self._latest(model).fail.add(seconds)

    def succeeded(self, model: "ModelDescription", arrived: float, decoded: float, slices: Sequence["BatchSlice"]) -> None:
        """A call was answered just now.

        Args:
            model: that has answered.
            arrived: time.monotonic() when the call came.
            decoded: time.monotonic() when its last image was decoded.
            slices: of the batches that its images were in; empty where no image could be decoded.

        """
        now, kept = time.monotonic(), self._latest(model)
        kept.answered_at = time.time()
        kept.success.add(now - arrived)
        kept.decoding.add(decoded - arrived)
        kept.images += sum([part.stop - part.start for part in slices])
        if not slices:
            return
        queue = max(0.0, slices[0].began - decoded)
        model_seconds = sum([part.seconds for part in slices])
        kept.queue.add(queue)
        kept.model.add(model_seconds)
        kept.returning.add(now - decoded - queue - model_seconds)
        for part in slices:
            if part.began != self._latest_batch and part.began not in self._batches:
                self._latest_batch = part.began
                self._batches.append(part.began)
                kept.batches += 1

    def _latest(self, model: "ModelDescription") -> VersionStatistics:
        found = self.of(model)
        self._versions.move_to_end((model.name, model.bundle_version))
        return found
