"""Signing in by a token, signing out, and the files that anybody may load."""

import math

from aiohttp import hdrs, web

from holdfast.server.access.gate import Gate
from holdfast.server.access.scopes import Scope
from holdfast.server.access.tokens import TokenRecord
from holdfast.server.api.http.errors import HttpError
from holdfast.server.api.page.rendering import STATIC
from holdfast.server.api.page.visits.handling import PageHandling
from holdfast.server.api.page.visits.sessions import SessionsFullError, SignInLimit
from holdfast.server.api.page.visits.visitor import PageCall, PageRoute
from holdfast.server.metrics.access import RefusalReason
from holdfast.server.metrics.http_requests import HttpMetrics

KNOWN = "/page/sign_in"


class SignIn:
    """Answers the routes that need no session. Belongs to one event loop.

    Args:
        handling: keeps sessions.
        gate: says who holds a token.
        metrics: of the page.
        failures: that one address may make in a minute.

    """

    def __init__(self, handling: PageHandling, gate: Gate, metrics: HttpMetrics, failures: int) -> None:
        self._handling, self._gate, self._metrics = handling, gate, metrics
        self._limit = SignInLimit(failures)

    @property
    def routes(self) -> tuple[PageRoute, ...]:
        """What it answers."""
        return (
            PageRoute("GET", "/sign-in", "sign_in", None, self._form),
            PageRoute("POST", "/sign-in", "sign_in", None, self._sign_in),
            PageRoute("POST", "/sign-out", "sign_out", None, self._sign_out),
            PageRoute("GET", "/static/{name}", "static", None, self._static),
            PageRoute("GET", "/favicon.ico", "static", None, self._icon),
        )

    async def _form(self, call: PageCall) -> web.Response:
        if call.visitor.principal is not None:
            return _see("/")
        return call.html("sign_in.html.j2", fault="")

    async def _sign_in(self, call: PageCall) -> web.Response:
        address = call.request.remote or ""
        if not self._handling.asks_for_tokens:
            return _see("/")
        if (wait := self._limit.wait(address)) > 0:
            self._metrics.refused("sign_ins")
            response = self._refused(call, "Too many sign-ins have failed: try again in a minute.", 429)
            response.headers[hdrs.RETRY_AFTER] = str(math.ceil(wait))
            return response
        record = self._gate.find(call.form.text("token").strip())
        fault = self._fault_of(record)
        if record is None or fault is not None:
            self._limit.failed(address)
            self._gate.refused(fault or RefusalReason.UNKNOWN, KNOWN, address)
            said = "This token may not look at the page: it needs the scope admin:read or admin."
            return self._refused(call, said if fault is RefusalReason.SCOPE else "This token is not known here.", 403)
        response = _see("/")
        try:
            self._handling.begin_session(response, record)
        except SessionsFullError as error:
            self._metrics.refused("sessions")
            return self._refused(call, f"{error}.", 503)
        return response

    def _fault_of(self, record: TokenRecord | None) -> RefusalReason | None:
        if record is None or self._gate.tokens is None:
            return RefusalReason.UNKNOWN
        if not self._gate.tokens.valid(record):
            return RefusalReason.EXPIRED
        return None if record.principal.may(Scope.ADMIN_READ) else RefusalReason.SCOPE

    def _refused(self, call: PageCall, fault: str, status: int) -> web.Response:
        return call.html("sign_in.html.j2", status, fault=fault)

    async def _sign_out(self, call: PageCall) -> web.Response:
        response = _see("/sign-in")
        self._handling.end_session(call, response)
        return response

    async def _static(self, call: PageCall) -> web.Response:
        name = call.request.match_info["name"]
        if name not in STATIC:
            raise HttpError(404, "there is no such file")
        # Its address has its hash, so that a browser may keep it.
        headers = {hdrs.CACHE_CONTROL: "max-age=3600"}
        return web.Response(body=call.rendering.static[name], content_type=STATIC[name], charset="utf-8", headers=headers)

    async def _icon(self, call: PageCall) -> web.Response:
        return web.Response(body=call.rendering.static["icon.svg"], content_type="image/svg+xml")


def _see(where: str) -> web.Response:
    return web.Response(status=303, headers={hdrs.LOCATION: where})
