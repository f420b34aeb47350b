"""Who may see the page, and what a stranger and another site get of it."""

import http.client
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from holdfast.errors import HoldfastError
from holdfast.server.access.editing import remove_token
from holdfast.server.access.scopes import Scope
from holdfast.server.run import check_cheap
from holdfast.server.settings import Settings
from tests.server.access.certificates import Authority
from tests.server.access.tokens import add
from tests.server.api.admin import OPERATOR, READER, token_file
from tests.server.api.page.browsing import signed_in, visit
from tests.server.api.page.doubtful import HOSTILE, ServePage, add_doubtful
from tests.server.running import Served, wait_for

GUARDED = ["/", "/live", "/bench", "/exemplars/1/thumbnail.png"]
CHANGES = ["/exemplars/1/approve", "/exemplars/1/drop", "/versions/reload", "/versions/rollback", "/bench/attack"]


@pytest.mark.parametrize("path", GUARDED)
def test_a_stranger_is_shown_a_form_to_sign_in_and_nothing_else(paged: Served, path: str) -> None:
    stranger = visit(paged)
    reply = stranger.get(path)
    assert (reply.status, reply.headers["Location"], reply.body) == (303, "/sign-in", b"")
    form = stranger.get("/sign-in").text
    assert "green" not in form
    assert "tiny" not in form
    assert stranger.get(path, Accept="application/json").status == 401


@pytest.mark.parametrize("path", [*CHANGES, "/bench"])
def test_a_stranger_changes_nothing(paged: Served, path: str) -> None:
    stranger = visit(paged)
    stranger.get("/sign-in")
    assert stranger.post(path).status == 401


@pytest.mark.parametrize("path", CHANGES)
def test_who_may_only_look_changes_nothing(paged: Served, path: str) -> None:
    reader = signed_in(paged, READER)
    assert reader.post(path).status == 403


def test_who_may_only_look_is_shown_no_buttons(serve_page: ServePage) -> None:
    served = serve_page()
    number = add_doubtful(served)
    seen = signed_in(served, READER).get("/").text
    assert f"#{number}" in seen
    assert "read only" in seen
    assert "/approve" not in seen
    assert "/versions/reload" not in seen
    assert "/approve" in signed_in(served, OPERATOR).get("/").text


@pytest.mark.parametrize("token", ["", "no-such-token", OPERATOR + "x", "\ud800", "a" * 5000])
def test_a_token_that_nobody_holds_does_not_sign_in(serve_page: ServePage, token: str) -> None:
    stranger = visit(serve_page())
    stranger.get("/sign-in")
    assert stranger.post("/sign-in", token=token.encode("utf-8", "replace").decode()).status == 403
    assert stranger.get("/").status == 303


def test_a_token_without_the_scope_or_past_its_end_does_not_sign_in(serve_page: ServePage, tmp_path: Path) -> None:
    served = serve_page()
    caller = add(tmp_path / "tokens", "carl", Scope.CLASSIFY)
    late = add(tmp_path / "tokens", "lena", Scope.ADMIN, expires=datetime.now(UTC) + timedelta(seconds=0.1))
    wait_for(lambda: visit(served).sign_in(late).status == 403)
    assert visit(served).sign_in(caller).status == 403


def test_failed_sign_ins_are_limited_and_the_right_token_is_not_looked_at_then(serve_page: ServePage) -> None:
    served = serve_page(page_sign_ins=3)
    guesser = visit(served)
    assert [guesser.sign_in(f"guess-{i}").status for i in range(5)] == [403, 403, 403, 429, 429]
    refused = guesser.sign_in(OPERATOR)
    assert refused.status == 429
    assert 0 < int(refused.headers["Retry-After"]) <= 60
    assert served.metric("holdfast_page_refused_total", limit="sign_ins") == 3


def test_a_session_ends_with_its_token(serve_page: ServePage, tmp_path: Path) -> None:
    served = serve_page()
    operator = signed_in(served, OPERATOR)
    assert operator.get("/live").status == 200
    remove_token(tmp_path / "tokens", "olga")
    wait_for(lambda: operator.get("/live").status == 303)


def test_a_session_ends_when_its_holder_signs_out_or_its_time_is_over(serve_page: ServePage) -> None:
    served = serve_page(page_session_hours=0.3 / 3600)
    operator = visit(served)
    operator.sign_in(OPERATOR)
    wait_for(lambda: operator.get("/live").status == 303)


def test_signing_out_ends_the_session(paged: Served) -> None:
    operator = signed_in(paged, OPERATOR)
    session = dict(operator.cookies)
    assert operator.post("/sign-out").status == 303
    operator.cookies = session
    assert operator.get("/live").status == 303


def test_sessions_are_bounded_and_nobody_elses_is_ended(serve_page: ServePage) -> None:
    served = serve_page(page_sessions=2)
    reader, first, second = signed_in(served, READER), signed_in(served, OPERATOR), signed_in(served, OPERATOR)
    assert [each.get("/live").status for each in (reader, first, second)] == [200, 303, 200]


def test_without_room_a_new_session_is_refused(serve_page: ServePage) -> None:
    served = serve_page(page_sessions=1)
    reader = signed_in(served, READER)
    assert visit(served).sign_in(OPERATOR).status == 503
    assert reader.get("/live").status == 200


def test_the_session_is_kept_from_scripts_and_other_sites(paged: Served) -> None:
    cookies = visit(paged).sign_in(OPERATOR).headers.get_all("Set-Cookie")
    session = next(cookie for cookie in cookies or () if "-session-" in cookie)
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= {part.strip() for part in session.split(";")}
    assert OPERATOR not in session


def test_over_tls_the_session_is_this_hosts_alone_and_is_taken_back(serve_page: ServePage, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    chain, key = authority.issue("server")
    served = serve_page(tls_cert=chain, tls_key=key, admin_port=0)
    assert served.app.page_url.startswith("https://")
    operator = visit(served)
    operator.trusted = ssl.create_default_context(cafile=str(authority.file))
    cookies = operator.sign_in(OPERATOR).headers.get_all("Set-Cookie") or []
    assert operator.get("/live").status == 200
    cookies += operator.post("/sign-out").headers.get_all("Set-Cookie") or []
    sessions = [cookie for cookie in cookies if "-session-" in cookie]
    assert len(sessions) == 2
    for cookie in sessions:
        assert cookie.startswith("__Host-")
        assert "Secure" in {part.strip() for part in cookie.split(";")}
    plain = visit(served)
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        plain.get("/")


@pytest.mark.parametrize("path", ["/", "/sign-in", "/nowhere", "/static/page.css", "/static/other", "/live"])
def test_every_reply_has_the_headers_that_keep_others_out(paged: Served, path: str) -> None:
    for visitor in (visit(paged), signed_in(paged, READER)):
        headers = visitor.get(path).headers
        policy = {part.split()[0]: part.split()[1:] for part in headers["Content-Security-Policy"].split(";")}
        assert policy["default-src"] == ["'none'"]
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == policy["form-action"] == ["'self'"]
        assert policy["frame-ancestors"] == policy["base-uri"] == ["'none'"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert "static/page" in path or headers["Cache-Control"] == "no-store"
        assert headers["Server"] == "holdfast"


@pytest.mark.parametrize("path", ["/versions/rollback", "/exemplars/1/drop", "/sign-out", "/bench"])
def test_another_sites_form_is_refused(paged: Served, path: str) -> None:
    operator = signed_in(paged, OPERATOR)
    assert operator.post_raw(path, {}).status == 403
    assert operator.post_raw(path, {"form_token": "0" * 64}).status == 403
    theirs = visit(paged)
    theirs.get("/sign-in")
    assert operator.post_raw(path, {"form_token": theirs.form_token}).status == 403
    assert operator.post_raw(path, {"form_token": operator.form_token}, Sec_Fetch_Site="cross-site").status == 403


def test_another_site_signs_nobody_in(paged: Served) -> None:
    stranger = visit(paged)
    assert stranger.post_raw("/sign-in", {"token": OPERATOR}).status == 403


def test_without_tokens_it_answers_to_the_names_of_this_machine_alone(serve_page: ServePage) -> None:
    served = serve_page(admin_token_file=None, admin_insecure=True)
    anybody = visit(served)
    assert anybody.get("/").status == 200
    port = anybody.address[1]
    assert anybody.get("/", Host=f"localhost:{port}").status == 200
    assert anybody.get("/", Host=f"[::1]:{port}").status == 200
    for name in ("attacker.example", "localhost.attacker.example", "10.0.0.1", ""):
        assert anybody.get("/", Host=f"{name}:{port}").status in {400, 421}


def test_the_page_asks_for_tokens_as_the_admin_service_does(tiny_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(HoldfastError, match="tokens"):
        check_cheap(Settings(bundle=tiny_bundle, page_port=0))
    with pytest.raises(HoldfastError, match="page-host"):
        check_cheap(Settings(bundle=tiny_bundle, page_port=0, page_host="0.0.0.0", admin_insecure=True))  # noqa: S104
    check_cheap(Settings(bundle=tiny_bundle, page_port=0, token_file=token_file(tmp_path / "tokens")))


def test_names_are_shown_as_text(serve_page: ServePage) -> None:
    served = serve_page()
    add_doubtful(served)
    seen = signed_in(served, OPERATOR).get("/").text
    assert HOSTILE not in seen
    assert "&lt;script&gt;document.title" in seen


def test_refusals_are_counted(serve_page: ServePage) -> None:
    served = serve_page()
    visit(served).get("/")
    visit(served).get("/live", Accept="application/json")
    visit(served).sign_in("nobody's")
    assert served.metric("holdfast_auth_failures_total", listener="page", reason="missing") == 1
    assert served.metric("holdfast_auth_failures_total", listener="page", reason="unknown") == 1
    assert served.metric("holdfast_page_requests_total", route="live", status="303") == 1
