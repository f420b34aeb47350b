"""Where metrics are scraped."""

from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, start_http_server

from holdfast.errors import HoldfastError


class MetricsEndpoint:
    """http://HOST:PORT/metrics, on a thread of its own."""

    def __init__(self, registry: CollectorRegistry, host: str, port: int) -> None:
        """Raises HoldfastError where the port is taken."""
        self._host = host
        try:
            self._server, self._thread = start_http_server(port, host.strip("[]"), registry)
        except OSError as error:
            raise HoldfastError(f"cannot listen on {host}: {error}") from None

    @property
    def url(self) -> str:
        """Where it is, also where port 0 was asked for."""
        port = self._server.server_port if isinstance(self._server, WSGIServer) else 0
        return f"http://{self._host}:{port}/metrics"

    def close(self) -> None:
        """Stop answering and give the port back."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
