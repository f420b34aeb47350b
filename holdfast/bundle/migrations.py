"""Manifests of older schemas, brought to the present one in memory. Their files are never changed."""

from collections.abc import Callable
from typing import Any

from holdfast.errors import SchemaMismatchError

Values = dict[str, Any]

FLAT = "flat"
"""The kind of every index before there was another."""


def _name_the_index_kind(values: Values) -> Values:
    """From 1 to 2: the record of the index, where there is one, says its kind."""
    index = values.get("index")
    return values | {"index": {"kind": FLAT, **index}} if isinstance(index, dict) else values


MIGRATIONS: dict[int, Callable[[Values], Values]] = {1: _name_the_index_kind}
"""From each older version to the next one."""


def migrated(values: Values, newest: int, where: str) -> Values:
    """A manifest of any known version as one of version `newest`. The argument is left as it is.

    Args:
        values: the parsed JSON object.
        newest: the version to come to.
        where: its file, for messages.

    Raises:
        SchemaMismatchError: the version is newer than `newest`, or none that there ever was.

    """
    version = values.get("schema_version")
    if type(version) is int and version > newest:
        raise SchemaMismatchError(
            f"{where} was written by a newer holdfast (schema {version}); this one reads up to {newest}: upgrade holdfast"
        )
    if type(version) is not int or version not in {*MIGRATIONS, newest}:
        raise SchemaMismatchError(
            f"{where} has schema version {version!r}; this holdfast reads 1 to {newest}: the bundle is damaged, make it again"
        )
    for step in range(version, newest):
        values = MIGRATIONS[step](values) | {"schema_version": step + 1}
    return values
