import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bench.planted import PlantedBench
from holdfast.bundle.threat_model import ThreatModel, ball, format_epsilon, parse_epsilon
from holdfast.errors import HoldfastError
from holdfast.evaluation.cli.options import EvaluateConfig
from holdfast.server.settings import load_settings
from holdfast.trainer.cli import parse

LEVELS = st.integers(0, 255)


@given(LEVELS)
def test_an_epsilon_in_grey_levels_is_read_and_written_so(levels):
    assert parse_epsilon(f"{levels}/255") == levels / 255
    assert format_epsilon(levels / 255) == f"{levels}/255"


@given(st.floats(0, 100, allow_nan=False))
@example(1.5e-09)
def test_a_number_is_read_as_it_is(epsilon):
    assert parse_epsilon(repr(epsilon)) == epsilon
    assert parse_epsilon(format_epsilon(epsilon)) == pytest.approx(epsilon, rel=1e-4, abs=0)


@given(st.text())
def test_what_is_no_epsilon_is_a_sentence(text):
    try:
        assert parse_epsilon(text) >= 0
    except ValueError as error:
        assert "8/255" in str(error)


@pytest.mark.parametrize("text", ["", "8/", "/255", "8/0", "1/2/3", "-1", "inf", "nan", "8:255"])
def test_no_epsilon(text):
    with pytest.raises(ValueError, match="is no epsilon"):
        parse_epsilon(text)


@pytest.mark.parametrize("levels", ["8", "1.5", "255"])
def test_grey_levels_without_their_denominator_are_refused_with_a_hint(levels):
    with pytest.raises(ValueError, match=f"did you mean {levels}/255"):
        ThreatModel("linf", float(levels))
    with pytest.raises(HoldfastError, match=f"did you mean {levels}/255"):
        ball(f"linf:{levels}")
    assert ThreatModel("l2", float(levels)).epsilon == float(levels)  # no image's pixels but many: longer than 1


def typed(*arguments):
    return ["--bundle", "absent", *arguments]


PROGRAMS = {
    "train": lambda epsilon: parse(["digits", "--epsilon", epsilon]).epsilon,
    "train, objective": lambda epsilon: parse(["digits", "--stages.1.objective.epsilon", epsilon]).stages[1].objective.epsilon,
    "train, step": lambda epsilon: parse(["digits", "--stages.1.objective.step-size", epsilon]).stages[1].objective.step_size,
    "serve": lambda epsilon: load_settings(typed("--probe-epsilons", f"{epsilon},0.5/255"), {}).probe_epsilons[0],
    "harden, balls": lambda epsilon: ball(f"linf:{epsilon}").epsilon,
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_program_reads_grey_levels(program, capsys):
    assert PROGRAMS[program]("8/255") == pytest.approx(8 / 255)
    with pytest.raises((HoldfastError, SystemExit)) as refused:
        PROGRAMS[program]("8")
    shown = str(refused.value) + " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert "did you mean 8/255" in shown


@pytest.mark.parametrize(("config", "before"), [(EvaluateConfig, ["runs/x"]), (PlantedBench, [])])
def test_measurements_read_grey_levels(config, before):
    tyro = pytest.importorskip("tyro")
    assert tyro.cli(config, args=[*before, "--epsilon", "8/255"]).epsilon == pytest.approx(8 / 255)
