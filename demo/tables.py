"""What the demo prints."""

from collections.abc import Mapping

from rich.table import Table

from bench.harness.server_process import Server
from demo.serving import probes
from holdfast.evaluation import Evaluation
from holdfast.intervals import Rate

SCRAPED = (
    ("holdfast_batch_images_sum", "images classified"),
    ("holdfast_batch_images_count", "batches formed"),
    ("holdfast_abstain_total", "answers abstained from"),
    ("process_resident_memory_bytes", "resident memory, bytes"),
)


def robustness_table(results: Mapping[str, Evaluation]) -> Table:
    """Clean and robust accuracy of each encoder under the same attack."""
    first = next(iter(results.values()))
    table = Table(
        title=f"{len(first.labels)} test images of scikit-learn's digits, same kNN, same attack, {first.threat}",
        title_justify="left",
        caption=f"{first.attack}; worst case per image, judged on the served vote; 95 % Wilson intervals",
        caption_justify="left",
    )
    table.add_column("encoder")
    for name in ("clean", "robust", "DSR"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, evaluation in results.items():
        table.add_row(name, percent(evaluation.clean), percent(evaluation.robust), f"{100 * evaluation.dsr.value:.1f} %")
    return table


def percent(rate: Rate) -> str:
    """As in "97.2 % (95.1 to 98.5)"."""
    low, high = rate.interval
    return f"{100 * rate.value:.1f} % ({100 * low:.1f} to {100 * high:.1f})"


def scraped_table(server: Server) -> Table:
    """The server's own metrics, as Prometheus would read them."""
    table = Table(title=f"scraped from {server.metrics}", title_justify="left", show_header=False)
    values = server.scrape()
    for name, meaning in SCRAPED:
        table.add_row(name, meaning, f"{values.get(name, 0):,.0f}")
    for outcome, count in sorted(probes(server).items()):
        table.add_row("holdfast_probe_total", outcome, f"{count:,.0f}")
    keys = ("attack", "epsilon", "bound")
    rates = {tuple(s.labels[key] for key in keys): s.value for s in server.samples() if s.name == "holdfast_flip_rate"}
    for attack, epsilon in dict.fromkeys(labels[:2] for labels in sorted(rates)):
        estimate, low, high = (rates[attack, epsilon, bound] for bound in ("estimate", "low", "high"))
        levels = f"{float(epsilon) * 255:.3g}/255"
        table.add_row("holdfast_flip_rate", f"{attack} at {levels}", f"{estimate:.2f} ({low:.2f} to {high:.2f})")
    return table
