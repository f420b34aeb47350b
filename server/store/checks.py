"""What a requested change is refused for before anything is done."""

from collections.abc import Iterable, Sequence

from holdfast.server.store.errors import InvalidChangeError
from holdfast.server.store.records import NewExemplar

LONGEST_NAME = 200
"""Characters of a class name or a source."""

LONGEST_REQUEST_ID = 200
"""Characters."""


def check_request(request_id: str, items: Sequence[object], ids: Sequence[int] = ()) -> None:
    """Raise InvalidChangeError for a change that can never be made."""
    if not 1 <= len(request_id) <= LONGEST_REQUEST_ID:
        raise InvalidChangeError(f"request id: has {len(request_id)} characters; give 1 to {LONGEST_REQUEST_ID}")
    if not len(items):
        raise InvalidChangeError("nothing is to be changed: name at least one exemplar")
    if len(set(ids)) < len(ids):
        raise InvalidChangeError("an exemplar is named twice: name each once")


def check_new(exemplars: Sequence[NewExemplar]) -> None:
    """Raise InvalidChangeError for new exemplars of which one has no class name, or of several shapes, or a long source."""
    check_names(each.label for each in exemplars)
    shapes = {each.pixels.shape for each in exemplars}
    if len(shapes) > 1:
        raise InvalidChangeError(f"images of {sorted(shapes)}: all have to be of one shape")
    if any(len(each.source) > LONGEST_NAME for each in exemplars):
        raise InvalidChangeError(f"a source has more than {LONGEST_NAME} characters: shorten it")


def check_names(names: Iterable[str]) -> None:
    """Raise InvalidChangeError where one cannot be a class name."""
    for name in set(names):
        _check_name(name)


def _check_name(name: str) -> None:
    """Raise InvalidChangeError for what cannot be a class name."""
    if not name.strip() or name != name.strip() or not name.isprintable() or len(name) > LONGEST_NAME:
        raise InvalidChangeError(
            f"{name[:LONGEST_NAME]!r} cannot be a class name: give 1 to {LONGEST_NAME} printable characters, none of them a"
            " blank at either end"
        )
