"""holdfast exemplars add: files sent in batches, again where that is asked for, and a summary of what became of them."""

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from holdfast.client.admin.client import AdminClient, new_request_id
from holdfast.client.admin.files import FileBatch, LabelledFile, batches_of, files_of
from holdfast.client.admin.records import AddedImage, AddOutcome, LabelledImage
from holdfast.client.errors import ClientError, ImageRefusedError, MessageTooLargeError
from holdfast.client.messages import CallLimits
from holdfast.console import Console, Progress, counted
from holdfast.data.labelled import DataError
from holdfast.exit_status import DONE, REFUSED

ENTRY = re.compile(r"exemplars\[(\d+)\](?:\.image\.(?:encoded|audio|source))?")
"""How the server names an image of a call."""

SHOWN = 10
"""Files that are named for each kind of outcome."""


@dataclass
class AddSummary:
    """What became of files.

    Attributes:
        added: how many vote now.
        quarantined: files, their ids and why they wait.
        refused: files, and what is wrong with them.
        there: files that were on the server before.
        repeated: files whose very batch was sent before, and is not there any more.

    """

    added: int = 0
    quarantined: list[tuple[str, int, str]] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    there: int = 0
    repeated: int = 0

    def take(self, batch: FileBatch, outcome: AddOutcome) -> None:
        """Count one call in."""
        for file, image in zip(batch.files, outcome.images, strict=True):
            if not isinstance(image, AddedImage):
                self.refused.append((str(file.path), _reason(image)))
            elif outcome.repeated:
                self.repeated += 1
            elif image.state == "quarantined":
                self.quarantined.append((str(file.path), image.id, image.reason))
            else:
                self.added += 1

    def lines(self) -> list[str]:
        """For a person."""
        lines = [f"added {counted(self.added, 'exemplar')}"]
        lines += [f"{self.there:,} were there already, by class and name: --again adds them once more"] * bool(self.there)
        lines += [f"{self.repeated:,} were sent before and have not been there since: --again adds them"] * bool(self.repeated)
        if self.quarantined:
            lines.append(
                f"{len(self.quarantined):,} wait in quarantine: holdfast exemplars list --state quarantined shows them"
            )
            for reason, count in Counter(reason for *_, reason in self.quarantined).most_common(SHOWN):
                lines.append(f"  {count:,}: {reason}")
        if self.refused:
            lines.append(f"{len(self.refused):,} could not be used:")
            lines += [f"  {name}: {reason}" for name, reason in self.refused[:SHOWN]]
            lines += [f"  and {len(self.refused) - SHOWN:,} more"] * (len(self.refused) > SHOWN)
        return lines

    def as_json(self) -> dict[str, object]:
        """For a program."""
        return {
            "added": self.added,
            "quarantined": [{"file": name, "id": number, "reason": reason} for name, number, reason in self.quarantined],
            "refused": [{"file": name, "reason": reason} for name, reason in self.refused],
            "already_there": self.there,
            "sent_before": self.repeated,
        }


def add(admin: AdminClient, options: argparse.Namespace) -> int:
    """Adds images. Status 2 where one of them could not be used; the others are added all the same, unless told otherwise."""
    found, summary, console = files_of(options.paths, options.label), AddSummary(), Console(stderr=True)
    for note in found.notes:
        console.print(note)
    summary.refused += found.refused
    if summary.refused and options.all_or_nothing:
        named = "; ".join(f"{name} {reason}" for name, reason in summary.refused)
        raise DataError(f"nothing was added, as --all-or-nothing asks: {named}")
    files, status = list(found.files), admin.status()
    limits = CallLimits.of(min(options.batch, status.images_per_call), status.message_bytes)
    if not options.again:
        files = _missing(admin, files, summary)
    try:
        with Progress(console=console, transient=True, disable=len(files) <= limits.images) as progress:
            task = progress.add_task("adding", total=len(files))
            for batch in batches_of(files, limits, new_request_id() if options.again else ""):
                try:
                    summary.take(batch, _send(admin, batch, keep_rest=not options.all_or_nothing))
                except MessageTooLargeError as error:
                    if len(batch.files) > 1 or options.all_or_nothing:
                        raise
                    summary.refused.append((str(batch.files[0].path), str(error)))
                progress.advance(task, len(batch.files))
    finally:  # what was added before a failure stays
        print(json.dumps(summary.as_json(), indent=2) if options.json else "\n".join(summary.lines()))
    if not found.files and not found.refused:
        print("no image files were found", file=sys.stderr)
    return REFUSED if summary.refused or not found.files else DONE


def _send(admin: AdminClient, batch: FileBatch, *, keep_rest: bool) -> AddOutcome:
    """One call. What is wrong with an entry of it is said of the file."""
    images = [LabelledImage(image, file.label, file.source) for file, image in zip(batch.files, batch.images, strict=True)]
    try:
        return admin.add(images, request_id=batch.request_id, keep_rest=keep_rest)
    except ImageRefusedError as error:
        raise ImageRefusedError(_by_file(str(error), batch), error.code, error.violations) from None


def _reason(error: ClientError) -> str:
    """What is wrong with one image, without its position in the call."""
    return "; ".join(reason for _, reason in getattr(error, "violations", ())) or str(error)


def _by_file(message: str, batch: FileBatch) -> str:
    """A message of the server with the files' names in the place of their positions in the call."""
    return ENTRY.sub(lambda entry: str(batch.files[int(entry[1])].path), message)


def _missing(admin: AdminClient, files: Iterable[LabelledFile], summary: AddSummary) -> list[LabelledFile]:
    """Those that no exemplar of their class is called after: so that adding a folder again adds what is new in it."""
    files = list(files)
    labels = {file.label for file in files} & {each.name for each in admin.labels()}
    there = {(each.label, each.source) for label in sorted(labels) for each in admin.exemplars(label=label)}
    missing = [file for file in files if (file.label, file.source) not in there]
    summary.there = len(files) - len(missing)
    return missing
