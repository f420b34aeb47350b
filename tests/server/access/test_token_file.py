"""Files of tokens: what is kept, what is refused, how they change under a running server."""

import json
import logging
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.server.access.editing import add_token, migrate_tokens, remove_token
from holdfast.server.access.scopes import Scope
from holdfast.server.access.token_file import TokenFile, read_table
from holdfast.server.access.tokens import TokenFileError, TokenTable, digest_of, new_token, record_of

CLASSIFY = frozenset({Scope.CLASSIFY})
PLAIN = "# tokens of an earlier version\nolga:an-operators-token-1\n\nrita:a-readers-token-0001:read\n"


def add(path: Path, name: str, scopes: frozenset[Scope] = CLASSIFY, expires: datetime | None = None) -> str:
    token = new_token()
    add_token(path, record_of(token, name, scopes, expires))
    return token


def test_a_token_is_found_by_itself_alone(tmp_path: Path) -> None:
    first, second = (add(tmp_path / "tokens", name) for name in ("camera", "olga"))
    tokens = TokenFile(tmp_path / "tokens")
    for token, name in ((first, "camera"), (second, "olga")):
        record = tokens.find(token)
        assert record is not None
        assert (record.name, record.scopes, record.expires) == (name, CLASSIFY, None)
    for wrong in ("", first[:-1], first + "a", first.swapcase(), digest_of(first), "\udcff"):
        assert tokens.find(wrong) is None


def test_the_file_holds_no_token_and_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    token = add(path, "camera")
    for file in tmp_path.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        text = file.read_text()
        assert not any(token[i : i + 12] in text for i in range(len("holdfast_"), len(token) - 12))
    assert digest_of(token) in path.read_text()


def test_tokens_have_256_bits_of_their_own() -> None:
    made = {new_token() for _ in range(1000)}
    assert len(made) == 1000
    assert {len(token) for token in made} == {len("holdfast_") + 43}  # 32 bytes in base64


def test_what_is_added_and_removed_is_seen_and_a_broken_file_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    camera, reads = add(path, "camera"), []
    tokens = TokenFile(path, reads.append)
    olga = add(path, "olga")
    assert tokens.find(olga) is not None  # without a wait
    for broken in ("", "{", "[]", "{}", PLAIN, '{"version": 2, "tokens": []}', '{"version": true, "tokens": []}', "\x00"):
        reads.clear()
        path.write_text(broken)
        tokens.look()
        assert reads == [False], broken
        assert tokens.find(camera) is not None
    path.unlink()
    tokens.look()
    assert tokens.find(camera) is not None
    add(path, "oleg")
    tokens.look()
    assert reads[-1]
    assert tokens.find(camera) is None
    remove_token(path, "oleg")
    tokens.look()
    assert reads[-1]  # a file without tokens is one


def test_a_record_is_valid_until_it_is_removed_changed_or_expired(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    token, soon = add(path, "camera"), datetime.now(UTC) + timedelta(seconds=0.3)
    add(path, "brief", expires=soon)
    tokens = TokenFile(path)
    camera, brief = (record for record in read_table(path).tokens)
    assert tokens.valid(camera)
    assert not brief.expired(soon - timedelta(seconds=0.1))
    assert brief.expired(soon)
    remove_token(path, "camera")
    add_token(path, record_of(token, "camera", frozenset({Scope.EMBED}), None))
    tokens.look()
    assert not tokens.valid(camera)
    assert tokens.valid(read_table(path).tokens[-1])


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"name": "a b"}, "name"),
        ({"name": "cert:olga"}, "name"),
        ({"name": ""}, "name"),
        ({"sha256": "0" * 63}, "sha256"),
        ({"sha256": "G" * 64}, "sha256"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["root"]}, "scopes"),
        ({"expires": "soon"}, "expires"),
        ({"expires": "2030-01-01T00:00:00"}, "expires"),
        ({"token": "holdfast_secret-secret"}, "token"),
    ],
)
def test_a_file_that_will_not_do_is_refused_in_a_line_without_its_content(tmp_path: Path, change: dict, word: str) -> None:
    path = tmp_path / "tokens"
    add(path, "camera")
    table = json.loads(path.read_text())
    table["tokens"][0] |= change
    path.write_text(json.dumps(table))
    with pytest.raises(TokenFileError, match=word) as caught:
        TokenFile(path)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_name_and_a_token_stand_there_once(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    token = add(path, "camera")
    with pytest.raises(TokenFileError, match="camera"):
        add(path, "camera")
    table = json.loads(path.read_text())
    table["tokens"].append(table["tokens"][0] | {"name": "olga"})
    path.write_text(json.dumps(table))
    with pytest.raises(TokenFileError, match="sha256") as caught:
        TokenFile(path)
    assert digest_of(token) not in str(caught.value)


def test_a_file_that_others_may_write_is_refused_and_one_that_they_may_read_is_told_of(tmp_path: Path, caplog) -> None:
    path = tmp_path / "tokens"
    add(path, "camera")
    path.chmod(0o602)
    with pytest.raises(TokenFileError, match="chmod"):
        TokenFile(path)
    path.chmod(0o644)
    TokenFile(path)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TokenFileError, match="absent"):
        TokenFile(tmp_path / "absent")
    if os.geteuid():
        (tmp_path / "closed").touch(mode=0)
        with pytest.raises(TokenFileError, match="Permission"):
            TokenFile(tmp_path / "closed")


def test_a_file_of_an_earlier_version_is_refused_with_the_remedy_and_migrated(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_text(PLAIN)
    path.chmod(0o640)
    for refuse in (lambda: TokenFile(path), lambda: add(path, "camera")):
        with pytest.raises(TokenFileError, match="holdfast token migrate") as caught:
            refuse()
        assert "operators-token" not in str(caught.value)
    migrate_tokens(path)
    assert "an-operators-token" not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640  # a server of the file's group reads it as before
    tokens = TokenFile(path)
    olga, rita = tokens.find("an-operators-token-1"), tokens.find("a-readers-token-0001")
    assert olga is not None
    assert rita is not None
    assert (olga.name, olga.scopes) == ("olga", {Scope.ADMIN})
    assert (rita.name, rita.scopes) == ("rita", {Scope.ADMIN_READ})
    with pytest.raises(TokenFileError, match="nothing to migrate"):
        migrate_tokens(path)


@pytest.mark.parametrize(
    "text", ["a:token-of-a-sixteen\na:token-of-another-16\n", "a:the-same-token-16\nb:the-same-token-16\n"]
)
def test_what_is_not_one_to_one_is_not_migrated(tmp_path: Path, text: str) -> None:
    path = tmp_path / "tokens"
    path.write_text(text)
    with pytest.raises(TokenFileError, match="same"):
        migrate_tokens(path)
    assert path.read_text() == text


def test_a_link_leads_to_the_file_that_is_changed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    add(tmp_path / "real" / "tokens", "camera")
    link = tmp_path / "tokens"
    link.symlink_to(tmp_path / "real" / "tokens")
    add(link, "olga")
    assert link.is_symlink()
    assert [each.name for each in read_table(tmp_path / "real" / "tokens").tokens] == ["camera", "olga"]


def test_two_writers_lose_nothing(tmp_path: Path) -> None:
    path, names = tmp_path / "tokens", [f"writer-{number}" for number in range(16)]
    with ThreadPoolExecutor(8) as writers:  # each opens the lock for itself, as processes do
        list(writers.map(lambda name: add(path, name), names))
    assert sorted(each.name for each in read_table(path).tokens) == sorted(names)


SCOPES = st.frozensets(st.sampled_from(Scope), min_size=1)
MOMENTS = st.none() | st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@settings(max_examples=30)
@given(
    st.dictionaries(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,9}", fullmatch=True), st.tuples(SCOPES, MOMENTS), max_size=5)
)
def test_a_table_is_read_as_it_was_written(entries: dict[str, tuple[frozenset[Scope], datetime | None]]) -> None:
    table = TokenTable(tokens=tuple(record_of(new_token(), name, *rest) for name, rest in entries.items()))
    assert TokenTable.parse(table.format(), "here") == table
