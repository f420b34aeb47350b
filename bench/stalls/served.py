"""A server whose event loop has a clock, with the flags of python -m server.

It prints a line of JSON with its addresses once it is warm; then, for each line on its standard input, the longest stalls since
the last one, as JSON. It ends with its input.
"""

import argparse
import asyncio
import json
import sys
from dataclasses import asdict

from bench.stalls.clock import LoopClock
from holdfast.server.process import loop_factory, quiet_collector
from holdfast.server.run import make_app
from holdfast.server.settings import Settings, load_settings
from holdfast.server.versions.loading import LoadedVersion, load_first


async def serve(settings: Settings, first: LoadedVersion) -> None:
    """Serve until standard input ends."""
    app, clock = make_app(settings, first), LoopClock()
    await app.start()
    quiet_collector()
    clock.start()
    print(json.dumps({"address": app.address, "http": app.http_url, "metrics": app.metrics_url}), flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        print(json.dumps(asdict(clock.take())), flush=True)
    clock.stop()
    await app.drain()


def main() -> int:
    """Serves. Returns 0."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.stalls.served", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    _, flags = parser.parse_known_args()
    settings = load_settings(flags)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(serve(settings, load_first(settings)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
