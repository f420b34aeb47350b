"""Tokens as a file keeps them: hashes with names, scopes and dates, as JSON.

A token is 32 bytes of the system's randomness. Whoever reads its SHA-256 would have to try 2^255 tokens. Salt and slow hashes,
which protect what people think up, would add nothing but time to each call.
"""

import hashlib
import re
import secrets
from datetime import UTC, datetime
from typing import Annotated, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_serializer,
    model_validator,
)

from holdfast.errors import HoldfastError
from holdfast.server.access.scopes import Principal, Scope

PREFIX = "holdfast_"
"""How tokens begin, so that scanners for leaked secrets can know one."""

BYTES = 32

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$")]
"""The name of a token. It has no colon: names taken from certificates have one, so neither passes for the other."""

PLAIN = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._@-]{0,63}):(?P<token>[A-Za-z0-9._~+/=-]+)(?P<rights>:read|:change)?")
"""A line of a file of earlier versions: the token itself."""


class TokenFileError(HoldfastError):
    """A file of tokens that cannot be used."""


class TokenRecord(BaseModel):
    """One token: everything but the token."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: Name
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    scopes: Annotated[frozenset[Scope], Field(min_length=1)]
    created: AwareDatetime
    expires: AwareDatetime | None = None

    @field_serializer("scopes")
    def _in_order(self, scopes: frozenset[Scope]) -> list[str]:
        return sorted(scopes)

    def expired(self, now: datetime) -> bool:
        """Whether it is no longer taken."""
        return self.expires is not None and now >= self.expires

    @property
    def principal(self) -> Principal:
        """Its holder."""
        return Principal(self.name, self.scopes)


class TokenTable(BaseModel):
    """All tokens of a file."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    version: Annotated[int, Field(ge=1, le=1)] = 1
    tokens: tuple[TokenRecord, ...]

    @model_validator(mode="after")
    def _each_is_one(self) -> Self:
        for what in ("name", "sha256"):
            values = [getattr(record, what) for record in self.tokens]
            if len(set(values)) < len(values):
                raise ValueError(f"two tokens have the same {what}")
        return self

    @classmethod
    def parse(cls, text: str, where: object) -> Self:
        """Read a file's text; `where` names it in errors.

        Raises:
            TokenFileError: it is no such table; a file of an earlier version is told from others.

        """
        if plain_lines(text):
            raise TokenFileError(
                f"{where} holds tokens themselves, as earlier versions took them: run holdfast token migrate --file {where},"
                " which keeps them valid and puts their hashes in their place"
            )
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            place = ".".join(map(str, first["loc"]))
            message = first["msg"].removeprefix("Value error, ")
            raise TokenFileError(
                f"{where} is no file of tokens{f', at {place}' if place else ''}: {message}; holdfast token add makes one"
            ) from None

    def format(self) -> str:
        """As a file has it."""
        return self.model_dump_json(indent=2) + "\n"


def new_token() -> str:
    """A token that nobody can guess."""
    return PREFIX + secrets.token_urlsafe(BYTES)


def digest_of(token: str) -> str:
    """The SHA-256 of a token, hexadecimal."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def record_of(token: str, name: str, scopes: frozenset[Scope], expires: datetime | None) -> TokenRecord:
    """What is kept of a new token. Raises TokenFileError where the name will not do."""
    now = datetime.now(UTC).replace(microsecond=0)
    try:
        return TokenRecord(name=name, sha256=digest_of(token), scopes=scopes, created=now, expires=expires)
    except ValidationError:
        raise TokenFileError(
            f"{name!r} cannot name a token: take 1 to 64 of letters, digits and ._@-, a letter or digit first"
        ) from None


def plain_lines(text: str) -> list[re.Match[str]]:
    """The tokens of a file of an earlier version; none where it is of another kind."""
    lines = [line.strip() for line in text.splitlines()]
    found = [PLAIN.fullmatch(line) for line in lines if line and not line.startswith("#")]
    return [match for match in found if match is not None] if found and all(found) else []
