"""The bench: a picture of the operator's is answered, and attacked. Nothing of it is kept."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import orjson
from aiohttp import web

from holdfast.bundle.threat_model import ThreatModel, parse_epsilon
from holdfast.errors import ImageError
from holdfast.model.answers import Answers
from holdfast.model.preprocess import Pixels
from holdfast.server.access.scopes import Scope
from holdfast.server.api.http.errors import describe_error
from holdfast.server.api.page.neighbours import with_thumbnails
from holdfast.server.api.page.parts import ServedParts
from holdfast.server.api.page.shown import ShownAnswer, certified_answer, shown_answer, shown_attack
from holdfast.server.api.page.visits.visitor import PageCall, PageRoute
from holdfast.server.core.decoding import Decoder
from holdfast.server.core.errors import RequestError
from holdfast.server.core.snapshot import ModelSnapshot
from holdfast.server.monitor.page.attack import AttackStep, BenchAttack
from holdfast.server.monitor.page.background import BenchThread
from holdfast.server.monitor.page.watching import BenchDetectors, WatchedStep
from holdfast.server.settings import Settings

DEFAULT_STEPS = 20

NDJSON = "application/x-ndjson"


@dataclass(frozen=True, slots=True)
class _Subject:
    """An image uint8 [H, W, 3], and what a model answers to it: of one row, and as it is shown."""

    snapshot: ModelSnapshot
    image: Pixels
    answers: Answers
    shown: ShownAnswer


class PictureBench:
    """Answers the routes of the bench. Belongs to one event loop.

    Args:
        parts: what answers.
        thread: computes.

    """

    def __init__(self, parts: ServedParts, thread: BenchThread) -> None:
        settings = parts.settings
        self._settings, self._holder, self._store, self._thread = settings, parts.holder, parts.store, thread
        contract = parts.holder.current.description.contract  # which no publish changes
        self._decoder = Decoder(contract, settings, settings.max_pixels, parts.metrics.decoding)
        self._room = asyncio.Semaphore(settings.page_uploads)

    @property
    def routes(self) -> tuple[PageRoute, ...]:
        """What it answers."""
        return (
            PageRoute("GET", "/bench", "bench", Scope.ADMIN_READ, self._page),
            PageRoute("POST", "/bench", "answer", Scope.ADMIN_READ, self._answer),
            PageRoute("POST", "/bench/attack", "attack", Scope.ADMIN, self._attack),
        )

    def close(self) -> None:
        """End the decoder's processes."""
        self._decoder.close()

    async def _page(self, call: PageCall) -> web.Response:
        return call.html("bench.html.j2", **self._values(None))

    def _values(self, answer: ShownAnswer | None) -> dict[str, Any]:
        model = self._holder.current.description
        return {"model": model, "answer": answer, "most_steps": self._settings.page_attack_steps, "steps": self._steps}

    @property
    def _steps(self) -> int:
        return min(DEFAULT_STEPS, self._settings.page_attack_steps)

    async def _answer(self, call: PageCall) -> web.Response:
        async with self._room:
            subject = await self._subject(call)
            if call.wants_json:
                part = call.html("bench_answer.html.j2", **self._values(subject.shown)).text
                return web.Response(body=orjson.dumps({"html": part}), content_type="application/json")
            return call.html("bench.html.j2", **self._values(subject.shown))

    async def _attack(self, call: PageCall) -> web.StreamResponse:
        """Lines of JSON: how far it is, and at last its outcome or what went wrong."""
        threat, steps = threat_of(call.form.fields), self._steps_of(call.form.text("steps"))
        async with self._room:
            subject = await self._subject(call)
            begin = partial(_watched, subject, threat, steps, self._settings)
            async with aclosing(self._thread.steps(begin)) as taken:
                last = await anext(taken)  # until here an error is a status
                response = web.StreamResponse(headers={"Content-Type": NDJSON})
                await response.prepare(call.request)
                try:
                    await response.write(_progress(last.step))
                    async for last in taken:
                        await response.write(_progress(last.step))
                    await response.write(_line({"html": await self._outcome(call, threat, subject, last)}))
                except Exception as error:  # noqa: BLE001 - the table sorts them, and logs what is not in it
                    await response.write(_line({"error": describe_error(error)[1]}))
            return response

    async def _outcome(self, call: PageCall, threat: ThreatModel, subject: _Subject, last: WatchedStep) -> str | None:
        attacked = await self._shown(last.step.image, subject.snapshot)
        clean = subject.image, subject.shown
        shown = await self._thread.do(lambda: shown_attack(threat, clean, attacked.shown, last))
        return call.html("bench_attack.html.j2", attack=shown, model=subject.snapshot.description).text

    async def _subject(self, call: PageCall) -> _Subject:
        return await self._shown(await self._image(call), self._holder.current)

    async def _image(self, call: PageCall) -> Pixels:
        """The picture that was sent, as the encoder takes it."""
        if call.form.picture is None:
            raise RequestError("picture", "choose one first: PNG, JPEG or WebP")
        assert call.visitor.principal is not None  # noqa: S101 - the route needs a scope
        try:
            return await self._decoder.decode(call.form.picture, f"page:{call.visitor.principal.name}")
        except ImageError as error:
            raise RequestError("picture", error.reason) from None

    async def _shown(self, image: Pixels, snapshot: ModelSnapshot) -> _Subject:
        sources = self._settings.reveal_sources
        answers = await self._thread.do(lambda: certified_answer(image, snapshot))
        shown = await self._thread.do(lambda: shown_answer(image, answers, snapshot, sources=sources))
        named = replace(shown, neighbours=await with_thumbnails(shown.neighbours, self._store))
        return _Subject(snapshot, image, answers, named)

    def _steps_of(self, text: str) -> int:
        most = self._settings.page_attack_steps
        if not (text.isascii() and text.isdigit() and len(text) <= 6 and 1 <= int(text) <= most):
            raise RequestError("steps", f"is not a number from 1 to {most}")
        return int(text)


def threat_of(fields: Mapping[str, str]) -> ThreatModel:
    """The ball that a form names. Raises RequestError."""
    norm = fields.get("norm", "")
    if norm not in {"linf", "l2"}:
        raise RequestError("norm", "is neither linf nor l2")
    try:
        return ThreatModel("linf" if norm == "linf" else "l2", parse_epsilon(fields.get("epsilon", "").strip()))
    except ValueError as error:
        raise RequestError("epsilon", str(error)) from None


def _watched(subject: _Subject, threat: ThreatModel, steps: int, settings: Settings) -> Iterator[WatchedStep]:
    """Every step of an attack, with who has noticed it; for a thread."""
    snapshot, rng = subject.snapshot, np.random.default_rng()
    attack = BenchAttack(snapshot, subject.image, subject.answers, threat, steps=steps, rng=rng)
    clean = subject.image[np.newaxis], subject.answers
    return BenchDetectors(snapshot, settings).watch(clean, attack.run())


def _progress(step: AttackStep) -> bytes:
    return _line({"step": step.step, "steps": step.steps, "flipped_at": step.flipped_at})


def _line(said: object) -> bytes:
    return orjson.dumps(said) + b"\n"
