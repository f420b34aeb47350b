"""What is known of versions: the served one, the one before it, and what was said of all others."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from holdfast.server.versions.loading import LoadedVersion
from holdfast.server.versions.records import VersionRecord, VersionState
from holdfast.server.versions.source import Fingerprint, VersionPlace
from holdfast.versions import natural


@dataclass(frozen=True, eq=False)
class KnownVersion:
    """A version that is or was served.

    Attributes:
        place: where it lay, links resolved.
        bundle_version: which bundle it is; see ModelDescription.
        fingerprint: of its directory when it was loaded.
        loaded_at: when that was, in UTC.
        report: which canary it has passed.
        loaded: itself, where it is kept in memory.

    """

    place: VersionPlace
    bundle_version: str
    fingerprint: Fingerprint
    loaded_at: datetime
    report: str = ""
    loaded: LoadedVersion | None = None


class VersionHistory:
    """Keeps what was said of versions, by name. What is passed over stays so until its directory changes.

    Attributes:
        served: the version that is served.
        previous: the one before it; None where there is nothing to go back to.
        loading: the name of the one that is being loaded; "" where none is.

    """

    def __init__(self, served: KnownVersion) -> None:
        self.served = served
        self.previous: KnownVersion | None = None
        self.loading = ""
        self._said: dict[str, tuple[VersionState, str]] = {}
        self._passed: dict[str, Fingerprint] = {}

    def serve(self, version: KnownVersion) -> None:
        """Another version is served now. The same bundle loaded once more has the same one before it."""
        if version.bundle_version != self.served.bundle_version:
            self.previous = self.served
        self.served = version
        self._said.pop(version.place.name, None)

    def serve_again(self, version: KnownVersion) -> None:
        """The version before the served one is served again; from there, there is no going back."""
        self._said[self.served.place.name] = (VersionState.AVAILABLE, "was rolled back")
        self.serve(version)
        self.previous = None

    def refuse(self, place: VersionPlace, fingerprint: Fingerprint, reason: str) -> bool:
        """A version will not do, as it lies there now. Returns whether that has not been said before."""
        self._passed[place.name] = fingerprint
        before = self._said.get(place.name)
        self._said[place.name] = (VersionState.REFUSED, reason)
        return before != (VersionState.REFUSED, reason)

    def was_refused(self, place: VersionPlace) -> bool:
        """Whether it was, when it was last looked at."""
        return self._said.get(place.name, (None, ""))[0] is VersionState.REFUSED

    def pass_over(self, places: Iterable[VersionPlace]) -> None:
        """Somebody has seen these as they are, and chosen another."""
        self._passed |= {place.name: place.fingerprint() for place in places}

    def has_seen(self, place: VersionPlace, fingerprint: Fingerprint) -> bool:
        """Whether it is still as it was when it was served, passed over or refused."""
        served = self.served
        if place.name == served.place.name and fingerprint == served.fingerprint:
            return True
        return self._passed.get(place.name) == fingerprint

    def served_record(self) -> VersionRecord:
        """The served version."""
        return VersionRecord(self.served.place.name, VersionState.SERVED, self.served.loaded_at, self.served.report)

    def records(self, there: Iterable[str]) -> list[VersionRecord]:
        """All versions by name; `there` are the names that lie there now."""
        previous = self.previous
        records = [self.served_record()]
        if previous is not None:
            records.append(VersionRecord(previous.place.name, VersionState.PREVIOUS, previous.loaded_at, previous.report))
        known = {record.name for record in records}
        if self.loading:
            records.append(VersionRecord(self.loading, VersionState.LOADING))
            known.add(self.loading)
        for name in set(there) - known:
            state, reason = self._said.get(name, (VersionState.AVAILABLE, ""))
            records.append(VersionRecord(name, state, reason=reason))
        return sorted(records, key=lambda record: natural(record.name))
