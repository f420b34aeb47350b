"""The page: a report of a bundle that listens, as one HTML file that needs nothing else."""

from importlib.resources import files

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

from holdfast.evaluation import report as image_report
from holdfast.evaluation.report import words
from holdfast.evaluation.speech.report import plots
from holdfast.evaluation.speech.report.results import SpeechReport


def render_speech(report: SpeechReport) -> str:
    """The page as HTML: the same report, the same bytes (with the same matplotlib). It loads nothing and runs nothing."""
    template = files(__package__).joinpath("page.html.j2").read_text(encoding="utf-8")
    css = files(image_report).joinpath("page.css").read_text(encoding="utf-8")
    environment = Environment(
        loader=DictLoader({"page": template}), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "percent": words.percent,
        "interval": words.interval,
        "duration": words.duration,
        "size": words.size,
    }
    return environment.get_template("page").render(
        report=report,
        clean=report.conditions[0],
        css=Markup(css),  # noqa: S704 - our own file
        plots=[plots.by_noise(report.conditions), plots.errors(report.verification)],
    )
