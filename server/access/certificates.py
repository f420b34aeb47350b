"""The server's certificate and key, and the certificates of those who sign its clients': read, checked, read again."""

import logging
import stat
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from holdfast.errors import HoldfastError
from holdfast.server.access.files import CertificateFiles

log = logging.getLogger(__name__)

SMALLEST_RSA = 2048
"""Bits of the smallest RSA key that clients may be expected to take."""


class CertificateError(HoldfastError):
    """A certificate or a key that cannot be used."""


@dataclass(frozen=True)
class KeyMaterial:
    """What the files hold.

    Attributes:
        chain, key, client_ca: their bytes.
        expires: when the first certificate of the chain does.

    """

    chain: bytes
    key: bytes = field(repr=False)
    client_ca: bytes | None
    expires: datetime

    @property
    def files(self) -> tuple[bytes, ...]:
        """Its bytes, one file after the other."""
        return (self.chain, self.key) if self.client_ca is None else (self.chain, self.key, self.client_ca)


def read_certificates(files: CertificateFiles, now: datetime) -> KeyMaterial:
    """Read the files and see that they fit each other.

    Raises:
        CertificateError: one cannot be read or holds something else, the key is not the certificate's, or the time of the
            certificate has not come or is over; says which file.

    """
    chain, key = _read(files.chain, "certificate"), _read(files.key, "private key")
    leaf = _certificates_of(chain, files.chain)[0]
    _check_key(key, leaf, files)
    if now >= leaf.not_valid_after_utc:
        raise CertificateError(f"the certificate in {files.chain} expired on {leaf.not_valid_after_utc:%Y-%m-%d %H:%M} UTC")
    if now < leaf.not_valid_before_utc:
        raise CertificateError(
            f"the certificate in {files.chain} is valid from {leaf.not_valid_before_utc:%Y-%m-%d %H:%M} UTC on"
        )
    client_ca = None
    if files.client_ca is not None:
        client_ca = _read(files.client_ca, "certificates of clients' signers")
        _certificates_of(client_ca, files.client_ca)
    return KeyMaterial(chain, key, client_ca, leaf.not_valid_after_utc)


class ServedCertificate:
    """The certificate in use. Any thread may ask for it; `look` reads the files again where they have changed.

    Files that have become unusable, such as a certificate whose key has not been written yet, are an error in the log, and what
    was read before stays in use.

    Args:
        files: where it lies.
        warn_within: how long before the certificate expires the log begins to say so.
        report: told of each attempt to read the files again, whether it was of use.
        held: what another process has read before, to begin with where the files are unusable now.

    Attributes:
        current: what is in use.

    Raises:
        CertificateError: as read_certificates.

    """

    def __init__(
        self,
        files: CertificateFiles,
        warn_within: timedelta,
        report: Callable[[bool], None] = lambda _: None,
        held: Sequence[bytes] = (),
    ) -> None:
        self._files, self._warn_within, self._report = files, warn_within, report
        self._looking = threading.Lock()
        self._warned_on: object = None
        self._seen = files.fingerprint
        self.current = self._first_material(held)
        _warn_of_readers(files.key)
        self._warn_of_expiry()

    def _first_material(self, held: Sequence[bytes]) -> KeyMaterial:
        try:
            return read_certificates(self._files, datetime.now(UTC))
        except CertificateError as error:
            if not held:
                raise
            log.error("the certificate of before is still in use: %s", error)  # noqa: TRY400 - it says all there is to say
            self._report(False)
            expires = _certificates_of(held[0], self._files.chain)[0].not_valid_after_utc
            return KeyMaterial(held[0], held[1], held[2] if len(held) > 2 else None, expires)

    def look(self) -> bool:
        """Read the files again if one has changed. Returns whether there is something new in use."""
        with self._looking:
            self._warn_of_expiry()
            now = self._files.fingerprint
            if now == self._seen:
                return False
            self._seen = now
            try:
                self.current = read_certificates(self._files, datetime.now(UTC))
            except CertificateError as error:
                log.error("the certificate of before is still in use: %s", error)  # noqa: TRY400 - it says all there is to say
                self._report(False)
                return False
            self._report(True)
            self._warned_on = None
        log.info("the certificate was read again from %s; it expires on %s", self._files.chain, _day(self.current.expires))
        _warn_of_readers(self._files.key)
        self._warn_of_expiry()
        return True

    def _warn_of_expiry(self) -> None:
        """Once a day, say how long the certificate is valid."""
        now = datetime.now(UTC)
        left = self.current.expires - now
        if left > self._warn_within or self._warned_on == now.date():
            return
        self._warned_on = now.date()
        if left > timedelta(0):
            log.warning("the certificate in %s expires in %.1f days", self._files.chain, left / timedelta(days=1))
        else:
            log.error("the certificate in %s has expired: clients refuse it until another is there", self._files.chain)


def _read(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CertificateError(f"the {what} cannot be read: {path}: {error.strerror or error}") from None


def _certificates_of(pem: bytes, path: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise CertificateError(f"{path} holds no certificate in PEM (-----BEGIN CERTIFICATE-----), or half of one") from None


def _check_key(pem: bytes, leaf: x509.Certificate, files: CertificateFiles) -> None:
    """Refuse a key that gRPC cannot use with this certificate; it would say so to clients alone, and not why."""
    try:
        key = load_pem_private_key(pem, None)
    except TypeError:
        raise CertificateError(f"the private key in {files.key} has a passphrase, which nobody could type: remove it") from None
    except Exception:  # noqa: BLE001 - of several kinds, none of which may say what the file holds
        raise CertificateError(f"{files.key} holds no private key in PEM, or half of one") from None
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise CertificateError(f"the private key in {files.key} is neither RSA nor ECDSA, the kinds that gRPC's clients take")
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size < SMALLEST_RSA:
        raise CertificateError(f"the RSA key in {files.key} has {key.key_size} bits: make one of {SMALLEST_RSA} at least")
    form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    if key.public_key().public_bytes(*form) != leaf.public_key().public_bytes(*form):
        raise CertificateError(
            f"the private key in {files.key} is not that of the first certificate in {files.chain}: the server's own goes first"
        )


def _warn_of_readers(path: Path) -> None:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError:  # gone since it was read; the next look says so
        return
    if mode & stat.S_IRWXO:
        log.warning("everybody on this machine may use the private key %s: chmod 600 closes it", path)


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
