"""The listener of the admin service: a port of its own, in the process that runs the model, with tokens of its own."""

import ipaddress

import grpc.aio
from grpc_reflection.v1alpha import reflection

from holdfast.errors import HoldfastError
from holdfast.protos.holdfast.admin.v1.admin_pb2_grpc import add_AdminServiceServicer_to_server
from holdfast.server.api.admin.authentication import Authenticate
from holdfast.server.api.admin.service import NAME, AdminService
from holdfast.server.api.admin.tokens import TokenFile
from holdfast.server.api.grpc_server import CLOSE_GRACE_S, channel_options
from holdfast.server.api.interceptors import Admit, Measure, Translate
from holdfast.server.core.admission import Drain
from holdfast.server.core.holder import ModelHolder
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
        guards = (Translate(), Measure(metrics), Authenticate(_tokens_of(settings)), Admit(self._drain, [NAME]))
        self._server = grpc.aio.server(interceptors=guards, options=channel_options(settings, shares_port=False))
        self._service = AdminService(settings, holder, metrics, store, versions)
        add_AdminServiceServicer_to_server(self._service, self._server)
        if settings.reflection:
            reflection.enable_server_reflection((NAME, reflection.SERVICE_NAME), self._server)
        self._port = 0

    @property
    def address(self) -> str:
        """host:port, once started."""
        return f"{self._host}:{self._port}"

    async def start(self) -> None:
        """Listen and serve. Raises HoldfastError where the port is taken."""
        try:
            self._port = self._server.add_insecure_port(f"{self._host}:{self._wanted}")
        except (RuntimeError, OSError) as error:
            raise HoldfastError(f"the admin service cannot listen on {self._host}: {error}") from None
        await self._server.start()

    async def drain(self) -> bool:
        """Refuse new calls, finish those in flight, close. Returns whether all were finished."""
        finished = await self._drain.finished(self._grace)
        await self._server.stop(CLOSE_GRACE_S)
        self._service.close()
        return finished


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens on that address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _tokens_of(settings: Settings) -> TokenFile | None:
    if settings.admin_token_file is not None:
        return TokenFile(settings.admin_token_file)
    if not settings.admin_insecure:
        raise HoldfastError(
            "the admin service changes what is served, and wants a file of tokens: write one with"
            ' echo "operator:$(openssl rand -hex 32)" > tokens; chmod 600 tokens, and give --admin-token-file tokens;'
            " to try it out on this machine alone, give --admin-insecure"
        )
    if not is_loopback(settings.admin_host):
        raise HoldfastError(
            f"--admin-insecure is for this machine alone, and --admin-host {settings.admin_host} can be reached from others:"
            " leave it at 127.0.0.1, or give --admin-token-file"
        )
    return None
