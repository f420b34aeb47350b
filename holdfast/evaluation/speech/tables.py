"""What was measured of speakers, for the terminal and for programs."""

from rich.table import Table

from holdfast.evaluation.speech.measure import SpeechMeasures
from holdfast.intervals import Rate


def speakers_table(measured: SpeechMeasures, name: str) -> Table:
    """For the terminal: a row for each condition."""
    shown = Table(title=f"{name}: speakers of the test part", title_justify="left")
    for place, heading in enumerate(("condition", "identified", "answered", "another label than clean", "EER across channels")):
        shown.add_column(heading, justify="right" if place else "left")
    for condition, rate in measured.identified.items():
        error = measured.equal_error_rates.get(condition)
        flips = measured.flips.get(condition)
        cells = (str(measured.answered[condition]), "" if flips is None else str(flips))
        low, high = measured.trials[condition].interval() if error is not None else (0.0, 0.0)
        apart = "" if error is None else f"{100 * error:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"
        shown.add_row(condition, str(rate), *cells, apart)
    if measured.let_in is not None:
        shown.caption = f"let in though not enrolled: {measured.let_in}"
    return shown


def speakers_as_json(measured: SpeechMeasures) -> dict[str, object]:
    """For a program: rates with their 95 % Wilson intervals."""

    def rate(found: Rate) -> dict[str, object]:
        return {"rate": found.value, "interval": found.interval, "recordings": found.trials}

    return {
        "identified": {name: rate(found) for name, found in measured.identified.items()},
        "answered": {name: rate(found) for name, found in measured.answered.items()},
        "flips": {name: rate(found) for name, found in measured.flips.items()},
        "equal_error_rates": measured.equal_error_rates,
        "equal_error_rate_intervals": {name: scores.interval() for name, scores in measured.trials.items()},
        "trials": measured.pairs,
        "let_in": None if measured.let_in is None else rate(measured.let_in),
    }
