"""Which process wrote a file, told so that its death can be seen later, by another process or after a reboot."""

import ctypes
import os
import re
import signal
from contextlib import suppress
from functools import cache
from pathlib import Path

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
TOKEN_PATTERN = r"[0-9a-f]{8}-\d+-\d+-\d+"


def die_with_parent(death_signal: signal.Signals = signal.SIGKILL) -> None:
    """Have the kernel send this process a signal when the thread that started it ends, however that happens.

    A parent that ended before this call is not noticed here; its end of the pipe between the two is closed then.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, death_signal)


@cache
def own_token(pid: int | None = None) -> str:
    """`<boot id>-<pid namespace>-<pid>-<start time>` of a living process, this one by default: unique over reboots."""
    pid = os.getpid() if pid is None else pid
    return f"{boot_id()}-{_pid_namespace()}-{pid}-{_start_time(pid)}"


def is_dead(token: str) -> bool | None:
    """Whether the process has ended; None where that cannot be seen from here (another host or container)."""
    boot, pid_namespace, pid, start_time = token.split("-")
    if (boot, pid_namespace) != (boot_id(), _pid_namespace()):
        return None
    return _start_time(int(pid)) != start_time


def kill(token: str) -> None:
    """End a process of this machine, if it is still the one that the token names."""
    if is_dead(token) is False:
        with suppress(ProcessLookupError):
            os.kill(int(token.split("-")[2]), signal.SIGKILL)


def boot_id() -> str:
    """Of this machine since it was started, the same in all of its containers."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")[:8]


def _pid_namespace() -> str:
    return re.sub(r"\D", "", os.readlink("/proc/self/ns/pid"))  # noqa: PTH115 - "pid:[4026531836]" is no path


def _start_time(pid: int) -> str | None:
    """Clock ticks from boot to the process's start (proc_pid_stat(5), field 22); None if it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    state, start_time = fields[0], fields[19]
    return None if state in "ZX" else start_time
