"""What an operator can set of the silent detectors, and of what an alarm does."""

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, field_validator
from pydantic_settings import BaseSettings, NoDecode


def _names(value: object) -> object:
    """Names from "a,b" or ["a,b"]; anything else is left to pydantic."""
    parts = [value] if isinstance(value, str) else value
    if not isinstance(parts, list | tuple):
        return value
    return tuple(name.strip() for part in parts for name in str(part).split(",") if name.strip())


class DetectorSettings(BaseSettings):
    """The settings of detectors; see holdfast.server.settings."""

    detectors: bool = Field(
        True,
        description="Watch for attacks by what is asked: many alike but not identical images, images unlike the bundle's own,"
        " bursts of doubtful answers. Answers stay what they are; what an alarm does is set by the --alarm- flags.",
    )
    detectors_off: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_names)] = Field(
        ("fingerprints",),
        description="Detectors to leave out, by name, such as drift,fingerprints. By default fingerprints alone, which cost"
        " much and find little that the others do not; an empty value leaves out none.",
    )
    detector_queue: int = Field(
        512, ge=1, le=65536, description="Most answered images that wait for the detectors; more are not looked at."
    )
    detector_callers: int = Field(
        256,
        ge=1,
        le=65536,
        description="Callers that detectors keep apart, each for about 90 KiB (of images of 32 x 32); those who asked little of"
        " late are forgotten first. All callers together are watched whatever their number.",
    )
    detector_images: int = Field(
        2048,
        ge=16,
        le=65536,
        description="Images of all callers that a new one is compared with, each kept in at most 4 KiB.",
    )
    detector_caller_images: int = Field(
        16, ge=2, le=1024, description="Images of one caller that a new one of that caller is compared with."
    )
    coverage_images: int = Field(
        0,
        ge=0,
        description="Different images after which a caller who has asked all over the space of embeddings is an alarm, such as"
        " 5000. 0: never, as a thief and a good customer look alike; the metric is there anyway.",
    )
    coverage_above: float = Field(
        0.9,
        gt=0,
        le=1,
        description="Share of where the bundle's held-out images lie above which a caller has asked all over the space.",
    )


class AlarmSettings(BaseSettings):
    """The settings of alarms; see holdfast.server.settings."""

    alarm_history: int = Field(1000, ge=1, le=100_000, description="Latest alarms that are kept in memory for operators.")
    alarm_repeat: float = Field(
        300.0,
        gt=0,
        description="Seconds without a reason after which the same alarm of one caller is a new one; until then it counts.",
    )
    alarm_log_rate: int = Field(
        10, ge=0, le=1000, description="Most alarms that are logged in a minute; further ones are counted. 0: none is logged."
    )
    alarm_webhook: str | None = Field(
        None, description="Where each new alarm is sent as JSON by POST, such as https://HOST/PATH. Without, none is sent."
    )
    alarm_webhook_timeout: float = Field(5.0, gt=0, le=60, description="Seconds that one try of sending an alarm may take.")
    alarm_webhook_tries: int = Field(3, ge=1, le=20, description="Tries of sending an alarm before it is given up.")
    alarm_webhook_queue: int = Field(100, ge=1, le=10_000, description="Most alarms that wait to be sent; more are dropped.")
    alarm_throttle: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="By what the weight of a caller is multiplied once an alarm names it: 0.1 leaves it a tenth of what others"
        " get of a busy server. 0: nothing is done.",
    )
    alarm_throttle_seconds: float = Field(600.0, gt=0, description="Seconds that this lasts after the caller's latest alarm.")
    alarm_names: bool = Field(
        False,
        description="Name callers in alarms as they are, by address. Without, by a keyed hash that changes with each start.",
    )

    @field_validator("alarm_webhook")
    @classmethod
    def _is_web_address(cls, value: str | None) -> str | None:
        if value is not None:
            parts = urlsplit(value)
            if parts.scheme not in {"http", "https"} or not parts.hostname:
                raise ValueError("alarm_webhook must be http://HOST/PATH or https://HOST/PATH")
        return value
