"""The result in words and numbers: on a terminal, and as Markdown to paste."""

from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from holdfast.bundle.threat_model import ThreatModel
from reproduce.markdown import grid, percent
from reproduce.ssat.claims import Claim, Row, Verdict, under
from reproduce.ssat.results import ATTACKS, TITLES
from reproduce.ssat.rows import Run
from reproduce.ssat.scales import BALLS, TableScale
from reproduce.verdicts import STYLES, Word

DITTO = "same"


@dataclass(frozen=True, eq=False)
class TableResults:
    """All that was measured.

    Attributes:
        scale: how large the table was trained.
        runs: its rows, in order.
        rows: what was measured, by the name of the run.
        seconds: of training, by the name of the run, what it shares with others included.
        verdicts: on the claims.

    """

    scale: TableScale
    runs: tuple[Run, ...]
    rows: dict[str, Row]
    seconds: dict[str, float]
    verdicts: tuple[Verdict, ...]

    @property
    def attacked_images(self) -> int:
        """Test images that were attacked."""
        return len(next(iter(self.rows.values())).attacked[0].right)

    @property
    def test_images(self) -> int:
        """Images of the whole test set."""
        return len(next(iter(self.rows.values())).clean.right)


def accuracy_table(result: TableResults, ball: ThreatModel) -> Table:
    """Clean accuracy, and DSR and robust accuracy under both attacks within one ball."""
    shown = Table(title=f"within {ball}, percent, 95 % Wilson intervals", title_justify="left")
    for number, heading in enumerate(_headings(result, ball)):
        shown.add_column(heading, justify="right" if number else "left")
    for cells in _cells(result, ball):
        shown.add_row(*(cell.replace(" [", "\n[") for cell in cells))
    return shown


def claims_table(result: TableResults) -> Table:
    """What the measured differences say to each claim."""
    shown = Table(title="claims", title_justify="left", show_lines=True)
    for heading in _claim_headings(result):
        shown.add_column(heading)
    for cells, verdicts in _claim_rows(result):
        words = [STYLES[verdict.word] for verdict in verdicts]
        styled = (Text(cell, style) for style, cell in zip(words, map(_unmarked, cells[2:]), strict=True))
        shown.add_row(*cells[:2], *styled)
    return shown


def sentences(result: TableResults) -> list[str]:
    """Plainly: which of the paper's claims hold under (a) and which under (b), and which only under (a)."""
    words = {attack: under(result.verdicts, attack) for attack in ATTACKS}
    said = [f"Under {TITLES[attack]}. {_listed(words[attack])}" for attack in ATTACKS]
    before, after = words.values()
    lost = [claim for claim in after if before[claim] == Word.HOLDS != after[claim]]
    only = "; ".join(f"{_named(claim)} ({_PHRASES[after[claim]].lower()} under (b))" for claim in lost)
    said.append(f"Held under (a), not under (b): {only}." if lost else "Every claim that holds under (a) holds under (b).")
    return said


def markdown(result: TableResults) -> str:
    """Both tables, the sentences and how they were measured, to paste into a README."""
    claims = [cells for cells, _ in _claim_rows(result)]
    parts = [f"**Within {ball}**\n\n{grid(_headings(result, ball), _cells(result, ball))}" for ball in result.scale.balls]
    parts += [caption(result), f"**Claims**\n\n{grid(_claim_headings(result), claims)}", method()]
    parts.append("\n".join(f"- {sentence}" for sentence in sentences(result)))
    return "\n\n".join(parts) + "\n"


def _headings(result: TableResults, ball: ThreatModel) -> list[str]:
    attacks = [f"({letter}) {measure}" for letter in "ab" for measure in ("DSR", "robust")]
    published = ["published clean / DSR"] if _place(result, ball) is not None else []
    return ["encoder", "clean", *attacks, *published, "training"]


def _cells(result: TableResults, ball: ThreatModel) -> list[list[str]]:
    place, cells = _place(result, ball), []
    for run in result.runs:
        row = result.rows[run.name]
        rates = [rate for attack in ATTACKS for rate in (row.under(attack, ball).dsr, row.under(attack, ball).robust)]
        published = []
        if place is not None:
            published = [f"{run.published.clean} / {run.published.dsr[place]}" if run.published else "-"]
        minutes = f"{result.seconds[run.name] / 60:.0f} min"
        cells.append([run.title, percent(row.clean.rate), *map(percent, rates), *published, minutes])
    return cells


def _place(result: TableResults, ball: ThreatModel) -> int | None:
    """Which of the two published epsilons this ball stands for; None for another ball."""
    return BALLS.index(ball) if ball in BALLS and result.scale.data == "cifar10" else None


def caption(result: TableResults) -> str:
    """How it was measured."""
    steps = result.rows[result.runs[0].name].attacked[-1].steps
    first = result.scale.papers_attack.attacks[0]
    return (
        f"Percent, with 95 % Wilson intervals. Clean: on all {result.test_images:,} test images. Attacked:"
        f" {result.attacked_images:,} of them, the same for every row, judged on the served vote (k = {result.scale.k}, each"
        f" neighbour counts once). DSR: still right under attack, of those right when clean; robust: right clean and under"
        f" attack, of all. (a) {first} as the paper evaluates, one random start. (b) Worst case per image of (a) and {steps}."
        " Epsilon is in pixels of [0, 1]; the published figures are for .03 and .06, most probably in normalised units, about"
        " 2/255 and 4/255. Guided SSAT is trained at 2/255, about the published .03; supervised adversarial training,"
        " label-free SSAT and DeACL at 8/255. Training includes what rows share."
    )


def method() -> str:
    """How claims are judged."""
    return (
        "Each cell: the difference in percentage points with its 95 % interval, paired image by image (MOVER on Wilson"
        " intervals), and whether that interval lies beyond the claim's margin: 2 points for more, rises and falls, else as it"
        " says. Under one attack a claim holds where it holds within every ball, and does not where it fails within one. The"
        " intervals are not corrected for their number. Clean accuracy depends on no attack."
    )


def _claim_headings(result: TableResults) -> list[str]:
    balls = [f"({letter}) {ball}" for letter in "ab" for ball in result.scale.balls]
    return ["claim", "published", *balls]


def _claim_rows(result: TableResults) -> list[tuple[list[str], list[Verdict]]]:
    rows = []
    for claim in dict.fromkeys(verdict.claim for verdict in result.verdicts):
        verdicts = [verdict for verdict in result.verdicts if verdict.claim == claim]
        cells = [f"**{verdict.word}** {verdict.difference}" for verdict in verdicts]
        if claim.measure == "clean":
            cells[1:] = [DITTO] * (len(cells) - 1)
        rows.append(([_named(claim), claim.published, *cells], verdicts))
    return rows


_PHRASES = {Word.HOLDS: "Holds", Word.FAILS: "Does not hold", Word.OPEN: "Not decided at this sample size"}


def _listed(words: dict[Claim, Word]) -> str:
    """As in "Holds (2 of 8): this; that. Does not hold (6 of 8): ..."; only the paper's claims are counted."""
    total, parts = sum(claim.of_the_paper for claim in words), []
    for word, phrase in _PHRASES.items():
        claims = [claim for claim, found in words.items() if found == word]
        if claims:
            own = sum(claim.of_the_paper for claim in claims)
            parts.append(f"{phrase} ({own} of the paper's {total}): {'; '.join(map(_named, claims))}.")
    return " ".join(parts)


def _named(claim: Claim) -> str:
    return claim.text if claim.of_the_paper else f"{claim.text} (our question, not the paper's)"


def _unmarked(cell: str) -> str:
    """For rich, a part to a line."""
    return cell.replace("** ", "\n").replace("**", "").replace(" [", "\n[")
