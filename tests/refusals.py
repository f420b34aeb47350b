"""What a program that refuses says on stderr."""

import re

WAITING = re.compile(r"\S+ \S+ INFO \S+: .+( \.\.\.| took [\d.]+ s)")
"""A line of holdfast.waiting, as a server logs it: a slow machine shows some, a quick one none."""


def one_line(stderr: str) -> str:
    """The one line of an error: nothing else is there but what was said while one waited."""
    lines = [line for line in stderr.splitlines() if not WAITING.fullmatch(line)]
    assert len(lines) == 1, stderr
    return lines[0]
