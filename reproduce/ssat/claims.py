"""What the paper says about its table, as statements about differences, and what the measured differences say to them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from holdfast.bundle.threat_model import ThreatModel
from holdfast.intervals import Counted, Difference, difference
from reproduce.kept_results import read
from reproduce.ssat.results import ATTACKS, Attacked, AttackName, Clean
from reproduce.ssat.rows import ADVERSARIAL, AMDIM, LABEL_FREE, SUPERVISED, guided_name
from reproduce.verdicts import Word, judge, together

MORE, LITTLE, NEAR = 0.02, -0.03, -0.10
"""The smallest difference that is called more; the largest loss that is called little; the largest distance called near."""


@dataclass(frozen=True)
class Claim:
    """That the clean accuracy or the DSR of one row exceeds that of another by more than a margin.

    Attributes:
        text: in words.
        published: the figures it rests on, in the paper, percent at .03.
        measure: what is compared.
        row: the name of the run that is said to be ahead.
        than: of the run it is compared with.
        margin: what the difference must exceed; negative where it may be behind a little.
        of_the_paper: whether the paper makes this claim.

    """

    text: str
    published: str
    measure: Literal["clean", "DSR"]
    row: str
    than: str
    margin: float
    of_the_paper: bool = True


@dataclass(frozen=True, eq=False)
class Row:
    """What was measured of one row: clean on the whole test set, and attacked by every attack within every ball."""

    clean: Clean
    attacked: tuple[Attacked, ...]

    def under(self, attack: AttackName, ball: ThreatModel) -> Attacked:
        """By this attack within this ball."""
        return next(a for a in self.attacked if a.attack == attack and a.threat == ball)


@dataclass(frozen=True)
class Verdict:
    """On one claim under one attack within one ball; clean accuracy depends on neither."""

    claim: Claim
    attack: AttackName
    ball: ThreatModel
    difference: Difference
    word: Word


def claims_of(checkpoints: Sequence[int]) -> tuple[Claim, ...]:
    """The claims, about SSAT at the first and the last of these steps of its fine-tuning."""
    first, last = guided_name(checkpoints[0]), guided_name(checkpoints[-1])
    little, near = f"{-100 * LITTLE:.0f} points", f"{-100 * NEAR:.0f} points"
    return (
        Claim("AMDIM's DSR exceeds the supervised encoder's", "52 : 19", "DSR", AMDIM, SUPERVISED, MORE),
        Claim("SSAT's first checkpoint raises AMDIM's DSR", "63 : 52", "DSR", first, AMDIM, MORE),
        Claim(f"SSAT's first checkpoint costs less than {little} of clean accuracy", "83 : 85", "clean", first, AMDIM, LITTLE),
        Claim("SSAT's last checkpoint raises AMDIM's DSR", "86 : 52", "DSR", last, AMDIM, MORE),
        Claim("DSR rises from SSAT's first checkpoint to its last", "86 : 63", "DSR", last, first, MORE),
        Claim("clean accuracy falls from SSAT's first checkpoint to its last", "83 : 75", "clean", first, last, MORE),
        Claim(
            f"SSAT's last checkpoint comes within {near} of supervised adversarial training's DSR",
            "86 : 92",
            "DSR",
            last,
            ADVERSARIAL,
            NEAR,
        ),
        Claim(
            "SSAT's last checkpoint keeps more clean accuracy than supervised adversarial training",
            "75 : 70",
            "clean",
            last,
            ADVERSARIAL,
            MORE,
        ),
        Claim("label-free SSAT raises AMDIM's DSR", "-", "DSR", LABEL_FREE, AMDIM, MORE, of_the_paper=False),
    )


def verdicts_of(claims: Sequence[Claim], rows: Mapping[str, Row], balls: Sequence[ThreatModel]) -> tuple[Verdict, ...]:
    """On every claim, under every attack, within every ball, in this order of nesting.

    Args:
        claims: see `claims_of`.
        rows: what was measured, by the name of the run, all on the same images.
        balls: within which they were attacked.

    """
    found = []
    for claim in claims:
        for attack in ATTACKS:
            for ball in balls:
                sides = (_counted(rows[name], claim.measure, attack, ball) for name in (claim.row, claim.than))
                apart = difference(*sides)
                found.append(Verdict(claim, attack, ball, apart, judge(apart, claim.margin)))
    return tuple(found)


def under(verdicts: Sequence[Verdict], attack: AttackName) -> dict[Claim, Word]:
    """What is to be said of each claim under one attack, whatever the ball."""
    claims = dict.fromkeys(verdict.claim for verdict in verdicts)
    return {claim: together([v.word for v in verdicts if v.claim == claim and v.attack == attack]) for claim in claims}


def _counted(row: Row, measure: str, attack: AttackName, ball: ThreatModel) -> Counted:
    if measure == "clean":
        right = read(row.clean.right)
        return Counted(right, np.ones_like(right))
    attacked = row.under(attack, ball)
    return Counted(read(attacked.held), read(attacked.right))
