"""Attacks on one row. What is measured is kept on disk as soon as it is known, and half a ladder is continued."""

import hashlib
import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from holdfast.attacks.search.suite import AttackSuite
from holdfast.attacks.search.worst_case import NAME, AttackOutcome, WorstCase, WorstCaseAttack
from holdfast.attacks.victim import served
from holdfast.bundle.reader import ENCODER, EXEMPLARS, GRADIENT, Bundle, read_manifest
from holdfast.bundle.threat_model import ThreatModel
from holdfast.console import Progress
from holdfast.data import Splits
from holdfast.evaluation import Evaluation, evaluate, record
from holdfast.evaluation.cache import ResultCache
from holdfast.evaluation.plan import slug
from reproduce.kept_results import written
from reproduce.ssat.results import ATTACKS, Attacked, AttackName, Clean
from reproduce.ssat.rows import Run
from reproduce.ssat.scales import TableScale
from reproduce.ssat.training import encoder_on_gpu


@dataclass(frozen=True, eq=False)
class ResumableSuite(WorstCaseAttack):
    """A ladder that begins with what other attacks have found, and can be interrupted.

    Attributes:
        ladder: what is climbed.
        earlier: what was found within this ball or a smaller one, on the same images of the same classifier.
        store: where the ladder keeps its journal.

    """

    ladder: AttackSuite
    earlier: tuple[AttackOutcome, ...] = ()
    store: Path | None = None

    def __str__(self) -> str:
        return str(self.ladder)

    def run(self, worst_case: WorstCase, *, seed: int = 0, progress: Progress | None = None) -> None:
        """Begin with what was found earlier, then run the suite."""
        for outcome in self.earlier:
            worst_case.inherit(np.array(outcome.found_by, dtype=NAME), outcome.adversarial)
        self.ladder.run(worst_case, seed=seed, progress=progress, store=self.store)


@dataclass
class RowAttacks:
    """Attacks on one complete row; what an earlier call has measured is read, and half a ladder is continued.

    Attributes:
        run: the row.
        splits: the data.
        scale: which attacks, within which balls, on how many images.
        out: of the whole table.
        progress: where to show bars.

    """

    run: Run
    splits: Splits
    scale: TableScale
    out: Path
    progress: Progress | None = None
    _evaluations: dict[tuple[AttackName, ThreatModel], Evaluation] = field(default_factory=dict)

    @cached_property
    def cache(self) -> ResultCache:
        """Where results and journals are kept: another folder wherever the same question could have another answer."""
        identity = self._identity
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]
        return ResultCache(self.out / "measured" / f"{self.run.name}-{digest}", identity)

    @property
    def done(self) -> bool:
        """Whether nothing is left to measure."""
        names = [_name(attack, ball) for ball in self.scale.balls for attack in ATTACKS]
        return all(self.cache.has(name) for name in ["clean", *names])

    def clean(self) -> Clean:
        """On the whole test set."""

        def compute() -> Clean:
            answers = served(Bundle.open(self.run.directory).classifier())(self.splits.test.images)
            return Clean(written(answers == self.splits.test.labels))

        return self.cache.once("clean", Clean, compute)

    def attacked(self, attack: AttackName, ball: ThreatModel) -> Attacked:
        """By one attack within one ball."""

        def compute() -> Attacked:
            evaluation = self._evaluation(attack, ball)
            if attack == "ladder" and ball == self.run.config.threat:
                record(self.run.directory, evaluation)
            return Attacked.of(attack, evaluation)

        return self.cache.once(_name(attack, ball), Attacked, compute)

    def _evaluation(self, attack: AttackName, ball: ThreatModel) -> Evaluation:
        if (attack, ball) not in self._evaluations:
            climbing = ResumableSuite(self._ladder(attack), self._earlier(attack, ball), self.cache.file(_name(attack, ball)))
            self._evaluations[attack, ball] = evaluate(
                self.run.directory,
                self.splits.test,
                encoder=self._encoder,
                threat=ball,
                attack=climbing,
                limit=self.scale.images,
                seed=self.run.config.seed,
                progress=self.progress,
            )
        return self._evaluations[attack, ball]

    def _earlier(self, attack: AttackName, ball: ThreatModel) -> tuple[AttackOutcome, ...]:
        """(a) is as published, each ball for itself; (b) begins with all that is known to fool within the ball."""
        if attack == "pgd-knn":
            return ()
        smaller = [b for b in self.scale.balls if b.norm == ball.norm and b.epsilon < ball.epsilon]
        within = [self._evaluation("ladder", b) for b in smaller[-1:]]
        return tuple(evaluation.outcome for evaluation in (self._evaluation("pgd-knn", ball), *within))

    def _ladder(self, attack: AttackName) -> AttackSuite:
        return self.scale.papers_attack if attack == "pgd-knn" else self.scale.ladder

    @cached_property
    def _encoder(self) -> torch.nn.Module | None:
        return encoder_on_gpu(self.run, self.splits)

    @property
    def _identity(self) -> dict[str, Any]:
        manifest = read_manifest(self.run.directory)
        return {
            "files": {name: manifest.files[name] for name in (ENCODER, GRADIENT, *manifest.index_files, EXEMPLARS)},
            "vote": manifest.vote.model_dump(),
            "surrogate temperature": manifest.surrogate_tau,
            "data": self.splits.sha256,
            "images": self.scale.images,
            "seed": self.run.config.seed,
            "balls": [str(ball) for ball in self.scale.balls],
            "attacks": {name: [repr(self._ladder(name).attacks), self._ladder(name).batch_size] for name in ATTACKS},
        }


def _name(attack: AttackName, ball: ThreatModel) -> str:
    return f"{attack}-{slug(ball)}"
