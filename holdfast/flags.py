"""Types of flags for argparse: a number out of range is wrong usage, said in a sentence that names the flag."""

import argparse
import math
from collections.abc import Callable


def whole_number(least: int, most: int = 2**31 - 1) -> Callable[[str], int]:
    """A type for `add_argument`: an int in least..most."""

    def read(typed: str) -> int:
        try:
            number = int(typed)
        except ValueError:
            number = least - 1
        if not least <= number <= most:
            bound = f"at least {least}" if number < least else f"at most {most}"
            raise argparse.ArgumentTypeError(f"must be a whole number of {bound}, not {typed}")
        return number

    return read


def number_in(least: float, most: float = math.inf, *, above: bool = False) -> Callable[[str], float]:
    """A type for `add_argument`: a finite number in least..most, or above the least of them."""
    bounds = [f"above {least:g}" if above else f"of at least {least:g}"] + ([f"at most {most:g}"] if most < math.inf else [])

    def read(typed: str) -> float:
        try:
            number = float(typed)
        except ValueError:
            number = math.nan
        if not (math.isfinite(number) and least <= number <= most) or (above and number == least):
            raise argparse.ArgumentTypeError(f"must be a number {', '.join(bounds)}, not {typed}")
        return number

    return read


positive = number_in(0, above=True)
"""A type for `add_argument`: a finite number above 0, such as seconds."""


def share_or_count(typed: str) -> float:
    """A type for `add_argument`: a share in [0, 1), or a whole number from 1."""
    number = number_in(0)(typed)
    if number >= 1 and number != int(number):
        raise argparse.ArgumentTypeError(f"must be a share below 1 or a whole number, not {typed}")
    return number
