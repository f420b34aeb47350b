"""From pairs to the figures of a table: medians, ratios of pairs, and what the project promises of them."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass

from bench.harness.report import Spread, Target
from bench.peers.report.results import Numbers, PeerResults
from bench.peers.table import BY_NAME, ECHO, PEERS

GRPC_SHARE, ALL_SHARE, PARTS_SHARE, ALONE_SHARE, MANY_SHARE = 0.65, 1.0, 1.25, 1.2, 1.10


@dataclass(frozen=True)
class PeerRow:
    """One server; medians. CPU in microseconds a request, latencies in milliseconds, memory in bytes, start in seconds.

    Attributes:
        ratio: holdfast's CPU as a multiple of this one's, pair by pair; None of holdfast itself.
        goodput: answers within the deadline at twice the capacity, as a share of the capacity.
        callers_cpu: of whoever asked.

    """

    title: str
    transport: str
    cpu: float
    ratio: Spread | None
    capacity: float
    p50_alone: float
    p99_alone: float
    p50: float
    p99: float
    goodput: float
    pss: float
    start: float
    callers_cpu: float


def rows_of(results: PeerResults) -> list[PeerRow]:
    """Holdfast over all pairs, then the peers that were measured, the cheapest first."""
    measured = [(peer, results.pairs[peer.name]) for peer in PEERS if results.count(peer.name)]
    peers = [_row(peer.title, peer.wire.transport, pairs, "peer", ratio_of(pairs, _cpu)) for peer, pairs in measured]
    if not measured:
        return []
    ours = _row("holdfast", "grpc", [pair for _, pairs in measured for pair in pairs], "holdfast", None)
    return [ours, *sorted(peers, key=lambda row: row.cpu)]


def ratio_of(pairs: list[Numbers], value: Callable[[Numbers], float]) -> Spread:
    """Holdfast's value by the peer's, pair by pair."""
    ratios = [value(pair["holdfast"]) / value(pair["peer"]) for pair in pairs]
    return Spread.of(ratios if len(ratios) > 1 else ratios * 2)


def targets_of(results: PeerResults) -> list[Target]:
    """What can be said with what was measured; the cheapest peer is the one with the largest ratio to it."""
    ratios = {name: ratio_of(pairs, _cpu).median for name, pairs in results.pairs.items() if name != ECHO.name}
    grpc = {name: ratio for name, ratio in ratios.items() if BY_NAME[name].wire.transport == "grpc"}
    targets = []
    if grpc:
        name = max(grpc, key=grpc.__getitem__)
        targets.append(Target(f"CPU a request, by the cheapest gRPC peer's ({name})", grpc[name], GRPC_SHARE, at_least=False))
    if ratios:
        name = max(ratios, key=ratios.__getitem__)
        targets.append(Target(f"CPU a request, by the cheapest peer's ({name})", ratios[name], ALL_SHARE, at_least=False))
    if pairs := results.pairs.get(ECHO.name):
        for text, ratio, bound in (
            ("CPU a request, by its parts alone", _by_parts, PARTS_SHARE),
            ("p50 of one caller, by its parts alone", _alone_by_parts, ALONE_SHARE),
            ("CPU an image of 32 a call, by the pipeline alone", _many_by_parts, MANY_SHARE),
        ):
            targets.append(Target(text, statistics.median(map(ratio, pairs)), bound, at_least=False))
    return targets


def _row(title: str, transport: str, pairs: list[Numbers], side: str, ratio: Spread | None) -> PeerRow:
    found = [pair[side] for pair in pairs]

    def median(value: Callable[[Numbers], float]) -> float:
        return statistics.median(map(value, found))

    return PeerRow(
        title=title,
        transport=transport,
        cpu=median(_cpu),
        ratio=ratio,
        capacity=median(lambda each: each["crowd"]["images_per_second"]),
        p50_alone=median(lambda each: each["alone"]["p50"]),
        p99_alone=median(lambda each: each["alone"]["p99"]),
        p50=median(lambda each: each["crowd"]["p50"]),
        p99=median(lambda each: each["crowd"]["p99"]),
        goodput=median(lambda each: each["overload"]["good"] / each["crowd"]["images_per_second"]),
        pss=median(lambda each: each["pss"]),
        start=median(lambda each: each["start_seconds"]),
        callers_cpu=median(lambda each: each["crowd"]["caller_cpu"]),
    )


def _cpu(found: Numbers) -> float:
    return float(found["crowd"]["server_cpu"])


def _by_parts(pair: Numbers) -> float:
    parts = pair["parts"]
    return float(_cpu(pair["holdfast"]) / (parts["decode"] + parts["classify"] + _cpu(pair["peer"])))


def _alone_by_parts(pair: Numbers) -> float:
    return float(pair["holdfast"]["alone"]["p50"] / (pair["parts"]["alone"] / 1000 + pair["peer"]["alone"]["p50"]))


def _many_by_parts(pair: Numbers) -> float:
    parts = pair["many_parts"]
    return float(pair["many"]["server_cpu"] / (parts["decode"] + parts["classify"]))
