"""Callers that send what is made to cost much, as fast as they are answered, from one process of low priority.

python -m bench.hostile.attacker --address HOST:PORT --attack NAME [--callers 4] [--seconds 3]
"""

import argparse
import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import grpc.aio
import numpy as np

from bench.hostile import images
from bench.load import CLASSIFY
from holdfast.flags import positive, whole_number
from holdfast.protos.holdfast.v1 import holdfast_pb2, image_pb2

MESSAGE_BYTES = 15 * 2**19
LEAVE_S = 0.05
NEARLY_COSTLY = 128
"""Pixels a side of a photograph that is still decoded in passing."""


def _encoded(*files: bytes) -> list[image_pb2.Image]:
    return [image_pb2.Image(encoded=each) for each in files]


def _made(make: Callable[[int], bytes]) -> list[image_pb2.Image]:
    return _encoded(make(images.SIDE))


def _raw() -> list[image_pb2.Image]:
    side = int((MESSAGE_BYTES / 3) ** 0.5)
    data = bytes(3 * side * side)
    return [image_pb2.Image(raw=image_pb2.RawImage(data=data, shape=(side, side, 3), dtype=image_pb2.DATA_TYPE_UINT8))]


def _nearly_costly() -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (NEARLY_COSTLY, NEARLY_COSTLY, 3), dtype=np.uint8)
    return images.saved(noise, "PNG", compress_level=1)


def _long_headers() -> list[image_pb2.Image]:
    file = images.flat_png(32, 32, extra=images.chunk(b"teSt", b"") * 1000)
    return _encoded(*(256 * [file]))


ATTACKS: dict[str, Callable[[], Sequence[image_pb2.Image]]] = {
    "none": lambda: _encoded(images.flat_png(32, 32)),
    **{name: partial(_made, make) for name, make in images.MAKERS.items()},
    "webp-256": lambda: _encoded(*(256 * [images.flat_webp(4096, 4096)])),
    "webp-8": lambda: _encoded(*(8 * [images.flat_webp(4096, 4096)])),
    "webp-left": lambda: _encoded(images.flat_webp(4096, 4096)),
    "progressive-6": lambda: _encoded(*(6 * [images.many_scans(4096, 50)])),
    "nearly-costly-256": lambda: _encoded(*(256 * [_nearly_costly()])),
    "fill-7-MB": lambda: _encoded(images.padded_jpeg("fill bytes", MESSAGE_BYTES)),
    "zeros-7-MB": lambda: _encoded(images.padded_jpeg("zeros", MESSAGE_BYTES)),
    "long-headers-256": _long_headers,
    "raw-7-MB": _raw,
}
"""What one call of each attack carries, by name. Of "none" it is an ordinary picture: what as many callers cost anyway."""


async def attack(address: str, name: str, callers: int, seconds: float) -> Counter[str]:
    """Attack for a while. Returns how many calls ended with which status, and with which of one image in many."""
    message = holdfast_pb2.ClassifyRequest(images=await asyncio.to_thread(ATTACKS[name])).SerializeToString()
    timeout = LEAVE_S if name.endswith("-left") else None
    ended: Counter[str] = Counter()
    clock = asyncio.get_running_loop().time
    end = clock() + seconds

    async def caller() -> None:
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1)]
        async with grpc.aio.insecure_channel(address, options) as channel:
            method: Any = channel.unary_unary(CLASSIFY)
            while clock() < end:
                try:
                    await method(message, timeout=timeout)
                    ended["OK"] += 1
                except grpc.aio.AioRpcError as error:
                    ended[error.code().name] += 1
                    await asyncio.sleep(0.005)  # as a client that heeds nothing, but is not a loop without end

    print("attacking", flush=True)
    callings = [asyncio.create_task(caller()) for _ in range(callers)]
    await asyncio.wait(callings, timeout=seconds)
    for calling in callings:
        calling.cancel()
    await asyncio.wait(callings)
    return ended


def main() -> int:
    """Prints a line "attacking" once it begins, and one line of JSON at its end."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.hostile.attacker", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--address", required=True, help="host:port of the server")
    parser.add_argument("--attack", choices=ATTACKS, required=True, metavar="NAME", help=", ".join(ATTACKS))
    parser.add_argument("--callers", type=whole_number(1), default=4, help="a connection each (default: %(default)s)")
    parser.add_argument("--seconds", type=positive, default=3.0, help="how long (default: %(default)s)")
    options = parser.parse_args()
    os.nice(19)  # what is measured is the server: the attackers' own CPU is on another machine in earnest
    ended = asyncio.run(attack(options.address, options.attack, options.callers, options.seconds))
    print(json.dumps(ended))
    return 0


if __name__ == "__main__":
    sys.exit(main())
