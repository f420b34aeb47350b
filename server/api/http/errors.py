"""From exceptions to HTTP: the status that stands for the one of gRPC, and the protocol's {"error": ...}."""

import math

import grpc
import orjson
from aiohttp import hdrs, web

from holdfast.server.api.status import code_of, to_status
from holdfast.server.metrics.http_requests import HttpRefusal

SERVER = "holdfast"
"""What replies say of the server: neither its version nor that of what it is made of."""

_STATUSES = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}


class HttpError(Exception):
    """A request that is wrong as HTTP, or meets a limit of HTTP: its status, and a sentence for the caller.

    With `ends_connection` what is left of the request is not read. `limit` is the limit that was met.
    """

    def __init__(self, status: int, message: str, limit: HttpRefusal | None = None, *, ends_connection: bool = False) -> None:
        super().__init__(message)
        self.status, self.limit, self.ends_connection = status, limit, ends_connection


def error_response(error: Exception) -> web.Response:
    """The reply that says what went wrong. What nobody has foreseen is logged, and its text kept from the caller."""
    if isinstance(error, HttpError):
        response = said(error.status, str(error))
        if error.ends_connection:
            response.force_close()
        return response
    response = said(*describe_error(error))
    retry_after = getattr(error, "retry_after", None)
    if isinstance(retry_after, float):
        response.headers["Retry-After"] = str(math.ceil(retry_after))
    if response.status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def describe_error(error: Exception) -> tuple[int, str]:
    """The status that stands for an error, and its message. What nobody has foreseen is logged, and its text kept back."""
    if isinstance(error, HttpError):
        return error.status, str(error)
    return _STATUSES.get(code_of(error), 500), to_status(error).message


def said(status: int, message: str) -> web.Response:
    """A reply that says in JSON what went wrong."""
    body = orjson.dumps({"error": message.encode("utf-8", "replace").decode()})
    return web.Response(status=status, body=body, headers={hdrs.SERVER: SERVER, hdrs.CONTENT_TYPE: "application/json"})
