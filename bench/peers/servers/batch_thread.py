"""Batching for the two that bring none: calls put images in a queue, and one thread classifies what has gathered."""

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bench.peers.servers.served import PeerModel, PeerOptions
from holdfast.model.preprocess import Pixels


@dataclass(slots=True, eq=False)
class _Waiting:
    image: Pixels
    give_up_at: float
    answer: Callable[[dict[str, Any]], object]


class BatchThread:
    """Forms batches as holdfast does: full, or when the first image in it has waited long enough."""

    def __init__(self, model: PeerModel, options: PeerOptions) -> None:
        self._model, self._options = model, options
        self._queue: queue.SimpleQueue[_Waiting] = queue.SimpleQueue()
        threading.Thread(target=self._run, daemon=True).start()

    def put(self, image: Pixels, answer: Callable[[dict[str, Any]], object]) -> None:
        """Has `answer` called, on the thread, with the answer to one image; never where the deadline has passed before."""
        self._queue.put(_Waiting(image, time.monotonic() + self._options.deadline, answer))

    def _run(self) -> None:
        while True:
            now, batch = time.monotonic(), self._gather()
            now = time.monotonic()
            batch = [each for each in batch if each.give_up_at > now]
            if batch:
                answers = self._model.classify([each.image for each in batch])
                for each, answer in zip(batch, answers, strict=True):
                    each.answer(answer)

    def _gather(self) -> list[_Waiting]:
        batch = [self._queue.get()]
        close_at = time.monotonic() + self._options.wait
        while len(batch) < self._options.batch:
            try:
                batch.append(self._queue.get_nowait())
            except queue.Empty:
                left = close_at - time.monotonic()
                if left <= 0:
                    break
                try:
                    batch.append(self._queue.get(timeout=left))
                except queue.Empty:
                    break
        return batch
