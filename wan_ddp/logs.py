"""One log file a rank, which holds whatever the process says, a crash included."""

import faulthandler
import logging
import os
import sys
from pathlib import Path
from typing import TextIO

_FORMAT = "%(asctime)s %(levelname)s %(message)s"


def open_log(path: Path) -> TextIO:
    """Send logging, prints, warnings and native output of this process to `path`; returns the terminal it had.

    Appends: a restarted rank goes on in the same file. Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    terminal = os.fdopen(os.dup(2), "w", encoding="utf-8", errors="replace", buffering=1)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    start_logging()
    return terminal


def start_logging() -> None:
    """Log to standard error, wherever that leads by now."""
    logging.basicConfig(level=logging.INFO, format=_FORMAT, stream=sys.stderr, force=True)
    logging.captureWarnings(True)
    faulthandler.enable()
