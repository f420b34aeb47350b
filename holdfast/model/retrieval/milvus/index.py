"""Exemplars in a Milvus collection, for what outgrows one machine. Several servers may search one collection.

Milvus finds candidates; ids, labels and similarities come to the classifier, which keeps vote, credibility and margins. What a
server has changed itself, and Milvus may not show yet, is the matter of `holdfast.model.retrieval.live`.
"""

from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from holdfast.errors import ContractMismatchError, RetrieverUnavailableError
from holdfast.model.answers import Floats, Ints, Neighbours
from holdfast.model.retrieval.base import Bank, refuse_misfit
from holdfast.model.retrieval.embeddings import ReadableBank
from holdfast.model.retrieval.milvus.address import CollectionRecord, parse_target
from holdfast.model.retrieval.milvus.client import connect, translated
from holdfast.model.retrieval.milvus.collection import MOST_NEIGHBOURS, MilvusCollection, search_parameters
from holdfast.model.retrieval.shared import SharedState
from holdfast.model.retrieval.tombstones import first_kept

if TYPE_CHECKING:
    from holdfast.model.retrieval.table import FileWriter, Parameters

CONNECT_TIMEOUT_S = 10.0


class MilvusIndex:
    """Approximate search by inner product in a Milvus collection.

    A search sees every row that was written more than some seconds before (bounded staleness). A server that does not answer
    costs one search its timeout; those that follow fail at once, until one that tries again every quarter of a second succeeds.
    What `up_to` and `sized` return knows of the same outages.

    Args:
        collection: that is loaded.
        size: rows that it is known to hold.
        largest_id: rows with a larger id are not found; None: all are.
        classes: rows whose label is not below this are not found; None: all are.

    """

    kind: ClassVar[str] = "milvus"

    def __init__(
        self, collection: MilvusCollection, size: int, *, largest_id: int | None = None, classes: int | None = None
    ) -> None:
        self.collection, self._size = collection, size
        self._largest_id, self._classes = largest_id, classes

    @classmethod
    def build(cls, bank: ReadableBank, *, address: str, advance: Callable[[int], None] = lambda _: None) -> Self:
        """Make a collection of a bank.

        Args:
            bank: the exemplars.
            address: milvus://HOST:PORT, see `parse_target`.
            advance: called with the number of rows after each that were written.

        Raises:
            BundleError, RetrieverUnavailableError: see `parse_target` and `MilvusCollection.create`.

        """
        return cls(MilvusCollection.create(parse_target(address), bank, advance), len(bank.ids))

    @staticmethod
    def check_address(address: str) -> None:
        """Find out whether a Milvus server answers there. Raises as `build`."""
        target = parse_target(address)
        connect(
            CollectionRecord(address=target.address, database=target.database, collection="", dim=1), CONNECT_TIMEOUT_S
        ).close()

    def __str__(self) -> str:
        options = self.collection.record.options
        return f"Milvus, {options.index}, collection {self.collection.record.collection} on {self.collection.client_address}"

    @property
    def size(self) -> int:
        """Number of exemplars M, as of the time of opening."""
        return self._size

    @property
    def dim(self) -> int:
        """Embedding dimension D."""
        return self.collection.record.dim

    def search(self, queries: Floats, k: int) -> Neighbours:
        """The k nearest exemplars of float32 [N, D] queries; see `Retriever.search`.

        Raises:
            RetrieverUnavailableError: Milvus does not answer within the timeout, or has not since.
            ContractMismatchError: more neighbours than Milvus returns.

        """
        refuse_misfit(self.dim, queries, k)
        options = self.collection.record.options
        fetched = k * options.refine if options.index == "ivf_sq8" else k
        if k > MOST_NEIGHBOURS:
            raise ContractMismatchError(f"k = {k} neighbours asked of Milvus, which returns at most {MOST_NEIGHBOURS}")
        if len(queries) == 0:
            nothing = np.zeros((0, k), dtype=np.int64)
            return Neighbours(nothing, nothing, nothing.astype(np.float32))
        hits = self._ask(queries, min(fetched, MOST_NEIGHBOURS), vectors=fetched != k)
        if fetched != k:
            found = _ranked_again(hits, queries, k)
        else:
            found = _neighbours([(hit.ids, hit.distances, _labels(hit)) for hit in hits], k)
        # A class that another server has begun is known here a moment later.
        return found if self._classes is None else first_kept(found, found.labels < self._classes, k)

    def reconstruct(self, ids: Ints) -> Floats:
        """The embeddings of exemplars float32 [n, D], by their ids int64 [n].

        Raises:
            BundleError: an id that the collection does not hold.
            RetrieverUnavailableError: Milvus does not answer.

        """
        return self.collection.embeddings(ids)

    def up_to(self, largest_id: int) -> "MilvusIndex":
        """See `SharedRetriever`."""
        return MilvusIndex(self.collection, self._size, largest_id=largest_id)

    def sized(self, rows: int, classes: int) -> "MilvusIndex":
        """See `SharedRetriever`."""
        return MilvusIndex(self.collection, rows, largest_id=self._largest_id, classes=classes)

    def read_state(self) -> SharedState:
        """See `SharedRetriever`."""
        return self.collection.read_state()

    def write(self, bank: Bank, deleted: Ints) -> None:
        """See `SharedRetriever`."""
        self.collection.upsert(bank.embeddings, bank.ids, bank.labels)
        self.collection.delete(deleted)

    def write_state(self, state: SharedState) -> None:
        """See `SharedRetriever`."""
        self.collection.write_state(state)

    def _ask(self, queries: Floats, k: int, *, vectors: bool) -> Any:
        """Milvus's own answer. At an outage one caller at a time tries again, and the others fail at once."""
        record, outage = self.collection.record, self.collection.outage
        was_away = outage.refuse()
        try:
            with translated(record):
                if was_away:  # a server that was started again may hold the collection without having loaded it
                    self.collection.client.load_collection(record.collection, timeout=record.options.timeout)
                found = self.collection.client.search(
                    record.collection,
                    data=list(np.ascontiguousarray(queries, dtype=np.float32)),
                    limit=k,
                    filter="" if self._largest_id is None else f"id <= {self._largest_id}",
                    anns_field="embedding",
                    output_fields=["label", "embedding"] if vectors else ["label"],
                    search_params={"metric_type": "IP", "params": search_parameters(record.options, k)},
                    timeout=record.options.timeout,
                )
        except RetrieverUnavailableError as error:
            outage.begin(str(error))
            raise
        outage.end()
        return found

    def writers(self) -> tuple["FileWriter", ...]:
        """What writes which collection it is, as JSON."""
        return (self.collection.record.write,)

    def discard(self) -> None:
        """Drop the collection. Raises as `MilvusCollection.create`."""
        self.collection.drop()

    @property
    def parameters(self) -> "Parameters":
        """Nothing: the file says all."""
        return {}

    @classmethod
    def load(cls, path: Path, ids: Ints, labels: Ints) -> Self:
        """Connect to the collection of a bundle.

        Args:
            path: what `writers` wrote.
            ids: int64 [M], what the exemplars' table says that it held when it was built.
            labels: int64 [M], theirs; what the collection says now is what counts.

        Raises:
            RetrieverUnavailableError: no answer from the server.
            BundleError, ContractMismatchError: see `MilvusCollection.open`.

        """
        del labels
        collection = MilvusCollection.open(CollectionRecord.read(path))
        return cls(collection, len(ids))


def _labels(hit: Any) -> list[int]:
    return [row["entity"]["label"] for row in hit]


def _neighbours(rows: list[tuple[list[int], list[float], list[int]]], k: int) -> Neighbours:
    """Neighbours of lists of different lengths, one (ids, similarities, labels) a query."""
    lengths = np.array([len(ids) for ids, _, _ in rows])
    there = np.arange(k) < lengths[:, np.newaxis]
    filled = Neighbours(
        np.full((len(rows), k), -1, dtype=np.int64),
        np.full((len(rows), k), -1, dtype=np.int64),
        np.full((len(rows), k), -np.inf, dtype=np.float32),
    )
    filled.ids[there] = list(chain.from_iterable(ids for ids, _, _ in rows))
    filled.similarities[there] = list(chain.from_iterable(similarities for _, similarities, _ in rows))
    filled.labels[there] = list(chain.from_iterable(labels for _, _, labels in rows))
    return filled


def _ranked_again(hits: Any, queries: Floats, k: int) -> Neighbours:
    """The k nearest of more candidates, by exact similarity to embeddings that came with them."""
    rows = []
    for hit, query in zip(hits, queries, strict=True):
        embeddings = np.array([row["entity"]["embedding"] for row in hit], dtype=np.float32).reshape(-1, queries.shape[1])
        similarities = embeddings @ query.astype(np.float32)
        order = np.argsort(-similarities, kind="stable")[:k]
        ids, labels = np.array(hit.ids)[order], np.array(_labels(hit))[order]
        rows.append((ids.tolist(), similarities[order].tolist(), labels.tolist()))
    return _neighbours(rows, k)
