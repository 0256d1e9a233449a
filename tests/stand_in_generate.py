"""Stands in for generate.py where launch.sh is under test: says how it was called, and does what $BEHAVIOUR says."""

import json
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from wan_ddp.entry import enter

enter(os.environ)
MARKS = Path(os.environ["MARKS"])
RUN_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "WAN_RUN_ID", "OMP_NUM_THREADS")


def mark(name: str) -> None:
    said = {"pid": os.getpid(), "parent": os.getppid(), "argv": sys.argv[1:], "cwd": str(Path.cwd())}
    said["environ"] = {key: os.environ[key] for key in RUN_VARIABLES if key in os.environ}
    (MARKS / f".{name}").write_text(json.dumps(said))
    (MARKS / f".{name}").rename(MARKS / name)


def on_signal(number: int, _: FrameType | None) -> None:
    if "deaf" in BEHAVIOUR:
        mark(f"{ROLE}-told")
        return
    time.sleep(0.5)  # saves what it is at
    mark(f"{ROLE}-saved")
    sys.exit(128 + number)


BEHAVIOUR = os.environ.get("BEHAVIOUR", "")
ACTIONS = [argument for argument in sys.argv if argument in ("--dry-run", "--check", "--verdict")]
ROLE = ACTIONS[0] if ACTIONS else f"rank{os.environ['RANK']}"
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, on_signal)
mark(ROLE)
if ("ranks wait" if not ACTIONS else f"{ROLE} waits") in BEHAVIOUR:
    while True:
        signal.pause()
if ROLE == "--check":
    print(2)
if ROLE == "--verdict" and "incomplete" in BEHAVIOUR:
    sys.exit(1)
if not ACTIONS and "unusable" in BEHAVIOUR:
    sys.exit(2)
