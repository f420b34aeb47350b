"""What happens around every HTTP request: who makes it, its errors, its metrics, and none begins while the server drains."""

from contextlib import ExitStack
from functools import partial
from typing import Any

from aiohttp import hdrs, web

from holdfast.server.access.gate import Gate
from holdfast.server.access.scopes import Principal
from holdfast.server.api.authentication import ANYBODY, Arrival, let_in, named_by_certificate, principal
from holdfast.server.api.http.bodies import Bodies
from holdfast.server.api.http.errors import SERVER, HttpError, error_response, said
from holdfast.server.api.http.route import HttpCall, HttpReply, Route
from holdfast.server.api.http.sending import send
from holdfast.server.core.facade import Core
from holdfast.server.metrics.http_requests import CLIENT_LEFT, HttpMetrics
from holdfast.server.metrics.traces import TraceMetrics
from holdfast.server.telemetry.calls import CURRENT, REQUEST_ID_KEY, CurrentCall, new_request_id, request_id_of


class Handling:
    """Makes handlers of routes. Belongs to one event loop.

    Args:
        core: answers.
        gate: says who may come in.
        metrics: of HTTP.
        bodies: reads bodies.
        traces: count ids of requests that are not taken.

    """

    def __init__(self, core: Core, gate: Gate, metrics: HttpMetrics, bodies: Bodies, traces: TraceMetrics) -> None:
        self._core, self._gate, self._metrics, self._bodies, self._traces = core, gate, metrics, bodies, traces

    def application(self, routes: tuple[Route, ...]) -> web.Application:
        """All routes, and an answer in JSON for what is none."""
        app = web.Application(middlewares=[_in_json])
        for route in routes:
            app.router.add_route(route.method, route.path, self._handler(route), expect_handler=self._expect)
        return app

    def _handler(self, route: Route) -> Any:
        async def handle(request: web.Request) -> web.StreamResponse:
            status = CLIENT_LEFT
            call = CurrentCall(self._request_id(request.headers.get(REQUEST_ID_KEY)), partial(_caller, request))
            CURRENT.set(call)  # each request is a task, with a context of its own
            try:
                with self._metrics.timing(route.name), ExitStack() as held:
                    response = await self._respond(route, request, held)
                    status = response.status
                    response.headers[REQUEST_ID_KEY] = call.request_id
                    if self._core.drain.begun.is_set():
                        response.force_close()
                    # Before the call's room is given back.
                    await send(request, response, self._core.settings.http_timeout, self._metrics)
                return response
            finally:
                self._metrics.ended(route.name, status)

        return handle

    async def _respond(self, route: Route, request: web.Request, held: ExitStack) -> web.Response:
        try:
            if not route.while_draining:
                self._core.drain.enter()
                held.callback(self._core.drain.leave)
            peer, sent = request.remote or "", request.headers.getall(hdrs.AUTHORIZATION, [])
            let_in(self._gate, route.needs, Arrival(f"/http/{route.name}", peer, sent, _certificate_name(request)))
            return _response(await route.answer(HttpCall(request, _caller(request), self._core, self._bodies, held)))
        except Exception as error:  # noqa: BLE001 - the table sorts them, and logs what is not in it
            return self._refusal(error)

    def _request_id(self, sent: str | None) -> str:
        """The caller's id of the request, or one that is made here."""
        taken = request_id_of(sent, self._core.settings.request_id_chars)
        if sent is not None and taken is None:
            self._traces.replaced_ids.inc()
        return taken or new_request_id()

    def _refusal(self, error: Exception) -> web.Response:
        if isinstance(error, HttpError) and error.limit is not None:
            self._metrics.refused(error.limit)
        return error_response(error)

    async def _expect(self, request: web.Request) -> web.StreamResponse | None:
        """Whether a client that asks before it sends its body may: not where it would be refused anyway."""
        if request.headers.get(hdrs.EXPECT, "").lower() != "100-continue":
            return said(417, "only Expect: 100-continue is known here")
        try:
            self._bodies.check(request)
        except HttpError as error:
            return self._refusal(error)
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # or the reply would seem to have begun
        return None


def _caller(request: web.Request) -> str:
    """Who makes a request: the name of its token or its certificate, else its peer's address."""
    who = principal()
    return (request.remote or "") if who is ANYBODY else who.name


def _response(reply: HttpReply) -> web.Response:
    headers = {hdrs.SERVER: SERVER, hdrs.CONTENT_TYPE: "application/json"} | reply.headers
    body = reply.pieces[0] if len(reply.pieces) == 1 else b"".join(reply.pieces)
    return web.Response(status=reply.status, body=body, headers=headers)


def _certificate_name(request: web.Request) -> Principal | None:
    """The name in the client's certificate: the first alternative name, else the common name; None without a certificate."""
    transport = request.transport
    shown = transport.get_extra_info("peercert") if transport is not None else None
    if not shown:
        return None
    names = [value for _, value in shown.get("subjectAltName", ())]
    names += [value for part in shown.get("subject", ()) for key, value in part if key == "commonName"]
    return named_by_certificate(names[0]) if names else named_by_certificate("")


@web.middleware
async def _in_json(request: web.Request, handler: Any) -> web.StreamResponse:
    """What aiohttp itself has to say, as the protocol says errors."""
    try:
        response: web.StreamResponse = await handler(request)
    except web.HTTPException as error:
        refused = said(error.status, f"{request.method} {request.path[:200]}: {error.reason}")
        if isinstance(error, web.HTTPMethodNotAllowed):
            refused.headers[hdrs.ALLOW] = ", ".join(sorted(error.allowed_methods))
        return refused
    return response
