"""`python -m wan_ddp status` as a user calls it: as a command, and in a real terminal."""

import json
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
from contextlib import suppress
from fcntl import ioctl
from typing import Any

from experiment import ROOT, wait_for


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "wan_ddp", "status", *map(str, arguments)]


def environ(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    return kept | {"PYTHONPATH": str(ROOT)} | more


def status(*arguments: object, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), env=environ(), capture_output=True, text=True, **more)


def status_json(*arguments: object) -> dict[str, Any]:
    result = status(*arguments, "--json")
    assert result.stderr == ""
    seen: dict[str, Any] = json.loads(result.stdout)
    assert seen["exit_code"] == result.returncode
    return seen


class Terminal:
    """A real terminal, as large as is said, with `status` in it."""

    def __init__(self, *arguments: object, columns: int = 80, lines: int = 24) -> None:
        self.master, slave = pty.openpty()
        self.resize(columns, lines)
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *command(*arguments)],
            env=environ(TERM="xterm-256color", COLUMNS="33", LINES="5"),  # of another terminal
            stdin=slave,
            stdout=slave,
            stderr=slave,
        )
        os.close(slave)
        self._said = b""

    def resize(self, columns: int, lines: int) -> None:
        ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def wait_for(self, text: str) -> None:
        wait_for(lambda: text in self.said())

    def said(self) -> str:
        """All that it has shown so far, without colours."""
        with suppress(OSError):  # EIO: the other side is closed
            while select.select([self.master], [], [], 0)[0] and (read := os.read(self.master, 65536)):
                self._said += read
        said = self.raw.replace("^C", "")  # the terminal's own echo
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", lambda code: "\f" if code[0] == "\x1b[H" else "", said)

    @property
    def raw(self) -> str:
        return self._said.decode(errors="replace")

    def pictures(self) -> list[str]:
        """What it has shown, one text for each time that it drew the screen anew."""
        return [picture.replace("\r", "") for picture in self.said().split("\f") if picture.strip()]

    def end(self) -> int:
        code = self.process.wait(60)
        self.said()
        os.close(self.master)
        return code
