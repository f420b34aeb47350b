"""Sessions, tokens of forms and the limit of failed sign-ins, whatever is asked of them in which order."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from holdfast.server.access.scopes import Scope
from holdfast.server.access.tokens import TokenRecord, record_of
from holdfast.server.api.page.visits.sessions import ADDRESSES, FormTokens, PageSessions, SessionsFullError, SignInLimit

MOST, SECONDS = 3, 100.0


def record(name: str) -> TokenRecord:
    return record_of(f"token of {name}", name, frozenset({Scope.ADMIN}), None)


HOLDERS = [record(name) for name in ("anna", "bert", "cleo")]


@given(st.lists(st.tuples(st.sampled_from(["begin", "end", "wait", "revoke", "allow"]), st.integers(0, 2)), max_size=40))
def test_sessions_are_those_that_were_begun_and_have_not_ended(steps: list[tuple[str, int]]) -> None:
    clock, valid = [0.0], set(HOLDERS)
    sessions = PageSessions(MOST, SECONDS, lambda each: each in valid, lambda: clock[0])
    alive: list[tuple[str, TokenRecord, float]] = []
    for what, which in steps:
        holder = HOLDERS[which]
        alive = [each for each in alive if each[2] > clock[0] and each[1] in valid]
        if what == "begin":
            try:
                alive.append((sessions.begin(holder), holder, clock[0] + SECONDS))
            except SessionsFullError:
                assert len(alive) == MOST
                assert holder not in [each[1] for each in alive]
            if len(alive) > MOST:
                del alive[[each[1] for each in alive].index(holder)]
        elif what == "end" and alive:
            sessions.end(alive.pop(which % len(alive))[0])
        elif what == "wait":
            clock[0] += 40.0 * which
        elif what == "revoke":
            for each in alive:  # a session is looked at before its token comes back
                sessions.find(each[0])
            valid.discard(holder)
            assert all(sessions.find(each[0]) is None for each in alive if each[1] is holder)
        elif what == "allow":
            valid.add(holder)
        for session, of, ends in alive:
            assert sessions.find(session) == (of if ends > clock[0] and of in valid else None)
        assert len(sessions) <= MOST


@given(st.text(max_size=30), st.text(max_size=30))
def test_a_form_belongs_to_one_cookie(cookie: str, other: str) -> None:
    forms = FormTokens()
    assert forms.is_of(cookie, forms.of(cookie))
    assert forms.is_of(cookie, forms.of(other)) == (cookie == other)
    assert not forms.is_of(cookie, other)
    assert not FormTokens().is_of(cookie, forms.of(cookie))


def test_failures_are_counted_by_address_and_by_network() -> None:
    clock = [0.0]
    limit = SignInLimit(2, lambda: clock[0])
    for address in ("10.0.0.1", "10.0.0.1", "2001:db8::1", "2001:db8::2"):
        limit.failed(address)
    assert limit.wait("10.0.0.1") == 60
    assert limit.wait("2001:db8::3") == 60
    assert limit.wait("10.0.0.2") == limit.wait("2001:db8:1::1") == 0
    clock[0] = 61.0
    assert limit.wait("10.0.0.1") == 0
    limit.failed("10.0.0.1")
    assert limit.wait("10.0.0.1") == 0


def test_addresses_are_bounded() -> None:
    limit = SignInLimit(1, lambda: 0.0)
    for number in range(ADDRESSES + 1):
        limit.failed(f"10.{number // 65536}.{number // 256 % 256}.{number % 256}")
    assert limit.wait("10.0.0.0") == 0
    assert limit.wait("10.0.0.1") > 0


def test_records_are_as_a_file_has_them() -> None:
    assert record("anna").created <= datetime.now(UTC)
