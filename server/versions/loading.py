"""One version opened, warmed and tried, on whichever thread this is called; nothing here changes what is served."""

import logging
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from holdfast.bundle.reader import MANIFEST, Bundle, read_manifest
from holdfast.errors import BundleError, ContractMismatchError, HashMismatchError, HoldfastError, MissingFileError
from holdfast.files import sha256_file
from holdfast.server.core.description import ModelDescription
from holdfast.server.core.snapshot import ModelSnapshot
from holdfast.server.settings import Settings
from holdfast.server.versions.background import large_blocks_apart
from holdfast.server.versions.canary import try_model
from holdfast.server.versions.source import Fingerprint, VersionPlace, source_of
from holdfast.waiting import waiting

log = logging.getLogger(__name__)

UNPUBLISHED = 0
"""The version number of a snapshot that was never served: the holder gives it the next one."""


@dataclass(frozen=True, eq=False)
class LoadedVersion:
    """A version that is ready to be served.

    Attributes:
        place: where it lies, links resolved.
        fingerprint: of that directory, as it was loaded.
        bundle: opened.
        snapshot: the model of it, warm.
        report: which canary it has passed, in one sentence.
        loaded_at: when this was, in UTC.

    """

    place: VersionPlace
    fingerprint: Fingerprint
    bundle: Bundle
    snapshot: ModelSnapshot
    report: str
    loaded_at: datetime


def load_version(place: VersionPlace, settings: Settings, served: ModelDescription | None = None) -> LoadedVersion:
    """Verify every file, open, run every batch size, and try the canaries.

    Args:
        place: where it lies.
        settings: of the server.
        served: what is served meanwhile: the new version must take the same images, and goes to the same device. None where
            nothing is served yet.

    Raises:
        HoldfastError: it is no bundle, not whole, changed while it was read, does not fit, or fails a canary.

    """
    resolved = replace(place, directory=place.directory.resolve())
    before = resolved.fingerprint()
    if not before:
        raise MissingFileError(f"{place.directory} is not there, or nothing is in it")
    contract = read_manifest(resolved.directory).input
    if served is not None and contract != served.contract:
        raise ContractMismatchError(
            f"{place.directory} takes images of {contract.shape}, and the server decodes for {served.contract.shape}: start"
            " another server for it"
        )
    with large_blocks_apart():
        bundle, snapshot, report = _open(resolved, settings, served)
    if resolved.fingerprint() != before:
        raise HashMismatchError(f"{place.directory} was changed while it was read; it is looked at again")
    return LoadedVersion(resolved, before, bundle, snapshot, report, datetime.now(UTC))


def _open(place: VersionPlace, settings: Settings, served: ModelDescription | None) -> tuple[Bundle, ModelSnapshot, str]:
    """Open a version's directory, and try the model on its canaries."""
    bundle = Bundle.open(
        place.directory,
        threads=settings.threads,
        device=settings.device if served is None else served.placement.device,
        max_batch=settings.max_batch,
        precision=settings.precision,
    )
    with waiting(log, f"preparing the classifier of {bundle.index.size:,} exemplars"):
        snapshot = ModelSnapshot.of(bundle, UNPUBLISHED, identity(place))
    with waiting(log, "warming up and trying the canaries"):
        report = try_model(bundle, snapshot, settings.max_batch, settings.canary)
    return bundle, snapshot, report


def identity(place: VersionPlace) -> str:
    """Tells a bundle from every other: the name of its directory and the begin of its manifest's SHA-256."""
    return f"{place.name}@{sha256_file(place.directory / MANIFEST)[:12]}"


def load_first(settings: Settings) -> LoadedVersion:
    """What a server begins with: the bundle, or the newest version that can be served.

    Raises:
        HoldfastError: none can; says why, of the newest.

    """
    places = source_of(settings).places()
    if not places:
        raise MissingFileError(f"{settings.bundle_versions} holds no version: rename a bundle into it, and start again")
    refused: list[HoldfastError] = []
    for place in places:
        try:
            return load_version(place, settings)
        except BundleError as error:
            refused.append(error)
            if len(places) > 1:
                log.error("version %s is refused: %s", place.name, error)  # noqa: TRY400 - a sentence for the operator
    raise refused[0]
