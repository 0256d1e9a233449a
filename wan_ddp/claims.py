"""Who works on which job of an output folder: across ranks, restarts, world sizes and overlapping launches, also on NFS.

A job is claimed by hard-linking a file that says who claims to the job's next generation:

    <output>/.claims/<process token>.<n>                  written once; touched as the owner's heartbeat
    <output>/.claims/<bucket>/<key>.<generation>          a link to it: the highest generation owns the job
    <output>/.claims/<bucket>/<key>.<generation>.<mark>   a link to it: how that attempt ended, or a grant

Making a link is atomic, and fails where the name exists. Nothing is ever deleted or rewritten, so whatever a crash
leaves is a state that others go on from, and what was claimed is counted before the work on it starts.
What lies in the folder is read as data, and no symbolic link in it is followed.
"""

import base64
import errno
import hashlib
import os
import re
import socket
import stat
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError

from wan_ddp.attempts import GRANTED, End, Generation, History, Life
from wan_ddp.errors import MachineError, StorageError
from wan_ddp.files import temporary
from wan_ddp.process import TOKEN_PATTERN, is_dead, own_token

BEAT_SECONDS = 10.0
SILENT_SECONDS = 60.0
"""An owner that cannot be asked is gone when its heartbeat is this old, by the file server's clock."""

_FOLDER = ".claims"
_MAX_OWNER_BYTES = 4096
# ext4 allows 65,000 links to a file, and a claim takes at most three: itself, its end, and a moment of `stands`.
_CLAIMS_PER_FILE = 20_000
_KEY_LENGTH = 24
_NAME = re.compile(rf"[a-z2-7]{{{_KEY_LENGTH}}}\.(0|[1-9][0-9]*)(?:\.([a-z_]+(?:-[0-9a-f]+)?))?")

Refusal = Literal["held", "given_up"]


@dataclass(frozen=True, slots=True)
class Owner:
    """A process that claims. `token` tells its death; the rest is for people."""

    token: Annotated[str, Field(pattern=f"^{TOKEN_PATTERN}$")]
    host: str
    rank: int
    run_id: str
    started: str

    @classmethod
    def here(cls, rank: int, run_id: str) -> "Owner":
        """This process."""
        started = datetime.now(timezone.utc).isoformat(timespec="seconds")
        return cls(own_token(), socket.gethostname(), rank, run_id, started)


_OWNER = TypeAdapter(Owner)


def claim_key(job_id: str, fingerprint: str) -> str:
    """What a job is claimed under: other settings make another key, and start afresh."""
    digest = hashlib.sha256(f"{job_id}\0{fingerprint}".encode()).digest()
    return base64.b32encode(digest[:15]).decode("ascii").lower()


@dataclass(frozen=True, slots=True)
class Claim:
    """One attempt at a job. A plain value: the worker that publishes can be handed it."""

    root: Path
    key: str
    generation: int

    def stands(self) -> bool:
        """Whether nobody has taken the job over; asked just before publishing. Raises StorageError."""
        with _storage_errors(self.root), _bucket(self.root, self.key) as (_, bucket):
            # An NFS client may remember for a minute that a name does not exist, until it changes the folder itself.
            mark = temporary(Path(self.key)).name
            with suppress(FileExistsError):
                _link(f"{self.key}.{self.generation}", mark, bucket, bucket)
            with suppress(FileNotFoundError):
                os.unlink(mark, dir_fd=bucket)
            return not _exists(f"{self.key}.{self.generation + 1}", bucket)

    def end(self, how: End) -> None:
        """Let go of the job; only what crashes does without. Raises StorageError."""
        with _storage_errors(self.root), _bucket(self.root, self.key) as (_, bucket):
            _mark(self.key, self.generation, how, bucket)


class Claims:
    """The claims of one output folder, as the process `owner` makes and sees them."""

    def __init__(self, root: Path, owner: Owner, is_dead: Callable[[str], bool | None] = is_dead) -> None:
        """Raises MachineError where claims cannot be made: a read-only disk, one without hard links."""
        self._root = root
        self._owner = owner
        self._is_dead = is_dead
        self._files: list[str] = []
        self._num_claims = 0
        self._steady_since = 0.0
        try:
            with suppress(FileExistsError):
                os.mkdir(root / _FOLDER)
            with _folder(root / _FOLDER) as folder:
                self._add_file(folder)
                probe = temporary(Path("probe")).name
                with suppress(FileExistsError):
                    _link(self._files[-1], probe, folder, folder)
                os.unlink(probe, dir_fd=folder)
                self._last_beat = self._touch(folder)
        except OSError as error:
            raise MachineError(
                f"{root / _FOLDER}: {error.strerror}; it must be a folder that you may write, not a symbolic link, "
                "on a disk with hard links"
            ) from error

    def claim(self, key: str, max_attempts: int) -> Claim | Refusal:
        """Take a job nobody has: a new attempt. A job that this process holds already stays the same attempt.

        Look at the job's record and failure afterwards: another owner may just have ended with it. Raises StorageError.
        """
        with _storage_errors(self._root), _bucket(self._root, key, make=True) as (folder, bucket):
            number = 1  # most jobs are claimed once: one system call, and nothing to read
            while not self._link_generation(f"{key}.{number}", folder, bucket):
                history = self._read(folder, bucket, {key})[key]
                last = history.last
                if last is None or last.number < number:  # an NFS client's listing is behind
                    return Claim(self._root, key, number) if self._is_own(key, number, folder, bucket) else "held"
                if history.holder and last.owner == self._owner.token:
                    return Claim(self._root, key, last.number)
                state = history.state(max_attempts)
                if state == "held" or state == "given_up":
                    return state
                number = last.number + 1
            if number > 1 and last.life == "dead" and last.owner and not last.marks:
                # Written down while it can be seen: after a reboot it would pass for lost with its host.
                _mark(key, last.number, "failed", bucket)
            return Claim(self._root, key, number)

    def look(self, keys: Iterable[str]) -> dict[str, History]:
        """What happened to each job so far; each bucket is listed once. Raises StorageError."""
        by_bucket: dict[str, set[str]] = defaultdict(set)
        for key in keys:
            by_bucket[_bucket_name(key)].add(key)
        found: dict[str, History] = {}
        lives: dict[int, tuple[str | None, Life]] = {}
        with _storage_errors(self._root), _folder(self._root / _FOLDER) as folder:
            for name, wanted in by_bucket.items():
                try:
                    with _folder(name, folder) as bucket:
                        found |= self._read(folder, bucket, wanted, lives)
                except FileNotFoundError:
                    found |= dict.fromkeys(wanted, History())
        return found

    def grant(self, key: str) -> None:
        """Forgive a job's attempts so far, once a run (--retry-failed), however many ranks ask. Raises StorageError."""
        mark = f"{GRANTED}-{hashlib.sha256(self._owner.run_id.encode()).hexdigest()[:16]}"
        with _storage_errors(self._root), _bucket(self._root, key, make=True) as (folder, bucket):
            history = self._read(folder, bucket, {key})[key]
            if any(each == mark for _, each in history.grants):
                return
            last = history.last
            number = 0 if last is None else last.number - 1 if history.holder else last.number
            with suppress(FileExistsError):
                _link(self._files[-1], f"{key}.{number}.{mark}", folder, bucket)

    def beat(self) -> float:
        """Show that this process lives, every BEAT_SECONDS; the file server's time. Raises StorageError."""
        with _storage_errors(self._root), _folder(self._root / _FOLDER) as folder:
            return self._beat(folder)

    def _beat(self, folder: int) -> float:
        now = self._touch(folder)
        if now - self._last_beat > SILENT_SECONDS / 2:
            self._steady_since = now
        self._last_beat = now
        return now

    def _touch(self, folder: int) -> float:
        for name in tuple(self._files):
            os.utime(name, dir_fd=folder, follow_symlinks=False)
        return os.stat(self._files[-1], dir_fd=folder, follow_symlinks=False).st_mtime

    def _add_file(self, folder: int) -> None:
        """Write the file that claims are links to."""
        name = f"{self._owner.token}.{len(self._files)}"
        while _exists(name, folder):
            name += "+"
        descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666, dir_fd=folder)
        try:
            os.write(descriptor, _OWNER.dump_json(self._owner))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self._files.append(name)

    def _link_generation(self, name: str, folder: int, bucket: int) -> bool:
        if self._num_claims >= _CLAIMS_PER_FILE * len(self._files):
            self._add_file(folder)
        try:
            _link(self._files[-1], name, folder, bucket)
        except FileExistsError:
            return False
        self._num_claims += 1
        return True
