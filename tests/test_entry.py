"""How generate.py begins and ends, whatever stands in its way: one line, and the exit code that says it."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
MANIFEST = ROOT / "manifests" / "demo.jsonl"
ENVIRON = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith("WAN_") and name not in ("WORLD_SIZE", "PYTHONUNBUFFERED")
}


def generate(*flags: Any, **how: Any) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(ROOT / "generate.py"), *map(str, flags)]
    how = {"stdout": subprocess.PIPE, "env": ENVIRON | how.pop("environ", {})} | how
    return subprocess.run(command, stderr=subprocess.PIPE, text=True, **how)


@pytest.mark.parametrize(
    ("flags", "environ", "says"),
    [
        (["--widht", "5"], {}, "error: unrecognized arguments: --widht 5; see generate.py --help"),
        (["--manifest", ""], {}, "error: argument --manifest: it is empty; see generate.py --help"),
        ([], {"WAN_RANKS_PER_GPU": "two"}, "error: WAN_RANKS_PER_GPU in the environment: 'two' is not an integer"),
        (["--manifest", ROOT], {}, f"error: {ROOT}: cannot be read: Is a directory; give a JSON Lines file"),
        (
            ["--manifest", MANIFEST, "--dry-run", "--output", "o" * 300],
            {},
            "error: [Errno 36] File name too long: 'ooo",
        ),
        (["--manifest", MANIFEST], {"WORLD_SIZE": "2"}, "error: WORLD_SIZE is 2 in the environment, without the"),
    ],
)
def test_what_cannot_be_used_is_one_line_and_exit_code_2(flags: list[Any], environ: dict[str, str], says: str) -> None:
    result = generate(*flags, environ=environ)
    assert (result.returncode, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith(says)


def test_help_ends_with_0() -> None:
    result = generate("--help")
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize(
    ("code", "expected"), [(0, (2, "error: standard output: No space left on device\n")), (143, (143, ""))]
)
def test_what_nobody_takes_is_no_success(code: int, expected: tuple[int, str]) -> None:
    script = f"from wan_ddp.entry import leave; print('kept in the buffer'); leave({code})"
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(
            [sys.executable, "-c", script], stdout=full, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=ENVIRON
        )
        plan = generate("--manifest", MANIFEST, "--dry-run", stdout=full)
    assert (result.returncode, result.stderr) == expected
    assert plan.returncode == 2
    assert len(plan.stderr.splitlines()) == 1


def test_a_signal_while_a_process_ends_leaves_no_traceback() -> None:
    # Its handler raises, as during a run; what is left to do then is to end.
    script = """
import atexit, os, signal
from wan_ddp.entry import leave
from wan_ddp.signals import Signals
Signals().install()
atexit.register(lambda: os.kill(os.getpid(), signal.SIGINT))
leave(0)
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert (result.returncode, result.stdout, result.stderr) == (130, "", "")
