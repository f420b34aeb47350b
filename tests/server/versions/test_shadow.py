"""Two versions side by side: one answers, the other is compared with it."""

import weakref
from pathlib import Path

import numpy as np
import pytest

from holdfast.protos.holdfast.v1 import holdfast_pb2 as pb
from holdfast.server.versions.records import VersionState
from tests.bundles import Linear, of_every_colour, write_bundle
from tests.server.running import Serve, Served, wait_for
from tests.server.tiny import DIM, SIDE, coloured, raw


def turned(directory: Path) -> Path:
    """Calls two of the three colours by each other's names, and has its classes in another order."""
    images, labels = of_every_colour(20, 0)
    names = ("blue", "green", "red")  # so that the labels of red and blue images change places by number, and not by name
    labels = np.array([2, 0, 1])[labels]  # red is red; green is called blue, and blue green
    return write_bundle(directory / "turned", Linear.of_colours(SIDE, DIM), names, exemplars=(images, labels), name="turned")


def ask(served: Served, colour: int, times: int = 8) -> set[str]:
    request = pb.ClassifyRequest(images=[raw(coloured(colour, 1, seed=3)[0])] * 4)
    answers = [result.answer.label.name for _ in range(times) for result in served.stub.Classify(request).results]
    return set(answers)


def disagreements(served: Served) -> tuple[float, float]:
    """Images that the shadow has answered, and labels that were other ones."""
    return served.metric("holdfast_shadow_images_total"), served.metric("holdfast_shadow_disagreements_total", what="label")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_shadow_is_compared_and_nobody_gets_its_answers(serve: Serve, tmp_path: Path, workers: int) -> None:
    served = serve(shadow=turned(tmp_path), shadow_share=1.0, shadow_budget=10.0, workers=workers)
    wait_for(lambda: served.metric("holdfast_shadow_info", name="turned") == 1)
    assert ask(served, 0) == {"red"}
    wait_for(lambda: disagreements(served) == (32, 0))
    assert ask(served, 1) == {"green"}
    wait_for(lambda: disagreements(served) == (64, 32))
    assert served.metric("holdfast_shadow_disagreement_ratio", bound="estimate") == 0.5
    assert 0.3 < served.metric("holdfast_shadow_disagreement_ratio", bound="low") < 0.5
    assert served.metric("holdfast_observer_failures_total", observer="shadow") == 0
    records = {record.name: record.state for record in served.loop.call(served.app.versions.list)}
    assert records == {"tiny": VersionState.SERVED, "turned": VersionState.SHADOW}


def test_a_shadow_can_be_served_and_gone_back_from(serve: Serve, tmp_path: Path) -> None:
    served = serve(shadow=turned(tmp_path), shadow_share=1.0, shadow_budget=10.0)
    wait_for(lambda: served.metric("holdfast_shadow_info", name="turned") == 1)
    assert served.loop.run(served.app.versions.reload("turned")).state is VersionState.SERVED
    assert ask(served, 1) == {"blue"}
    assert served.metric("holdfast_shadow_info", name="turned") == 0
    assert disagreements(served) == (0, 0)
    before = weakref.ref(served.app.holder.current)
    served.loop.run(served.app.versions.rollback())
    assert before() is None  # nobody keeps it until somebody calls again
    assert ask(served, 1) == {"green"}


def test_a_share_is_sampled_and_what_the_budget_does_not_allow_is_shed(serve: Serve, tmp_path: Path) -> None:
    bundle = turned(tmp_path)
    half = serve(shadow=bundle, shadow_share=0.5, shadow_budget=10.0)
    little = serve(shadow=bundle, shadow_share=1.0, shadow_budget=1e-6)
    for served in (half, little):
        wait_for(lambda served=served: served.metric("holdfast_shadow_info", name="turned") == 1)
        ask(served, 0, times=150)
    wait_for(lambda: 200 < disagreements(half)[0] < 400)  # of 600, with a standard deviation of 12
    wait_for(lambda: little.metric("holdfast_observer_shed_images_total", observer="shadow") > 100)


def test_a_shadow_that_will_not_do_leaves_the_server_as_it_is(serve: Serve, tmp_path: Path) -> None:
    served = serve(shadow=tmp_path / "nothing", shadow_share=1.0)
    (tmp_path / "nothing").mkdir()
    assert ask(served, 0) == {"red"}
    assert disagreements(served) == (0, 0)
