"""What an operator can set of the page that metrics are scraped from."""

from pydantic import Field
from pydantic_settings import BaseSettings


class MetricsSettings(BaseSettings):
    """The settings of the metrics endpoint; see holdfast.server.settings."""

    metrics_port: int = Field(9464, ge=0, le=65535, description="Port of http://HOST:PORT/metrics; 0 takes a free one.")
    metrics_connections: int = Field(
        64, ge=1, le=4096, description="Most connections to the metrics at a time; above, the oldest is cut off."
    )
    metrics_timeout: float = Field(
        10.0,
        gt=0,
        le=3600,
        description="Seconds that a connection to the metrics has to send its request, and as many to take the reply.",
    )
