import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from bench.hostile import images as hostile
from holdfast.errors import ImageError
from holdfast.model.preprocess import InputContract, decode_image, fit
from holdfast.server.core.decoding import Decoder, RawImage, raw_pixels
from holdfast.server.core.errors import QueueFullError, RequestError
from holdfast.server.decode_settings import DecodeSettings
from holdfast.server.metrics.decoding import DecodingMetrics
from tests.server.running import workers_of
from tests.server.tiny import png

CONTRACT = InputContract(height=8, width=8)


class Decoding:
    """A decoder, and what it has counted."""

    def __init__(self, max_pixels: int, factor: float | None, contract: InputContract = CONTRACT, **settings: float) -> None:
        self._others = workers_of(os.getpid())  # of servers that other tests have left running
        self.registry = CollectorRegistry()
        metrics = DecodingMetrics(self.registry)
        self.decoder = Decoder(contract, DecodeSettings(**settings), max_pixels, metrics, factor=factor)

    @property
    def processes(self) -> set[int]:
        """That run now."""
        return workers_of(os.getpid()) - self._others

    def counted(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0

    async def decode(self, *sources: bytes, caller: str = "") -> list[object]:
        return await self.decoder.decode_all([self.decoder.plan(source) for source in sources], caller)


@contextmanager
def decoding(
    max_pixels: int = 2**24, factor: float | None = None, contract: InputContract = CONTRACT, **settings: float
) -> Iterator[Decoding]:
    made = Decoding(max_pixels, factor, contract, **settings)
    try:
        yield made
    finally:
        made.decoder.close()


async def become(condition: Callable[[], object], seconds: float = 15) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - a metric or a process cannot be waited for
            await asyncio.sleep(0.01)


def flat(side: int, kind: str = "PNG") -> bytes:
    return png(np.full((side, side, 3), 99, dtype=np.uint8), kind)


@given(shape=st.lists(st.integers(-2, 6), max_size=5), length=st.integers(0, 300), dtype=st.sampled_from(["uint8", "x"]))
def test_raw_pixels_are_an_array_or_an_image_error(shape: list[int], length: int, dtype: str) -> None:
    raw = RawImage(bytes(length), tuple(shape), dtype)
    try:
        pixels = raw_pixels(raw, max_pixels=20)
    except ImageError as error:
        assert error.field in {"raw.dtype", "raw.shape", "raw.data"}
    else:
        assert pixels.shape == tuple(shape)
        assert pixels.size == length
        assert shape[0] * shape[1] <= 20


def test_a_long_side_is_refused_raw_and_encoded() -> None:
    with pytest.raises(ImageError, match="side"):
        raw_pixels(RawImage(bytes(70_000), (1, 70_000), "uint8"), max_pixels=10**6)
    with pytest.raises(ImageError, match="side"):
        decode_image(hostile.flat_png(1, 70_000), CONTRACT)


@given(st.binary(max_size=200), st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF"]))
def test_any_bytes_have_a_price_and_are_refused(tail: bytes, head: bytes) -> None:
    with decoding(10_000) as made:
        plan = made.decoder.plan(head + tail)
        assert 0 < plan.seconds < 1
        assert isinstance(made.decoder.decode_here(plan), ImageError)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_the_price_follows_the_size(kind: str) -> None:
    with decoding() as made:
        prices = [made.decoder.price(flat(side, kind)) for side in (16, 128, 1024, 4096)]
        raw = made.decoder.price(RawImage(bytes(3 * 512 * 512), (512, 512, 3), "uint8"))
        assert prices == sorted(prices)
        assert prices[-1] > 5 * prices[1]
        assert raw > made.decoder.price(RawImage(bytes(192), (8, 8, 3), "uint8"))
        assert made.decoder.price(None) < 1e-3


@pytest.mark.parametrize("name", hostile.MAKERS)
def test_files_made_to_cost_much_are_refused_or_decoded_as_everywhere(name: str) -> None:
    encoded = hostile.MAKERS[name](256)
    with decoding() as made:
        plan = made.decoder.plan(encoded)
        outcome = made.decoder.decode_here(plan)
    if isinstance(outcome, ImageError):
        with pytest.raises(ImageError, match="more than|limit"):
            decode_image(encoded, CONTRACT)
    else:
        np.testing.assert_array_equal(outcome, decode_image(encoded, CONTRACT))


async def test_costly_images_come_back_the_same_from_a_process_of_their_own() -> None:
    costly = [flat(900), hostile.flat_webp(700, 700), hostile.flat_jpeg(1500, 1500, subsampling=0)]
    raw = RawImage(np.arange(3 * 512 * 700).astype(np.uint8).tobytes(), (512, 700, 3), "uint8")
    with decoding() as made:
        outcomes = await made.decode(costly[0], b"no image", *costly[1:], flat(16), raw)
        assert made.processes
        assert made.counted("holdfast_decode_cpu_seconds_total") > 0
        assert isinstance(outcomes.pop(1), ImageError)
        np.testing.assert_array_equal(outcomes.pop(), made.decoder.decode_here(made.decoder.plan(raw)))
        for encoded, outcome in zip([*costly, flat(16)], outcomes, strict=True):
            np.testing.assert_array_equal(outcome, decode_image(encoded, CONTRACT))
    assert not made.processes


async def test_a_process_resizes_and_crops_as_everywhere() -> None:
    contract = InputContract(height=40, width=48, resample="bicubic", shortest=56)
    pixels = np.random.default_rng(0).integers(0, 256, (700, 900, 3), dtype=np.uint8)
    encoded, raw = png(pixels), RawImage(pixels.tobytes(), pixels.shape, "uint8")
    with decoding(contract=contract) as made:
        outcomes = await made.decode(encoded, raw)
        assert made.processes
        outcomes += [made.decoder.decode_here(made.decoder.plan(each)) for each in (encoded, raw)]
    for outcome in outcomes:
        np.testing.assert_array_equal(outcome, fit(pixels, contract))


async def test_many_cheap_images_in_one_call_go_to_a_process_together() -> None:
    images = [png(np.full((60, 60, 3), shade, dtype=np.uint8)) for shade in range(256)]
    with decoding() as made:
        outcomes = await made.decode(*images)
        assert made.counted("holdfast_decode_cpu_seconds_total") > 0
    assert [int(outcome[0, 0, 0]) for outcome in outcomes] == list(range(256))


async def test_a_process_that_dies_costs_the_image_that_it_was_at_and_no_other() -> None:
    with decoding(decode_processes=1) as made:
        await made.decode(flat(900))
        call = asyncio.create_task(made.decode(hostile.flat_webp(4096, 4096), flat(900), flat(1000)))
        (process,) = made.processes
        os.kill(process, signal.SIGSTOP)  # so that it is at the first image for sure
        await become(lambda: made.decoder.backlog_seconds > 0)
        os.kill(process, signal.SIGSEGV)
        os.kill(process, signal.SIGCONT)
        failed, *others = await call
        assert isinstance(failed, ImageError)
        assert all(isinstance(other, np.ndarray) for other in others)
        assert made.counted("holdfast_decoder_processes_replaced_total", reason="crash") == 1
        assert not made.processes & {process}


async def test_an_image_that_takes_too_long_is_ended_and_the_next_is_decoded() -> None:
    # A price may be too low: so it is here, as of a machine that is a hundred times as fast.
    costly = hostile.flat_png(4000, 4000, depth=16, colour=6)
    with decoding(factor=0.01, decode_inline=1e-4, decode_limit=0.02, decode_processes=1) as made:
        slow, other = await made.decode(costly, flat(400))
        assert isinstance(slow, ImageError)
        assert "takes more than" in slow.reason
        assert isinstance(other, np.ndarray)
        assert made.counted("holdfast_decoder_processes_replaced_total", reason="limit") == 1


async def test_what_is_too_costly_by_its_header_is_refused_at_once() -> None:
    with decoding(decode_limit=1e-4) as made:
        (outcome,) = await made.decode(hostile.flat_webp(4000, 4000))
        assert isinstance(outcome, ImageError)
        assert made.counted("holdfast_decode_refused_images_total", limit="image") == 1
        assert not made.processes


async def test_a_call_that_costs_too_much_in_all_is_refused_and_so_is_too_much_at_a_time() -> None:
    costly = hostile.flat_webp(2000, 2000)
    with decoding() as made:
        price = made.decoder.price(costly)
    with decoding(decode_call_limit=2.5 * price, decode_caller_queue=2.5 * price, decode_queue=4.5 * price) as made:
        with pytest.raises(RequestError):
            await made.decode(costly, costly, costly)
        calls = [asyncio.create_task(made.decode(costly, costly, caller=caller)) for caller in ("a", "a", "b", "c")]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert [isinstance(outcome, QueueFullError) for outcome in outcomes] == [False, True, False, True]
        assert made.counted("holdfast_decode_refused_images_total", limit="call") == 3
        assert made.counted("holdfast_decode_refused_images_total", limit="caller") == 2
        assert made.counted("holdfast_decode_refused_images_total", limit="queue") == 2
        assert made.decoder.backlog_seconds == 0


async def test_a_call_that_is_cancelled_ends_its_decoding() -> None:
    with decoding(decode_processes=1, decode_limit=60) as made:
        await made.decode(flat(900))
        (process,) = made.processes
        os.kill(process, signal.SIGSTOP)  # a decoder that never ends
        call = asyncio.create_task(made.decode(hostile.flat_webp(4096, 4096)))
        waiting = asyncio.create_task(made.decode(flat(900)))
        await become(lambda: made.decoder.backlog_seconds > 0)
        call.cancel()
        assert isinstance((await waiting)[0], np.ndarray)
        assert made.counted("holdfast_decoder_processes_replaced_total", reason="abandoned") == 1
        assert process not in made.processes


async def test_a_light_image_does_not_wait_for_the_heavy_ones_of_another_caller() -> None:
    heavy, light = hostile.flat_webp(3000, 3000), flat(500)
    with decoding(factor=1.0, decode_call_limit=1000, decode_caller_queue=1000, decode_queue=1000) as made:
        await made.decode(heavy)
        flood = asyncio.create_task(made.decode(*(20 * [heavy]), caller="flood"))
        await become(lambda: made.decoder.backlog_seconds > 0)
        await made.decode(light, caller="light")
        assert not flood.done()
        flood.cancel()


async def test_long_headers_of_many_images_leave_the_event_loop_to_others() -> None:
    long = hostile.flat_png(8, 8, extra=hostile.chunk(b"teSt", b"") * 1000)
    turns = 0
    with decoding() as made:
        looking = asyncio.create_task(made.decoder.plans(100 * [long], "a"))
        while not looking.done():
            turns += 1
            await asyncio.sleep(0)
        assert len(await looking) == 100
    assert turns > 5
