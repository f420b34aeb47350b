"""What an operator can set of who may call: tokens, and encryption."""

from datetime import timedelta
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings

from holdfast.server.access.files import CertificateFiles, ListenerAccess


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

    metrics_host: str | None = Field(
        None, description="Address of the metrics, which ask for nothing and are not encrypted; default: that of --host."
    )

    tls_cert: Path | None = Field(
        None,
        description="File of the server's certificate, PEM, followed by those between it and its signer. Both ports of gRPC are"
        " then encrypted, and take nothing else. The files of TLS are read again whenever they change.",
    )
    tls_key: Path | None = Field(None, description="File of its private key, RSA or ECDSA, PEM without a passphrase.")
    tls_client_ca: Path | None = Field(
        None,
        description="File of the certificates of those who sign clients' certificates: clients have to show one (mTLS), at both"
        " ports of gRPC, for health too. Its name is the caller's where there are no tokens.",
    )
    admin_tls_client_ca: Path | None = Field(
        None, description="The same for the admin service alone, or other signers there than at the public port."
    )
    tls_warn_days: float = Field(
        21.0, ge=0, le=3650, description="Days before the certificate expires from which on the log says so, once a day."
    )

    handshake_timeout: float = Field(
        20.0, ge=1, le=3600, description="Seconds that a new connection has to agree on encryption, before it is closed."
    )

    @property
    def public_access(self) -> ListenerAccess:
        """What is set for the public port."""
        return self._access(self.token_file, self.tls_client_ca)

    @property
    def admin_access(self) -> ListenerAccess:
        """What is set for the admin port."""
        return self._access(self.admin_token_file or self.token_file, self.admin_tls_client_ca or self.tls_client_ca)

    def _access(self, tokens: Path | None, client_ca: Path | None) -> ListenerAccess:
        files = None
        if self.tls_cert is not None and self.tls_key is not None:
            files = CertificateFiles(self.tls_cert, self.tls_key, client_ca)
        return ListenerAccess(tokens, files, timedelta(days=self.tls_warn_days))

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key go together: give both")
        if self.tls_cert is None and (self.tls_client_ca or self.admin_tls_client_ca):
            raise ValueError("clients' certificates are asked for where there is TLS: give tls_cert and tls_key, too")
        if self.admin_insecure and self.admin_access.token_file is not None:
            raise ValueError("admin_insecure offers a service without tokens, and a file of tokens is given: leave one out")
        return self
