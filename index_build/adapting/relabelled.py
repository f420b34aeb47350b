"""A labelled set under other class names."""

from collections.abc import Sequence
from dataclasses import dataclass

from holdfast.data.sources import LabelledSource, ReadImages
from holdfast.model.answers import Ints
from holdfast.model.preprocess import InputContract


@dataclass(frozen=True, eq=False)
class RelabelledSource:
    """A source whose labels are those of other class names: int64 [N] in `labels`."""

    source: LabelledSource
    labels: Ints
    class_names: tuple[str, ...]

    @property
    def sources(self) -> Sequence[str]:
        """Where each image comes from [N]."""
        return self.source.sources

    @property
    def contract(self) -> InputContract:
        """What the images are fitted to."""
        return self.source.contract

    def __len__(self) -> int:
        return len(self.source)

    def read(self, rows: Ints) -> ReadImages:
        """Read the images at `rows`; see `LabelledSource`."""
        return self.source.read(rows)

    def select(self, rows: Ints) -> "RelabelledSource":
        """Return the source of these rows alone, in that order."""
        return RelabelledSource(self.source.select(rows), self.labels[rows], self.class_names)
