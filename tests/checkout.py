"""A copy of the scripts around the real package, with a stand-in for generate.py: for tests of launch.sh."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from experiment import ROOT, finish, wait_for


class Checkout:
    """A copy of the scripts around the real package, and what its stand-ins leave: a file of marks for each."""

    def __init__(self, folder: Path) -> None:
        self.here, self.marks, self.work = folder / "check out", folder / "marks", folder / "work"
        for path in (self.here, self.marks, self.work):
            path.mkdir()
        for name in ("launch.sh", "environment.sh", "tmux.sh", "requirements.txt", "constraints.txt"):
            shutil.copy(ROOT / name, self.here)
        shutil.copy(ROOT / "tests" / "stand_in_generate.py", self.here / "generate.py")
        (self.here / "wan_ddp").symlink_to(ROOT / "wan_ddp")
        # Where the user stands: nothing of it may be imported.
        (self.work / "torch.py").write_text("raise SystemExit('this torch.py is not torch')")

    def environ(self, behaviour: str = "", **more: str) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("WAN_") and name not in ("RANK", "WORLD_SIZE", "PYTHONPATH")
        }
        # The interpreter of these tests is the active environment.
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        return {**kept, "PATH": path, "MARKS": str(self.marks), "BEHAVIOUR": behaviour, **more}

    def start(self, *flags: str, behaviour: str = "", **environ: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            ["bash", self.here / "launch.sh", *flags],
            cwd=self.work,
            env=self.environ(behaviour, **environ),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def launch(self, *flags: str, behaviour: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
        return finish(self.start(*flags, behaviour=behaviour, **environ))

    def bash(self, script: str, **environ: str) -> subprocess.CompletedProcess[str]:
        command = ["bash", "-c", f'source "{self.here}/environment.sh"; {script}']
        return subprocess.run(command, cwd=self.work, env=self.environ(**environ), capture_output=True, text=True)

    def said(self, name: str) -> dict[str, Any]:
        """What the stand-in of that name says of itself, once it does."""
        wait_for((self.marks / name).exists)
        said: dict[str, Any] = json.loads((self.marks / name).read_text())
        return said

    def living(self) -> list[int]:
        """The processes of this checkout: all inherit its variables."""
        mark = f"MARKS={self.marks}".encode()
        return [int(path.parent.name) for path in Path("/proc").glob("[0-9]*/environ") if mark in read(path)]


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
