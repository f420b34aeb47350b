"""Certificates for tests, as an operator's own authority would make them."""

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey

HERE = (x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1")))


def ecdsa() -> Key:
    return ec.generate_private_key(ec.SECP256R1())


class Authority:
    """Signs certificates, and lays them down as files."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self._key = folder, ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.file = folder / f"{name}.pem"
        certificate = self._build(self._name, self._key, timedelta(hours=-1), timedelta(days=30), authority=True)
        self.file.write_bytes(certificate.public_bytes(Encoding.PEM))

    def issue(
        self,
        stem: str,
        *,
        name: str = "server",
        names: tuple[x509.GeneralName, ...] = HERE,
        key: Key | None = None,
        begins: timedelta = timedelta(hours=-1),
        lasts: timedelta = timedelta(days=30),
        passphrase: bytes = b"",
    ) -> tuple[Path, Path]:
        """A certificate and its key as STEM.pem and STEM.key, replaced one after the other where they are there."""
        key = key or ecdsa()
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._build(subject, key, begins, lasts, names)
        chain, private = self.folder / f"{stem}.pem", self.folder / f"{stem}.key"
        lock = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
        chain.write_bytes(certificate.public_bytes(Encoding.PEM))
        private.touch(mode=0o600)
        private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, lock))
        return chain, private

    def _build(
        self,
        subject: x509.Name,
        key: Key,
        begins: timedelta,
        lasts: timedelta,
        names: tuple[x509.GeneralName, ...] = (),
        *,
        authority: bool = False,
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + begins)
            .not_valid_after(now + lasts)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self._key, hashes.SHA256())
