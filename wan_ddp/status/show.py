"""Looks once, or until the run has ended, and shows what was seen: on a terminal, in a pipe, as JSON, as metrics."""

import io
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from wan_ddp.errors import Stopped, UnusableError
from wan_ddp.files import write_atomically
from wan_ddp.results import NoRunError
from wan_ddp.signals import Signals
from wan_ddp.status.assemble import assemble
from wan_ddp.status.life import DOUBT_SECONDS
from wan_ddp.status.look import Looker
from wan_ddp.status.prometheus import exposition
from wan_ddp.status.snapshot import Snapshot
from wan_ddp.status.view import EVERYTHING, fitted, one_line, render, scrolled

_PIPE_COLUMNS = 160
_MAX_SHARE = 0.2  # of the time goes into looking: a large folder on a slow disk is looked at less often


class Screen(Protocol):
    """Where a watch shows what it sees."""

    def show(self, snapshot: Snapshot) -> None: ...

    def note(self, text: str) -> None:
        """Say why there is nothing new to show."""


def show(output: Path, run_id: str | None, *, every: float | None, as_json: bool, metrics: Path | None) -> int:
    """Show how things stand, with `every` again after so many seconds until the run has ended; returns the exit code.

    Raises UnusableError where there is nothing to be seen.
    """
    Signals().install()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    looker = Looker(output, run_id)

    def look() -> Snapshot:
        now = datetime.now(timezone.utc)
        snapshot = assemble(looker.look(), now)
        if metrics is not None:
            write_atomically(metrics, exposition(snapshot, now.timestamp()).encode())
        return snapshot

    try:
        if every is None:
            snapshot = _look_once(look)
        else:
            with _screen(as_json) as screen:
                snapshot = _watch(look, every, screen, run_id)
        with suppress(BrokenPipeError):
            if not as_json:
                _print_view(snapshot)
            elif every is None:
                _print(json.dumps(snapshot.to_json(), ensure_ascii=False))
    except Stopped as stopped:
        return stopped.exit_code
    except BrokenPipeError:
        return 128 + signal.SIGPIPE
    except OSError as error:
        raise UnusableError(f"{error.filename or output}: {error.strerror}") from error
    return snapshot.exit_code


def _look_once(look: Callable[[], Snapshot]) -> Snapshot:
    """Who is silent by the clocks alone gets a second look, as clocks may be wrong."""
    snapshot = look()
    if any(rank.state == "silent" for rank in snapshot.ranks):
        time.sleep(DOUBT_SECONDS)
        snapshot = look()
    return snapshot


def _watch(look: Callable[[], Snapshot], every: float, screen: Screen, run_id: str | None) -> Snapshot:
    """Look and show until the run has ended. A disk that cannot be read for now does not end the watch."""
    snapshot: Snapshot | None = None
    while True:
        began = time.monotonic()
        try:
            snapshot = look()
            trouble = ""
        except NoRunError:
            if snapshot or run_id is None:
                raise
            trouble = f"waiting for run {run_id} to begin"
        except OSError as error:
            if snapshot is None:
                raise
            trouble = f"{error.filename}: {error.strerror}; it is tried again"
        if trouble or snapshot is None:
            screen.note(trouble)
        else:
            screen.show(snapshot)
            if snapshot.state == "ended":
                return snapshot
        took = time.monotonic() - began
        time.sleep(max(every, took * (1 / _MAX_SHARE - 1)))


@contextmanager
def _screen(as_json: bool) -> Iterator[Screen]:
    console = _console()
    if as_json:
        yield _JsonLines()
    elif console.is_terminal and not console.is_dumb_terminal:
        # The other screen of the terminal: whatever its size becomes, nothing of an earlier picture stays.
        with Live(console=console, screen=True, auto_refresh=False, vertical_overflow="crop") as live:
            yield _LiveScreen(console, live)
    else:
        yield _Lines()


class _LiveScreen:
    def __init__(self, console: Console, live: Live) -> None:
        self._console, self._live = console, live
        self._latest: Snapshot | None = None

    def show(self, snapshot: Snapshot) -> None:
        self._latest = snapshot
        self._live.update(fitted(snapshot, self._console, self._console.height), refresh=True)

    def note(self, text: str) -> None:
        below = [fitted(self._latest, self._console, self._console.height - 1)] if self._latest else []
        self._live.update(Group(Text(text, style="yellow"), *below), refresh=True)


class _Lines:
    """A line whenever something has changed that counts."""

    def __init__(self) -> None:
        self._said: object = None

    def show(self, snapshot: Snapshot) -> None:
        self._say((snapshot.total, [rank.rank for rank in snapshot.gone]), one_line(snapshot))

    def note(self, text: str) -> None:
        self._say(text, text)

    def _say(self, what: object, line: str) -> None:
        if what != self._said:
            _print(line)
        self._said = what


class _JsonLines:
    def show(self, snapshot: Snapshot) -> None:
        _print(json.dumps(snapshot.to_json(), ensure_ascii=False))

    def note(self, text: str) -> None:
        print(text, file=sys.stderr)


def _console() -> Console:
    width = None
    if sys.stdout.isatty():
        # Where they are exported they tell the size that another terminal had, or this one once.
        for name in ("COLUMNS", "LINES"):
            os.environ.pop(name, None)
    elif not os.environ.get("COLUMNS", "").isdecimal():
        width = _PIPE_COLUMNS
    return Console(width=width, markup=False, highlight=False, emoji=False)


def _print_view(snapshot: Snapshot) -> None:
    console = _console()
    with console.capture() as capture:
        if console.is_terminal:
            console.print(scrolled(snapshot, console))
        else:
            console.print(render(snapshot, EVERYTHING, console.width))
    _print("\n".join(line.rstrip() for line in capture.get().rstrip().split("\n")))


def _print(text: str) -> None:
    """To standard output. Raises BrokenPipeError where nobody reads it any more, and is quiet about that later."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise
