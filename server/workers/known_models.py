"""The models that were described over a data link."""

from collections.abc import Iterator, Mapping

from holdfast.server.core.description import ModelDescription

MOST_MODELS = 4
"""Descriptions that are kept: more than are ever in use at a time, for a batch is in flight for a moment only."""


class KnownModels(Mapping[int, ModelDescription]):
    """Descriptions by version. Each end of a data link has one, and both hold the same, because both add in one order."""

    def __init__(self) -> None:
        self._models: dict[int, ModelDescription] = {}

    @property
    def latest(self) -> ModelDescription:
        """That with the largest version: the one served now."""
        return self._models[max(self._models)]

    def add(self, model: ModelDescription) -> None:
        """One more; of the others, the oldest version makes room where there are too many."""
        self._models[model.version] = model
        if len(self._models) > MOST_MODELS:
            del self._models[min(version for version in self._models if version != model.version)]

    def __getitem__(self, version: int) -> ModelDescription:
        return self._models[version]

    def __iter__(self) -> Iterator[int]:
        return iter(self._models)

    def __len__(self) -> int:
        return len(self._models)
