"""What of a folder or a table is not read, counted by its kind."""

from dataclasses import dataclass, field

from holdfast.bundle.printable import printable

EXAMPLES = 3


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
        return [f"left out: {count:,} {reason} ({self._examples(reason)})" for reason, count in self.counts.items()]

    def _examples(self, reason: str) -> str:
        return ", ".join(self.examples[reason]) + (", ..." if self.named[reason] > EXAMPLES else "")
