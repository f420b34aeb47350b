"""What every part of a report is made of."""

from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from holdfast.attacks.search.journal import Tried
from holdfast.intervals import Rate


class ReportPart(BaseModel):
    """A part of the report: immutable, and nothing unknown in it. NaN is refused: JSON has none; say None."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Measured(ReportPart):
    """How often something happened, with its 95 % Wilson interval."""

    successes: int = Field(ge=0)
    trials: int = Field(ge=0)
    value: float | None = Field(description="successes / trials; null where it was never tried")
    low: float
    high: float

    @classmethod
    def of(cls, rate: Rate) -> Self:
        """As a rate computes it."""
        low, high = rate.interval
        value = rate.value if rate.trials else None
        return cls(successes=rate.successes, trials=rate.trials, value=value, low=low, high=high)

    @property
    def rate(self) -> Rate:
        """The counts alone; `str` of it is how a person reads it."""
        return Rate(self.successes, self.trials)


class AttackResult(ReportPart):
    """One attack of a suite: what it was, on how many survivors it was tried, how many of them it fooled."""

    name: str
    kind: str
    tried: int
    found: int
    seconds: float

    @classmethod
    def of(cls, tried: Tried) -> Self:
        """As the suite counted it."""
        return cls(name=tried.name, kind=str(tried.kind), tried=tried.tried, found=tried.found, seconds=tried.seconds)
