"""What an operator can set of the two ports of HTTP: the API's, and that of the page of metrics."""

from pydantic import Field
from pydantic_settings import BaseSettings


class HttpSettings(BaseSettings):
    """The settings of HTTP; see holdfast.server.settings."""

    http_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="Port of the Open Inference Protocol over HTTP, at the address of gRPC and with the same tokens and"
        " encryption; 0 takes a free one. Default: none is offered.",
    )
    http_connections: int = Field(512, ge=1, le=65536, description="Most HTTP connections at a time, in each process.")
    http_timeout: float = Field(
        30.0,
        gt=0,
        le=3600,
        description="Seconds that an HTTP connection has to send the head of a request, as many to send its body, and as many"
        " to take the reply; one that sends nothing is closed after them.",
    )
    http_body_bytes: int = Field(
        256 * 2**20, ge=2**16, description="Most bytes of all HTTP bodies that are held at a time, in each process."
    )
    http_json_bytes: int = Field(
        2**20,
        ge=1024,
        description="Most bytes of the JSON in one HTTP request: tensors cost a hundred times as much in it as in binary form.",
    )


class MetricsSettings(BaseSettings):
    """The settings of the metrics endpoint; see holdfast.server.settings."""

    metrics_port: int = Field(9464, ge=0, le=65535, description="Port of http://HOST:PORT/metrics; 0 takes a free one.")
    metrics_connections: int = Field(
        64, ge=1, le=4096, description="Most connections to the metrics at a time; above, the oldest is cut off."
    )
    metrics_timeout: float = Field(
        10.0,
        gt=0,
        le=3600,
        description="Seconds that a connection to the metrics has to send its request, and as many to take the reply.",
    )
