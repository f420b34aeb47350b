"""The spool: what it keeps of the images that were answered, how much, and what it leaves out."""

import logging
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from holdfast.protos.holdfast.v1 import holdfast_pb2
from holdfast.server.monitor.spool.directory import SpoolDirectory
from holdfast.server.settings import ConfigurationError, Settings
from tests.server.running import await_metric
from tests.server.tiny import coloured, raw
from tests.small_disk import small_disk

SPOOLED = "holdfast_spool_images_total"


def classify(served, images):
    request = holdfast_pb2.ClassifyRequest(images=[raw(image) for image in images])
    return served.stub.Classify(request)


def kept_in(spool):
    return {path.stem: np.asarray(Image.open(path)) for path in spool.iterdir()}


def test_different_images_are_kept_once_and_nothing_but_their_pixels(serve, tmp_path) -> None:
    spool = tmp_path / "spool"
    served = serve(keep_share=1.0, spool=spool)
    images = np.concatenate([coloured(label, 4, seed=7 + label) for label in range(3)])
    classify(served, images)
    await_metric(served, SPOOLED, 12)
    found = kept_in(spool)
    assert {image.tobytes() for image in found.values()} <= {image.tobytes() for image in images}
    outliers = served.metric(SPOOLED, outcome="outlier")
    assert len(found) == 12 - outliers >= 6
    barely_changed = images.copy()
    barely_changed[:, 0, 0] ^= 1
    classify(served, np.concatenate([images, barely_changed]))
    await_metric(served, SPOOLED, 36)
    assert served.metric(SPOOLED, outcome="kept") == len(found) == len(list(spool.iterdir()))
    assert served.metric("holdfast_spool_bytes") == sum(path.stat().st_size for path in spool.iterdir())
    assert served.metric("holdfast_spool_on") == 1


def test_images_unlike_the_bundles_and_abstentions_are_not_kept(serve, tmp_path) -> None:
    served = serve(keep_share=1.0, spool=tmp_path / "spool")
    noise = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), dtype=np.uint8)
    abstained = sum(result.answer.abstain for result in classify(served, noise).results)
    classify(served, coloured(0, 1, seed=3))
    await_metric(served, SPOOLED, 9 - abstained)
    assert len(list((tmp_path / "spool").iterdir())) == 1


def test_a_share_is_kept(serve, tmp_path) -> None:
    served = serve(keep_share=0.25, spool=tmp_path / "spool")
    images = np.concatenate([coloured(label, 70, seed=label) for label in range(3)])
    classify(served, images)
    await_metric(served, "holdfast_kth_neighbour_distance_count", 210)
    classify(served, images[:1])
    # Binomial, of 210 and 1/4: below 92 in all but one of a hundred million runs.
    assert served.metric(SPOOLED) + served.metric("holdfast_observer_shed_images_total", observer="spool") < 92


def test_where_nothing_can_be_written_the_spool_is_off_and_answers_go_on(serve, tmp_path, caplog) -> None:
    spool = tmp_path / "spool"
    served = serve(keep_share=1.0, spool=spool)
    shutil.rmtree(spool)
    spool.write_text("a file in its place")
    with caplog.at_level(logging.ERROR):
        classify(served, coloured(0, 3, seed=0))
        await_metric(served, SPOOLED, 1, outcome="failed")
    assert len(classify(served, coloured(1, 3, seed=1)).results) == 3
    assert served.metric("holdfast_spool_on") == 0
    assert served.metric(SPOOLED, outcome="failed") == 1
    assert sum(str(spool) in record.getMessage() for record in caplog.records) == 1


def test_a_full_disk_ends_the_keeping_and_nothing_else(serve, tmp_path, caplog) -> None:
    with small_disk(tmp_path / "disk") as disk:
        spool = disk.path / "spool"
        served = serve(keep_share=1.0, spool=spool)
        classify(served, coloured(0, 4, seed=0))
        await_metric(served, SPOOLED, 4)
        before = {path.name: path.read_bytes() for path in spool.iterdir()}
        assert before
        disk.fill()
        with caplog.at_level(logging.ERROR):
            for seed in range(1, 4):
                assert len(classify(served, coloured(1, 3, seed=seed)).results) == 3
            await_metric(served, SPOOLED, 1, outcome="failed")
            assert len(classify(served, coloured(2, 3, seed=5)).results) == 3
        assert (served.metric("holdfast_spool_on"), served.metric(SPOOLED, outcome="failed")) == (0, 1)
        assert [str(spool) in record.getMessage() for record in caplog.records] == [True]
        assert {path.name: path.read_bytes() for path in spool.iterdir()} == before  # not even the beginning of a file
        disk.clear()
        again = serve(keep_share=1.0, spool=spool)
        classify(again, coloured(1, 4, seed=9))
        await_metric(again, SPOOLED, 4)
        assert again.metric(SPOOLED, outcome="failed") == 0
        assert before.items() < {path.name: path.read_bytes() for path in spool.iterdir()}.items()


def test_settings_that_make_no_spool_are_refused(serve, tmp_path, tiny_bundle) -> None:
    for asked in ({"keep_share": 0.5}, {"spool": tmp_path}):
        with pytest.raises(ValidationError, match="go together"):
            Settings(bundle=tiny_bundle, **asked)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="cannot be written"):
        serve(keep_share=1.0, spool=tmp_path / "file")


@pytest.fixture(scope="module", autouse=True)
def quick_disk():
    """Hundreds of files are written here, and none has to survive a loss of power."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("holdfast.files.sync", lambda _: None)
        yield


def different(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 40), st.integers(300, 6000), st.integers(0, 2**32))
def test_it_never_grows_beyond_its_bytes_and_all_of_it_is_readable(tmp_path_factory, count, most, seed) -> None:
    path = tmp_path_factory.mktemp("spool")
    directory = SpoolDirectory(path, most, np.random.default_rng(seed))
    images = different(count, seed)
    outcomes = [directory.add(image) for image in images]
    sizes = sum(file.stat().st_size for file in path.iterdir())
    assert sizes == directory.bytes <= most
    offered = {image.tobytes() for image in images}
    assert all(image.tobytes() in offered for image in kept_in(path).values())
    if "passed_over" not in outcomes:
        assert len(directory) <= count
    assert SpoolDirectory(path, most, np.random.default_rng(0)).bytes == sizes


def test_once_full_early_and_late_images_stay_equally_often(tmp_path) -> None:
    images = different(40)
    stayed = np.zeros(40)
    for seed in range(30):
        path = tmp_path / str(seed)
        directory = SpoolDirectory(path, 2800, np.random.default_rng(seed))  # room for about ten of 270 bytes
        for image in images:
            directory.add(image)
        kept = {image.tobytes() for image in kept_in(path).values()}
        stayed += [image.tobytes() in kept for image in images]
    halves = stayed[:20].mean(), stayed[20:].mean()
    assert abs(halves[0] - halves[1]) < 0.5 * sum(halves) / 2


def test_what_is_taken_away_makes_room(tmp_path) -> None:
    directory = SpoolDirectory(tmp_path, 1200, np.random.default_rng(0))
    images = different(30)
    for image in images[:20]:
        directory.add(image)
    for file in tmp_path.iterdir():
        file.unlink()
    assert directory.add(images[20]) == "kept"
    assert directory.bytes == sum(file.stat().st_size for file in tmp_path.iterdir())
