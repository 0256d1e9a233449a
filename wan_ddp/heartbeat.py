"""What each rank is doing, in a small file beside its log: for people, for the progress bar, for the final barrier."""

import json
import logging
import threading
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from wan_ddp.files import read_or_none, write_atomically

log = logging.getLogger(__name__)

BEAT_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class RankState:
    """One rank's doing. `beat` counts up while it lives: a reader needs no common clock to see that it does."""

    run_id: str
    rank: int
    gpu: int
    process: int
    pid: int
    beat: int = 0
    phase: str = "starting"
    job: str | None = None
    step: int = 0
    num_steps: int = 0
    num_jobs: int = 0
    num_done: int = 0
    num_failed: int = 0


_STATE = TypeAdapter(RankState)


class Heartbeat:
    """Writes the rank's state every two seconds from a thread of its own, from `with` to its end."""

    def __init__(self, path: Path, state: RankState) -> None:
        self._path = path
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
        self._write()

    @property
    def state(self) -> RankState:
        return self._state

    def update(self, **changes: Any) -> None:
        """Say what the rank is doing now; it is on disk within two seconds."""
        with self._lock:
            self._state = replace(self._state, **changes)

    def _beat_on(self) -> None:
        self._write()
        while not self._ended.wait(BEAT_SECONDS):
            self._write()

    def _write(self) -> None:
        with self._lock:
            self._state = replace(self._state, beat=self._state.beat + 1)
        try:
            write_atomically(self._path, json.dumps(asdict(self._state), ensure_ascii=False).encode())
        except OSError as error:
            log.debug("no heartbeat written: %s", error)


def read_state(path: Path, run_id: str) -> RankState | None:
    """A rank's last state in this run; None where there is none."""
    with suppress(OSError, ValidationError):
        content = read_or_none(path)
        state = _STATE.validate_json(content) if content else None
        return state if state and state.run_id == run_id else None
    return None
