"""The server's log: lines of text or of JSON, in which nothing that a caller sends can look like a line of its own."""

import json
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import TextIO

from holdfast.server.telemetry.calls import CURRENT

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_NAMES = {"text", "json"}


def escaped(text: str) -> str:
    """The same on one line: whatever is not printable, ends of lines too, as an escape sequence."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else _escape(letter) for letter in text)


def _escape(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")


class TextFormatter(logging.Formatter):
    """A record as a line; of an exception more lines, all indented. Of a call, the request's id ends the line."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """The line, but for the exception."""
        record.message = escaped(record.message)
        line = super().formatMessage(record)
        call = CURRENT.get()
        return line if call is None else f"{line} [request {call.request_id}]"

    def formatException(self, ei: "logging._SysExcInfoType") -> str:  # noqa: N802
        """The traceback."""
        return _indented(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:  # noqa: N802
        """The stack, where a record brings one."""
        return _indented(stack_info)


class JsonFormatter(logging.Formatter):
    """A record as a JSON object on one line: time, level, logger, message, and what is known of process, call and exception."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        """The object. ASCII alone: no character can end a line or move a terminal's cursor."""
        told: dict[str, str] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if self._process:
            told["process"] = self._process
        call = CURRENT.get()
        if call is not None:
            told |= {"request_id": call.request_id, "caller": call.caller()}
            if call.trace is not None:
                told |= {"trace_id": call.trace.trace_id, "span_id": call.trace.span_id}
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        return json.dumps(told)


class LogHandler(logging.StreamHandler[TextIO]):
    """The server's own: what `configure_logging` may change."""


def configure_logging(form: str, process: str = "") -> None:
    """Log to standard error in this form, unless somebody else has configured where to. `process` names a worker."""
    formatter: logging.Formatter = JsonFormatter(process)
    if form != "json":
        formatter = TextFormatter(FORMAT.replace("%(name)s", f"{process} %(name)s") if process else FORMAT)
    root = logging.getLogger()
    ours = [handler for handler in root.handlers if isinstance(handler, LogHandler)]
    if not root.handlers:
        ours = [LogHandler(sys.stderr)]
        root.addHandler(ours[0])
        root.setLevel(logging.INFO)
    for handler in ours:
        handler.setFormatter(formatter)


def wanted_format(typed: Sequence[str], environment: Mapping[str, str] = os.environ) -> str:
    """The format that flags and environment ask for, before either is checked: what is logged until then has it too."""
    values = [environment.get("HOLDFAST_LOG_FORMAT", "")]
    values += [value for flag, value in pairwise(typed) if flag == "--log-format"]
    values += [each.partition("=")[2] for each in typed if each.startswith("--log-format=")]
    return values[-1] if values[-1] in _NAMES else "text"


def _indented(text: str) -> str:
    return "\n".join(f"  {escaped(line)}" for line in text.splitlines())
