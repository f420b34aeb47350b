"""python -m reproduce.sequential: train every method on every order, and judge the paper's claims."""

import json
from collections.abc import Sequence

import numpy as np

from holdfast.files import write_atomically
from reproduce.command import Invocation, run_reproduction
from reproduce.markdown import grid
from reproduce.sequential import picture
from reproduce.sequential.claims import ARMS, OrderScores, findings_of
from reproduce.sequential.flatness import moved_table
from reproduce.sequential.pipeline import StreamPipeline, StreamResults
from reproduce.sequential.plan import JOINT, SUPERVISED, SUPERVISED_JOINT, TITLES
from reproduce.sequential.scales import SCALES, StreamScale
from reproduce.verdicts import findings_markdown, findings_table

ABOUT = (
    "Train an encoder without labels on a stream of chunks, in several orders and by several methods, beside joint training and"
    " supervised controls that see as many images; measure all by a kNN and a linear probe on all exemplars, and judge the"
    " claims of Hu et al. (arXiv 2104.12081)."
)
PICTURE, PAGE, RECORD = "streams.png", "streams.md", "streams.json"
SHOWN = (*ARMS, SUPERVISED_JOINT, SUPERVISED)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    return run_reproduction("sequential", ABOUT, SCALES, run, arguments)


def run(call: Invocation[StreamScale]) -> None:
    """Train and measure what is not yet, order by order; after each, write page, record and picture of all that is known."""
    for results in StreamPipeline(call).orders():
        write(call, results)
    findings = [finding for measured in results.knn for finding in findings_of(measured, "kNN")]
    call.console.print(findings_table(findings + [finding for moves in results.moves for finding in moves.findings()]))
    call.console.print(f"page {call.out / PAGE}, figures {call.out / RECORD}, picture {call.out / PICTURE}")


def write(call: Invocation[StreamScale], results: StreamResults) -> None:
    """The page, the record and the picture."""
    parts = [f"`{call.command}`\n"]
    for title, key, orders in (("kNN", "kNN", results.knn), ("Linear probe", "linear probe", results.linear)):
        parts.append(f"**{title}**\n\n{accuracies(orders)}")
        findings = [finding for measured in orders for finding in findings_of(measured, key)]
        parts.append(findings_markdown(findings))
    if results.chosen_anchor:
        parts.append(f"Weight of the anchor, chosen on calibration images of the first order: {results.chosen_anchor:g}.\n")
    parts.append(f"**Forgetting: kNN accuracy on what chunk 1 is of, after each chunk**\n\n{forgetting(results)}")
    flat = [finding for moves in results.moves for finding in moves.findings()]
    if results.moves:
        parts.append(f"**Flatness: kNN accuracy where the weights are moved**\n\n{moved_table(results.moves)}")
        parts.append(findings_markdown(flat))
    write_atomically(call.out / PAGE, "\n".join(parts).encode())
    described = {
        "command": call.command,
        "anchor": results.chosen_anchor,
        "accuracies": {m.order: {arm: float(s.mean()) for arm, s in m.arms.items()} for m in results.knn},
        "linear": {m.order: {arm: float(s.mean()) for arm, s in m.arms.items()} for m in results.linear},
        "forgetting": results.curves,
        "claims": [finding.described() for measured in results.knn for finding in findings_of(measured, "kNN")],
        "claims by the linear probe": [
            finding.described() for measured in results.linear for finding in findings_of(measured, "linear probe")
        ],
        "flatness": {
            m.order: {arm: {f"{r:g}": float(s.mean()) for r, s in by.items()} for arm, by in m.arms.items()}
            for m in results.moves
        },
        "claims about flatness": [finding.described() for finding in flat],
    }
    write_atomically(call.out / RECORD, (json.dumps(described, indent=1) + "\n").encode())
    picture.draw(call.out / PICTURE, results.knn, results.shown_curves)


def accuracies(orders: Sequence[OrderScores]) -> str:
    """A row for each order; behind each sequential arm its difference to the joint one, paired."""
    shown = [arm for arm in SHOWN if any(arm in measured.arms for measured in orders)]
    rows = []
    for measured in orders:
        cells = [measured.order]
        for arm in shown:
            if arm not in measured.arms:
                cells.append("-")
                continue
            accuracy = f"{100 * measured.arms[arm].mean():.1f}"
            base = SUPERVISED_JOINT if arm == SUPERVISED else JOINT
            apart = "" if arm in {JOINT, SUPERVISED_JOINT} else f" ({measured.combined({arm: 1, base: -1})})"
            cells.append(accuracy + apart)
        rows.append(cells)
    return grid(["order", *(TITLES[arm] for arm in shown)], rows)


def forgetting(results: StreamResults) -> str:
    """A row for each order and arm."""
    chunks = max(len(values) for arms in results.curves.values() for values in arms.values())
    rows = [
        [f"{order}, {TITLES[arm]}", *(f"{100 * value:.1f}" for value in values), *["-"] * (chunks - len(values))]
        for order, arms in results.curves.items()
        for arm, values in arms.items()
    ]
    return grid(["order and method", *map(str, np.arange(1, chunks + 1))], rows)
