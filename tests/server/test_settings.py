import pytest

from holdfast.environment import prepare_libraries
from holdfast.server.settings import ConfigurationError, load_settings


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOLDFAST_BUNDLE", "HOLDFAST_PORT"):
        monkeypatch.delenv(name, raising=False)


def test_a_flag_wins_over_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_BUNDLE", "there")
    monkeypatch.setenv("HOLDFAST_PORT", "1234")
    monkeypatch.setenv("HOLDFAST_MAX_BATCH", "7")
    settings = load_settings(["--port", "4321", "--reflection"])
    assert (str(settings.bundle), settings.port, settings.max_batch, settings.reflection) == ("there", 4321, 7, True)


def test_an_unknown_flag_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        load_settings(["--bundle", "x", "--bananas", "3"])
    assert caught.value.code == 2
    assert "--bananas" in capsys.readouterr().err


def test_an_unknown_variable_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_BANANAS", "3")
    with pytest.raises(ConfigurationError, match="HOLDFAST_BANANAS"):
        load_settings(["--bundle", "x"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--bundle DIR and --bundle-versions DIR"),
        (["--bundle", "x", "--bundle-versions", "y"], "--bundle-versions"),
        (["--bundle", "x", "--port", "high"], "port:"),
        (["--bundle", "x", "--probe-rate", "2"], "probe_rate:"),
        (["--bundle", "x", "--max-batch", "0"], "max_batch:"),
        (["--bundle", "x", "--probe-epsilons", "eight"], "probe_epsilons:"),
        (["--bundle", "x", "--probe-epsilons", "8"], "did you mean 8/255"),
        (["--bundle", "x", "--queue-images", "10"], "must hold at least one call"),
    ],
)
def test_wrong_values_are_named(arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        load_settings(arguments)


def test_radii_are_written_as_people_write_them(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings(["--bundle", "x", "--probe-epsilons", "2/255, 8/255"])
    assert settings.probe_epsilons == pytest.approx((2 / 255, 8 / 255))
    monkeypatch.setenv("HOLDFAST_PROBE_EPSILONS", "0.01")
    assert load_settings(["--bundle", "x"]).probe_epsilons == (0.01,)


def test_help_names_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        load_settings(["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    for flag in ("--bundle", "--max-wait", "--probe-budget", "--drain-grace", "--workers"):
        assert flag in text
    assert "HOLDFAST_" in text


@pytest.mark.parametrize(
    ("flags", "core"),
    [
        ("avx2 fma avx512f avx512dq avx512bw avx512vl avx512cd", "SKYLAKEX"),
        ("avx2 fma avx512f", "Haswell"),
        ("sse4_2", None),
    ],
)
def test_openblas_is_told_the_core(tmp_path, flags: str, core: str | None) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor : 0\nmodel name : Some CPU\nflags\t\t: fpu {flags}\n\nprocessor : 1\n")
    environment: dict[str, str] = {}
    prepare_libraries(environment, cpuinfo)
    assert environment.get("OPENBLAS_CORETYPE") == core
    assert environment["OMP_WAIT_POLICY"] == "PASSIVE"


def test_what_the_operator_has_set_stays(tmp_path) -> None:
    environment = {"OMP_NUM_THREADS": "4", "ORT_DISABLE_TELEMETRY": "0"}
    prepare_libraries(environment, tmp_path / "absent")
    assert environment == {"OMP_NUM_THREADS": "4", "OMP_WAIT_POLICY": "PASSIVE", "ORT_DISABLE_TELEMETRY": "0"}
