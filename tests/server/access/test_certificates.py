"""The files of TLS: each that cannot be used is told in one line, and changes nothing where a server has others already."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from holdfast.server.access.certificates import CertificateError, ServedCertificate, read_certificates
from holdfast.server.access.files import CertificateFiles
from holdfast.server.settings import ConfigurationError, load_settings
from tests.server.access.certificates import Authority, ecdsa

WEEK = timedelta(days=7)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def files(authority: Authority, tmp_path: Path) -> CertificateFiles:
    authority.folder = tmp_path
    return CertificateFiles(*authority.issue("server"), authority.file)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-60])


SPOILED: dict[str, tuple[Callable[[CertificateFiles, Authority], object], str]] = {
    "no certificate": (lambda files, _: files.chain.unlink(), "server.pem"),
    "no key": (lambda files, _: files.key.unlink(), "server.key"),
    "no signers": (lambda files, _: files.client_ca.rename(files.client_ca.with_suffix(".gone")), "authority.pem"),
    "a directory": (lambda files, _: (files.key.unlink(), files.key.mkdir()), "directory"),
    "half a certificate": (lambda files, _: cut_short(files.chain), "no certificate"),
    "half a key": (lambda files, _: cut_short(files.key), "no private key"),
    "an empty key": (lambda files, _: files.key.write_bytes(b""), "no private key"),
    "the key in the place of the certificate": (lambda f, _: f.chain.write_bytes(f.key.read_bytes()), "no certificate"),
    "another key": (lambda files, authority: files.key.write_bytes(authority.issue("other")[1].read_bytes()), "is not that of"),
    "expired": (lambda _, authority: authority.issue("server", begins=-WEEK, lasts=timedelta(minutes=-1)), "expired on"),
    "not yet": (lambda _, authority: authority.issue("server", begins=WEEK, lasts=2 * WEEK), "valid from"),
    "a passphrase": (lambda _, authority: authority.issue("server", passphrase=b"word"), "passphrase"),
    "Ed25519": (lambda _, authority: authority.issue("server", key=ed25519.Ed25519PrivateKey.generate()), "RSA nor ECDSA"),
    "a small key": (lambda _, authority: authority.issue("server", key=rsa.generate_private_key(65537, 1024)), "1024 bits"),  # noqa: S505
}


@pytest.mark.parametrize("how", SPOILED)
def test_what_cannot_be_used_is_one_line(files: CertificateFiles, authority: Authority, how: str) -> None:
    moved = files.client_ca
    assert moved is not None
    spoil, word = SPOILED[how]
    try:
        spoil(files, authority)
        with pytest.raises(CertificateError, match=word) as caught:
            read_certificates(files, datetime.now(UTC))
    finally:
        if (gone := moved.with_suffix(".gone")).exists():
            gone.rename(moved)
    assert "\n" not in str(caught.value)
    assert "PRIVATE" not in str(caught.value)


@pytest.mark.parametrize("how", ["half a certificate", "half a key", "another key", "expired"])
def test_what_was_read_before_stays_until_all_of_it_is_there(files: CertificateFiles, authority: Authority, how: str) -> None:
    reads: list[bool] = []
    served = ServedCertificate(files, timedelta(0), reads.append)
    before, whole = served.current, {path: path.read_bytes() for path in (files.chain, files.key)}
    SPOILED[how][0](files, authority)
    assert not served.look()
    assert not served.look()
    assert reads == [False]  # told once
    assert served.current is before
    for path, content in whole.items():
        path.write_bytes(content)
    assert served.look()
    assert served.current == before
    authority.issue("server")
    assert served.look()
    assert served.current != before
    assert reads == [False, True, True]


def test_a_key_that_everybody_may_read_and_a_certificate_that_ends_are_told_of(
    files: CertificateFiles, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    files.key.chmod(0o644)
    ServedCertificate(files, timedelta(days=60))
    assert len(caplog.records) == 2
    assert {record.levelno for record in caplog.records} == {logging.WARNING}
    caplog.clear()
    files.key.chmod(0o640)
    served = ServedCertificate(files, timedelta(days=3))
    served.look()
    assert caplog.records == []
    authority.issue("server", lasts=timedelta(days=2), key=ecdsa())
    assert served.look()
    served.look()
    assert [record.levelno for record in caplog.records if "expires in" in record.message] == [logging.WARNING]  # once a day


@pytest.mark.parametrize(
    "flags",
    [
        ["--tls-cert", "c"],
        ["--tls-key", "k"],
        ["--tls-client-ca", "a"],
        ["--admin-tls-client-ca", "a"],
    ],
)
def test_half_of_the_settings_is_refused(flags: list[str]) -> None:
    with pytest.raises(ConfigurationError, match="tls_cert"):
        load_settings(["--bundle", "x", *flags])
