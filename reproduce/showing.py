"""What a reproduction has come to so far: on the terminal, and beside its runs as a page and as a record."""

import json
from collections.abc import Sequence
from typing import Any, Protocol

from holdfast.files import write_atomically
from holdfast.interrupts import TimeUpError
from reproduce.command import Invocation
from reproduce.verdicts import Finding, findings_markdown, findings_table

PAGE, RECORD = "table.md", "results.json"


class Shown(Protocol):
    """A reproduction that shows what there is, whether all is measured or not."""

    def measure(self) -> None:
        """Measure what is left. Raises TimeUpError where the minutes are over."""
        ...

    def show(self) -> None:
        """Print and write what is measured so far."""
        ...


def measure_and_show(reproduction: Shown) -> None:
    """Measure what is left, then show all that there is. Raises TimeUpError, too, once it is shown."""
    try:
        reproduction.measure()
    except TimeUpError:
        reproduction.show()
        raise
    reproduction.show()


def show_results(
    call: Invocation[Any],
    shown: Sequence[tuple[str, str]],
    findings: Sequence[Finding],
    missing: Sequence[str],
    *,
    word: str,
    separator: str,
) -> None:
    """Print tables and verdicts, and write `call.out`/table.md and results.json, each whole or not at all.

    Args:
        call: whose results they are.
        shown: tables in Markdown, each with its title.
        findings: claims that something was measured for.
        missing: what was not measured yet.
        word: what was not done about it: "tried" or "trained".
        separator: stands between the missing ones.

    """
    text = [f"**{title}**\n\n{table}" for title, table in shown]
    if findings:
        text.append(f"**Claims**\n\n{findings_markdown(findings)}")
    if missing:
        text.append(f"Not {word} yet: {separator.join(missing)}.\n")
    for part in text:
        call.console.print(part, markup=False, highlight=False, soft_wrap=True)
    if findings:
        call.console.print(findings_table(findings))
    write_atomically(call.out / PAGE, "\n".join(text).encode())
    results = {"command": call.command, "scale": call.scale.name, "claims": [each.described() for each in findings]}
    record = json.dumps(results | {f"not {word}": list(missing)}, indent=1) + "\n"
    write_atomically(call.out / RECORD, record.encode())
