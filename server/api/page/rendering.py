"""The page's templates, and how numbers and moments are written in them."""

import hashlib
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

from jinja2 import DictLoader, Environment, StrictUndefined

from holdfast.bundle.threat_model import format_epsilon
from holdfast.server.api.page.charts import bars_of, flip_plot

STATIC = {"page.css": "text/css", "page.js": "text/javascript", "icon.svg": "image/svg+xml"}
"""Files that a browser loads, and their kinds."""

NOTHING = "–"
"""In the place of a figure that there is none of."""


class Rendering:
    """Makes HTML of templates; whatever they are given is escaped. Threads may share it.

    Attributes:
        static: the files that a browser loads, by their names.

    """

    def __init__(self) -> None:
        folder = files(__package__)
        self.static = {name: folder.joinpath("static", name).read_bytes() for name in STATIC}
        templates = {
            entry.name: entry.read_text(encoding="utf-8")
            for entry in folder.joinpath("templates").iterdir()
            if entry.name.endswith(".j2")
        }
        self._environment = Environment(
            loader=DictLoader(templates), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )
        self._environment.filters |= {
            "number": number,
            "percent": percent,
            "seconds": seconds,
            "epsilon": format_epsilon,
            "decimals": decimals,
            "moment": moment,
            "shown": shown,
        }
        versions = {name: hashlib.sha256(content).hexdigest()[:12] for name, content in self.static.items()}
        self._environment.globals |= {"bars_of": bars_of, "flip_plot": flip_plot, "static_versions": versions}

    def render(self, template: str, **values: Any) -> str:
        """A page, or a part of one."""
        return self._environment.get_template(template).render(**values)


def number(value: float | None) -> str:
    """As people read it: 12,345; 3.2; 0.04."""
    if value is None or math.isnan(value):
        return NOTHING
    if value == int(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 1 else f"{value:.2g}"


def percent(share: float | None) -> str:
    """A share of 1."""
    return NOTHING if share is None or math.isnan(share) else f"{100 * share:.1f} %"


def decimals(value: float | None, places: int = 2) -> str:
    """With so many decimals."""
    return NOTHING if value is None or not math.isfinite(value) else f"{value:.{places}f}"


def seconds(value: float | None) -> str:
    """A duration, in the unit that people read."""
    if value is None or math.isnan(value):
        return NOTHING
    if math.isinf(value):
        return "over 10 s"
    if value < 1e-3:
        return f"{value * 1e6:.0f} µs"
    if value < 1:
        return f"{value * 1e3:.1f} ms" if value < 0.1 else f"{value * 1e3:.0f} ms"
    return f"{value:.1f} s"


def moment(when: datetime | float | None, form: str = "%Y-%m-%d %H:%M UTC") -> str:
    """A moment in UTC, to the minute unless the form says otherwise."""
    if when is None:
        return NOTHING
    if not isinstance(when, datetime):
        when = datetime.fromtimestamp(when, UTC)
    return when.astimezone(UTC).strftime(form)


def shown(counts: Mapping[str, int]) -> str:
    """Counts by name: "queue 3, deadline 1"."""
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())
