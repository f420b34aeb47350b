"""What is measured once is not measured again, unless the answer could be another."""

from dataclasses import replace

import pytest

from holdfast.attacks.attack import PGDAttack
from holdfast.attacks.losses import Margin
from holdfast.attacks.search.suite import AttackSuite
from holdfast.files import write_atomically
from reproduce.ssat import pipeline
from reproduce.ssat.attacking import RowAttacks
from reproduce.ssat.rows import table_rows
from reproduce.ssat.training import is_made, train_row
from tests.reproduce.tiny import TINY


@pytest.mark.slow
def test_measuring_asks_anew_where_the_answer_could_be_another(hasty, splits, tmp_path, quiet) -> None:
    run = table_rows(TINY, tmp_path)[0]
    trained_row = train_row(run, splits, quiet)
    pipeline.complete(run.config, splits, trained_row, "x", quiet)
    assert is_made(run, splits)
    one = RowAttacks(run, splits, TINY, tmp_path)
    assert not one.done
    assert one.clean().right == RowAttacks(run, splits, TINY, tmp_path).clean().right
    for other in (
        replace(TINY, images=7),
        replace(TINY, ladder=AttackSuite((PGDAttack(Margin(0.05), 3),), 16)),
        replace(TINY, balls=TINY.balls[:1]),
    ):
        assert RowAttacks(run, splits, other, tmp_path).cache.directory != one.cache.directory
    manifest = run.directory / "manifest.json"
    write_atomically(manifest, manifest.read_bytes().replace(b'"k": 5', b'"k": 6'))
    assert not is_made(run, splits)
    assert RowAttacks(run, splits, TINY, tmp_path).cache.directory != one.cache.directory
