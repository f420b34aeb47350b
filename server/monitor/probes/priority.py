"""Background threads that give way."""

import os
import sys
import threading

# Not 19: a thread that hardly ever runs may hold the interpreter's lock when it is preempted, and then everyone waits.
BACKGROUND = 10


def lower_thread_priority() -> bool:
    """Makes the calling thread nicer than the rest of the process; False where the system cannot (not Linux)."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        # On Linux a thread id is accepted as "process": niceness belongs to the thread.
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), BACKGROUND)
    except OSError:
        return False
    return True
