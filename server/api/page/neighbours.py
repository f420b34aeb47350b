"""Exemplars as the page shows them: label, similarity, and a thumbnail or where it came from."""

from collections.abc import Sequence
from dataclasses import dataclass

from holdfast.model.answers import Answers, Floats, Ints
from holdfast.server.core.snapshot import ModelSnapshot
from holdfast.server.store.store import ExemplarStore


@dataclass(frozen=True, slots=True)
class ShownExemplar:
    """One neighbour.

    Attributes:
        id: of the exemplar.
        label: its class name.
        similarity: cosine similarity.
        source: where its picture came from; "" where that is not known, or not to be told.
        pictured: whether there is a thumbnail of it.

    """

    id: int
    label: str
    similarity: float
    source: str
    pictured: bool = False


def nearest_of(answers: Answers, snapshot: ModelSnapshot, most: int, *, sources: bool) -> list[ShownExemplar]:
    """The nearest exemplars of one answered image; for a thread, since sources may be read from disk."""
    near = answers.neighbours
    return _shown(near.ids[0, :most], near.labels[0, :most], near.similarities[0, :most], snapshot, sources=sources)


def nearest_to(embedding: Floats, snapshot: ModelSnapshot, most: int, *, sources: bool) -> list[ShownExemplar]:
    """The nearest exemplars of an embedding float32 [D]; for a thread."""
    near = snapshot.classifier.retriever.search(embedding[None], most)
    return _shown(near.ids[0], near.labels[0], near.similarities[0], snapshot, sources=sources)


def _shown(ids: Ints, labels: Ints, similarities: Floats, snapshot: ModelSnapshot, *, sources: bool) -> list[ShownExemplar]:
    found = int((ids >= 0).sum())
    names = snapshot.description.class_names
    told = snapshot.sources.of(ids[:found]) if sources else [""] * found
    rows = zip(ids[:found].tolist(), labels[:found].tolist(), similarities[:found].tolist(), told, strict=True)
    return [ShownExemplar(each, names[label], similarity, source) for each, label, similarity, source in rows]


async def with_thumbnails(shown: Sequence[ShownExemplar], store: ExemplarStore | None) -> list[ShownExemplar]:
    """The same, and of which of them the store has kept a picture."""
    kept = await store.pictured([each.id for each in shown]) if store is not None else set()
    return [ShownExemplar(each.id, each.label, each.similarity, each.source, each.id in kept) for each in shown]
