"""The thread that embeds and judges what is to be added, in batches of its own and at a low priority."""

import logging
import queue
import threading
from collections.abc import Callable, Sequence

import numpy as np

from holdfast.errors import BundleError
from holdfast.model.answers import Answers, Floats, Ints
from holdfast.model.images.pictures import as_png
from holdfast.model.preprocess import Pixels
from holdfast.model.retrieval.base import vectors_of
from holdfast.server.core.snapshot import ModelSnapshot
from holdfast.server.monitor.probes.priority import lower_thread_priority
from holdfast.server.store.changes import Addition, Change, Relabelling, fingerprint_of
from holdfast.server.store.errors import StoreClosedError, StoreError
from holdfast.server.store.pipeline.tickets import AddRequest, RelabelRequest, Requested, Ticket
from holdfast.server.store.records import Judge, JudgedRows, Judgement, NewExemplar, State, as_ids
from holdfast.server.store.served import StoreState

log = logging.getLogger(__name__)

EMBED_BATCH = 16
"""Images embedded at once: few, so that a batch that is to be answered never waits for long, where a device is shared."""


class Preparation:
    """Turns tickets into changes, in their order, and hands them on.

    Args:
        current: the model that is served now.
        state: which exemplars there are; read only.
        judge: says what goes into quarantine.
        recent: a sample of the latest answers.
        keep_images: whether pictures are kept.
        hand_on: takes a ticket that is ready.

    """

    def __init__(
        self,
        current: Callable[[], ModelSnapshot],
        state: StoreState,
        judge: Judge,
        recent: Callable[[], Answers | None],
        *,
        keep_images: bool,
        hand_on: Callable[[Ticket], None],
    ) -> None:
        self._current, self._state, self._judge, self._recent = current, state, judge, recent
        self._keep_images, self._hand_on = keep_images, hand_on
        self._queue: queue.SimpleQueue[Ticket | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="store-prepare", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def put(self, ticket: Ticket) -> None:
        """Prepare a change. Any thread may call it."""
        self._queue.put(ticket)

    def stop(self) -> None:
        """Prepare what waits, and end."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()

    def _run(self) -> None:
        lower_thread_priority()
        while (ticket := self._queue.get()) is not None:
            self._prepare(ticket)
        while not self._queue.empty():
            if (late := self._queue.get()) is not None:
                late.fail(StoreClosedError("the store is going down; try again once the server is back"))

    def _prepare(self, ticket: Ticket) -> None:
        try:
            ticket.fingerprint = _fingerprint(ticket.requested)
            ticket.change = self._changed(ticket.requested)
        except StoreError as error:
            ticket.fail(error)
        except Exception as error:
            log.exception("a change of exemplars could not be prepared")
            ticket.fail(error)
        else:
            self._hand_on(ticket)

    def _changed(self, requested: Requested) -> Change:
        if isinstance(requested, AddRequest):
            return self._addition(requested.exemplars)
        if isinstance(requested, RelabelRequest):
            return Relabelling(requested.labels, self._judged_labels(requested))
        return requested

    def _addition(self, exemplars: Sequence[NewExemplar]) -> Addition:
        snapshot = self._current()
        pixels = np.stack([each.pixels for each in exemplars])
        embeddings = embedded(snapshot, pixels)
        labels = _label_ids([each.label for each in exemplars], snapshot.description.class_names)
        ids = np.arange(len(exemplars)) + self._state.known.next_id
        rows = JudgedRows(embeddings, as_ids(labels), ids, self._served(labels))
        judgements = self._judge(rows, snapshot, self._recent())
        images = [(each.image, as_png(each.pixels)) for each in exemplars] if self._keep_images else []
        return Addition(exemplars, embeddings, judgements, images)

    def _served(self, labels: Sequence[int]) -> Ints:
        """How many exemplars of each label vote; none of a class that is about to begin."""
        counts = self._state.known.counts
        return as_ids([counts[label] if label < len(counts) else 0 for label in labels])

    def _judged_labels(self, requested: RelabelRequest) -> list[Judgement]:
        """Of each exemplar; one that does not vote, or keeps its label, is not judged."""
        snapshot, passed = self._current(), Judgement(quarantine=False)
        names = snapshot.description.class_names
        labels = _label_ids(list(requested.labels.values()), names)
        known = [self._state.known.find(each) for each in requested.labels]
        places = [i for i, row in enumerate(known) if row.state == State.SERVED and row.label != labels[i]]
        judgements = [passed] * len(known)
        if places:
            ids = as_ids([known[i].id for i in places])
            try:
                vectors = vectors_of(snapshot.classifier.retriever, ids)
            except BundleError:  # an index that hands out no embeddings: there is nothing to judge by
                return judgements
            wanted = [labels[i] for i in places]
            rows = JudgedRows(vectors, as_ids(wanted), ids, self._served(wanted))
            judged = self._judge(rows, snapshot, self._recent())
            for place, judgement in zip(places, judged, strict=True):
                judgements[place] = judgement
        return judgements


def embedded(snapshot: ModelSnapshot, pixels: Pixels) -> Floats:
    """Embeddings float32 [n, D] of uint8 [n, H, W, C], a few at a time."""
    parts = [snapshot.classifier.embed(pixels[start : start + EMBED_BATCH]) for start in range(0, len(pixels), EMBED_BATCH)]
    return np.concatenate(parts)


def _label_ids(names: Sequence[str], class_names: Sequence[str]) -> list[int]:
    """As they will be: a class that is not there begins at the end, in the order of the request."""
    places = {name: place for place, name in enumerate(class_names)}
    return [places.setdefault(name, len(places)) for name in names]


def _fingerprint(requested: Requested) -> bytes:
    if isinstance(requested, AddRequest):
        parts = [part for each in requested.exemplars for part in (each.label, each.source, each.pixels.tobytes())]
        return fingerprint_of("add", parts)
    if isinstance(requested, RelabelRequest):
        return fingerprint_of("relabel", [part for pair in sorted(requested.labels.items()) for part in pair])
    return fingerprint_of(f"{type(requested).__name__} {getattr(requested, 'quarantined', '')}", sorted(requested.ids))
