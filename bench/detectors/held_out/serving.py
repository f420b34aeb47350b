"""Held-out traffic at a real server: over gRPC, each caller from an address of its own."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc.aio

from bench.detectors.benign import BenignTraffic
from bench.detectors.running import await_detectors
from bench.fairness.relay import relayed
from bench.harness.server_process import Server, running_server
from bench.load import CLASSIFY, raw_requests

AT_ONCE = 8
"""Calls under way, so that the detectors keep up."""


@dataclass(frozen=True)
class ServedTraffic:
    """What a server's detectors said.

    Attributes:
        images: that were answered.
        looked_at: of these, how many the detectors looked at.
        callers: that asked.
        alarms: that began, by detector and by whether one caller is meant or all together.

    """

    images: int
    looked_at: int
    callers: int
    alarms: dict[str, int]


def serve_traffic(bundle: Path, traffic: BenignTraffic, most: int, flags: Sequence[str] = ()) -> ServedTraffic:
    """Ask a fresh server about the first `most` images, one a call, in about their order."""
    images, callers = traffic.images[:most], traffic.callers[:most]
    requests = raw_requests(images.shape[1:], len(images), pixels=images)
    with running_server(bundle, *flags) as server:
        asyncio.run(_ask(server, requests, callers))
        await_detectors(server)
        samples, alarms = server.samples(), Counter[str]()
        for sample in samples:
            if sample.name == "holdfast_alarms_total" and sample.value:
                alarms[f"{sample.labels['detector']}, {sample.labels['scope']}"] += int(sample.value)
        looked_at = int(server.totals()["holdfast_detector_images_total"])
    return ServedTraffic(len(images), looked_at, len(set(callers)), dict(alarms))


async def _ask(server: Server, requests: Sequence[bytes], callers: Sequence[str]) -> None:
    async with AsyncExitStack() as stack:
        calls: dict[str, Any] = {}
        for number, name in enumerate(dict.fromkeys(callers)):
            address = await stack.enter_async_context(relayed(server.address, f"127.2.{number // 250}.{1 + number % 250}"))
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(address))
            calls[name] = channel.unary_unary(CLASSIFY)
        waiting = iter(zip(requests, callers, strict=True))

        async def work() -> None:
            for request, caller in waiting:
                await calls[caller](request)

        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(work())
