"""A rank's log takes whatever its process says; one that cannot be written ends the rank in one line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from wan_ddp.errors import MachineError
from wan_ddp.logs import open_log

CHILD = """
import logging, os, subprocess, sys, warnings
from pathlib import Path
from wan_ddp.logs import open_log
terminal = open_log(Path(sys.argv[1]))
print("printed", flush=True)
logging.getLogger("x").info("logged")
warnings.warn("warned")
subprocess.run(["echo", "native"])
print("to the terminal", file=terminal)
os.abort()
"""


def test_prints_logging_warnings_children_and_crashes_are_in_the_log_and_the_terminal_stays_free(
    tmp_path: Path,
) -> None:
    path = tmp_path / "logs" / "rank.log"
    for round_number in (1, 2):
        child = subprocess.run([sys.executable, "-c", CHILD, path], capture_output=True, text=True)
        assert (child.stdout, child.stderr) == ("", "to the terminal\n")
        text = path.read_text()
        for said in ("printed", "INFO logged", "warned", "native", "Fatal Python error: Aborted"):
            assert text.count(said) >= round_number, "a restarted rank goes on in the same file"


def test_a_log_that_cannot_be_opened_is_said_in_a_line_and_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder.log").mkdir()
    os.mkfifo(tmp_path / "pipe.log")
    out = os.readlink("/proc/self/fd/1")  # noqa: PTH115 - may be no path
    for path, why in (
        (tmp_path / "file" / "rank.log", "Not a directory|File exists"),
        (tmp_path / "folder.log", "Is a directory"),
        (tmp_path / "pipe.log", "No such device or address"),
    ):
        with pytest.raises(MachineError, match=rf"^{path}: the log cannot be written: ({why}); give --output another"):
            open_log(path)
    assert os.readlink("/proc/self/fd/1") == out  # noqa: PTH115


def test_a_terminal_that_was_closed_takes_what_is_said_and_loses_it(tmp_path: Path) -> None:
    code = """
import os, sys
from pathlib import Path
from wan_ddp.logs import open_log
terminal = open_log(Path(sys.argv[1]))
print("ready", file=terminal)
sys.stdin.readline()
print("gone", file=terminal)
terminal.flush()
"""
    master, slave = os.openpty()
    child = subprocess.Popen([sys.executable, "-c", code, tmp_path / "log"], stdin=subprocess.PIPE, stderr=slave)
    os.close(slave)
    assert os.read(master, 100).strip() == b"ready"
    os.close(master)
    child.communicate(b"\n", timeout=30)
    assert child.returncode == 0
    assert (tmp_path / "log").read_bytes() == b""
