"""holdfast.admin.v1 over gRPC: messages to the store and to the manager of versions, and back."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from holdfast.errors import ImageError
from holdfast.protos.holdfast.admin.v1 import admin_pb2 as pb
from holdfast.protos.holdfast.admin.v1 import exemplar_pb2
from holdfast.protos.holdfast.admin.v1.admin_pb2_grpc import AdminServiceServicer
from holdfast.server.access.scopes import Scope
from holdfast.server.api.admin import messages
from holdfast.server.api.authentication import principal
from holdfast.server.api.holdfast_v1_messages import source_of
from holdfast.server.api.status import to_status
from holdfast.server.core.decoding import Decoder
from holdfast.server.core.errors import InvalidRequestError, UnavailableFeatureError
from holdfast.server.core.holder import ModelHolder
from holdfast.server.core.speech.recordings import one_window
from holdfast.server.metrics.metrics import Metrics
from holdfast.server.settings import Settings
from holdfast.server.store.checks import fault_of_name, fault_of_source
from holdfast.server.store.errors import JournalDamagedError
from holdfast.server.store.records import Author, ChangeReceipt, NewExemplar, State
from holdfast.server.store.store import ExemplarStore
from holdfast.server.versions.manager import VersionManager

if TYPE_CHECKING:
    from grpc.aio import ServicerContext

_OfIds = pb.DeleteExemplarsRequest | pb.ApproveExemplarsRequest | pb.DropExemplarsRequest
_Reply = TypeVar("_Reply", pb.DeleteExemplarsResponse, pb.ApproveExemplarsResponse, pb.DropExemplarsResponse)
_ChangeOfIds = Callable[[Sequence[int], str, Author], Awaitable[ChangeReceipt]]

SHOWN_DAMAGED = 20
"""Exemplars that a message names."""

NAME = pb.DESCRIPTOR.services_by_name["AdminService"].full_name

SCOPES = {
    "AddExemplars": Scope.ADMIN,
    "UpdateExemplars": Scope.ADMIN,
    "DeleteExemplars": Scope.ADMIN,
    "ApproveExemplars": Scope.ADMIN,
    "DropExemplars": Scope.ADMIN,
    "ListExemplars": Scope.ADMIN_READ,
    "ListLabels": Scope.ADMIN_READ,
    "GetExemplar": Scope.ADMIN_READ,
    "ExportExemplars": Scope.ADMIN_READ,
    "Reload": Scope.ADMIN,
    "Rollback": Scope.ADMIN,
    "ListVersions": Scope.ADMIN_READ,
    "GetStatus": Scope.ADMIN_READ,
}

PAGE, LARGEST_PAGE = 100, 1000
LONGEST_ID = 128
"""Characters of the longest request id."""


class AdminService(AdminServiceServicer):
    """holdfast.admin.v1.AdminService.

    Args:
        settings: of the server.
        holder: of the model.
        metrics: counts images that are refused.
        store: of exemplars; None where the server keeps none.
        versions: of the bundle.

    """

    def __init__(
        self,
        settings: Settings,
        holder: ModelHolder,
        metrics: Metrics,
        store: ExemplarStore | None,
        versions: VersionManager,
    ) -> None:
        self._settings, self._holder, self._metrics = settings, holder, metrics
        self._kept, self._versions = store, versions
        contract = holder.current.description.contract  # which no publish changes
        self._decoder = Decoder(contract, settings, settings.max_pixels, metrics.decoding)

    def close(self) -> None:
        """End the decoder's processes."""
        self._decoder.close()

    async def AddExemplars(  # noqa: N802 - gRPC's names
        self, request: pb.AddExemplarsRequest, context: "ServicerContext[Any, Any]"
    ) -> pb.AddExemplarsResponse:
        """Decode, then let the store judge, write and serve."""
        del context
        self._check("exemplars", request.exemplars, request.request_id)
        self._check_names("exemplars", [each.label for each in request.exemplars], [each.source for each in request.exemplars])
        decoded = [await self._decode(place, each.image) for place, each in enumerate(request.exemplars)]
        bad = [image for image in decoded if isinstance(image, ImageError)]
        if bad and request.on_bad_image != exemplar_pb2.ON_BAD_IMAGE_KEEP_REST:
            raise InvalidRequestError([(error.field, error.reason) for error in bad])
        good = [
            NewExemplar(image, each.label, each.source, each.image.encoded or each.image.audio or None)
            for image, each in zip(decoded, request.exemplars, strict=True)
            if not isinstance(image, ImageError)
        ]
        return await self._add(good, decoded, request.request_id)

    async def UpdateExemplars(  # noqa: N802
        self, request: pb.UpdateExemplarsRequest, context: "ServicerContext[Any, Any]"
    ) -> pb.UpdateExemplarsResponse:
        """Relabel."""
        del context
        self._check("updates", request.updates, request.request_id)
        labels = {update.id: update.label for update in request.updates}
        if len(labels) < len(request.updates):
            raise InvalidRequestError([("updates", "names an exemplar twice")])
        self._check_names("updates", [each.label for each in request.updates])
        receipt = await self._store.relabel(labels, request.request_id, _author())
        states = messages.states_of(receipt)
        return pb.UpdateExemplarsResponse(sequence=receipt.sequence, already_applied=receipt.repeated, states=states)

    async def DeleteExemplars(  # noqa: N802
        self, request: pb.DeleteExemplarsRequest, context: "ServicerContext[Any, Any]"
    ) -> pb.DeleteExemplarsResponse:
        """Let exemplars vote no more."""
        del context
        return await self._change(self._store.delete, request, pb.DeleteExemplarsResponse)

    async def ApproveExemplars(  # noqa: N802
        self, request: pb.ApproveExemplarsRequest, context: "ServicerContext[Any, Any]"
    ) -> pb.ApproveExemplarsResponse:
        """Let exemplars in quarantine vote."""
        del context
        return await self._change(self._store.approve, request, pb.ApproveExemplarsResponse)

    async def DropExemplars(  # noqa: N802
        self, request: pb.DropExemplarsRequest, context: "ServicerContext[Any, Any]"
    ) -> pb.DropExemplarsResponse:
        """Throw exemplars in quarantine away."""
        del context
        return await self._change(self._store.drop, request, pb.DropExemplarsResponse)

    async def ListExemplars(  # noqa: N802
        self, request: pb.ListExemplarsRequest, context: "ServicerContext[Any, Any]"
    ) -> pb.ListExemplarsResponse:
        """A page of them."""
        del context
        if request.page_size < 0:
            raise InvalidRequestError([("page_size", f"is {request.page_size}; give 1 to {LARGEST_PAGE}, or 0 for {PAGE}")])
        size = min(request.page_size or PAGE, LARGEST_PAGE)
        after = request.after_id if request.HasField("after_id") else -1
        # One more than the page tells whether there is a next one.
        records = await self._store.list(request.label or None, messages.state_of(request.state), after, size + 1)
        page = records[:size]
        following = page[-1].id if len(records) > size else None
        return pb.ListExemplarsResponse(exemplars=map(messages.exemplar, page), next_after_id=following)

    async def ListLabels(  # noqa: N802
        self, request: pb.ListLabelsRequest, context: "ServicerContext[Any, Any]"
    ) -> pb.ListLabelsResponse:
        """The classes."""
        del request, context
        return pb.ListLabelsResponse(labels=map(messages.label_summary, await self._store.labels()))

    async def GetExemplar(  # noqa: N802
        self, request: pb.GetExemplarRequest, context: "ServicerContext[Any, Any]"
    ) -> pb.GetExemplarResponse:
        """One of them, with its picture."""
        del context
        record, picture = await self._store.get(request.id), await self._store.thumbnail(request.id)
        return pb.GetExemplarResponse(exemplar=messages.exemplar(record), thumbnail=picture or b"")

    async def ExportExemplars(  # noqa: N802
        self, request: pb.ExportExemplarsRequest, context: "ServicerContext[Any, Any]"
    ) -> AsyncIterator[pb.ExportExemplarsResponse]:
        """All of them, with their pictures; what is added meanwhile may be among them."""
        del context
        label, state, after = request.label or None, messages.state_of(request.state), -1
        damaged: list[int] = []
        while records := await self._store.list(label, state, after, PAGE):
            for record in records:
                try:
                    picture = await self._store.thumbnail(record.id)
                except JournalDamagedError:
                    damaged.append(record.id)
                    picture = None
                yield pb.ExportExemplarsResponse(exemplar=messages.exemplar(record), thumbnail=picture or b"")
            after = records[-1].id
        if damaged:  # at the end, so that it costs nobody the others
            shown = ", ".join(f"exemplar {each}" for each in damaged[:SHOWN_DAMAGED])
            others = "" if len(damaged) <= SHOWN_DAMAGED else f" and {len(damaged) - SHOWN_DAMAGED} others"
            raise JournalDamagedError(f"pictures that are not what was written were left out, of {shown}{others}")

    async def Reload(self, request: pb.ReloadRequest, context: "ServicerContext[Any, Any]") -> pb.ReloadResponse:  # noqa: N802
        """Serve another version."""
        del context
        return pb.ReloadResponse(version=messages.version(await self._versions.reload(request.name or None)))

    async def Rollback(self, request: pb.RollbackRequest, context: "ServicerContext[Any, Any]") -> pb.RollbackResponse:  # noqa: N802
        """Serve the one before."""
        del request, context
        return pb.RollbackResponse(version=messages.version(await self._versions.rollback()))

    async def ListVersions(  # noqa: N802
        self, request: pb.ListVersionsRequest, context: "ServicerContext[Any, Any]"
    ) -> pb.ListVersionsResponse:
        """All of them."""
        del request, context
        return pb.ListVersionsResponse(versions=map(messages.version, self._versions.list()))

    async def GetStatus(  # noqa: N802
        self, request: pb.GetStatusRequest, context: "ServicerContext[Any, Any]"
    ) -> pb.GetStatusResponse:
        """How much there is of everything."""
        del request, context
        model, settings, store = self._holder.current.description, self._settings, self._kept
        return pb.GetStatusResponse(
            name=model.name,
            model_version=model.version,
            exemplars=model.exemplars,
            quarantined=store.quarantined if store is not None else 0,
            classes=len(model.class_names),
            keeps_store=store is not None,
            sequence=store.sequence if store is not None else 0,
            limits=messages.limits(settings.max_images, settings.max_message_bytes, settings.max_pixels),
        )

    @property
    def _store(self) -> ExemplarStore:
        if self._kept is None:
            raise UnavailableFeatureError("this server keeps no store of exemplars: start it with --store DIR")
        return self._kept

    def _check(self, field: str, items: Sequence[object], request_id: str) -> None:
        """Refuse a change that has nothing in it, too much, or no name."""
        most, faults = self._settings.max_images, []
        if not 1 <= len(items) <= most:
            faults.append((field, f"has {len(items)} entries; send 1 to {most}"))
        if not 1 <= len(request_id) <= LONGEST_ID:
            faults.append(("request_id", f"has {len(request_id)} characters; give the change a name of 1 to {LONGEST_ID}"))
        if faults:
            raise InvalidRequestError(faults)

    def _check_names(self, field: str, labels: Sequence[str], sources: Sequence[str] = ()) -> None:
        """Refuse what can be no class name or source, and say of which entry it is."""
        known = self._holder.current.description.class_names
        faults = [(f"{field}[{place}].label", fault_of_name(label, known)) for place, label in enumerate(labels)]
        faults += [(f"{field}[{place}].source", fault_of_source(source)) for place, source in enumerate(sources)]
        if found := [(where, fault) for where, fault in faults if fault]:
            raise InvalidRequestError(found)

    async def _change(self, change: _ChangeOfIds, request: _OfIds, reply: type[_Reply]) -> _Reply:
        """Make a change that exemplars are named for and nothing else."""
        self._check("ids", request.ids, request.request_id)
        receipt = await change(list(dict.fromkeys(request.ids)), request.request_id, _author())
        return reply(sequence=receipt.sequence, already_applied=receipt.repeated)

    async def _decode(self, place: int, image: Any) -> Any:
        try:
            return one_window(await self._decoder.decode(source_of(image), principal().name))
        except ImageError as error:
            self._metrics.image_rejected(error.field)
            return ImageError(f"exemplars[{place}].image.{error.field}", error.reason)

    async def _add(self, good: list[NewExemplar], decoded: list[Any], request_id: str) -> pb.AddExemplarsResponse:
        if not good:  # and the caller wants the rest kept, which there is none of
            results = [exemplar_pb2.AddResult(error=to_status(error)) for error in decoded]
            return pb.AddExemplarsResponse(results=results)
        receipt = await self._store.add(good, request_id, _author())
        doubtful = [number for number, state in zip(receipt.ids, receipt.states, strict=True) if state is State.QUARANTINED]
        reasons = {number: (await self._store.get(number)).reason for number in doubtful}
        places = iter(range(len(good)))
        outcomes = [image if isinstance(image, ImageError) else next(places) for image in decoded]
        results = messages.added(receipt, outcomes, reasons)
        return pb.AddExemplarsResponse(sequence=receipt.sequence, results=results, already_applied=receipt.repeated)


def _author() -> Author:
    return Author(principal().name)
