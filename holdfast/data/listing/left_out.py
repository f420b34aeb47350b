"""What of a folder or a table is not read, counted by its kind."""

from dataclasses import dataclass, field

from holdfast.bundle.printable import printable
from holdfast.console import counted

EXAMPLES = 3

SINGULARS = (
    ("links that lead", "link that leads"),
    ("links to folders that are", "link to a folder that is"),
    ("sockets, pipes and devices", "socket, pipe or device"),
    ("files that are not images", "file that is not an image"),
    ("files that cannot be read as images", "file that cannot be read as an image"),
    ("files whose", "file whose"),
    ("system and hidden files", "system or hidden file"),
    ("system and hidden folders", "system or hidden folder"),
    ("folders without", "folder without"),
    ("images that lie", "image that lies"),
    ("images without", "image without"),
    ("images in shards", "image in a shard"),
    ("images beside", "image beside"),
    ("images in folders", "image in a folder"),
    ("training images that", "training image that"),
    ("calibration images that", "calibration image that"),
    ("copies of", "copy of"),
    ("links and", "link or"),
    ("shards without an end mark, which may be", "shard without an end mark, which may be"),
)
"""How reasons begin in the plural, and of one."""


@dataclass(eq=False)
class LeftOut:
    """Counts by reason, with the first few names of each.

    counts: of files or folders. named: how often something was added. examples: the first names.
    """

    counts: dict[str, int] = field(default_factory=dict)
    named: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, name: bytes | str, count: int = 1) -> None:
        """Count `count` more for `reason`, which is a plural: "files that are not images"."""
        self.counts[reason] = self.counts.get(reason, 0) + count
        self.named[reason] = self.named.get(reason, 0) + 1
        examples = self.examples.setdefault(reason, [])
        if len(examples) < EXAMPLES:
            examples.append(printable(name))

    def lines(self) -> list[str]:
        """Return a line for each reason: how many and which, in the order in which they were found."""
        return [
            f"left out: {counted(count, singular(reason), reason)} ({self._examples(reason)})"
            for reason, count in self.counts.items()
        ]

    def _examples(self, reason: str) -> str:
        return ", ".join(self.examples[reason]) + (", ..." if self.named[reason] > EXAMPLES else "")


def singular(reason: str) -> str:
    """A reason of one file: "files that are not images" becomes "file that is not an image"."""
    return next((one + reason.removeprefix(many) for many, one in SINGULARS if reason.startswith(many)), reason)
