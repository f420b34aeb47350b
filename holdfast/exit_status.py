"""Exit statuses, the same for every program, and the one function that turns an exception into one of them.

- 0: done.
- 1: a failure: a bug, calls that were cut off when a server drained, a server that does not answer, a missed target.
- 2: wrong usage, or input that was refused (every other HoldfastError, and a path that is not there or not allowed).
- 3: an evaluation failed its own sanity checks, so that its numbers mean little.
- 75: paused, as --minutes are over; the same command goes on.
- 130: interrupted by ctrl-c. 143: ended by SIGTERM.
"""

import errno
import io
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from typing import Any

from holdfast.errors import HoldfastError, RetrieverUnavailableError
from holdfast.interrupts import INTERRUPTED, TERMINATED, TIME_UP, TimeUpError, interrupts_held, sigterm_interrupts, status_of

WRONG_PATHS = FileNotFoundError, PermissionError, NotADirectoryError, IsADirectoryError, FileExistsError
"""What is wrong with a path that somebody has typed, or with what lies there; other errors of files are failures."""

WANTS = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN}
)
"""What a machine may have no more of, whatever asked for it: room on a disk, open files, memory, processes."""

DONE, FAILED, REFUSED, CHECKS_FAILED, PAUSED = 0, 1, 2, 3, TIME_UP

STATUSES = {
    DONE: "done",
    FAILED: "a failure: a bug, calls cut off when a server drained, a server that does not answer, a missed target",
    REFUSED: "wrong usage, or input that was refused",
    CHECKS_FAILED: "an evaluation failed its own sanity checks",
    PAUSED: "paused, as --minutes are over; the same command goes on",
    INTERRUPTED: "interrupted by ctrl-c",
    TERMINATED: "ended by SIGTERM",
}

GOES_ON = "the same command goes on from there"


def explain_statuses(*statuses: int) -> str:
    """A paragraph for --help: these statuses with their meanings, a line each; all of them by default."""
    lines = [f"  {status:<4} {STATUSES[status]}" for status in statuses or STATUSES]
    return "\n".join(["exit statuses:", *lines])


def exit_status(program: str, run: Callable[[], int | None], *, again: str = "") -> int:
    """Run a program to its end, and return its exit status; errors are one line on stderr.

    Names that are no UTF-8 are printed with backslashes and end no program.

    Args:
        program: what a message begins with, such as "holdfast train".
        run: does the work. Returns a status; None counts as done.
        again: what a person who interrupted it may want to know, such as "the same command goes on from there".

    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        with sigterm_interrupts():
            status = run() or DONE
            sys.stdout.flush()
            return status
    except TimeUpError as error:
        _print(program, f"{error}; {again or GOES_ON}")
        return PAUSED
    except HoldfastError as error:
        _print(program, str(error))
        return FAILED if isinstance(error, RetrieverUnavailableError) else REFUSED
    except OSError as error:
        if error.filename is None and not isinstance(error, ConnectionError) and error.errno not in WANTS:
            raise  # of no file, a bug as likely as not
        settle_output()  # which may be what failed
        _print(program, describe_os_error(error))
        return REFUSED if isinstance(error, WRONG_PATHS) else FAILED
    except MemoryError:
        _print(program, "there is not enough memory here")
        return FAILED
    except KeyboardInterrupt as interruption:
        _print(program, f"interrupted; {again}" if again else "interrupted")
        return status_of(interruption)


def run_main(program: str, module: str, /, *arguments: Any, **options: Any) -> int:
    """Import `module` and call its `main`; to be interrupted while libraries are loaded is one line, too.

    Args:
        program: as for `exit_status`.
        module: of whose `main` the status is returned.
        arguments: of `main`.
        options: of `main`, by name.

    """

    def run() -> int:
        with interrupts_held():
            main = import_module(module).main
        status: int = main(*arguments, **options)
        return status

    return exit_status(program, run)


def describe_os_error(error: OSError) -> str:
    """What the system says is wrong with a file, and which one it is."""
    reason = error.strerror or str(error) or type(error).__name__
    files = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
    return f"{' -> '.join(files)}: {reason}" if files else reason


def _print(program: str, message: str) -> None:
    print(f"{program}: {message}", file=sys.stderr, flush=True)


def say(text: str) -> None:
    """Print a line that a program can do without. Where it cannot be printed, nothing more is, and the program goes on."""
    with suppress(OSError):
        print(text)
    settle_output()


def settle_output() -> None:
    """Print what waits to be printed. Where that cannot be, it goes nowhere, as does all that follows.

    Otherwise the interpreter would try once more at its end, and complain.
    """
    try:
        sys.stdout.flush()
    except OSError:
        with suppress(OSError, ValueError):  # a standard output that is no file
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())
            os.close(nowhere)
