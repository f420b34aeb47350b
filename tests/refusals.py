"""What a program that refuses says on stderr."""


def one_line(stderr: str) -> str:
    """The one line of an error: beside it, at most what was said while one waited (holdfast.waiting). No traceback."""
    lines = [line for line in stderr.splitlines() if " INFO " not in line]
    assert len(lines) == 1, stderr
    return lines[0]
