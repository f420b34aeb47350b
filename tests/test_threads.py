"""The check at the end of each module of tests finds threads that go on."""

import threading
from concurrent.futures import ThreadPoolExecutor

from tests.threads import left_since


def test_a_thread_that_runs_our_code_is_found_until_it_ends() -> None:
    before, end = threading.enumerate(), threading.Event()
    thread = threading.Thread(target=lambda: end.wait(60), name="straggler", daemon=True)
    thread.start()
    (found,) = left_since(before, grace=0)
    assert found.startswith("straggler at tests/test_threads.py:")
    end.set()
    assert left_since(before) == []


def test_a_thread_that_holds_up_the_end_of_the_process_is_found() -> None:
    before, end = threading.enumerate(), threading.Event()
    threading.Thread(target=end.wait, args=(60,)).start()
    assert len(left_since(before, grace=0)) == 1
    end.set()
    assert left_since(before) == []


def test_a_pool_that_is_let_go_is_none() -> None:
    before = threading.enumerate()
    pool = ThreadPoolExecutor(1)
    pool.submit(int).result()
    del pool
    assert left_since(before) == []
