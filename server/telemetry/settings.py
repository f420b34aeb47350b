"""What an operator can set of logs, of the names of requests, and of traces."""

from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings

LogFormat = Literal["text", "json"]


class TelemetrySettings(BaseSettings):
    """The settings of logs and traces; see holdfast.server.settings."""

    log_format: LogFormat = Field(
        "text",
        description="Form of the log: text, or json, one object a line, with the request, its caller and its trace where a line"
        " is of a call.",
    )
    request_id_chars: int = Field(
        128,
        ge=0,
        le=1024,
        description="Most characters of a caller's x-request-id that is taken over; a longer one, or one of other characters"
        " than letters, digits and ._:/+=@-, is replaced. 0: all are replaced.",
    )
    trace_endpoint: str | None = Field(
        None,
        description="Where spans of calls are sent by OTLP over gRPC, such as http://localhost:4317; https for TLS. Without,"
        " nothing is traced. Needs the extra 'otel'.",
    )
    trace_share: float = Field(0.01, ge=0, le=1, description="Share of the calls that are traced.")
    trace_callers: bool = Field(
        False,
        description="Let callers decide by the flag of their traceparent whether a call is traced. Without, --trace-share"
        " decides; their trace's id is taken over either way.",
    )
    trace_queue: int = Field(
        2048, ge=64, le=1_000_000, description="Most spans that wait to be sent, in each process; more are dropped."
    )

    @field_validator("trace_endpoint")
    @classmethod
    def _is_url(cls, value: str | None) -> str | None:
        if value is not None:
            parts = urlsplit(value)
            if parts.scheme not in {"http", "https"} or not parts.hostname:
                raise ValueError("trace_endpoint must be http://HOST:PORT or https://HOST:PORT")
        return value
