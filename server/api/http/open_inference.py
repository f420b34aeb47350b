"""The Open Inference Protocol over HTTP: /v2, as KServe and Triton speak it."""

import orjson

from holdfast.server.access.scopes import Needs
from holdfast.server.api.http.inference_bodies import HEADER_LENGTH, json_length, read_object, read_request, write_reply
from holdfast.server.api.http.route import HttpCall, HttpReply, Route
from holdfast.server.api.open_inference.inference import OpenInference
from holdfast.server.api.open_inference.messages import flag
from holdfast.server.api.open_inference.model import server_metadata
from holdfast.server.core.request import NO_DEADLINE


async def _live(call: HttpCall) -> HttpReply:
    del call
    return _json({"live": True})


async def _ready(call: HttpCall) -> HttpReply:
    ready = OpenInference(call.core).is_ready()
    return _json({"ready": ready}, 200 if ready else 503)


async def _model_ready(call: HttpCall) -> HttpReply:
    name, version = _model(call)
    protocol = OpenInference(call.core)
    protocol.metadata(name, version)  # of an unknown one it says so
    ready = protocol.is_ready(name, version)
    return _json({"name": name, "ready": ready}, 200 if ready else 503)


async def _server(call: HttpCall) -> HttpReply:
    del call
    return _json(server_metadata())


async def _metadata(call: HttpCall) -> HttpReply:
    return _json(OpenInference(call.core).metadata(*_model(call)))


async def _config(call: HttpCall) -> HttpReply:
    return _json(OpenInference(call.core).config(*_model(call)))


async def _statistics(call: HttpCall) -> HttpReply:
    return _json(OpenInference(call.core).statistics(*_model(call)))


async def _index(call: HttpCall) -> HttpReply:
    body = await call.body()
    asked = read_object(body[: json_length(None, body, call.core.settings.http_json_bytes)]) if body else {}
    return _json(OpenInference(call.core).index(ready=flag(asked, "ready")))


async def _infer(call: HttpCall) -> HttpReply:
    body = await call.body()
    length = json_length(call.request.headers.get(HEADER_LENGTH), body, call.core.settings.http_json_bytes)
    request = read_request(body, length, *_model(call))
    reply = await OpenInference(call.core).infer(request, NO_DEADLINE, call.caller, call.held.enter_context)
    pieces, header = await write_reply(reply, request, call.core.turns, call.caller)
    if header is None:
        return HttpReply(pieces)
    return HttpReply(pieces, headers={HEADER_LENGTH: str(header), "Content-Type": "application/octet-stream"})


def _model(call: HttpCall) -> tuple[str, str]:
    """Name and version in the path; empty where it has none."""
    found = call.request.match_info
    return found.get("name", ""), found.get("version", "")


def _json(said: object, status: int = 200) -> HttpReply:
    return HttpReply([orjson.dumps(said)], status)


_MODEL = "/v2/models/{name}"
_VERSION = "/v2/models/{name}/versions/{version}"

ROUTES = (
    Route("GET", "/v2/health/live", "live", Needs.NOTHING, _live, while_draining=True),
    Route("GET", "/v2/health/ready", "ready", Needs.NOTHING, _ready, while_draining=True),
    Route("GET", "/v2", "server", Needs.ANY_TOKEN, _server),
    Route("GET", "/v2/models/stats", "statistics", Needs.ANY_TOKEN, _statistics),
    Route("POST", "/v2/repository/index", "index", Needs.ANY_TOKEN, _index),
    *(
        route
        for path in (_MODEL, _VERSION)
        for route in (
            Route("GET", f"{path}/ready", "model_ready", Needs.NOTHING, _model_ready, while_draining=True),
            Route("GET", path, "metadata", Needs.ANY_TOKEN, _metadata),
            Route("GET", f"{path}/config", "config", Needs.ANY_TOKEN, _config),
            Route("GET", f"{path}/stats", "statistics", Needs.ANY_TOKEN, _statistics),
            Route("POST", f"{path}/infer", "infer", Needs.ANY_TOKEN, _infer),  # and scopes by its outputs
        )
    ),
)
