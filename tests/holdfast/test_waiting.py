import logging
import threading

import pytest

from holdfast.waiting import waiting

log = logging.getLogger("holdfast.test")


def test_what_takes_long_is_said_while_it_does_and_how_long_it_took(caplog):
    said = threading.Event()

    class Heard(logging.Handler):
        def emit(self, record):
            said.set()

    heard = Heard()
    log.addHandler(heard)
    try:
        with caplog.at_level(logging.INFO, log.name), waiting(log, "reading [the] index", after=0.0):
            assert said.wait(10)  # before it has ended
    finally:
        log.removeHandler(heard)
    first, last = caplog.messages
    assert "reading [the] index" in first
    assert "reading [the] index took" in last


def test_what_takes_a_moment_is_not_said(caplog):
    with caplog.at_level(logging.INFO, log.name), waiting(log, "nothing", after=60.0):
        pass
    assert caplog.messages == []


def test_a_failure_goes_on_and_leaves_no_timer(caplog):
    before = threading.active_count()
    with pytest.raises(ZeroDivisionError), waiting(log, "failing", after=60.0):
        _ = 1 // 0
    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer):
            thread.join(10)
    assert threading.active_count() <= before
    assert caplog.messages == []
