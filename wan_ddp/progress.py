"""Rank 0's terminal: one bar for the whole run, or plain lines where it is no terminal."""

import threading
import time
from collections.abc import Callable
from typing import Any, TextIO

from tqdm import tqdm

from wan_ddp.heartbeat import RankState

_POLL_SECONDS = 0.5
_LINE_SECONDS = 10.0
_SPACING = 9.0  # a thousand ranks' states are a thousand files to read: it takes at most a tenth of the time


class Progress:
    """Shows videos done, failed, per minute and time left, from the ranks' states, while its `with` block runs."""

    def __init__(
        self, terminal: TextIO, *, num_jobs: int, num_done: int, states: Callable[[], list[RankState]]
    ) -> None:
        self._states = states
        self._num_done_before = num_done
        self._num_jobs = num_jobs
        self._started = time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="progress", daemon=True)
        self._terminal = terminal
        self._bar: Any = None
        if terminal.isatty():
            self._bar = tqdm(
                total=num_jobs,
                initial=num_done,
                file=terminal,
                desc="videos",
                dynamic_ncols=True,
                bar_format="{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}{postfix}",
            )

    def __enter__(self) -> "Progress":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._show(*self._count())
        if self._bar is not None:
            self._bar.close()

    def _follow(self) -> None:
        shown: tuple[int, int] | None = None
        next_line = 0.0
        pause = _POLL_SECONDS
        while not self._ended.wait(pause):
            asked = time.monotonic()
            counts = self._count()
            pause = max(_POLL_SECONDS, _SPACING * (time.monotonic() - asked))
            if self._bar is not None or (counts != shown and time.monotonic() >= next_line):
                self._show(*counts)
                shown, next_line = counts, time.monotonic() + _LINE_SECONDS

    def _count(self) -> tuple[int, int]:
        """Videos done now, and failed, in the whole run."""
        states = self._states()
        return self._num_done_before + sum(state.num_done for state in states), sum(s.num_failed for s in states)

    def _show(self, num_done: int, num_failed: int) -> None:
        text = describe_rate(
            num_done - self._num_done_before, self._num_jobs - num_done - num_failed, time.monotonic() - self._started
        )
        text = f"{num_failed} failed, {text}"
        if self._bar is not None:
            self._bar.n = num_done
            self._bar.set_postfix_str(text)
        else:
            print(f"videos: {num_done}/{self._num_jobs}, {text}", file=self._terminal)


def describe_rate(num_made: int, num_left: int, seconds: float) -> str:
    """Videos a minute and the time left, `no video yet` before the first."""
    if num_left <= 0:
        return f"{num_made} made in {describe_seconds(seconds)}"
    if num_made <= 0:
        return "no video yet"
    return f"{num_made * 60 / seconds:.2f} a minute, {describe_seconds(num_left * seconds / num_made)} left"


def describe_seconds(seconds: float) -> str:
    """`45 s`, `12 min`, `3 h 05 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02} min"
