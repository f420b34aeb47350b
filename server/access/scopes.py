"""What a credential allows, and what a method needs of one."""

from dataclasses import dataclass
from enum import Enum, StrEnum


class Scope(StrEnum):
    """What the holder of a token may do.

    CLASSIFY: send images and get labels with their figures.
    EMBED: get embeddings and neighbours, and the neighbours' sources where the operator reveals them. All of these say where
        images and exemplars lie in the embedding space, which helps whoever copies or attacks the model.
    ADMIN_READ: see exemplars, versions and status.
    ADMIN: change them, too.
    """

    CLASSIFY = "classify"
    EMBED = "embed"
    ADMIN_READ = "admin:read"
    ADMIN = "admin"


class Needs(Enum):
    """What a method needs where no scope is needed."""

    NOTHING = "nothing"
    ANY_TOKEN = "any token"  # noqa: S105 - a description


Requirement = Scope | Needs
"""What a method needs of its caller. A method that declares none is refused to everybody where tokens are asked for."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who makes a call: the name that the audit trail keeps and that calls are accounted to, and what it may do."""

    name: str
    scopes: frozenset[Scope] = frozenset(Scope)

    def may(self, scope: Scope) -> bool:
        """Whether it holds the scope, or one that includes it."""
        return scope in self.scopes or (scope is Scope.ADMIN_READ and Scope.ADMIN in self.scopes)
