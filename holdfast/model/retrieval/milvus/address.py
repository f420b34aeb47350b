"""Where a Milvus collection is and how it is searched: milvus://HOST:PORT/DATABASE?index=ivf&timeout=1."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Self
from urllib.parse import parse_qsl, urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from holdfast.errors import BundleError

SCHEME = "milvus"
PORT = 19530
ADDRESS_VARIABLE, TOKEN_VARIABLE = "MILVUS_URI", "MILVUS_TOKEN"

IndexType = Literal["flat", "ivf", "hnsw", "ivf_sq8"]


class SearchOptions(BaseModel):
    """How a collection is indexed and searched.

    Attributes:
        index: flat, ivf and hnsw keep float32, and their similarities are exact; ivf_sq8 keeps bytes, and what it finds is
            fetched with its embeddings and ranked again by exact similarity.
        nlist: cells of an ivf.
        nprobe: of them, those that a search looks at.
        ef: of an hnsw, candidates that a search keeps, at least the k of the vote.
        refine: of an ivf_sq8, candidates fetched for each neighbour that is wanted.
        timeout: seconds that a search may take, retries included, and as many again to connect where it lost its connection.

    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    index: IndexType = "ivf"
    nlist: int = Field(default=1024, ge=1, le=65536)
    nprobe: int = Field(default=64, ge=1, le=65536)
    ef: int = Field(default=256, ge=1, le=32768)
    refine: int = Field(default=2, ge=1, le=16)
    timeout: float = Field(default=2.0, gt=0, le=60)


class CollectionRecord(BaseModel):
    """A bundle's index.milvus.json: which collection holds the exemplars. No password is in it.

    Attributes:
        address: "http://HOST:PORT", as the builder reached it; MILVUS_URI in the environment takes its place.
        database: "" is the default one.
        collection: its name.
        dim: embedding dimension D.
        options: how it is searched.

    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: str
    database: str = ""
    collection: str
    dim: int = Field(ge=1)
    options: SearchOptions = SearchOptions()

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read index.milvus.json. Raises BundleError where it is not one."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except (ValidationError, ValueError) as error:
            raise BundleError(f"{path} does not name a Milvus collection: {error}; run holdfast index again") from None

    def write(self, path: Path) -> None:
        """Write it as JSON that a person can read."""
        path.write_text(json.dumps(self.model_dump(), indent=2) + "\n")


@dataclass(frozen=True, slots=True)
class MilvusTarget:
    """Where a new collection is to be made.

    Attributes:
        address: "http://HOST:PORT".
        database: "" is the default one.
        options: how it is indexed and searched.

    """

    address: str
    database: str = ""
    options: SearchOptions = field(default_factory=SearchOptions)


def parse_target(text: str) -> MilvusTarget:
    """The target that a person typed.

    Args:
        text: milvus://HOST[:PORT][/DATABASE][?option=value&...], the options being the fields of `SearchOptions`.

    Raises:
        BundleError: no such address, a user or password in it, or an option that is unknown or out of range.

    """
    example = "milvus://127.0.0.1:19530?index=ivf&nlist=1024&nprobe=64"
    parts = urlsplit(text)
    try:
        port = parts.port or PORT
    except ValueError:
        port = 0
    if parts.scheme != SCHEME or not parts.hostname or not port:
        raise BundleError(f"{text!r} is no address of a Milvus server; write for example {example}")
    if parts.username or parts.password:
        raise BundleError(
            "the address of a Milvus server is kept in the bundle, so it must not hold a password:"
            f" set {TOKEN_VARIABLE}=user:password in the environment"
        )
    try:
        options = SearchOptions.model_validate(dict(parse_qsl(parts.query, strict_parsing=bool(parts.query))), strict=False)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise BundleError(f"{text!r}: {faults}; write for example {example}") from None
    except ValueError:
        raise BundleError(f"{text!r}: options are written name=value&name=value, for example {example}") from None
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return MilvusTarget(f"http://{host}:{port}", parts.path.strip("/"), options)


def effective_address(recorded: str) -> str:
    """The address to connect to: MILVUS_URI where it is set (milvus:// or http(s)://), else the one in the bundle."""
    typed = os.environ.get(ADDRESS_VARIABLE, "")
    if not typed:
        return recorded
    return parse_target(typed).address if typed.startswith(f"{SCHEME}://") else typed


def token() -> str:
    """The credential for Milvus: MILVUS_TOKEN, "user:password" or an API key; "" where there is none."""
    return os.environ.get(TOKEN_VARIABLE, "")
