"""What an operator can set of the ports of HTTP: the API's, that of the page for operators, and that of the metrics."""

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


class PageSettings(BaseSettings):
    """The settings of the page; see holdfast.server.settings."""

    page_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="Port of the live page for operators, over HTTP: what is served, how robust it is, exemplars in quarantine,"
        " and a bench that attacks a picture. It asks for the tokens of the admin service, with --admin-insecure for none; 0"
        " takes a free port. Default: no page.",
    )
    page_host: str = Field("127.0.0.1", min_length=1, description="Address of the page.")
    page_connections: int = Field(64, ge=1, le=4096, description="Most connections to the page at a time.")
    page_sessions: int = Field(64, ge=1, le=4096, description="Most sign-ins to the page that are kept at a time.")
    page_session_hours: float = Field(
        8.0, gt=0, le=720, description="Hours after which a sign-in to the page ends. It ends with its token, too."
    )
    page_sign_ins: int = Field(
        10,
        ge=1,
        le=1000,
        description="Failed sign-ins to the page that one address may make in a minute; more are not looked at.",
    )
    page_uploads: int = Field(4, ge=1, le=64, description="Pictures that the bench of the page works on at a time; more wait.")
    page_attack_steps: int = Field(200, ge=1, le=10_000, description="Most gradient steps of one attack at the bench.")
    page_attack_seconds: float = Field(
        30.0, gt=0, le=3600, description="Seconds after which an attack at the bench ends with what it has found."
    )
    page_attack_budget: float = Field(
        0.5,
        gt=0,
        description="CPU seconds per second that the attack at the bench may take; one runs at a time, at low priority.",
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
