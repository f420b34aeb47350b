"""Exemplars, classes and versions as a person reads them, and as a program does."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from rich.table import Table
from rich.text import Text

from holdfast.client.admin.records import ExemplarInfo, LabelCount, ServerStatus, VersionInfo
from holdfast.console import counted, property_table


def exemplars_table(exemplars: Sequence[ExemplarInfo]) -> Table:
    """A row each; reasons are sentences, which `reason_lines` has."""
    table = Table()
    table.add_column("id", justify="right", no_wrap=True)
    for name in ("class", "state", "marks", "source", "by"):
        table.add_column(name, overflow="fold")
    for each in exemplars:
        state = Text(each.state, style="yellow" if each.state == "quarantined" else "")
        table.add_row(str(each.id), Text(each.label), state, Text(_marks(each)), Text(each.source), Text(each.author))
    return table


def reason_lines(exemplars: Sequence[ExemplarInfo]) -> list[str]:
    """Why exemplars that do not vote came into quarantine: each reason once, with the ids that `approve` and `drop` take."""
    ids: dict[str, list[str]] = {}
    for each in exemplars:
        if each.reason and each.state != "served":
            ids.setdefault(each.reason, []).append(str(each.id))
    return [f"{reason}: {' '.join(of)}" for reason, of in ids.items()]


def exemplar_table(exemplar: ExemplarInfo, *, kept: bool) -> Table:
    """One exemplar, a property a row."""
    return _properties(
        {
            "id": str(exemplar.id),
            "class": exemplar.label,
            "state": exemplar.state,
            "source": exemplar.source,
            "marks": _marks(exemplar) or "-",
            "reason": exemplar.reason or "-",
            "changed": f"{_moment(exemplar.changed)} by {exemplar.author}" if exemplar.changed else "came with the bundle",
            "picture": "kept" if kept else "not kept",
        }
    )


def labels_table(labels: Sequence[LabelCount]) -> Table:
    """A row each."""
    table = Table()
    table.add_column("index", justify="right", no_wrap=True)
    table.add_column("class", overflow="fold")
    table.add_column("exemplars", justify="right", no_wrap=True)
    for each in labels:
        table.add_row(str(each.index), Text(each.name), f"{each.exemplars:,}")
    return table


def versions_table(versions: Sequence[VersionInfo]) -> Table:
    """A row each."""
    table = Table()
    for name in ("version", "state", "loaded", "remark"):
        table.add_column(name, overflow="fold")
    for each in versions:
        table.add_row(Text(each.name), each.state, _moment(each.loaded), Text(each.reason))
    return table


def status_table(status: ServerStatus) -> Table:
    """A property a row."""
    store = (
        f"{counted(status.sequence, 'change')} so far" if status.keeps_store else "none: the server was started without --store"
    )
    return _properties(
        {
            "model": f"{status.name}, number {status.model_version}",
            "exemplars": f"{status.exemplars:,} vote, {status.quarantined:,} wait in quarantine",
            "classes": f"{status.classes:,}",
            "store": store,
            "one call": f"{status.images_per_call:,} images, {status.message_bytes:,} bytes",
        }
    )


def exemplar_as_json(exemplar: ExemplarInfo) -> dict[str, Any]:
    """The fields, by their names."""
    fields = {name: getattr(exemplar, name) for name in exemplar.__slots__}
    return {**fields, "flags": list(exemplar.flags), "changed": exemplar.changed.isoformat() if exemplar.changed else None}


def _marks(exemplar: ExemplarInfo) -> str:
    """Its marks, and what a doubted one is taken for."""
    taken_for = f" (taken for {exemplar.believed})" if exemplar.believed and exemplar.believed != exemplar.label else ""
    return ", ".join(exemplar.flags) + taken_for


def _properties(rows: dict[str, str]) -> Table:
    table = property_table()
    for name, value in rows.items():
        table.add_row(Text(name, style="bold"), Text(value))
    return table


def _moment(moment: datetime | None) -> str:
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S") if moment else "-"
