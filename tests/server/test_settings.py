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


SERVICE_LINKS = {
    "HOLDFAST_PORT": "tcp://10.96.0.1:50051",
    "HOLDFAST_SERVICE_HOST": "10.96.0.1",
    "HOLDFAST_SERVICE_PORT": "50051",
    "HOLDFAST_SERVICE_PORT_GRPC": "50051",
    "HOLDFAST_PORT_50051_TCP": "tcp://10.96.0.1:50051",
    "HOLDFAST_PORT_50051_TCP_PROTO": "tcp",
    "HOLDFAST_PORT_50051_TCP_PORT": "50051",
    "HOLDFAST_PORT_50051_TCP_ADDR": "10.96.0.1",
    "HOLDFAST_METRICS_PORT": "tcp://[fd00:10:96::1]:9464",
    "HOLDFAST_METRICS_SERVICE_HOST": "fd00:10:96::1",
    "HOLDFAST_ADMIN_PORT": "udp://10.96.0.2:50052",
    "HOLDFAST_CIFAR_10_SERVICE_PORT_HTTP_METRICS": "9464",
}
"""What Kubernetes puts into a container's environment beside Services holdfast, holdfast-metrics and so on."""


def test_links_of_kubernetes_are_no_settings(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    for name, value in SERVICE_LINKS.items():
        monkeypatch.setenv(name, value)
    with caplog.at_level("INFO"):
        settings = load_settings(["--bundle", "x", "--admin-port", "7"])
    assert (settings.port, settings.metrics_port, settings.admin_port) == (50051, 9464, 7)
    assert all(name in caplog.text for name in SERVICE_LINKS)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HOLDFAST_PORT", "tcp://somewhere:50051"),
        ("HOLDFAST_PORT", "http://10.96.0.1:50051"),
        ("HOLDFAST_SERVICE_HOST", "holdfast.example"),
        ("HOLDFAST_SERVICE_PORT", "grpc"),
        ("HOLDFAST_HOST_PORT", "50051"),
        ("HOLDFAST_PORT_50051_TCP_PROTO", "http"),
        ("HOLDFAST_PORT_TCP", "tcp://10.96.0.1:50051"),
    ],
)
def test_what_is_nearly_a_link_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError):
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
        (["--bundle", "x", "--probe-attacks", "noise,prayer"], "probe_attacks.1:"),
        (["--bundle", "x", "--probe-attacks", ""], "probe_attacks:"),
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
    assert environment == {
        "OMP_NUM_THREADS": "4",
        "OMP_WAIT_POLICY": "PASSIVE",
        "ORT_DISABLE_TELEMETRY": "0",
        "GRPC_VERBOSITY": "ERROR",
    }


def test_attacks_of_probes_are_named_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings(["--bundle", "x", "--probe-attacks", "noise, square"]).probe_attacks == ("noise", "square")
    monkeypatch.setenv("HOLDFAST_PROBE_ATTACKS", "pgd,noise")
    assert load_settings(["--bundle", "x"]).probe_attacks == ("pgd", "noise")
