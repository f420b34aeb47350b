"""The listener of the admin service: a port of its own, in the process that runs the model, with tokens of its own."""

import grpc.aio
from grpc_reflection.v1alpha import reflection

from holdfast.protos.holdfast.admin.v1.admin_pb2_grpc import add_AdminServiceServicer_to_server
from holdfast.server.access.gate import Gate
from holdfast.server.address import joined, take_port
from holdfast.server.api.admin.service import NAME, SCOPES, AdminService
from holdfast.server.api.authentication import guards
from holdfast.server.api.correlation import Correlate
from holdfast.server.api.grpc_server import CLOSE_GRACE_S, OPEN_SERVICES, channel_options
from holdfast.server.api.interceptors import Admit, Measure, Translate
from holdfast.server.api.listening import opener
from holdfast.server.api.parsing import Parse
from holdfast.server.api.receiving import Receive, Refuse
from holdfast.server.core.drain import Drain
from holdfast.server.core.holder import ModelHolder
from holdfast.server.core.scheduling.messages import MessageLimits, MessageReading
from holdfast.server.decoding.turns import LoopTurns
from holdfast.server.exposure import ADMIN_OFFER, check_offer
from holdfast.server.metrics.messages import MessageMetrics
from holdfast.server.metrics.metrics import Metrics
from holdfast.server.settings import Settings
from holdfast.server.store.store import ExemplarStore
from holdfast.server.versions.manager import VersionManager


class AdminServer:
    """Takes the calls of operators. Belongs to one event loop.

    Args:
        settings: of the server.
        holder: of the model.
        metrics: of this process.
        store: of exemplars; None where the server keeps none.
        versions: of the bundle.

    Raises:
        HoldfastError: no tokens, or a file of tokens that cannot be used.

    """

    def __init__(
        self,
        settings: Settings,
        holder: ModelHolder,
        metrics: Metrics,
        store: ExemplarStore | None,
        versions: VersionManager,
    ) -> None:
        self._host, self._wanted = settings.admin_host, settings.admin_port
        self._drain, self._grace = Drain(), settings.drain_grace
        check_offer(settings, ADMIN_OFFER)
        self._gate = Gate("admin", metrics.access, settings.admin_access)
        requirements = OPEN_SERVICES | {f"/{NAME}/{method}": scope for method, scope in SCOPES.items()}
        # Operators' calls are in the audit trail.
        correlate = Correlate([NAME], settings.request_id_chars, None, metrics.traces)
        reading = MessageReading(MessageLimits(), MessageMetrics(None), LoopTurns())  # operators are not held back
        outer = (Receive(settings.message_timeout, reading), correlate, Translate(), Measure(metrics))
        inner = Admit(self._drain, [NAME]), Refuse(metrics, reading), Parse(settings.max_images, metrics)
        guarded = (*guards(self._gate, requirements, outer), *inner)
        self._server = grpc.aio.server(interceptors=guarded, options=channel_options(settings, shares_port=False))
        self._service = AdminService(settings, holder, metrics, store, versions)
        add_AdminServiceServicer_to_server(self._service, self._server)
        if settings.reflection:
            reflection.enable_server_reflection((NAME, reflection.SERVICE_NAME), self._server)
        self._port = 0

    @property
    def address(self) -> str:
        """host:port, once started."""
        return joined(self._host, self._port)

    async def start(self) -> None:
        """Listen and serve. Raises HoldfastError where the port is taken."""
        self._port = take_port(opener(self._server, self._gate), self._host, self._wanted, "--admin-port")
        self._gate.start()
        await self._server.start()

    async def drain(self) -> bool:
        """Refuse new calls, finish those in flight, close. Returns whether all were finished."""
        finished = await self._drain.finished(self._grace)
        await self._server.stop(CLOSE_GRACE_S)
        await self._gate.stop()
        self._service.close()
        return finished
