"""One Milvus collection of exemplars: made, filled, checked, changed."""

import json
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict
from typing import Any, Self

import numpy as np
from pymilvus import DataType

from holdfast.errors import BundleError, ContractMismatchError
from holdfast.model.answers import Floats, Ints
from holdfast.model.retrieval.embeddings import Embeddings, ReadableBank
from holdfast.model.retrieval.milvus.address import CollectionRecord, MilvusTarget, SearchOptions, effective_address
from holdfast.model.retrieval.milvus.client import Outage, connect, translated
from holdfast.model.retrieval.shared import SharedState

ROWS_A_CALL = 2_000
"""Rows of one insert: 1 MB at 128 dimensions, below Milvus's limit of 64 MB also at 4,096."""

MOST_NEIGHBOURS = 16_384
"""Milvus's own limit on the neighbours of one search."""

LONG_TIMEOUT_S = 120.0
"""For what a builder does: indexing, loading, flushing."""

STATE, COMPLETE = "holdfast.state", "holdfast.complete"
"""Properties of a collection: a SharedState as JSON, and what is set last. A collection without it was never finished."""

_INDEXES: dict[str, Callable[[SearchOptions], tuple[str, dict[str, int]]]] = {
    "flat": lambda _: ("FLAT", {}),
    "ivf": lambda options: ("IVF_FLAT", {"nlist": options.nlist}),
    "ivf_sq8": lambda options: ("IVF_SQ8", {"nlist": options.nlist}),
    "hnsw": lambda _: ("HNSW", {"M": 32, "efConstruction": 200}),
}


def search_parameters(options: SearchOptions, k: int) -> dict[str, int]:
    """What a search of k neighbours passes to Milvus."""
    if options.index.startswith("ivf"):
        return {"nprobe": min(options.nprobe, options.nlist)}
    return {"ef": max(options.ef, k)} if options.index == "hnsw" else {}


class MilvusCollection:
    """A collection, by name, on one server. Threads may share it.

    Fields: id int64 (primary key), label int64, embedding float32 [D], inner product.

    Attributes:
        client: pymilvus's.
        record: which collection it is.
        outage: known to everything that searches it by this object.

    """

    def __init__(self, client: Any, record: CollectionRecord) -> None:
        self.client, self.record = client, record
        self.outage = Outage(self.where, record.options.timeout)

    @classmethod
    def create(cls, target: MilvusTarget, bank: ReadableBank, advance: Callable[[int], None] = lambda _: None) -> Self:
        """Make a new collection of a bank, index and load it. What was begun is dropped where it fails.

        Args:
            target: the server, and how to index.
            bank: the exemplars.
            advance: called with the number of rows after each insert.

        Raises:
            RetrieverUnavailableError: no answer from the server.
            BundleError: it refuses.

        """
        dim = int(bank.embeddings.shape[1])
        name = f"holdfast_{time.strftime('%Y%m%d_%H%M%S', time.gmtime())}_{secrets.token_hex(3)}"
        record = CollectionRecord(
            address=target.address, database=target.database, collection=name, dim=dim, options=target.options
        )
        made = cls(connect(record, LONG_TIMEOUT_S), record)
        try:
            with translated(record):
                made._create_empty()
                made.upsert(bank.embeddings, bank.ids, bank.labels, advance)
                made.client.flush(name, timeout=LONG_TIMEOUT_S)
                made.client.load_collection(name, timeout=LONG_TIMEOUT_S)
                made.write_state(SharedState(rows=len(bank.ids)))
                made.client.alter_collection_properties(name, {COMPLETE: "true"}, timeout=LONG_TIMEOUT_S)
        except BaseException:
            with suppress(Exception):  # the first error is the one to tell
                made.drop()
            raise
        return made

    @classmethod
    def open(cls, record: CollectionRecord) -> Self:
        """Connect to a collection that is there.

        Raises:
            RetrieverUnavailableError: no answer from the server.
            BundleError: it has no such collection, or an unfinished one.
            ContractMismatchError: the collection is of another dimension.

        """
        # The client takes so long to connect again, too, in the middle of a search that found the connection broken.
        opened = cls(connect(record, record.options.timeout), record)
        where = opened.where
        with translated(record):
            if not opened.client.has_collection(record.collection, timeout=10.0):
                raise BundleError(
                    f"{where} is not there: it was dropped, or this is another server than the one that holdfast index used;"
                    " set MILVUS_URI to the right one, or run holdfast index again"
                )
            described = opened.client.describe_collection(record.collection, timeout=10.0)
        dims = [int(f["params"]["dim"]) for f in described["fields"] if f["name"] == "embedding"]
        if dims != [record.dim]:
            found = f"embeddings of {dims[0]} dimensions" if dims else "no field called embedding"
            raise ContractMismatchError(
                f"{where} has {found}, the bundle's encoder returns {record.dim}: it is not the collection of this bundle"
            )
        if described.get("properties", {}).get(COMPLETE) != "true":
            raise BundleError(f"{where} was never finished; run holdfast index again")
        with translated(record):
            opened.client.load_collection(record.collection, timeout=LONG_TIMEOUT_S)
        return opened

    @property
    def where(self) -> str:
        """The collection, for a message."""
        return f"the Milvus collection {self.record.collection} on {self.client_address}"

    @property
    def client_address(self) -> str:
        """The address that it was reached by."""
        return effective_address(self.record.address)

    def rows(self) -> int:
        """Rows that are there now, deleted ones not counted."""
        with translated(self.record):
            found = self.client.query(
                self.record.collection, filter="", output_fields=["count(*)"], consistency_level="Strong", timeout=10.0
            )
        return int(found[0]["count(*)"])

    def upsert(self, embeddings: Embeddings, ids: Ints, labels: Ints, advance: Callable[[int], None] = lambda _: None) -> None:
        """Write rows; a row with an id that is there takes its place. Repeating it changes nothing.

        Args:
            embeddings: float32 [n, D], L2-normalised.
            ids: int64 [n].
            labels: int64 [n].
            advance: called with the number of rows after each call to the server.

        """
        with translated(self.record):
            for part in _calls(len(ids)):
                columns = zip(ids[part].tolist(), labels[part].tolist(), embeddings[part], strict=True)
                rows = [{"id": i, "label": label, "embedding": embedding} for i, label, embedding in columns]
                self.client.upsert(self.record.collection, rows, timeout=LONG_TIMEOUT_S)
                advance(len(rows))

    def delete(self, ids: Ints) -> None:
        """Delete the rows of these ids, int64 [n]; one that is not there is passed over."""
        with translated(self.record):
            for part in _calls(len(ids)):
                self.client.delete(self.record.collection, ids=ids[part].tolist(), timeout=LONG_TIMEOUT_S)

    def embeddings(self, ids: Ints) -> Floats:
        """The embeddings of rows by id: float32 [n, D]. Raises BundleError for an id that is not there."""
        found: dict[int, Floats] = {}
        with translated(self.record):
            for part in _calls(len(ids)):
                rows = self.client.get(
                    self.record.collection, ids=ids[part].tolist(), output_fields=["embedding"], timeout=LONG_TIMEOUT_S
                )
                found |= {int(row["id"]): np.asarray(row["embedding"], dtype=np.float32) for row in rows}
        if missing := [each for each in ids.tolist() if each not in found]:
            raise BundleError(f"{self.where} holds no exemplar {missing[0]}")
        return np.stack([found[each] for each in ids.tolist()]) if len(ids) else np.empty((0, self.record.dim), np.float32)

    def read_state(self) -> SharedState:
        """What is recorded with it."""
        with translated(self.record):
            described = self.client.describe_collection(self.record.collection, timeout=10.0)
        values = json.loads(described.get("properties", {}).get(STATE, "{}"))
        return SharedState(**(values | {"class_names": tuple(values.get("class_names", ()))}))

    def write_state(self, state: SharedState) -> None:
        """Record another state."""
        with translated(self.record):
            self.client.alter_collection_properties(
                self.record.collection, {STATE: json.dumps(asdict(state))}, timeout=LONG_TIMEOUT_S
            )

    def drop(self) -> None:
        """Delete the whole collection."""
        with translated(self.record):
            self.client.drop_collection(self.record.collection, timeout=LONG_TIMEOUT_S)

    def close(self) -> None:
        """End the connection."""
        self.client.close()

    def _create_empty(self) -> None:
        kind, parameters = _INDEXES[self.record.options.index](self.record.options)
        schema = self.client.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("label", DataType.INT64)
        schema.add_field("embedding", DataType.FLOAT_VECTOR, dim=self.record.dim)
        indexes = self.client.prepare_index_params()
        indexes.add_index(field_name="embedding", index_type=kind, metric_type="IP", params=parameters)
        self.client.create_collection(
            self.record.collection,
            schema=schema,
            index_params=indexes,
            consistency_level="Bounded",
            timeout=LONG_TIMEOUT_S,
        )


def _calls(rows: int) -> Iterator[slice]:
    """The rows of each call to the server."""
    return (slice(start, start + ROWS_A_CALL) for start in range(0, rows, ROWS_A_CALL))
