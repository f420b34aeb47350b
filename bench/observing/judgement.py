"""What it costs to say how far an answer can be trusted, against the answer without that.

Without: embed, search, put neighbours in order, vote. With: all that an answer bears by default, and then certificates as well.
In turns, in CPU time of one thread; one ratio a round, and the median counts. A request has more to pay for than that: so a
server is asked as well, by one caller and by many, and what judgement costs at the batches that it forms is held against the
rest of its CPU time for a request.

    python -m bench.observing.judgement --bundle DIR [--callers 1 64] [--seconds 1] [--rounds 9] [--json FILE]

A last table says what the certificates of the bundle's calibration images are, by its own vote and by one of equal weights.
"""

import argparse
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.harness.callers import run_callers
from bench.harness.environment import restart_with_one_thread
from bench.harness.report import Spread, Target, run_benchmark, show, write_json
from bench.harness.server_process import running_server
from bench.harness.timing import cpu_seconds_of
from holdfast.flags import positive, whole_number

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from holdfast.bundle.reader import Bundle

BOUND = 0.10
MOST_IMAGES = 256


@dataclass(frozen=True)
class JudgementPrice:
    """What answers of one batch size cost.

    Attributes:
        shares: what each kind takes beyond the bare answer, as parts of that.
        seconds: of CPU, what the default answer takes beyond it, for each image.

    """

    shares: dict[str, Spread]
    seconds: float


def measure(bundle: "Bundle", batch: int, seconds: float, rounds: int) -> JudgementPrice:
    """The price in batches of so many images."""
    # Imported here: these libraries read their environment when they are imported, and main sets it first.
    import numpy as np  # noqa: PLC0415

    from holdfast.console import track  # noqa: PLC0415
    from holdfast.model.retrieval.base import SPARE, canonical  # noqa: PLC0415
    from holdfast.model.vote import vote  # noqa: PLC0415

    classifier, parameters, classes = bundle.classifier(), bundle.manifest.vote, len(bundle.class_names)
    images = np.random.default_rng(0).integers(0, 256, (batch, *bundle.manifest.input.shape), dtype=np.uint8)

    def bare() -> object:
        found = bundle.index.search(bundle.encoder.embed(images), parameters.k + SPARE)
        near = canonical(found, parameters.k)
        return vote(near.similarities, near.labels, classes, parameters)

    def certified() -> object:
        retrieval = classifier.retrieve(images)
        return classifier.certified(retrieval, classifier.decide(retrieval), np.arange(batch))

    turns: dict[str, Callable[[], object]] = {
        "bare": bare,
        "by default": lambda: classifier.classify(images),
        "certified": certified,
    }
    taken: dict[str, list[float]] = {name: [] for name in turns}
    for i in track(range(rounds + 1), description=f"classifying {batch} at a time"):
        for name in list(turns) if i % 2 else reversed(turns):
            taken[name].append(cpu_seconds_of(turns[name], seconds))
    names = [name for name in turns if name != "bare"]
    ratios = {name: [a / b - 1 for a, b in zip(taken[name], taken["bare"], strict=True)] for name in names}
    beyond = [a - b for a, b in zip(taken["by default"], taken["bare"], strict=True)]
    # The first of each warms up.
    return JudgementPrice({name: Spread.of(each[1:]) for name, each in ratios.items()}, statistics.median(beyond[1:]) / batch)


def requests(directory: Path, callers: "Sequence[int]", seconds: float) -> list[tuple[int, float]]:
    """Of a server that so many callers ask: the batch that it forms, and its CPU seconds a request of one image."""
    with running_server(directory) as server:
        run_callers(server, "--callers", 1, "--seconds", seconds)
        reports = [run_callers(server, "--callers", each, "--seconds", 3 * seconds) for each in callers]
    return [(max(1, round(each.mean_batch)), each.server_cpu / 1e6) for each in reports]


def certificates(bundle: "Bundle") -> list[list[str]]:
    """Quartiles of the certificates of calibration images, by the bundle's vote and by one without weights."""
    import numpy as np  # noqa: PLC0415

    from holdfast.model.classifier import Retrieval  # noqa: PLC0415
    from holdfast.model.retrieval.base import SPARE  # noqa: PLC0415

    embeddings = bundle.calibration_set.embeddings[:MOST_IMAGES]
    vote, rows = bundle.manifest.vote, []
    retrieval = Retrieval(embeddings, bundle.index.search(embeddings, vote.k + SPARE))
    for name, parameters in (("the bundle's", vote), ("equal weights", vote.model_copy(update={"weighting": "uniform"}))):
        classifier = bundle.classifier().with_vote(parameters)
        answers = classifier.certified(retrieval, classifier.decide(retrieval), np.arange(len(embeddings)))
        rows.append([name, _quartiles(answers.poison_tolerance, ".0f"), _quartiles(answers.feature_shift, ".4f")])
    return rows


def _quartiles(values: Any, form: str) -> str:
    import numpy as np  # noqa: PLC0415

    low, median, high = np.quantile(values, (0.25, 0.5, 0.75))
    return f"{median:{form}} ({low:{form}} to {high:{form}})"


def main() -> int:
    """Runs the benchmark. Returns 0 where the target is met, else 1."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.observing.judgement", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, required=True, help="a complete bundle")
    parser.add_argument("--callers", type=whole_number(1), nargs="+", default=[1, 64], help="at a time (default: 1 64)")
    parser.add_argument("--seconds", type=positive, default=1.0, help="of each turn (default: %(default)s)")
    parser.add_argument("--rounds", type=whole_number(2), default=9, help="turns of each (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    options = parser.parse_args()
    restart_with_one_thread("bench.observing.judgement")
    from holdfast.bundle.reader import Bundle  # noqa: PLC0415

    bundle, rows, values = Bundle.open(options.bundle), [], dict[str, float]()
    for callers, (batch, request) in zip(
        options.callers, requests(options.bundle, options.callers, options.seconds), strict=True
    ):
        price = measure(bundle, batch, options.seconds, options.rounds)
        share = price.seconds / (request - price.seconds)
        rows.append([str(callers), str(batch), *map(str, price.shares.values()), f"{share:.3f}"])
        values |= {f"{name}, {callers}": each.median for name, each in price.shares.items()}
        values[f"request, {callers}"] = share
    worst = max(share for name, share in values.items() if name.startswith("request"))
    target = Target("judgement / the rest of a request", worst, BOUND, at_least=False)
    columns = ["callers", "batch", "answers by default / bare, less 1", "certified / bare, less 1", "by default / a request"]
    show(f"{options.bundle}, CPU time", columns, rows, target)
    if len(bundle.calibration_set):
        columns = ["vote", "poison tolerance: median (quartiles)", "feature shift"]
        show(f"certificates of up to {MOST_IMAGES} calibration images", columns, certificates(bundle))
    if options.json:
        write_json(options.json, "observing.judgement", values, target=target)
    return 0 if target.met else 1


if __name__ == "__main__":
    sys.exit(run_benchmark(main))
