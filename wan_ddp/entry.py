"""How a process begins, before it imports anything that takes time, and how it ends."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping
from types import FrameType
from typing import NoReturn

from wan_ddp.errors import EXIT_COMPLETE, EXIT_UNUSABLE


def enter(environ: Mapping[str, str]) -> None:
    """Begin: until there are better handlers a signal ends the process quietly, and a rank ends with its agent."""
    end_quietly()
    if "TORCHELASTIC_RUN_ID" in environ:
        end_with_parent(environ.get("WAN_AGENT_PID"), signal.SIGKILL)


def leave(code: int) -> NoReturn:
    """End with this exit code: quietly too if a signal comes now, or nobody takes what was printed."""
    end_quietly()
    try:
        sys.stdout.flush()
    except OSError as error:
        if code == EXIT_COMPLETE:
            print(f"error: standard output: {error.strerror}", file=sys.stderr)
        os._exit(code or EXIT_UNUSABLE)
    if multiprocessing.active_children():  # a worker that not even SIGKILL ends would be waited for
        os._exit(code)
    sys.exit(code)


def end_quietly() -> None:
    """Have SIGTERM, SIGINT and SIGHUP end the process at once, with the exit codes that stand for them."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # ignored: under nohup
            signal.signal(number, _end)


def end_with_parent(pid: str | None, death_signal: signal.Signals) -> None:
    """Have the kernel send this signal when the parent ends. `pid` says who that was, should it have ended already."""
    from wan_ddp.process import die_with_parent

    die_with_parent(death_signal)
    if pid and os.getppid() != int(pid):
        os._exit(exit_code_of(signal.SIGTERM))


def exit_code_of(number: int) -> int:
    """130 for SIGINT, 143 for SIGTERM, and for SIGHUP, of a terminal that closes, the same."""
    return 128 + (signal.SIGTERM if number == signal.SIGHUP else number)


def _end(number: int, _: FrameType | None) -> None:
    os._exit(exit_code_of(number))
