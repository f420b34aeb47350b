"""A server without a store, over an index that another server writes to: it learns of new classes."""

import logging
import threading
from dataclasses import replace

from holdfast.errors import HoldfastError, RetrieverUnavailableError
from holdfast.model.retrieval.shared import SharedRetriever, SharedState
from holdfast.server.core.holder import ModelHolder
from holdfast.server.core.snapshot import ModelSnapshot

log = logging.getLogger(__name__)

ASK_EVERY_S = 2.0


class SharedFollower:
    """Asks a shared index what is recorded with it, and publishes what is new. It has a thread of its own.

    Nothing happens while the model that is served has another kind of index. A server that writes to the index does not follow
    it: it knows more.
    """

    def __init__(self, holder: ModelHolder, every: float = ASK_EVERY_S) -> None:
        self._holder, self._every = holder, every
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="follow-index", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(self._every):
            index = self._holder.current.classifier.retriever
            if not isinstance(index, SharedRetriever):
                continue
            try:
                state = index.read_state()
                if _differs(self._holder.current, state):
                    self._holder.publish_next(lambda now, state=state: _with(now, state))  # type: ignore[misc]
            except RetrieverUnavailableError:
                continue  # the searches that fail say so
            except HoldfastError:
                log.exception("what the shared index holds could not be followed; it is asked again")


def _differs(snapshot: ModelSnapshot, state: SharedState) -> bool:
    described = snapshot.description
    return (bool(state.class_names) and state.class_names != described.class_names) or state.rows != described.exemplars


def _with(snapshot: ModelSnapshot, state: SharedState) -> ModelSnapshot:
    index = snapshot.classifier.retriever
    if not isinstance(index, SharedRetriever):  # a reload was quicker
        return snapshot
    names = state.class_names or snapshot.description.class_names
    changes = {"class_names": names, "exemplars": state.rows, "exemplars_revision": state.sequence}
    return replace(
        snapshot,
        description=snapshot.description.model_copy(update=changes),
        classifier=snapshot.classifier.with_index(index.sized(state.rows, len(names)), len(names), None),
    )
