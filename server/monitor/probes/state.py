"""What probes have found, kept in a file: a server that is started again goes on from it."""

import logging
from pathlib import Path
from typing import Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from holdfast.files import write_atomically
from holdfast.server.monitor.probes.curve import FlipCurve
from holdfast.server.monitor.probes.stability import Selection, StabilityEstimate

log = logging.getLogger(__name__)

MOST_BYTES = 64 * 2**20

ProbeRow = tuple[float, float, float, int, float, bool]
"""A Selection, and whether its answer flipped."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class EstimateRecord(_Record):
    """One estimate, as StabilityEstimate has it."""

    attack: str
    epsilon: float
    answers: int = Field(ge=0)
    total: float
    start: tuple[int, float]
    probes: tuple[ProbeRow, ...]
    learned: tuple[tuple[float, bool], ...]
    since: int = Field(ge=0)
    begins: tuple[float, ...]
    values: tuple[float, ...] = Field(min_length=1)

    @classmethod
    def of(cls, attack: str, epsilon: float, estimate: StabilityEstimate) -> Self:
        """What is kept of an estimate."""
        return cls(
            attack=attack,
            epsilon=epsilon,
            answers=estimate.answers,
            total=estimate.total,
            start=estimate.start,
            probes=tuple(
                (each.margin, each.inclusion, each.expected, each.answers, each.total, flipped)
                for each, flipped in estimate.probes
            ),
            learned=tuple(estimate.learned),
            since=estimate.since,
            begins=tuple(estimate.curve.begins.tolist()),
            values=tuple(estimate.curve.values.tolist()),
        )

    def estimate(self) -> StabilityEstimate:
        """The estimate, which goes on. Raises ValueError where the numbers cannot be those of one."""
        if len(self.values) != len(self.begins) + 1 or not all(row[1] > 0 for row in self.probes):
            raise ValueError("numbers that are of no estimate")
        made = StabilityEstimate(
            curve=FlipCurve(np.array(self.begins), np.array(self.values)),
            answers=self.answers,
            total=self.total,
            start=self.start,
            since=self.since,
        )
        made.probes.extend((Selection(*row[:5]), row[5]) for row in self.probes)
        made.learned.extend(self.learned)
        return made


class ProbeState(_Record):
    """All estimates of one bundle, by one effort of the attacks."""

    schema_version: int = 1
    bundle_version: str = Field(min_length=1)
    effort: str
    estimates: tuple[EstimateRecord, ...]

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all. Raises OSError."""
        write_atomically(path, self.model_dump_json().encode())


Estimates = dict[tuple[str, float], StabilityEstimate]
"""By attack and epsilon."""


def save_estimates(path: Path, bundle_version: str, effort: str, estimates: Estimates) -> None:
    """Keep estimates; a disk that is full costs them and nothing else."""
    records = tuple(EstimateRecord.of(attack, epsilon, each) for (attack, epsilon), each in estimates.items())
    try:
        ProbeState(bundle_version=bundle_version, effort=effort, estimates=records).save(path)
    except OSError as error:
        log.warning("what probes have found is not kept: %s", error)


def load_estimates(path: Path, bundle_version: str, effort: str) -> Estimates:
    """Estimates that were kept; none where they are of something else or cannot be read, which is logged."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError("it is too large")  # noqa: TRY301
        state = ProbeState.model_validate_json(path.read_bytes())
        estimates = {(each.attack, each.epsilon): each.estimate() for each in state.estimates}
    except FileNotFoundError:
        log.info("probes begin anew: %s is not there yet", path)
        return {}
    except (OSError, ValueError, ValidationError) as error:
        log.warning("probes begin anew: %s cannot be read: %s", path, str(error).splitlines()[0])
        return {}
    if (state.bundle_version, state.effort) != (bundle_version, effort):
        log.info("probes begin anew: %s is of another bundle, or of other attacks", path)
        return {}
    log.info("probes go on from %s: %d estimates", path, len(estimates))
    return estimates
