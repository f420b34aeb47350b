"""Directories of versions: which names are versions, and which is the newest."""

import re

UNFINISHED = (".tmp", ".temp", ".part", ".partial", ".incomplete", ".new", "~")
"""Ends of the names of directories that somebody is still copying into."""


def is_version_name(name: str) -> bool:
    """Whether a directory of this name is meant to be served."""
    return not name.startswith((".", "_")) and not name.endswith(UNFINISHED) and name != "lost+found"


def natural(name: str) -> tuple[list[tuple[int, str]], str]:
    """The order of names in which v9 comes before v10. Names that differ only in leading zeros go by their text."""
    parts = re.split(r"([0-9]+)", name)
    return [(int(part), "") if place % 2 else (0, part) for place, part in enumerate(parts)], name


def counted_up(name: str) -> str:
    """The next version's name: its last number counted up, as v9 -> v10; "NAME-2" where it has none."""
    found = re.search(r"[0-9]+(?=[^0-9]*$)", name)
    if found is None:
        return f"{name}-2"
    number = str(int(found[0]) + 1).zfill(len(found[0]))
    return name[: found.start()] + number + name[found.end() :]
