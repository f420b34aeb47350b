"""Names that can be printed: of classes, and of files, whose names may hold any bytes."""

import os

LINE_AND_DIRECTION = "\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
"""Characters that end a line, or turn the direction of the text around them, so that a name reads as another one.

Those that join letters stay: Persian, the scripts of India and many emoji are written with them.
"""


def printable(name: str | bytes) -> str:
    r"""Return the name as text that can be printed and stored: what is no UTF-8, and control characters, as \xNN or \uNNNN.

    A file's name may hold any bytes. JSON, protobuf and most terminals take only text.
    """
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return text if text.isprintable() else "".join(map(_shown, text))


def is_printable(name: str) -> bool:
    """Whether a name can be printed and stored as it is: what `printable` returns always can."""
    return name.isprintable() or all(_shown(character) == character and not _is_surrogate(character) for character in name)


def _shown(character: str) -> str:
    if ord(character) < 32 or 127 <= ord(character) < 160:
        return f"\\x{ord(character):02x}"
    return f"\\u{ord(character):04x}" if character in LINE_AND_DIRECTION else character


def _is_surrogate(character: str) -> bool:
    return 0xD800 <= ord(character) < 0xE000
