"""What an operator can set of what is taken, and of how callers share the server."""

from typing import Annotated

from pydantic import BeforeValidator, Field, PositiveFloat
from pydantic_settings import BaseSettings, NoDecode


def _weights(value: object) -> object:
    """Numbers by name from "10.0.0.7=4,nightly=0.5" or ["10.0.0.7=4"]; anything else is left to pydantic."""
    parts = [value] if isinstance(value, str) else value
    if not isinstance(parts, list | tuple):
        return value
    pairs = [pair for part in parts for pair in str(part).split(",") if pair.strip()]
    if any("=" not in pair for pair in pairs):
        raise ValueError("write CALLER=WEIGHT, several with a comma between them")
    return {name.strip(): weight.strip() for name, _, weight in (pair.rpartition("=") for pair in pairs)}


class AdmissionSettings(BaseSettings):
    """The settings of admission; see holdfast.server.settings."""

    queue_images: int = Field(
        1024,
        ge=1,
        description="Most images admitted at a time, until their reply is written, over all workers; more are refused. A call"
        " that cannot be answered before its deadline is refused before that.",
    )
    caller_share: float = Field(
        0.5,
        gt=0,
        le=1,
        description="Share of --queue-images and --reply-bytes that one caller may have while nobody else has any. Among others"
        " it may have as many times what is free as it could have alone, so that something is left for another. 1: no limit of"
        " its own. A caller is an address, of IPv6 the network of 64 bits.",
    )
    caller_rate: float = Field(
        0.0, ge=0, description="Images a second that one caller may send, on average; more are refused. 0: any number."
    )
    caller_burst: float = Field(
        2.0, gt=0, le=3600, description="Seconds of --caller-rate that a caller may send at once after a pause."
    )
    caller_weights: Annotated[dict[str, PositiveFloat], NoDecode, BeforeValidator(_weights)] = Field(
        {},
        description="Callers who get more or less of a busy server than others, such as 10.0.0.7=4,10.0.0.8=0.5: one of weight"
        " 2 gets twice the images of one of weight 1, which all others have.",
    )
    short_batch: float = Field(
        0.007,
        ge=0,
        le=10,
        description="Seconds that a batch takes, at most, while callers with many images keep callers with few waiting, or"
        " deadlines are short. Shorter batches answer these sooner, and cost more for each image.",
    )
    caller_message_rate: float = Field(
        64 * 2**20,
        ge=0,
        description="Bytes a second of long messages, of 64 KiB or more, that one caller may send each process on average;"
        " further ones are read later. 0: any number.",
    )
    message_rate: float = Field(
        256 * 2**20,
        ge=0,
        description="Bytes a second of such messages of all callers together, in each process: each of those who send them may"
        " send an equal part. 0: any number.",
    )
    message_bytes: int = Field(
        256 * 2**20,
        ge=2**20,
        description="Most bytes of long messages that are held at a time, until their calls have ended, in each process; a"
        " caller may have its --caller-share of them. More are refused.",
    )
    reply_bytes: int = Field(
        64 * 2**20,
        ge=2**16,
        description="Most bytes of replies that are not yet written, in each process that takes calls: callers who do not take"
        " their replies are refused.",
    )
    certify_passes: int = Field(
        2048,
        ge=0,
        le=1_000_000,
        description="Most forward passes of one call that asks to certify its answers by noise: for each image 32, and as many"
        " as it asks for. 0: nothing is certified.",
    )
    certify_rate: float = Field(
        200.0,
        gt=0,
        description="Forward passes a second for such certificates, on average, of all callers of a process together; more are"
        " refused. Each of them also counts as an image of its caller.",
    )
