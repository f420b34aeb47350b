"""What the journal holds, as tables and as rows with checksums."""

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, Self

from holdfast.server.store.errors import JournalDamagedError
from holdfast.server.store.records import State

SCHEMA_VERSION = 1

TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE changes (
    sequence INTEGER PRIMARY KEY, time REAL NOT NULL, author TEXT NOT NULL, request_id TEXT NOT NULL, kind TEXT NOT NULL,
    fingerprint BLOB NOT NULL, ids TEXT NOT NULL, states TEXT NOT NULL, detail TEXT NOT NULL, changed INTEGER NOT NULL,
    checksum BLOB NOT NULL, UNIQUE (author, request_id)
);
CREATE TABLE labels (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, revision INTEGER NOT NULL, checksum BLOB NOT NULL);
CREATE TABLE exemplars (
    id INTEGER PRIMARY KEY, revision INTEGER NOT NULL, label INTEGER NOT NULL, source TEXT NOT NULL, state INTEGER NOT NULL,
    reason TEXT NOT NULL, author TEXT NOT NULL, time REAL NOT NULL, in_base INTEGER NOT NULL, added INTEGER NOT NULL,
    folded INTEGER NOT NULL, checksum BLOB NOT NULL
);
CREATE INDEX unfolded ON exemplars (id) WHERE folded = 0;
CREATE TABLE embeddings (id INTEGER PRIMARY KEY, vector BLOB NOT NULL, checksum BLOB NOT NULL);
CREATE TABLE images (id INTEGER PRIMARY KEY, image BLOB, thumbnail BLOB NOT NULL, checksum BLOB NOT NULL);
"""


def checksum(*values: Any) -> bytes:
    """Of one row's values, 16 bytes."""
    digest = hashlib.blake2b(digest_size=16)
    for value in values:
        part = value if isinstance(value, bytes) else repr(value).encode("utf-8", "surrogatepass")
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.digest()


def check(where: str, expected: bytes, *values: Any) -> None:
    """Raise JournalDamagedError where a row's values are not those that were written."""
    if checksum(*values) != expected:
        raise JournalDamagedError(
            f"{where} is not what was written: the disk has changed it. Put a copy of the store in its place, or export what"
            " can still be served and begin a new store"
        )


@dataclass(frozen=True, slots=True)
class StoredRow:
    """One exemplar in the journal.

    Attributes:
        id, revision, label, source, state, reason, author, time: as in ExemplarRecord; the label is a label id.
        in_base: whether the bundle that the journal stands on holds it.
        added: whether it came by the journal, not by the bundle that the store began with.

    """

    id: int
    revision: int
    label: int
    source: str
    state: State
    reason: str
    author: str
    time: float
    in_base: bool
    added: bool

    def values(self) -> tuple[Any, ...]:
        """As SQLite takes them, without `folded` and checksum."""
        plain = (self.id, self.revision, self.label, self.source, int(self.state), self.reason, self.author)
        return (*plain, self.time, int(self.in_base), int(self.added))

    @classmethod
    def of(cls, values: tuple[Any, ...], where: str) -> Self:
        """From values, and their checksum after them. Raises JournalDamagedError."""
        check(f"exemplar {values[0]} of {where}", values[-1], *values[:-1])
        each, revision, label, source, state, reason, author, time, in_base, added, _ = values
        return cls(each, revision, label, source, State(state), reason, author, time, bool(in_base), bool(added))


@dataclass(frozen=True, slots=True)
class StoredImage:
    """The picture of one exemplar: as it was sent, or None where it was sent as pixels; and as PNG, as the encoder saw it."""

    id: int
    image: bytes | None
    thumbnail: bytes


@dataclass(frozen=True)
class JournalEntry:
    """One change, ready to be written.

    Attributes:
        sequence: its own.
        time: seconds since 1970.
        author, request_id: whose, and by which it is known.
        kind: "add", "relabel" and so on.
        fingerprint: of what was asked for.
        ids, states: the receipt.
        detail: what the audit trail is to say, as JSON.
        changed: rows of the served index that it changes.
        rows: exemplars as they are afterwards.
        vectors: embeddings of rows that had none in the journal, as float32 bytes, by id.
        images: their pictures, where these are kept.
        labels: classes that begin, by label id.

    """

    sequence: int
    time: float
    author: str
    request_id: str
    kind: str
    fingerprint: bytes
    ids: tuple[int, ...]
    states: tuple[State, ...]
    detail: dict[str, Any]
    changed: int
    rows: tuple[StoredRow, ...]
    vectors: dict[int, bytes] = field(default_factory=dict)
    images: tuple[StoredImage, ...] = ()
    labels: dict[int, str] = field(default_factory=dict)

    def values(self) -> tuple[Any, ...]:
        """The row of `changes`, without its checksum."""
        ids, states = json.dumps(self.ids), json.dumps([int(state) for state in self.states])
        detail = json.dumps(self.detail, ensure_ascii=False)
        return (
            *(self.sequence, self.time, self.author, self.request_id, self.kind, self.fingerprint, ids, states),
            detail,
            self.changed,
        )

    @property
    def size(self) -> int:
        """About how many bytes it takes."""
        pictures = sum(len(each.image or b"") + len(each.thumbnail) for each in self.images)
        return 256 * (1 + len(self.rows)) + sum(map(len, self.vectors.values())) + pictures


@dataclass(frozen=True)
class Standing:
    """Which bundle a journal stands on.

    Attributes:
        origin: identity of the bundle that the server was started with when the store began; see `identity_of`.
        encoder: SHA-256 of the encoder that made the embeddings.
        name: of that bundle, for a person.
        class_names: of the bundle that it stands on, folded or not.
        base: name of the folder under `bundles/` that holds what was folded; "" before the first.
        folded: sequence of the latest change in it.

    """

    origin: str
    encoder: str
    name: str
    class_names: tuple[str, ...]
    base: str = ""
    folded: int = 0


@dataclass(frozen=True)
class MovedRows:
    """What a journal holds, over another bundle.

    Attributes:
        rows: exemplars.
        vectors: embeddings as float32 bytes, by id.
        ids: the id of each picture that is kept, by the id that it had.
        labels: classes that the bundle does not have, by label id.

    """

    rows: list[StoredRow]
    vectors: dict[int, bytes]
    ids: dict[int, int]
    labels: dict[int, str]
