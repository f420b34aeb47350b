"""The log of a real server, in both forms: whole lines, and nothing of a caller's that could pass for one."""

import json
import logging
import signal
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.protos.holdfast.v1 import holdfast_pb2 as pb
from holdfast.protos.holdfast.v1 import image_pb2
from holdfast.server.telemetry.calls import CURRENT, CallTrace, CurrentCall
from holdfast.server.telemetry.logs import JsonFormatter, TextFormatter, escaped, wanted_format
from tests.server.running import Process
from tests.server.tiny import coloured, png

SECRET = b"content-of-an-image"
IMAGE = image_pb2.Image(encoded=png(coloured(0, 1, seed=903)[0]))
FORGED = "bad\n2026-01-01 00:00:00,000 ERROR holdfast: forged\r\x1b[31m\u2028end"


def command_of_failing_model() -> list[str]:
    """python -m server whose API fails, once it is warm, with a message of several lines."""
    code = f"""
        import sys
        from holdfast.server import __main__
        from holdfast.server.core.facade import Core
        answer = Core.answer
        async def failing(core, request, *rest):
            if len(request.images) == 3:
                raise ValueError({FORGED!r})
            return await answer(core, request, *rest)
        Core.answer = failing
        sys.exit(__main__.main())
    """
    return [sys.executable, "-c", textwrap.dedent(code)]


def output_of(process: Process) -> list[str]:
    """What a server says of a failing call, a refused one and an image that is none."""
    metadata = (("x-request-id", "order-7"), ("authorization", "Bearer secret-token"))
    with pytest.raises(grpc.RpcError):
        process.stub.Classify(pb.ClassifyRequest(images=[IMAGE] * 3), metadata=metadata)
    process.stub.Classify(pb.ClassifyRequest(images=[IMAGE, image_pb2.Image(encoded=SECRET)]), metadata=metadata)
    status, output = process.end()
    assert status == 0, output
    assert SECRET.decode() not in output
    assert "secret-token" not in output
    return output.splitlines()


def test_a_log_of_json_is_json_in_every_line(processes: list[Process], tiny_bundle: Path, tmp_path: Path) -> None:
    process = Process(tiny_bundle, tmp_path, command_of_failing_model(), "--log-format", "json")
    processes.append(process)
    lines = [json.loads(line) for line in output_of(process)]
    assert all({"time", "level", "logger", "message"} <= set(line) for line in lines)
    (failure,) = (line for line in lines if "exception" in line)
    assert (failure["request_id"], failure["caller"]) == ("order-7", "127.0.0.1")
    assert "forged" in failure["exception"]
    assert not any("forged" in line["message"] for line in lines)


@pytest.mark.slow
def test_workers_log_as_the_engine_does(processes: list[Process], tiny_bundle: Path, tmp_path: Path) -> None:
    process = Process(tiny_bundle, tmp_path, None, "--log-format", "json", "--workers", "1")
    processes.append(process)
    process.popen.send_signal(signal.SIGSTOP)
    time.sleep(6)  # beyond --worker-timeout: the worker says that its engine is silent
    process.popen.send_signal(signal.SIGCONT)
    lines = [json.loads(line) for line in process.end()[1].splitlines()]
    assert any(line.get("process") == "worker-0" for line in lines)


def test_in_a_log_of_text_an_exception_cannot_forge_a_line(processes: list[Process], tiny_bundle: Path, tmp_path: Path) -> None:
    process = Process(tiny_bundle, tmp_path, command_of_failing_model())
    processes.append(process)
    lines = output_of(process)
    assert any(line.endswith("[request order-7]") for line in lines)
    forged = [line for line in lines if "forged" in line]
    assert forged
    assert all(line.startswith("  ") for line in forged)
    assert all(line.isprintable() for line in lines)


@pytest.fixture
def call() -> Iterator[CurrentCall]:
    """A call that is being answered."""
    current = CurrentCall("order-7", lambda: "team-a", CallTrace("1" * 32, "2" * 16))
    token = CURRENT.set(current)
    yield current
    CURRENT.reset(token)


def record(message: str) -> logging.LogRecord:
    return logging.LogRecord("holdfast", logging.INFO, __file__, 1, "%s", (message,), None)


def test_a_line_of_json_names_call_and_trace(call: CurrentCall) -> None:
    line = json.loads(JsonFormatter("worker-0").format(record("hello")))
    assert (line["message"], line["process"], line["level"]) == ("hello", "worker-0", "INFO")
    assert (line["request_id"], line["caller"]) == (call.request_id, "team-a")
    assert (line["trace_id"], line["span_id"]) == ("1" * 32, "2" * 16)


@given(st.text(max_size=40))
@settings(deadline=None)
def test_any_message_is_one_printable_line(text: str) -> None:
    for formatter in (TextFormatter("%(message)s"), JsonFormatter("")):
        assert formatter.format(record(text)).isprintable()
    assert json.loads(JsonFormatter("").format(record(text)))["message"] == text
    if text.isprintable():
        assert escaped(text) == text


@pytest.mark.parametrize(
    ("typed", "environment", "wanted"),
    [
        ([], {}, "text"),
        (["--log-format", "json"], {}, "json"),
        (["--log-format=json"], {"HOLDFAST_LOG_FORMAT": "text"}, "json"),
        ([], {"HOLDFAST_LOG_FORMAT": "json"}, "json"),
        (["--log-format"], {}, "text"),
        (["--log-format", "xml"], {}, "text"),
    ],
)
def test_the_form_is_known_before_settings_are(typed: list[str], environment: dict[str, str], wanted: str) -> None:
    assert wanted_format(typed, environment) == wanted
