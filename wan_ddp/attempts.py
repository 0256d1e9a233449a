"""How the attempts at a job ended, and whether there is to be another one: decided from values alone."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from wan_ddp.errors import FailureKind

End = Literal["done", "granted", "released", "lost", "died", FailureKind]
"""How a generation of a claim ended. The kinds of failure are charged, and so is `died`: its owner, a supervisor, ended
on its host without a word. Free are `released` (preemption, Ctrl-C, a full disk) and `lost` (the owner went with its
host). `done`: the video is published. `granted` stands after an end: what came before it no longer counts."""

Decision = Literal["try", "try_alone", "give_up"]

MAX_LOST_IN_A_ROW = 10  # hosts do fail, but ten of them with one job in their hands have it for a cause
_MAX_OUT_OF_MEMORY = 2  # the second attempt was alone on its GPU, with CPU offload: there is nothing left to try
_RESETS: tuple[End, ...] = ("done", "granted")
_FREE: tuple[End, ...] = ("released", "lost")
_FINAL: tuple[End, ...] = ("bad_input", "error")
_TRIED_AGAIN: tuple[End, ...] = ("died", "worker_died", "hang", "gpu", "io")

# Where a generation has several ends, the first of these counts. An owner's own word comes before what others, who
# missed it, took for its end (died, lost); a published video comes before all.
_BY_WEIGHT: tuple[End, ...] = (
    "done",
    "bad_input",
    "error",
    "out_of_memory",
    "worker_died",
    "hang",
    "gpu",
    "io",
    "released",
    "died",
    "lost",
)
STOPPING: Literal["stopping"] = "stopping"
"""Stands before an end: the owner was told to stop, so that its death from then on is a release."""

_NAME = re.compile(r"([1-9]\d{0,8})(?:\.([a-z_]+))?", re.ASCII)


def decide(ends: Sequence[End], max_attempts: int) -> Decision:
    """Whether to try a job again whose generations ended so, in order; `try_alone`: alone on its GPU, CPU offload on.

    `max_attempts` limits deaths, hangs, GPU and I/O errors, together. Bad input and errors are never tried again,
    running out of memory once. Only what follows the last `done` or `granted` counts.
    """
    recent = _recent(ends)
    num_out_of_memory = recent.count("out_of_memory")
    lost = recent[-MAX_LOST_IN_A_ROW:]
    if (
        any(end in _FINAL for end in recent)
        or num_out_of_memory >= _MAX_OUT_OF_MEMORY
        or sum(end in _TRIED_AGAIN for end in recent) >= max_attempts
        or (len(lost) == MAX_LOST_IN_A_ROW and set(lost) == {"lost"})
    ):
        return "give_up"
    return "try_alone" if num_out_of_memory else "try"


def num_charged(ends: Sequence[End]) -> int:
    """How many attempts count, of those after the last `done` or `granted`."""
    return sum(end not in _FREE for end in _recent(ends))


def _recent(ends: Sequence[End]) -> list[End]:
    start = max((index + 1 for index, end in enumerate(ends) if end in _RESETS), default=0)
    return list(ends[start:])


@dataclass(frozen=True, slots=True)
class Generations:
    """What the names of one job's claim files say. `last` 0: it was never claimed."""

    last: int = 0
    standing: bool = False  # the last generation has no end
    done: bool = False  # it ended with a published video
    ends: tuple[End, ...] = ()  # of the others, and of the last one if it has ended; each `granted` after its end


@lru_cache(maxsize=4096)  # of 100,000 jobs nearly all have the same few names
def read_generations(names: tuple[str, ...]) -> Generations:
    """What `<generation>` and `<generation>.<end>` say, in any order; other names are ignored.

    A listing made while names were added may lack some that came before others it has. So it is read up to the first
    generation that is not there or has no end: that is how things stood when the listing began, or later.
    """
    words: dict[int, set[str]] = {}
    for name in names:
        if match := _NAME.fullmatch(name):
            words.setdefault(int(match[1]), set()).add(match[2] or "")
    ends: list[End] = []
    last, end = 0, None
    while last + 1 in words:
        last += 1
        end = next((end for end in _BY_WEIGHT if end in words[last]), None)
        if end is None:
            return Generations(last, standing=True, ends=tuple(ends))
        if end == "died" and STOPPING in words[last]:
            end = "released"
        ends.append(end)
        if "granted" in words[last]:
            ends.append("granted")
    return Generations(last, done=end == "done", ends=tuple(ends))
