"""Tokens for tests."""

from datetime import datetime
from pathlib import Path

from holdfast.server.access.editing import add_token
from holdfast.server.access.scopes import Scope
from holdfast.server.access.tokens import new_token, record_of


def add(path: Path, name: str, *scopes: Scope, expires: datetime | None = None) -> str:
    """A new token of the file, with the scope to classify unless others are given."""
    token = new_token()
    add_token(path, record_of(token, name, frozenset(scopes or {Scope.CLASSIFY}), expires))
    return token


def bearing(token: str | None) -> list[tuple[str, str]]:
    return [] if token is None else [("authorization", f"Bearer {token}")]
