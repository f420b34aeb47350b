"""Bodies of the page's forms, within bounds, in memory alone."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from aiohttp import BodyPartReader, web
from aiohttp.http_exceptions import HttpProcessingError

from holdfast.server.api.http.errors import HttpError

FORM_BYTES = 8192
"""Of a form without a picture."""

MOST_FIELDS = 16
FIELD_BYTES = 512
"""Of a field beside a picture."""


@dataclass(frozen=True, slots=True)
class Form:
    """What was sent: texts by the names of their fields, and the bytes of a picture where there is one."""

    fields: Mapping[str, str] = field(default_factory=dict)
    picture: bytes | None = field(default=None, repr=False)

    def text(self, name: str) -> str:
        """The text of a field; "" where it was not sent."""
        return self.fields.get(name, "")


async def read_form(request: web.Request, most: int, seconds: float) -> Form:
    """The form that a request bears; nothing of it goes to a file.

    Args:
        request: whose body nobody has read.
        most: bytes of a body with a picture.
        seconds: that it may take.

    Raises:
        HttpError: it is no form, too large, or too slow.

    """
    kind, length = request.content_type, request.content_length
    with_picture = kind == "multipart/form-data"
    if not with_picture and kind != "application/x-www-form-urlencoded":
        raise HttpError(415, "send a form", ends_connection=True)
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise HttpError(415, "bodies are not unpacked here: send them without Content-Encoding", ends_connection=True)
    if length is None:
        raise HttpError(411, "a form has to say how long it is", ends_connection=True)
    if length > (bound := most if with_picture else FORM_BYTES):
        raise HttpError(413, f"this is larger than {bound:,} bytes", "body", ends_connection=True)
    try:
        async with asyncio.timeout(seconds):
            return await (_read_parts(request) if with_picture else _read_fields(request))
    except TimeoutError:
        raise HttpError(408, f"the form took longer than {seconds:g} s", "time", ends_connection=True) from None
    except web.HTTPRequestEntityTooLarge:
        raise HttpError(413, f"this is larger than {bound:,} bytes", "body", ends_connection=True) from None
    except (ValueError, LookupError, RuntimeError, HttpProcessingError):
        # What aiohttp's parser says of others' bytes is not for others' eyes.
        raise HttpError(400, "this is no form", ends_connection=True) from None


async def _read_fields(request: web.Request) -> Form:
    text = (await request.content.read(FORM_BYTES)).decode("utf-8", "replace")
    while chunk := await request.content.read(FORM_BYTES):
        text += chunk.decode("utf-8", "replace")
    return Form(dict(parse_qsl(text, keep_blank_values=True, max_num_fields=MOST_FIELDS)))


async def _read_parts(request: web.Request) -> Form:
    fields: dict[str, str] = {}
    picture: bytes | None = None
    parts = await request.multipart()
    async for part in parts:
        if not isinstance(part, BodyPartReader) or not part.name:
            raise ValueError("a part of it has no name")
        if len(fields) >= MOST_FIELDS:
            raise ValueError("it has too many parts")
        body = bytes(await part.read())
        if part.name == "picture":
            picture = body or None
        elif len(body) > FIELD_BYTES:
            raise ValueError(f"{part.name[:40]} is too long")
        else:
            fields[part.name] = body.decode("utf-8", "replace")
    return Form(fields, picture)
