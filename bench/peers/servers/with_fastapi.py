"""Plain FastAPI on uvicorn, with uvloop and httptools, and one thread that batches."""

import asyncio
from typing import Any

import uvicorn
from fastapi import FastAPI, HTTPException, Request, Response

from bench.peers.servers.batch_thread import BatchThread
from bench.peers.servers.json_answers import as_json
from bench.peers.servers.served import PeerModel, PeerOptions
from holdfast.errors import ImageError


def make_app(options: PeerOptions) -> FastAPI:
    """POST /classify with the bytes of a file."""
    app, model = FastAPI(), PeerModel(options)
    batches = BatchThread(model, options)

    @app.post("/classify")
    async def classify(request: Request) -> Response:
        try:
            image = model.decode(await request.body())
        except ImageError as error:
            raise HTTPException(400, str(error)) from None
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[dict[str, Any]] = loop.create_future()
        batches.put(image, lambda answer: loop.call_soon_threadsafe(_resolve, answered, answer))
        try:
            async with asyncio.timeout(options.deadline):
                return Response(as_json(await answered), media_type="application/json")
        except TimeoutError:
            raise HTTPException(503, "too late") from None

    return app


def _resolve(answered: "asyncio.Future[dict[str, Any]]", answer: dict[str, Any]) -> None:
    if not answered.done():
        answered.set_result(answer)


def serve(options: PeerOptions) -> None:
    """Serves until the process is ended."""
    uvicorn.run(
        make_app(options),
        host="127.0.0.1",
        port=options.port,
        loop="uvloop",
        http="httptools",
        log_level="warning",
        access_log=False,
        backlog=4096,
    )
