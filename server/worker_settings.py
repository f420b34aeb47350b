"""What an operator can set of the processes that take calls."""

from pydantic import Field
from pydantic_settings import BaseSettings


class WorkerSettings(BaseSettings):
    """The settings of workers; see holdfast.server.settings."""

    workers: int = Field(
        0,
        ge=0,
        le=256,
        description="Processes that take calls, decode images and write replies for the one that runs the model; 0: that one"
        " does it all. Worth it where the model is faster than one Python process can feed it, as on a GPU, and there is an"
        " idle core for each: begin with 2 to 4. Not on two cores, nor where the model itself takes the CPU's time. Connections"
        " are spread over them, not calls: a client with one connection is served by one worker. Linux only.",
    )
    batch_scheduling: bool = Field(
        True,
        description="Run gRPC's threads as SCHED_BATCH: they do not take the CPU from the event loop each time that they have"
        " something to do, which saves a tenth of it under load. Linux only.",
    )
    worker_timeout: float = Field(
        4.0,
        ge=0.5,
        le=3600,
        description="Seconds of silence after which a worker is killed and replaced, and after which workers refuse calls"
        " because the engine is silent.",
    )
    worker_start_timeout: float = Field(
        120.0,
        ge=1,
        le=3600,
        description="Seconds that a worker process has to load its modules, before it is killed and replaced.",
    )
