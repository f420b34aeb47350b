"""What happens around every request to the page: who makes it, forged forms, errors, headers, metrics."""

import secrets
from contextlib import ExitStack
from typing import Any

import orjson
from aiohttp import hdrs, web

from holdfast.client.loopback import is_loopback
from holdfast.server.access.gate import Gate
from holdfast.server.access.tokens import TokenRecord
from holdfast.server.api.authentication import ANYBODY
from holdfast.server.api.http.errors import SERVER, HttpError, describe_error
from holdfast.server.api.http.sending import send
from holdfast.server.api.page.rendering import Rendering
from holdfast.server.api.page.visits.forms import Form, read_form
from holdfast.server.api.page.visits.sessions import BYTES, FormTokens, PageSessions
from holdfast.server.api.page.visits.visitor import PageCall, PageRoute, Visitor, wants_json
from holdfast.server.core.drain import Drain
from holdfast.server.core.errors import DrainingError, ForbiddenError
from holdfast.server.metrics.access import RefusalReason
from holdfast.server.metrics.http_requests import CLIENT_LEFT, HttpMetrics
from holdfast.server.monitor.page.attack import BenchError
from holdfast.server.monitor.page.background import BenchBusyError
from holdfast.server.settings import Settings

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self';"
    " form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
"""All that a browser loads for the page comes from here, and nobody puts it into a frame."""

HEADERS = {
    hdrs.SERVER: SERVER,
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}

FORM_HEADER, FORM_FIELD = "X-Form-Token", "form_token"


class PageHandling:
    """Makes handlers of routes. Belongs to one event loop.

    Args:
        settings: of the server.
        gate: says who holds a token.
        metrics: of the page.
        rendering: makes pages.

    Attributes:
        drain: has it begun, then nothing new is taken.
        sessions: sign-ins that are in force.

    """

    def __init__(self, settings: Settings, gate: Gate, metrics: HttpMetrics, rendering: Rendering) -> None:
        self._settings, self._gate, self._metrics, self._rendering = settings, gate, metrics, rendering
        self.drain = Drain()
        self.sessions = PageSessions(settings.page_sessions, settings.page_session_hours * 3600, self._is_valid)
        self._forms = FormTokens()
        self.port = 0  # known once it listens

    def application(self, routes: tuple[PageRoute, ...]) -> web.Application:
        """All routes, and a page for what is none."""
        app = web.Application(middlewares=[self._say_errors], client_max_size=self._settings.max_message_bytes)
        app.on_response_prepare.append(_add_headers)
        for route in routes:
            app.router.add_route(route.method, route.path, self._handler(route))
        return app

    @property
    def asks_for_tokens(self) -> bool:
        """Whether visitors have to sign in."""
        return self._gate.tokens is not None

    def cookie(self, kind: str) -> str:
        """The name of a cookie. Cookies know no ports, and several servers may be on one machine."""
        return f"{'__Host-' if self._gate.certificate is not None else ''}holdfast-{kind}-{self.port}"

    def set_cookie(self, response: web.StreamResponse, kind: str, value: str) -> None:
        """Have a browser keep it until it is closed, and show it to this page alone, and to no script."""
        secure = self._gate.certificate is not None
        response.set_cookie(self.cookie(kind), value, path="/", httponly=True, secure=secure, samesite="Strict")

    def begin_session(self, response: web.StreamResponse, record: TokenRecord) -> None:
        """Somebody has signed in. Raises SessionsFullError."""
        self.set_cookie(response, "session", self.sessions.begin(record))

    def end_session(self, call: PageCall, response: web.StreamResponse) -> None:
        """Somebody signs out."""
        self.sessions.end(call.request.cookies.get(self.cookie("session"), ""))
        secure = self._gate.certificate is not None  # or a browser would keep it
        response.del_cookie(self.cookie("session"), path="/", httponly=True, secure=secure, samesite="Strict")

    def _is_valid(self, record: TokenRecord) -> bool:
        return self._gate.tokens is not None and self._gate.tokens.valid(record)

    def _handler(self, route: PageRoute) -> Any:
        async def handle(request: web.Request) -> web.StreamResponse:
            status = CLIENT_LEFT
            try:
                with self._metrics.timing(route.name), ExitStack() as held:
                    response = await self._respond(route, request, held)
                    status = response.status
                    await send(request, response, self._settings.http_timeout, self._metrics)
                return response
            finally:
                self._metrics.ended(route.name, status)

        return handle

    async def _respond(self, route: PageRoute, request: web.Request, held: ExitStack) -> web.StreamResponse:
        visit = request.cookies.get(self.cookie("visit"), "")
        fresh = "" if visit else secrets.token_urlsafe(BYTES)
        visitor = Visitor(None, "")
        try:
            self.drain.enter()
            held.callback(self.drain.leave)
            self._check_host(request)
            visitor = self._visitor(request, visit or fresh)
            response = await self._answer(route, request, visitor)
        except Exception as error:  # noqa: BLE001 - the table sorts them, and logs what is not in it
            response = self._refusal(error, request, visitor)
        if fresh and not response.prepared:
            self.set_cookie(response, "visit", fresh)
        if self.drain.begun.is_set():
            response.force_close()
        return response

    async def _answer(self, route: PageRoute, request: web.Request, visitor: Visitor) -> web.StreamResponse:
        if not visitor.may(route.needs):
            return self._turn_away(route, request, visitor)
        form = Form()
        if request.method == hdrs.METH_POST:
            form = await read_form(request, self._settings.max_message_bytes, self._settings.http_timeout)
            self._check_form(request, form)
        return await route.answer(PageCall(request, visitor, form, self._rendering))

    def _turn_away(self, route: PageRoute, request: web.Request, visitor: Visitor) -> web.StreamResponse:
        """Have somebody sign in, or say what their token lacks."""
        if visitor.principal is None and request.method == hdrs.METH_GET and not wants_json(request):
            return web.Response(status=303, headers={hdrs.LOCATION: "/sign-in"})  # as every sign-in begins
        reason = RefusalReason.MISSING if visitor.principal is None else RefusalReason.SCOPE
        self._gate.refused(reason, f"/page/{route.name}", request.remote or "")
        if visitor.principal is not None:
            raise ForbiddenError(f'this needs the scope "{route.needs}", which the token of {visitor.principal.name} lacks')
        raise HttpError(401, "sign in first", ends_connection=request.can_read_body)

    def _visitor(self, request: web.Request, visit: str) -> Visitor:
        if not self.asks_for_tokens:
            return Visitor(ANYBODY, self._forms.of(visit))
        given = request.cookies.get(self.cookie("session"), "")
        record = self.sessions.find(given) if given else None
        if record is None:
            return Visitor(None, self._forms.of(visit))
        return Visitor(record.principal, self._forms.of(given), can_sign_out=True)

    def _check_host(self, request: web.Request) -> None:
        """Where nobody is asked for a token, a site whose name leads here must not be answered. Raises HttpError."""
        if not self.asks_for_tokens and not is_loopback(request.url.host or ""):
            raise HttpError(421, "without tokens the page answers to the names of this machine alone", ends_connection=True)

    def _check_form(self, request: web.Request, form: Form) -> None:
        """Refuse a form that another site has sent. Raises HttpError."""
        kinds = ("session", "visit")
        cookies = [value for kind in kinds if (value := request.cookies.get(self.cookie(kind), ""))]
        given = request.headers.get(FORM_HEADER) or form.text(FORM_FIELD)
        foreign = request.headers.get("Sec-Fetch-Site", "same-origin") not in {"same-origin", "none"}
        if foreign or not any(self._forms.is_of(cookie, given) for cookie in cookies):
            raise HttpError(403, "this form is too old, or comes from elsewhere: load the page again")

    def _refusal(self, error: Exception, request: web.Request, visitor: Visitor) -> web.StreamResponse:
        status, message = _describe(error)
        if isinstance(error, HttpError) and error.limit is not None:
            self._metrics.refused(error.limit)
        if isinstance(error, BenchBusyError):
            self._metrics.refused("attacks")
        response = self.error_page(request, visitor, status, message)
        if isinstance(error, HttpError) and error.ends_connection:
            response.force_close()
        return response

    def error_page(self, request: web.Request, visitor: Visitor, status: int, message: str) -> web.Response:
        """What went wrong, for a person or for the page's script."""
        if wants_json(request):
            body = orjson.dumps({"error": message.encode("utf-8", "replace").decode()})
            return web.Response(status=status, body=body, content_type="application/json")
        text = self._rendering.render("error.html.j2", visitor=visitor, status=status, message=message)
        return web.Response(text=text, status=status, content_type="text/html", charset="utf-8")

    @web.middleware
    async def _say_errors(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """What aiohttp itself has to say, as the page says errors."""
        try:
            response: web.StreamResponse = await handler(request)
        except web.HTTPException as error:
            refused = self.error_page(request, Visitor(None, ""), error.status, error.reason)
            if isinstance(error, web.HTTPMethodNotAllowed):
                refused.headers[hdrs.ALLOW] = ", ".join(sorted(error.allowed_methods))
            return refused
        return response


def _describe(error: Exception) -> tuple[int, str]:
    if isinstance(error, BenchError):
        return 400, str(error)
    if isinstance(error, BenchBusyError):
        return 409, str(error)
    if isinstance(error, DrainingError):
        return 503, str(error)
    return describe_error(error)


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    del request
    response.headers.update(HEADERS)
    response.headers.setdefault(hdrs.CACHE_CONTROL, "no-store")
