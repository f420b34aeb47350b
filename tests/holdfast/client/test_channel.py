"""How clients connect: where a token may go, and which files they take."""

from pathlib import Path

import pytest

from holdfast.client import AsyncClient, Client, CredentialError, Tls
from holdfast.client.admin import AdminClient
from holdfast.client.channel import host_of
from holdfast.client.loopback import is_loopback
from holdfast.client.options import read_token

TOKEN = "holdfast_a-token-of-this-test"  # noqa: S105
ELSEWHERE = "192.0.2.7:50051"


@pytest.mark.parametrize(
    ("address", "host", "here"),
    [
        ("localhost:50051", "localhost", True),
        ("127.0.0.1:50051", "127.0.0.1", True),
        ("127.9.9.9:1", "127.9.9.9", True),
        ("[::1]:50051", "::1", True),
        ("::1", "::1", True),
        ("unix:/run/holdfast.sock", "localhost", True),
        ("unix:///run/holdfast.sock", "localhost", True),
        ("dns:///localhost:50051", "localhost", True),
        ("ipv4:127.0.0.1:50051", "127.0.0.1", True),
        ("ipv6:[::1]:50051", "::1", True),
        ("dns:///holdfast.example:50051", "holdfast.example", False),
        ("dns://8.8.8.8/holdfast.example:50051", "holdfast.example", False),
        ("holdfast.example:50051", "holdfast.example", False),
        ("holdfast.example", "holdfast.example", False),
        ("0.0.0.0:50051", "0.0.0.0", False),  # noqa: S104
        ("[2001:db8::7]:50051", "2001:db8::7", False),
        ("2001:db8::7", "2001:db8::7", False),
        ("ipv4:127.0.0.1:1,192.0.2.7:1", "", False),
        ("localhost.evil.example:50051", "localhost.evil.example", False),
        ("127.0.0.1.evil.example:50051", "127.0.0.1.evil.example", False),
        ("xds:///localhost:50051", "", False),
    ],
)
def test_whether_an_address_is_this_machine(address: str, host: str, here: bool) -> None:
    assert is_loopback(host_of(address)) == here
    if host:
        assert host_of(address) == host


async def test_a_token_goes_in_plain_text_to_this_machine_alone(tmp_path: Path) -> None:
    for make in (Client, AsyncClient, AdminClient):
        with pytest.raises(CredentialError, match="plain text") as caught:
            make(ELSEWHERE, token=TOKEN)
        assert TOKEN not in str(caught.value)
    Client(ELSEWHERE, token=TOKEN, plaintext_token=True).close()
    Client(ELSEWHERE, token=TOKEN, tls=Tls()).close()
    Client("localhost:1", token=TOKEN).close()
    await AsyncClient("localhost:1", token=TOKEN).close()


@pytest.mark.parametrize("token", ["", "two words", "line\nfeed", "t\u00f6ken", "tab\t"])
def test_what_is_no_token_is_refused_without_being_told(token: str) -> None:
    with pytest.raises(CredentialError) as caught:
        Client("localhost:1", token=token)
    assert not token or token not in str(caught.value)


def test_no_client_shows_its_token() -> None:
    with Client("localhost:1", token=TOKEN) as client:
        assert TOKEN not in repr(client)


@pytest.mark.parametrize(
    ("text", "token"),
    [(TOKEN, TOKEN), (f"# mine\n\n{TOKEN}\n", TOKEN), (f"olga:{TOKEN}\n", TOKEN), (f"olga:{TOKEN}:read", TOKEN)],
)
def test_a_file_holds_one_token(tmp_path: Path, text: str, token: str) -> None:
    (tmp_path / "token").write_text(text)
    assert read_token(tmp_path / "token") == token


@pytest.mark.parametrize(("text", "word"), [("", "0 tokens"), (f"{TOKEN}\n{TOKEN}", "2 tokens"), ('{"version": 1}', "hashes")])
def test_a_file_that_holds_something_else_is_refused(tmp_path: Path, text: str, word: str) -> None:
    (tmp_path / "token").write_text(text)
    with pytest.raises(CredentialError, match=word) as caught:
        read_token(tmp_path / "token")
    assert TOKEN not in str(caught.value)
    with pytest.raises(CredentialError, match="absent"):
        read_token(tmp_path / "absent")


def test_files_of_tls_that_will_not_do_are_one_line(tmp_path: Path) -> None:
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("no certificate")
    for tls in (
        Tls(ca=garbage),
        Tls(ca=tmp_path / "absent.pem"),
        Tls(cert=garbage, key=garbage),
        Tls(cert=garbage),
        Tls(key=garbage),
    ):
        with pytest.raises(CredentialError) as caught:
            Client("localhost:1", tls=tls)
        assert "\n" not in str(caught.value)
