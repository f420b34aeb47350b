"""Manifests of older schemas, brought to the present one in memory. Their files are never changed."""

from collections.abc import Callable
from typing import Any

import numpy as np

from holdfast.errors import SchemaMismatchError
from holdfast.model.credibility import nonconformity

Values = dict[str, Any]

FLAT = "flat"
"""The kind of every index before there was another."""


def _name_the_index_kind(values: Values) -> Values:
    """From 1 to 2: the record of the index, where there is one, says its kind."""
    index = values.get("index")
    return values | {"index": {"kind": FLAT, **index}} if isinstance(index, dict) else values


UNCALIBRATED = (
    "its credibility was calibrated by counting neighbours, and its vote weighs them: there is none until it is calibrated"
    " again, by holdfast index BUNDLE --recalibrate"
)


def _calibrate_by_shares(values: Values) -> Values:
    """From 2 to 3: nonconformity, the number of k neighbours of other labels, becomes their share of the vote.

    In a vote of equal weights these are the same but for the scale, and so are all p-values. Elsewhere counts say nothing
    about the shares that decide: the calibration is left out, and the manifest says so.
    """
    vote, calibration = values.get("vote"), values.get("calibration")
    if not isinstance(vote, dict) or not isinstance(calibration, dict):
        return values
    if vote.get("weighting", "uniform") != "uniform":
        return values | {"calibration": None, "uncalibrated": UNCALIBRATED}
    try:
        shares = (vote["k"] - np.array(calibration["nonconformity"], dtype=np.int64)) / vote["k"]
    except (KeyError, TypeError, ValueError, ZeroDivisionError, OverflowError):
        return values  # the schema says what is wrong with it
    return values | {"calibration": calibration | {"nonconformity": nonconformity(shares).tolist()}}


def _name_the_input_kind(values: Values) -> Values:
    """From 3 to 4: every encoder looked at images."""
    contract = values.get("input")
    return values | {"input": {"kind": "image", **contract}} if isinstance(contract, dict) else values


def _name_no_ball_of_sound(values: Values) -> Values:
    """From 4 to 5: what a bundle that listens said of grey levels of its pictures meant nothing."""
    contract = values.get("input")
    return values | {"threat_model": None} if isinstance(contract, dict) and contract.get("kind") == "speech" else values


MIGRATIONS: dict[int, Callable[[Values], Values]] = {
    1: _name_the_index_kind,
    2: _calibrate_by_shares,
    3: _name_the_input_kind,
    4: _name_no_ball_of_sound,
}
"""From each older version to the next one."""


def migrated(values: Values, newest: int, where: str) -> Values:
    """A manifest of any known version as one of version `newest`. The argument is left as it is.

    Args:
        values: the parsed JSON object.
        newest: the version to come to.
        where: its file, for messages.

    Raises:
        SchemaMismatchError: the version is newer than `newest`, or none that there ever was.

    """
    version = values.get("schema_version")
    if type(version) is int and version > newest:
        raise SchemaMismatchError(
            f"{where} was written by a newer holdfast (schema {version}); this one reads up to {newest}: upgrade holdfast"
        )
    if type(version) is not int or version not in {*MIGRATIONS, newest}:
        raise SchemaMismatchError(
            f"{where} has schema version {version!r}; this holdfast reads 1 to {newest}: the bundle is damaged, make it again"
        )
    for step in range(version, newest):
        values = MIGRATIONS[step](values) | {"schema_version": step + 1}
    return values
