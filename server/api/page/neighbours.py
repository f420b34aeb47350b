"""Exemplars as the page shows them: label, marks, similarity, and a thumbnail or where it came from."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from holdfast.bundle.exemplars import Flag
from holdfast.model.answers import Answers, Floats, Ints
from holdfast.server.core.snapshot import ModelSnapshot
from holdfast.server.store.store import ExemplarStore

MARKS = {
    Flag.DISAGREES: "neighbours disagree",
    Flag.ATTACKED: "attacked copy",
    Flag.DOUBTED: "label doubted",
    Flag.PSEUDO: "label guessed",
}


@dataclass(frozen=True, slots=True)
class ShownExemplar:
    """One neighbour.

    Attributes:
        id: of the exemplar.
        label: its class name.
        similarity: cosine similarity.
        source: where its picture came from; "" where that is not known, or not to be told.
        marks: how the index builder marked it.
        pictured: whether there is a thumbnail of it.

    """

    id: int
    label: str
    similarity: float
    source: str
    marks: tuple[str, ...] = ()
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
    flags = snapshot.sources.flags(ids[:found]).tolist()
    rows = zip(ids[:found].tolist(), labels[:found].tolist(), similarities[:found].tolist(), told, flags, strict=True)
    return [
        ShownExemplar(each, names[label], similarity, source, tuple(said for flag, said in MARKS.items() if flag & marked))
        for each, label, similarity, source, marked in rows
    ]


async def with_thumbnails(shown: Sequence[ShownExemplar], store: ExemplarStore | None) -> list[ShownExemplar]:
    """The same, and of which of them the store has kept a picture."""
    kept = await store.pictured([each.id for each in shown]) if store is not None else set()
    return [replace(each, pictured=each.id in kept) for each in shown]
