"""What was acknowledged outlasts a server that is killed."""

import pytest

from bench.live.crash import crash
from tests.bundles import write_coloured_bundle


def killed(bundle, **how):
    return crash(bundle, (16, 16, 3), flags=("--compact-after", "40", "--store-rate", "1e6"), **how)


def test_three_kills_lose_nothing(tmp_path):
    report = killed(write_coloured_bundle(tmp_path / "bundle"), changes=90, kills=3, torn=1)
    assert (report.lost, report.half_applied) == (0, 0)
    assert report.changes >= 90


@pytest.mark.slow
def test_many_kills_lose_nothing(tmp_path):
    report = killed(write_coloured_bundle(tmp_path / "bundle"), changes=10_000, kills=50, torn=5)
    assert (report.lost, report.half_applied) == (0, 0)
    assert report.folded
