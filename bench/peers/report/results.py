"""What was measured so far, kept in a file after every pair: a run that was stopped goes on where it was."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.harness.report import host
from holdfast.errors import HoldfastError
from holdfast.files import write_atomically

Numbers = dict[str, Any]


@dataclass
class PeerResults:
    """Of one bundle.

    Attributes:
        settings: of the measurement; what was measured with others does not mix with it.
        pairs: of each peer by its name, in the order in which they were measured; each holds the numbers of "holdfast" and
            of "peer", taken one after the other.
        missing: why a peer could not be measured.

    """

    settings: Numbers
    pairs: dict[str, list[Numbers]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, pair: Numbers) -> None:
        """One more."""
        self.pairs.setdefault(name, []).append(pair)
        self.missing.pop(name, None)

    def count(self, name: str) -> int:
        """How many there are."""
        return len(self.pairs.get(name, ()))


class ResultsFile:
    """Results of some bundles, by their names.

    Raises:
        HoldfastError: the file holds something else, or was measured with other settings.

    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.bundles: dict[str, PeerResults] = {}
        if path is not None and path.exists():
            try:
                found = json.loads(path.read_text(encoding="utf-8"))["bundles"]
                self.bundles = {name: PeerResults(**each) for name, each in found.items()}
            except (ValueError, KeyError, TypeError) as error:
                raise HoldfastError(f"{path} holds no results of bench.peers: {error}; name another file") from None

    def of(self, bundle: str, settings: Numbers) -> PeerResults:
        """Those of a bundle, to be added to."""
        results = self.bundles.setdefault(bundle, PeerResults(settings))
        if results.settings != settings:
            raise HoldfastError(f"{self._path} was measured with {results.settings}; name another file, or ask for the same")
        return results

    def save(self) -> None:
        """The whole file or none of it."""
        if self._path is None:
            return
        content = {
            "bench": "peers",
            "bundles": {name: asdict(each) for name, each in self.bundles.items()},
            "host": host("cpu"),
        }
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self._path, (json.dumps(content, indent=1) + "\n").encode())
