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


def positive(typed: str) -> float:
    """A type for `add_argument`: a finite number above 0, such as seconds."""
    try:
        number = float(typed)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number above 0, not {typed}")
    return number
