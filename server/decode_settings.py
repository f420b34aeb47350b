"""What an operator can set about decoding: each is a limit on what a stranger's image may cost."""

import sys

from pydantic import Field
from pydantic_settings import BaseSettings

from holdfast.model.speech.recordings import MOST_BYTES, MOST_SECONDS


class DecodeSettings(BaseSettings):
    """The part of the settings that is about decoding images."""

    decode_processes: int = Field(
        2 if sys.platform != "win32" else 0,
        ge=0,
        le=64,
        description="Processes that decode images too costly to decode in passing; in each worker. They start with the first"
        " such image. A crash of a decoder, or an image that takes too long, ends one of them and nothing else. 0: every image"
        " is decoded in passing, and a costly one holds up all callers.",
    )
    decode_inline: float = Field(
        1e-3,
        ge=0,
        le=1,
        description="Expected seconds up to which an image is decoded in passing, by the process that takes the calls; 0: all"
        " encoded images are decoded in the processes for it, out of reach of callers' credentials and of the model.",
    )
    audio_seconds: float = Field(
        MOST_SECONDS,
        gt=0,
        le=3600,
        description="Seconds of one recording, for a model that listens; a longer one is refused with INVALID_ARGUMENT. Each"
        " second or so is a window, which counts as an image of the caller.",
    )
    audio_bytes: int = Field(MOST_BYTES, ge=44, description="Bytes of one recording's file.")
    decode_limit: float = Field(
        1.0,
        gt=0,
        le=600,
        description="CPU seconds that the decoding of one image may take; a longer one is refused with INVALID_ARGUMENT, by its"
        " header where that says twice as much, else when it has taken so long.",
    )
    decode_call_limit: float = Field(
        8.0, gt=0, description="Expected seconds of decoding in one call; a call with more is refused with INVALID_ARGUMENT."
    )
    decode_queue: float = Field(
        30.0,
        gt=0,
        description="Expected seconds of decoding that may wait, in each worker; beyond that calls with costly images are"
        " refused with RESOURCE_EXHAUSTED.",
    )
    decode_caller_queue: float = Field(
        10.0, gt=0, description="The same of one caller, in turns with whom all others are served."
    )
    decode_queue_bytes: int = Field(
        256 * 2**20, ge=1, description="Bytes of costly images that may wait for their decoding, in each worker."
    )
    decode_memory: int = Field(
        2**30, ge=2**26, description="Bytes that a decoder process may take; an image that needs more is refused."
    )
