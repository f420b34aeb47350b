"""One small file for each step: what it measured, or how far it is."""

import hashlib
import json
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from bench.gpu.steps import Step
from bench.harness.report import Target
from holdfast.errors import HoldfastError
from holdfast.files import write_atomically


@dataclass(frozen=True)
class StepResult:
    """What is kept of a step.

    Attributes:
        step: its name.
        identity: of its command: a result of another one is none of this one's.
        mark: of this result alone; those of steps that need this one name it.
        after: the marks of the results that it needed, by their steps: once one of them is another, this one says nothing.
        command: as one would type it.
        state: done, or under way, where the same command goes on.
        seconds: wall time of all its slices, start-up included.
        numbers: what it measured.
        targets: what it promised.

    """

    step: str
    identity: str
    command: str
    state: Literal["under way", "done"]
    seconds: float
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    after: dict[str, str] = field(default_factory=dict)
    numbers: dict[str, Any] = field(default_factory=dict)
    targets: tuple[Target, ...] = ()

    @property
    def met(self) -> bool:
        """Whether it is done and kept what it promised."""
        return self.state == "done" and all(target.met for target in self.targets)


class Results:
    """The results of all steps of one pipeline, in a folder of their own."""

    def __init__(self, folder: Path, steps: Sequence[Step]) -> None:
        self.folder = folder
        self.steps = tuple(steps)
        self._by_name = {step.name: step for step in steps}

    def of(self, step: Step) -> StepResult | None:
        """What there is of a step; none where it was not begun, or a step that it needs was done anew since.

        Raises:
            HoldfastError: the file is of another command, or is none of ours.

        """
        path = self._path(step)
        if not path.is_file():
            return None
        try:
            found = json.loads(path.read_bytes())
            targets = tuple(Target(**target) for target in found.pop("targets"))
            result = StepResult(**found, targets=targets)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise HoldfastError(f"{path} is not a result of a step ({error}): delete it, and the step is done again") from None
        if result.identity != self.identity(step):
            raise HoldfastError(
                f"{path} was measured by another command ({result.command}); choose another --out, or delete the file to do"
                f" the step again"
            )
        return result if result.after == self.before(step) else None

    def keep(self, result: StepResult) -> None:
        """Write it down."""
        self.folder.mkdir(parents=True, exist_ok=True)
        content = json.dumps(asdict(result), indent=2, default=str) + "\n"
        write_atomically(self.folder / f"{result.step}.json", content.encode())

    def all(self) -> Iterable[tuple[Step, StepResult | None]]:
        """Every step with what there is of it."""
        return [(step, self.of(step)) for step in self.steps]

    def before(self, step: Step) -> dict[str, str]:
        """The marks of the results that a step needs, as far as they are there."""
        found = {name: self.of(self._by_name[name]) for name in step.needs}
        return {name: result.mark for name, result in found.items() if result is not None}

    def identity(self, step: Step) -> str:
        """Of the command."""
        return hashlib.sha256(json.dumps(step.command).encode()).hexdigest()[:16]

    def _path(self, step: Step) -> Path:
        return self.folder / f"{step.name}.json"
