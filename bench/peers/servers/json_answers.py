"""Answers as JSON, without spaces."""

import json
from typing import Any

_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


def as_json(answer: dict[str, Any]) -> bytes:
    """One answer as a body."""
    return _encode(answer).encode()
