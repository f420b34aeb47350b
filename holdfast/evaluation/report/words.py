"""Numbers as a person reads them."""

from collections import Counter
from collections.abc import Sequence

from holdfast.attacks.attack import AttackKind
from holdfast.attacks.victim import ABSTAINED
from holdfast.bundle.threat_model import Norm, ThreatModel
from holdfast.evaluation.report.results import AttackResult, Measured
from holdfast.evaluation.suites import MORE_RESTARTS, MORE_STEPS

BYTES = 1024


def percent(fraction: float | None) -> str:
    """.5 -> "50.0 %"; "not measured" without a value."""
    return "not measured" if fraction is None else f"{100 * fraction:.1f} %"


def interval(measured: Measured) -> str:
    """The 95 % interval alone: "43.1 to 56.9"; nothing where nothing was tried."""
    return f"{100 * measured.low:.1f} to {100 * measured.high:.1f}" if measured.trials else ""


def ball(norm: Norm, epsilon: float) -> str:
    """As in "L-inf 8/255"."""
    return str(ThreatModel(norm, epsilon))


def level(norm: Norm, epsilon: float, *, unit: bool = True) -> str:
    """An epsilon alone: grey levels for L-inf, "8/255" or "8"; length for L2, "0.5"."""
    if norm == "l2":
        return f"{epsilon:g}"
    return f"{round(epsilon * 255, 2):g}" + ("/255" if unit else "")


def plain_norm(norm: Norm) -> str:
    """The norm as "L-inf" or "L2"."""
    return {"linf": "L-inf", "l2": "L2"}[norm]


SMALL = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def attacks(steps: Sequence[AttackResult]) -> str:
    """What a suite tried, none counted twice: "42 attacks, ten draws of noise and six repeats at twice the effort"."""
    noise = sum(step.kind == AttackKind.RANDOM for step in steps)
    again = sum(step.name.startswith((MORE_STEPS, MORE_RESTARTS)) for step in steps)
    others = [s for s in steps if s.kind != AttackKind.RANDOM and not s.name.startswith((MORE_STEPS, MORE_RESTARTS))]
    different = Counter(step.name for step in others)
    restarts = len(others) - len(different)
    said = {"attack": len(different), "restart": restarts, "draw of noise": noise, "repeat at twice the effort": again}
    parts = [_counted(number, of) for of, number in said.items() if number]
    return (", ".join(parts[:-1]) + " and " if len(parts) > 1 else "") + (parts[-1] if parts else "no attack")


def _counted(number: int, of: str) -> str:
    noun, *rest = of.split(" ", 1)
    return " ".join([SMALL[number] if number < len(SMALL) else f"{number:,}", noun + ("" if number == 1 else "s"), *rest])


def points(fraction: float) -> str:
    """Of a difference, in percentage points: .0312 -> "+3.1"."""
    return f"{100 * fraction:+.1f}"


def area(value: float | None) -> str:
    """Under a curve: .8431 -> "0.84"; "not measured" without a value."""
    return "not measured" if value is None else f"{value:.2f}"


def duration(seconds: float) -> str:
    """3725 -> "1 h 2 min"; under a minute to a tenth of a second."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours} h {rest // 60} min" if hours else f"{rest // 60} min {rest % 60} s"


def sentence(text: str) -> str:
    """With a capital at its beginning and a full stop at its end; other modules write clauses."""
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) or not text else ".")


def class_name(label: int, names: Sequence[str]) -> str:
    """The name of a class; "no answer" for `ABSTAINED`, and a number for a label that has no name."""
    if label == ABSTAINED:
        return "no answer"
    return names[label] if 0 <= label < len(names) else f"class {label}"


def size(count: int) -> str:
    """Bytes in the unit that suits: "24.0 MiB"."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < BYTES or unit == "GiB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= BYTES
    raise AssertionError
