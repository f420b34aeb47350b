"""What an operator can set of the live page."""

from pydantic import Field
from pydantic_settings import BaseSettings


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
