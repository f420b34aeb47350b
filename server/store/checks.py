"""What a requested change is refused for before anything is done."""

from collections.abc import Iterable, Sequence

from holdfast.bundle.printable import is_printable
from holdfast.server.store.errors import InvalidChangeError
from holdfast.server.store.records import NewExemplar

LONGEST_NAME = 200
"""Characters of a class name that begins."""

LONGEST_SOURCE = 4096
"""Characters of a source: as long as a path may be."""

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


def check_new(exemplars: Sequence[NewExemplar], known: Sequence[str]) -> None:
    """Raise InvalidChangeError for new exemplars of which one has no class name, or of several shapes, or a long source."""
    check_names((each.label for each in exemplars), known)
    shapes = {each.pixels.shape for each in exemplars}
    if len(shapes) > 1:
        raise InvalidChangeError(f"images of {sorted(shapes)}: all have to be of one shape")
    for each in exemplars:
        if fault := fault_of_source(each.source):
            raise InvalidChangeError(f"a source {fault}")


def check_names(names: Iterable[str], known: Sequence[str]) -> None:
    """Raise InvalidChangeError where one cannot be a class name; `known` are those of the served model."""
    for name in set(names):
        if fault := fault_of_name(name, known):
            raise InvalidChangeError(fault)


def fault_of_name(name: str, known: Sequence[str]) -> str:
    """What is wrong with a class name; "" for a good one, and for one of the served model's, whatever it is."""
    if (name == name.strip() != "" and is_printable(name) and len(name) <= LONGEST_NAME) or name in known:
        return ""
    return (
        f"{name[:LONGEST_NAME]!r} cannot be a class name: give 1 to {LONGEST_NAME} printable characters, none of them a"
        " blank at either end"
    )


def fault_of_source(source: str) -> str:
    """What is wrong with where an exemplar comes from; "" for a good one."""
    return f"has {len(source):,} characters; give at most {LONGEST_SOURCE:,}" if len(source) > LONGEST_SOURCE else ""
