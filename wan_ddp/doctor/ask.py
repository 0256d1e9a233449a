"""Programs that are asked something, and may be missing, broken, or silent: none of that reaches whoever asks."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_LEAST_SECONDS = 0.5  # for an answer that was ready long before somebody came for it


@dataclass(frozen=True, slots=True)
class Answer:
    """What a program wrote. `problem` is why that is not all: it is missing, failed, or did not end in time."""

    text: str = ""
    problem: str = ""
    is_missing: bool = False


class Question:
    """A program that runs from here to `answer`. It is killed, with all that it has started, when its time is up.

    To be used in a `with` block, whose end kills one that was not waited for.
    """

    def __init__(
        self, *command: str, timeout: float, environ: Mapping[str, str] | None = None, name: str | None = None
    ) -> None:
        self._name = name or command[0].rpartition("/")[2]
        self._timeout = timeout
        self._end = time.monotonic() + timeout
        self._process: subprocess.Popen[str] | None = None
        self._failed = Answer()
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                env=None if environ is None else dict(environ),
                start_new_session=True,
            )
        except FileNotFoundError:
            self._failed = Answer(problem=f"there is no {self._name}", is_missing=True)
        except OSError as error:
            self._failed = Answer(problem=f"{self._name} cannot be started: {error.strerror}")

    def __enter__(self) -> "Question":
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._kill(self._process)

    def answer(self) -> Answer:
        if self._process is None:
            return self._failed
        try:
            text, _ = self._process.communicate(timeout=max(self._end - time.monotonic(), _LEAST_SECONDS))
        except subprocess.TimeoutExpired as expired:
            self._kill(self._process)
            said = (
                expired.output if isinstance(expired.output, str) else (expired.output or b"").decode(errors="replace")
            )
            return Answer(said, f"{self._name} did not answer within {self._timeout:g} s")
        return Answer(text, self._ending(self._process.returncode, text))

    def _ending(self, code: int, text: str) -> str:
        if code == 0:
            return ""
        how = f"exit status {code}" if code > 0 else f"signal {-code}"
        with suppress(ValueError):  # a real-time signal has no name
            how = signal.Signals(-code).name
        last = " ".join(text.split())[-200:]
        return f"{self._name} failed ({how})" + (f": {last}" if last else "")

    def _kill(self, process: "subprocess.Popen[str]") -> None:
        """End the program's whole group; one that the kernel does not let go of (a disk that hangs) is left behind."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        if process.stdout:
            process.stdout.close()
        with suppress(subprocess.TimeoutExpired):
            process.wait(1)


def ask(*command: str, timeout: float) -> Answer:
    with Question(*command, timeout=timeout) as question:
        return question.answer()


def own_program(*arguments: str, timeout: float) -> Question:
    """`wan_ddp.doctor.child` asked: what may crash or hang does so there. It imports from where this process does."""
    paths = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)
    environ = os.environ | {"PYTHONPATH": paths, "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "wan_ddp.doctor.child", *arguments]
    return Question(*command, timeout=timeout, environ=environ, name=f"the look at {arguments[0]}")
