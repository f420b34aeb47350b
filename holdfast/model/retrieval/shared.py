"""An index on another machine that several servers search and one of them writes to."""

from dataclasses import dataclass
from typing import Protocol, Self, runtime_checkable

from holdfast.model.answers import Ints
from holdfast.model.retrieval.base import Bank, Retriever


@dataclass(frozen=True, slots=True)
class SharedState:
    """What is recorded with a shared index.

    Attributes:
        writer: the store that writes to it; "" where none ever did.
        sequence: of the writer's latest change that is in it.
        class_names: by label id; empty where none was ever written, and the bundle's count.
        rows: exemplars that it holds.

    """

    writer: str = ""
    sequence: int = 0
    class_names: tuple[str, ...] = ()
    rows: int = 0


@runtime_checkable
class SharedRetriever(Retriever, Protocol):
    """A retriever over a shared index. Each method raises RetrieverUnavailableError where nothing answers."""

    def up_to(self, largest_id: int) -> Retriever:
        """The same index, of which only rows with ids up to this one are found, whatever their labels: a writer's base."""

    def sized(self, rows: int, classes: int) -> Self:
        """The same index, known to hold so many rows; a row whose label is not below `classes` is not found."""

    def read_state(self) -> SharedState:
        """What is recorded with the index now."""

    def write(self, bank: Bank, deleted: Ints) -> None:
        """Write rows, in the place of those with their ids, and delete rows by id. Doing it again changes nothing."""

    def write_state(self, state: SharedState) -> None:
        """Record another state."""
