"""What each rank is doing, in a small file beside its log: for people, for the progress bar, for the final barrier."""

import json
import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from wan_ddp.files import read_or_none, write_atomically
from wan_ddp.process import kill

log = logging.getLogger(__name__)

BEAT_SECONDS = 2.0
OVER = ("finished", "failed", "stopped")
"""The phases of a rank that is done with its work, one way or the other."""
_KEPT_SECONDS = 7 * 24 * 3600.0


@dataclass(frozen=True, slots=True)
class RankState:
    """One rank's doing. `beat` counts up while it lives: a reader needs no common clock to see that it does."""

    run_id: str
    rank: int
    gpu: int
    process: int
    token: str
    """Of the supervisor's process, see `wan_ddp.process`."""
    host: str = ""
    beat: int = 0
    time: float = 0.0
    """When this was written, in seconds since the epoch by the rank's own clock."""
    phase: str = "starting"
    part: str = ""
    """Of the video in hand: read, encode, turn (waiting for the GPU), denoise, decode, save.

    To save is to inspect and to hand over; what follows goes on beside the next video, if there is one."""
    job: str | None = None
    attempt: int = 0
    """Which attempt at the job this is, of those that are charged."""
    taken_over: bool = False
    """Whether the job is of another rank's shard."""
    step: int = 0
    num_steps: int = 0
    num_jobs: int = 0
    num_done: int = 0
    published: str | None = None
    """The job whose video was published last: made before the one in hand, most often."""
    num_failed: int = 0
    num_lost: int = 0
    """Workers that died or hung."""
    made_cost: int = 0
    """Of the videos that it made from first step to last, see `Job.cost`; and the seconds from their orders on, until
    their worker was free for the next."""
    made_seconds: float = 0.0
    node: int = 0
    gpu_name: str = ""
    """As its worker has it; CPU where that computes."""
    gpu_utilization: float | None = None
    """Percent; like the next, of the whole GPU, and told by one rank of each: see `wan_ddp.gpu_use`."""
    gpu_memory_gib: float | None = None
    error: str = ""
    """Why the rank ended early, if it did."""


_STATE = TypeAdapter(RankState)
# What a rank's history is of: it gets a line whenever one of these changes.
_TOLD = ("phase", "part", "job", "attempt", "num_done", "num_failed", "num_lost", "error")


class Heartbeat:
    """Writes the rank's state every two seconds from a thread of its own, from `with` to its end."""

    def __init__(
        self,
        path: Path,
        state: RankState,
        on_beat: Callable[[], None] = lambda: None,
        *,
        history: Path | None = None,
    ) -> None:
        """`on_beat` is called with every beat, in the thread. Every change of what is done is added to `history`."""
        self._path = path
        self._history = history
        self._on_beat = on_beat
        self._state = state
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat_on, name="heartbeat", daemon=True)

    def __enter__(self) -> "Heartbeat":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self.write()

    @property
    def state(self) -> RankState:
        return self._state

    def update(self, **changes: Any) -> None:
        """Say what the rank is doing now; it is on disk within two seconds."""
        with self._lock:
            before, self._state = self._state, replace(self._state, **changes)
            if any(getattr(before, name) != getattr(self._state, name) for name in _TOLD):
                self._tell()

    def _tell(self) -> None:
        if self._history is None:
            return
        try:
            _in_folder(self._history, partial(_append, self._history, _line(replace(self._state, time=_now()))))
        except OSError as error:
            log.debug("no line of history written: %s", error)

    def _beat_on(self) -> None:
        self.write()
        while not self._ended.wait(BEAT_SECONDS):
            self.write()

    def write(self) -> None:
        """Put the rank's state on disk now."""
        with self._lock:
            self._state = replace(self._state, beat=self._state.beat + 1, time=_now())
        try:
            self._on_beat()
            _in_folder(self._path, lambda: write_atomically(self._path, _line(self._state)))
        except OSError as error:
            log.debug("no heartbeat written: %s", error)


def _in_folder(path: Path, write: Callable[[], None]) -> None:
    """Write the file; where its folder is not there, it is made first. Raises OSError."""
    try:
        write()
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        write()


def _append(path: Path, line: bytes) -> None:
    with path.open("ab") as file:
        file.write(line + b"\n")


def _line(state: RankState) -> bytes:
    return json.dumps(asdict(state), ensure_ascii=False).encode()


def _now() -> float:
    return round(time.time(), 3)


def read_history(path: Path) -> list[RankState]:
    """What a rank did, over all its runs: each state held from its `time` to that of the next. Raises OSError.

    Lines that were cut off are left out.
    """
    return list(parse_states((read_or_none(path) or b"").splitlines()))


def parse_states(lines: Iterable[bytes]) -> Iterator[RankState]:
    """The states of a history's lines, without those that are none."""
    for line in lines:
        with suppress(ValidationError):
            yield _STATE.validate_json(line)


def read_state(path: Path, run_id: str) -> RankState | None:
    """A rank's last state in this run; None where there is none."""
    with suppress(OSError, ValidationError):
        content = read_or_none(path)
        state = _STATE.validate_json(content) if content else None
        return state if state and state.run_id == run_id else None
    return None


@dataclass(frozen=True, slots=True)
class States:
    """Where the ranks of a run write what they do: a hidden folder a run, as several may share an output folder."""

    folder: Path
    run_id: str
    world_size: int

    def path(self, rank: int) -> Path:
        return run_folder(self.folder, self.run_id) / f"rank{rank}.json"

    def one(self, rank: int) -> RankState | None:
        return read_state(self.path(rank), self.run_id)

    def all(self) -> list[RankState]:
        return [state for state in map(self.one, range(self.world_size)) if state is not None]

    def end(self, ranks: Sequence[int]) -> None:
        """Kill those of the ranks whose processes are on this machine: they are silent, and torchrun waits for them.

        It takes that for a crash, and starts all ranks again if --max-restarts allows.
        """
        for state in filter(None, map(self.one, ranks)):
            log.error("rank %d is silent: it is killed, if it is not dead", state.rank)
            kill(state.token)


def sweep_runs(logs: Path) -> None:
    """Remove what runs of long ago have left in their folders."""
    for folder in logs.glob(".run-*"):
        with suppress(OSError):
            if time.time() - folder.stat().st_mtime > _KEPT_SECONDS:
                shutil.rmtree(folder)


def run_folder(logs: Path, run_id: str) -> Path:
    """Where a run keeps its ranks' states and its own verdict."""
    return logs / f".run-{run_id}"
