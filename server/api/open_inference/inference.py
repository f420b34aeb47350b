"""The Open Inference Protocol over the core, without a transport: gRPC and HTTP both ask here."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from holdfast.errors import ImageError
from holdfast.server.access.scopes import Scope
from holdfast.server.api.authentication import require
from holdfast.server.api.open_inference.images import INPUT, check_input, sources_of
from holdfast.server.api.open_inference.messages import InferReply, InferRequest, check_parameters, flag, whole_number
from holdfast.server.api.open_inference.model import (
    check_model,
    model_config,
    model_metadata,
    model_statistics,
    version_of,
)
from holdfast.server.api.open_inference.outputs import EMBEDDING, WantedOutput, outputs_of, size_of, wanted_outputs
from holdfast.server.api.open_inference.tensors import InputTensor
from holdfast.server.core.errors import RequestError, UnknownModelError
from holdfast.server.core.facade import Core
from holdfast.server.core.request import CallKind, Request, Want
from holdfast.server.core.result import Result
from holdfast.server.core.scheduling.admission import Permit

DEFAULT_NEIGHBOURS = 10
"""Neighbours in their outputs, where a request does not say how many."""


class OpenInference:
    """Answers what the protocol asks. Belongs to one event loop."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def is_ready(self, name: str | None = None, version: str = "") -> bool:
        """Whether the server answers images; with a name, whether it does so by that model."""
        if name is not None:
            try:
                check_model(self._core.description, name, version)
            except UnknownModelError:
                return False
        return self._core.is_serving()

    def metadata(self, name: str, version: str) -> dict[str, Any]:
        """What the model takes and gives. Raises UnknownModelError."""
        check_model(self._core.description, name, version)
        return model_metadata(self._core.description)

    def config(self, name: str, version: str) -> dict[str, Any]:
        """The same for clients of Triton. Raises UnknownModelError."""
        check_model(self._core.description, name, version)
        return model_config(self._core.description, self._core.settings)

    def statistics(self, name: str, version: str) -> dict[str, Any]:
        """What this process has done so far; of one version, or of all where name and version are empty.

        Raises:
            UnknownModelError: a version that was never served, or not of late.

        """
        served = self._core.description
        self._core.statistics.of(served)
        kept = [
            model_statistics(each)
            for each in self._core.statistics
            if name in {"", each.name} and version in {"", each.version}
        ]
        if not kept:
            check_model(served, name or served.name, version)
        return {"model_stats": kept}

    def index(self, *, ready: bool) -> list[dict[str, str]]:
        """Which models there are; those that are ready, where only these are wanted."""
        model = self._core.description
        if self._core.is_serving():
            return [{"name": model.name, "version": version_of(model), "state": "READY", "reason": ""}]
        reason = "the server warms up or drains"
        return [] if ready else [{"name": model.name, "version": version_of(model), "state": "UNAVAILABLE", "reason": reason}]

    async def infer(self, request: InferRequest, deadline: float, caller: str, hold: Callable[[Permit], object]) -> InferReply:
        """Answer images.

        Args:
            request: as it came.
            deadline: of its transport, on time.monotonic()'s clock; the parameter "timeout" may shorten it.
            caller: as in core.request.Request.
            hold: takes the call's room, and releases it once the reply is written, or will not be.

        Raises:
            UnknownModelError: of another model or version.
            ForbiddenError: embeddings are wanted, and the caller may not have them.
            RequestError: a field that is wrong, or an image; with the parameter "partial" an image fails alone.
            Others: as Core.admit and Core.answer.

        """
        began = time.monotonic()
        try:
            wanted, partial, deadline, tensor = self._check(request, deadline, began)
        except Exception:
            self._core.statistics.failed(self._core.description, time.monotonic() - began)
            raise
        images = tensor.shape[0]
        permit = self._core.admit(images, deadline, caller, reply_bytes=size_of(wanted, self._core.description, images))
        hold(permit)
        kind = CallKind.EMBED if any(each.kind.name == EMBEDDING for each in wanted) else CallKind.CLASSIFY
        certificates = any(each.kind.certificate for each in wanted)
        want = Want(kind, max(each.neighbours for each in wanted), certificates=certificates)
        result = await self._core.answer(Request(sources_of(tensor), want, deadline, caller), permit)
        check_model(result.model, request.model_name, request.model_version)  # another may have been published meanwhile
        if not partial:
            _raise_for_an_image(result)
        outputs = await outputs_of(result, wanted, self._core.turns, caller)
        return InferReply(result.model.name, version_of(result.model), request.id, outputs)

    def _check(self, request: InferRequest, deadline: float, now: float) -> tuple[list[WantedOutput], bool, float, InputTensor]:
        """What does not take long: outputs, whether images may fail alone, deadline, and the tensor with the images."""
        check_model(self._core.description, request.model_name, request.model_version)
        check_parameters(request)
        partial = flag(request.parameters, "partial")
        timeout = whole_number(request.parameters, "timeout")  # microseconds; 0 is none
        neighbours = whole_number(request.parameters, "neighbours")
        most = self._core.description.vote.k
        wanted = wanted_outputs(
            request.outputs, min(most, DEFAULT_NEIGHBOURS if neighbours is None else neighbours), partial=partial
        )
        _check_scopes(wanted)
        tensor = check_input(request.inputs, self._core.settings.max_images)
        return wanted, partial, min(deadline, now + timeout / 1e6) if timeout else deadline, tensor


def _check_scopes(wanted: Sequence[WantedOutput]) -> None:
    """Embeddings, neighbours and certificates need one scope, all but embeddings the other. Raises ForbiddenError."""
    for each in wanted:
        if each.kind.name == EMBEDDING or each.kind.neighbours or each.kind.certificate:
            require(Scope.EMBED, f'the output "{each.kind.name}"')
        if each.kind.name != EMBEDDING:
            require(Scope.CLASSIFY, f'the output "{each.kind.name}"')


def _raise_for_an_image(result: Result) -> None:
    """The protocol has no error of one image: unless a caller has asked for it, a bad image fails the call, by its number."""
    for place, outcome in enumerate(result.outcomes):
        if isinstance(outcome, ImageError):
            raise RequestError(f"{INPUT}[{place}]", outcome.reason)
