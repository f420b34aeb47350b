"""Everything an operator can set: flags first, then HOLDFAST_* environment variables, then the defaults here."""

import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, ValidationError, model_validator
from pydantic_settings import CliApp, NoDecode, SettingsConfigDict, SettingsError

from holdfast.bundle.threat_model import ThreatModel, parse_epsilon
from holdfast.errors import HoldfastError
from holdfast.exit_status import explain_statuses
from holdfast.model.device_choice import DeviceChoice, Precision
from holdfast.model.preprocess import MAX_PIXELS
from holdfast.server.access_settings import AccessSettings
from holdfast.server.admission_settings import AdmissionSettings
from holdfast.server.alarms.settings import AlarmSettings, DetectorSettings
from holdfast.server.decode_settings import DecodeSettings
from holdfast.server.http_settings import HttpSettings, MetricsSettings, PageSettings
from holdfast.server.service_links import WithoutServiceLinks, is_service_link
from holdfast.server.store_settings import SpoolSettings, StoreSettings
from holdfast.server.telemetry.settings import TelemetrySettings
from holdfast.server.worker_settings import WorkerSettings

log = logging.getLogger(__name__)

PREFIX = "HOLDFAST_"

CLIENT_VARIABLES = {"HOLDFAST_TOKEN", "HOLDFAST_ADMIN_TOKEN"}
"""Variables that the commands of the client read, and that may be there where a server is started."""


class ConfigurationError(HoldfastError):
    """Settings that are unknown, missing or out of range."""


def _epsilons(value: object) -> object:
    """Numbers from "2/255, 8/255" or ["2/255,8/255"]; anything else is left to pydantic."""
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list | tuple):
        return value
    parts = [part for item in value for part in (item.split(",") if isinstance(item, str) else [item])]
    return tuple(parse_epsilon(part.strip()) if isinstance(part, str) else part for part in parts if part != "")


def _names(value: object) -> object:
    """Names from "noise, pgd" or ["noise,pgd"]; anything else is left to pydantic."""
    parts = [value] if isinstance(value, str) else value
    if not isinstance(parts, list | tuple):
        return value
    return tuple(name.strip() for part in parts for name in str(part).split(",") if name.strip())


DESCRIPTION = f"""Serve a bundle over gRPC until SIGTERM, with health, and metrics for Prometheus.

examples:
  holdfast serve runs/digits                                           gRPC on port 50051, metrics on port 9464
  holdfast serve runs/digits --probe-rate 0.01                         attack one in a hundred answered images, when idle
  holdfast serve runs/digits --device cuda --workers 4                 four processes that feed a GPU
  holdfast serve --bundle-versions /models/digits                      the newest of several, and newer ones as they appear
  HOLDFAST_BUNDLE=runs/digits holdfast serve --host 0.0.0.0            every flag is a variable, too

Every flag can also be an environment variable: --max-batch is HOLDFAST_MAX_BATCH. A flag wins over its variable.
Unknown flags and unknown HOLDFAST_ variables are refused; links that Kubernetes makes to its Services are left alone.

{explain_statuses(0, 1, 2)}
"""


class Settings(
    AccessSettings,
    AdmissionSettings,
    DetectorSettings,
    AlarmSettings,
    StoreSettings,
    SpoolSettings,
    DecodeSettings,
    HttpSettings,
    PageSettings,
    WorkerSettings,
    MetricsSettings,
    TelemetrySettings,
    WithoutServiceLinks,
):
    """What a server can be told, by flags or by the environment."""

    __doc__ = DESCRIPTION  # which --help shows

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        extra="forbid",
        frozen=True,
        cli_prog_name="holdfast serve",
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_hide_none_type=True,
        cli_avoid_json=True,
    )

    bundle: Path | None = Field(
        None, description="Directory of the bundle to serve, as holdfast index left it. SIGHUP reads it again."
    )
    bundle_versions: Path | None = Field(
        None,
        description="Instead of --bundle: a directory whose child directories are bundles. The newest by name (v9 before v10)"
        " is served, and a newer one as soon as it appears, by rename, and passes its checks; calls go on meanwhile.",
    )
    watch_interval: float = Field(
        5.0, ge=0, le=3600, description="Seconds between two looks into --bundle-versions; 0: only on SIGHUP or by a call."
    )
    canary: Path | None = Field(
        None,
        description="File of labelled images, clean and attacked, that every version must answer as well as was recorded before"
        " it is served: the canary.npz of a bundle. Each bundle's own is always tried.",
    )
    shadow: Path | None = Field(
        None,
        description="Directory of another bundle, which answers a share of the images too, after the served one and for nobody:"
        " metrics and log say how often it disagrees. A reload by its name serves it.",
    )
    shadow_share: float = Field(0.05, gt=0, le=1, description="Share of the images that the shadow answers too.")
    shadow_budget: float = Field(
        0.1, gt=0, description="CPU seconds per second that the shadow may take; what does not fit is not answered by it."
    )
    keep_previous: bool = Field(
        False,
        description="Keep the previous version in memory, so that going back to it takes no time and needs no directory."
        " Without, it is opened again from where it lay.",
    )

    admin_host: str = Field("127.0.0.1", min_length=1, description="Address of the admin service.")
    admin_port: int = Field(
        50052,
        ge=0,
        le=65535,
        description="Port of the admin service, which changes exemplars and versions; 0 takes a free one and prints it. It is"
        " offered where --store, --admin-token-file or --admin-insecure is given.",
    )

    device: DeviceChoice = Field(
        "cpu",
        description="Where encoder and index run: cpu; cuda, the first GPU in sight, or an error that says what is missing;"
        " auto, the GPU if it can be used, else the CPU.",
    )

    precision: Precision = Field(
        "float32",
        description="What a GPU computes the encoder in: float32, as the CPU, or float16, several times as fast on paper, where"
        " the bundle has a graph for it (holdfast train --half); labels that change are few, and an evaluation can use the"
        " same (holdfast evaluate --serve-in).",
    )

    host: str = Field(
        "127.0.0.1",
        min_length=1,
        description="Address to listen on, IPv4 or IPv6, or a name; 0.0.0.0 or :: for every interface.",
    )
    port: int = Field(50051, ge=0, le=65535, description="Port of gRPC; 0 takes a free one and prints it.")
    port_file: Path | None = Field(
        None,
        description='File to write {"address": ..., "metrics": ..., "admin": ...} to, as JSON, once the server is warm.',
    )
    reflection: bool = Field(False, description="Offer gRPC reflection, so that grpcurl and the like can look around.")

    max_batch: int = Field(64, ge=1, le=4096, description="Most images that the encoder sees at once.")
    max_wait: float = Field(
        0.01,
        ge=0,
        le=1,
        description="Seconds that an image waits, at most, for others to share its batch: for as many as callers lately had"
        " under way at a time. A caller alone waits for nobody.",
    )
    queue_images: int = Field(
        1024, ge=1, description="Most images admitted and not yet answered, over all workers; more are refused."
    )
    threads: int = Field(1, ge=1, description="Threads of the encoder. On small encoders one is the fastest.")

    reveal_sources: bool = Field(
        False,
        description="Tell callers who ask for neighbours where those exemplars' images came from, such as the paths of files:"
        " names may say more than a caller should know.",
    )

    max_images: int = Field(256, ge=1, description="Most images in one call.")
    max_pixels: int = Field(
        MAX_PIXELS,
        ge=1,
        description="Most pixels of one image as sent, looked at before decoding; four times as many of a JPEG.",
    )
    max_message_bytes: int = Field(
        8 * 2**20,
        ge=1024,
        description="Most bytes in one message that is sent here. One of 8 MiB holds up all other calls for about 7 ms.",
    )
    message_timeout: float = Field(
        60.0, gt=0, le=3600, description="Seconds that a call of one message has to send it; streams may be silent."
    )
    max_streams: int = Field(1024, ge=1, description="Most calls at a time on one connection.")
    stream_window: int = Field(64, ge=1, description="Most messages of one ClassifyStream being worked on at a time.")
    keepalive: float = Field(60.0, ge=10, description="Seconds of silence after which a connection is pinged.")

    drain_notice: float = Field(
        0.5,
        ge=0,
        le=3600,
        description="Seconds after SIGTERM in which health checks say NOT_SERVING and calls are still taken, so that a balancer"
        " can send them elsewhere. 5 or more behind Kubernetes.",
    )
    drain_grace: float = Field(
        20.0, ge=0, le=3600, description="Seconds after the notice that calls in flight get to finish; new ones are refused."
    )
    canary_interval: float = Field(
        5.0, gt=0, description="Seconds between canaries: images that go through the real batch path, for health."
    )
    canary_timeout: float = Field(10.0, gt=0, description="Seconds without an answer after which health is NOT_SERVING.")

    probe_rate: float = Field(0.0, ge=0, le=1, description="Share of answered images to attack, after the answer; 0: off.")
    probe_budget: float = Field(0.1, gt=0, description="CPU seconds per second that probes may take.")
    probe_epsilons: Annotated[tuple[float, ...], NoDecode, BeforeValidator(_epsilons)] = Field(
        (), description="L-infinity radii of the probes in pixels of [0, 1], such as 2/255,8/255; default: the bundle's."
    )
    probe_steps: int = Field(10, ge=1, description="Gradient steps of one PGD probe.")
    probe_queries: int = Field(50, ge=1, description="Candidates of one Square probe, which uses no gradient.")
    probe_attacks: Annotated[tuple[Literal["noise", "pgd", "square"], ...], NoDecode, BeforeValidator(_names)] = Field(
        ("noise", "pgd", "square"),
        min_length=1,
        description="Attacks that each sampled answer is probed with, such as noise,pgd.",
    )
    probe_state: Path | None = Field(
        None,
        description="File in which probes keep what they have found, so that a server started again goes on from it; without,"
        " estimates begin anew with each start.",
    )

    @property
    def metrics_at(self) -> str:
        """The address of the metrics."""
        return self.metrics_host or self.host

    @property
    def offers_admin(self) -> bool:
        """Whether the admin service is wanted."""
        return self.admin_token_file is not None or self.admin_insecure or self.store is not None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.bundle is None) == (self.bundle_versions is None):
            raise ValueError("give one of --bundle DIR and --bundle-versions DIR")
        if self.queue_images < self.max_images:
            raise ValueError(
                f"queue_images ({self.queue_images}) must hold at least one call of max_images ({self.max_images})"
            )
        if self.workers and sys.platform != "linux":
            raise ValueError("workers need Linux, where processes can share a port; leave them at 0 here")
        for epsilon in self.probe_epsilons:
            if not ThreatModel("linf", epsilon).epsilon > 0:
                raise ValueError("probe_epsilons must be above 0, for instance 2/255,8/255")
        return self


def load_settings(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> Settings:
    """Read flags and environment. --help and unknown flags print and leave, as argparse does.

    Raises:
        ConfigurationError: a value that is missing or out of range, or a HOLDFAST_ variable that nothing reads.

    """
    known = {f"{PREFIX}{name}".upper() for name in Settings.model_fields} | CLIENT_VARIABLES
    ours = [name for name in environment if name.upper().startswith(PREFIX)]
    links = sorted(name for name in ours if is_service_link(name, environment[name]))
    if links:
        log.info("no settings, but Kubernetes' links to Services called holdfast: %s", ", ".join(links))
    unknown = sorted(name for name in ours if name not in links and name.upper() not in known)
    if unknown:
        raise ConfigurationError(
            f"unknown environment variables: {', '.join(unknown)}; holdfast serve --help lists what there is"
        )
    try:
        return CliApp.run(Settings, cli_args=list(arguments))
    except ValidationError as error:
        told = ((".".join(map(str, e["loc"])) or "settings", e["msg"].removeprefix("Value error, ")) for e in error.errors())
        faults = "; ".join(f"{where}: {what}" for where, what in told)
        raise ConfigurationError(f"{faults} (holdfast serve --help)") from None
    except SettingsError as error:
        raise ConfigurationError(f"{error} (holdfast serve --help)") from None
