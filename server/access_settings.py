"""What an operator can set of who may call: tokens, and encryption."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings


class AccessSettings(BaseSettings):
    """The settings of access; see holdfast.server.settings."""

    token_file: Path | None = Field(
        None,
        description="File of the tokens that callers are asked for, as holdfast token add makes it; each has its scopes:"
        " classify, embed, admin:read, admin. Whoever has none is refused, but for health. The file is read again whenever it"
        " changes. Without it, whoever reaches the port is answered.",
    )
    admin_token_file: Path | None = Field(
        None,
        description="File of the tokens that the admin service takes, where they are not to be those of --token-file. The audit"
        " trail keeps the names. Giving it offers the service.",
    )
    admin_insecure: bool = Field(
        False, description="Offer the admin service without tokens, to everybody on this machine: to try it out."
    )
