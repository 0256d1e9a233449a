"""Who works on which job, over ranks, hosts, restarts and overlapping launches; and what became of every attempt.

A claim is a hard link `<key[:3]>/<key>.<generation>` to its owner's file: making one is atomic on local disks and on
NFS. The end of a generation is a name as well, `<key>.<generation>.<end>`. Names are only ever added, never removed or
changed: the folder is the record of attempts, made before the work starts, and listing names is all that reading takes.
"""

import hashlib
import json
import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Literal

from wan_ddp.attempts import STOPPING, End, Generations, decide, read_generations
from wan_ddp.folders import create, list_names, open_folder
from wan_ddp.owners import Owner

log = logging.getLogger(__name__)

_KEY_LENGTH = 32
# A million jobs with two names each are 500 names in each of 4096 folders. Where a run of before has begun with 256
# folders, of two digits, it stays with those: claims are always looked for in one place.
_PREFIX_LENGTH, _OLD_PREFIX_LENGTH = 3, 2
_PREFIX = re.compile(r"[0-9a-f]{2,3}")
_MAX_REMEMBERED = 8  # claims made, before those that have ended are looked for and forgotten

Standing = Literal["free", "held", "done", "given_up"]


def claim_key(job_id: str, fingerprint: str) -> str:
    """What a job with these settings is claimed by, 32 hex digits: changed settings start afresh."""
    return hashlib.sha256(json.dumps([job_id, fingerprint]).encode()).hexdigest()[:_KEY_LENGTH]


@dataclass(frozen=True, slots=True)
class Claim:
    """One generation of a job's claim, in this owner's hands. It can be pickled, and works in any process."""

    folder: Path
    key: str
    generation: int
    decision: Literal["try", "try_alone"]
    history: tuple[End, ...] = ()
    """How the generations before this one ended."""

    @property
    def name(self) -> str:
        return f"{self.key}.{self.generation}"

    def stands(self) -> bool:
        """Whether nobody has taken the job over. Raises OSError."""
        later = rf"{self.key}\.(\d{{1,9}})"
        with _folder_of(self.folder, self.key) as folder:
            matches = [match for name in list_names(folder) if (match := re.fullmatch(later, name, re.ASCII))]
            return all(int(match[1]) <= self.generation for match in matches)

    def end(self, how: End) -> None:
        """Record how it ended; again is no harm, and of several ends the weightiest counts. Raises OSError."""
        with _folder_of(self.folder, self.key) as folder:
            _mark(folder, self.name, how)

    def stopping(self) -> None:
        """Record that its owner lets go of it soon, and is not to be charged if it dies meanwhile. Raises OSError."""
        with _folder_of(self.folder, self.key) as folder:
            _mark(folder, self.name, STOPPING)

    def has_ended(self) -> bool:
        """Whether an end is recorded. Raises OSError."""
        with _folder_of(self.folder, self.key) as folder:
            found = _read(folder, self.key)
        return found.last > self.generation or (found.last == self.generation and not found.standing)


@dataclass(frozen=True, slots=True)
class Look:
    """How every job stood when its folder was listed.

    `done` and `given_up` follow from names alone, which are never removed. So they were true at some moment of the
    listing, whatever was added meanwhile, and hold until somebody claims the job anew because its video has gone, or
    grants it new attempts. A rank that finds nothing else may leave. `free` and `held` are as old as the listing:
    only `claim` decides. A job whose last owner is dead is `free`, even if nothing but giving it up is left to do:
    `claim` writes down what became of that owner, and then says so.
    """

    generations: Mapping[str, Generations] = field(default_factory=dict)
    held: frozenset[str] = frozenset()

    def standing(self, key: str, max_attempts: int) -> Standing:
        found = self.generations.get(key)
        if found is None:
            return "free"
        if found.standing:
            return "held" if key in self.held else "free"
        if found.done:
            return "done"
        return "given_up" if decide(found.ends, max_attempts) == "give_up" else "free"

    def latest(self, key: str) -> int:
        """The job's highest generation, 0 if it was never claimed."""
        found = self.generations.get(key)
        return found.last if found else 0


class Claims:
    """The claims in the folder, as one owner makes and sees them. Not for several threads, but for `beat`."""

    def __init__(self, folder: Path, *, run_id: str, rank: int) -> None:
        self._folder = folder
        self._owner = Owner(folder, run_id=run_id, rank=rank)
        self._asked: dict[str, Claim] = {}  # perhaps made: an error or a signal came before the answer
        self._made: dict[str, Claim] = {}

    def open(self) -> None:
        """Make this owner's file. Raises MachineError where claims cannot be kept in the folder, and OSError."""
        self._owner.open()

    def release(self) -> None:
        """Let go of what has not ended, free of charge. Raises OSError."""
        for claim in [*self._made.values(), *self._asked.values()]:
            with _folder_of(self._folder, claim.key) as folder:
                owned = self._owner.owns(folder, claim.name)
            if owned and not claim.has_ended():
                claim.end("released")

    def close(self) -> None:
        """Release what has not ended, and remove this owner's file. Raises OSError."""
        try:
            self.release()
        finally:
            self._owner.close()

    def __enter__(self) -> "Claims":
        self.open()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            if isinstance(error, Exception):
                self._owner.close()  # what this process fails over is charged once it has ended, as a death is
            else:
                self.close()
        except OSError as trouble:  # what is still held then is free once this process has ended
            log.error("what this rank had claimed could not be released: %s", trouble)

    def beat(self) -> None:
        """Touch this owner's file, the sign of life for other hosts: every few seconds. Raises OSError."""
        self._owner.beat()

    def sweep(self) -> None:
        """Remove the files of owners that are gone, no claim. Raises OSError."""
        self._owner.sweep()

    def claim(self, key: str, max_attempts: int) -> Claim | Literal["held", "given_up"]:
        """Take the job's next generation, recording first what became of the last one if its owner is gone.

        A job that is done is claimed too: the caller has seen that its video is gone, and looks again after this.
        Raises OSError; whether the claim was made is then found out by claiming again, or by `close`.
        """
        self._forget_ended()
        with _folder_of(self._folder, key) as folder:
            found = self._settle(folder, key)
            if found.standing:
                asked = self._asked.get(key)
                if asked is None or asked.generation != found.last or not self._owner.owns(folder, asked.name):
                    return "held"
                return self._take(asked)
            decision = decide(found.ends, max_attempts)
            if decision == "give_up":
                return "given_up"
            self._asked[key] = claim = Claim(self._folder, key, found.last + 1, decision, found.ends)
            if self._owner.link(folder, claim.name):
                return self._take(claim)
            del self._asked[key]
            return "held"

    def history(self, key: str) -> tuple[End, ...]:
        """How the job's generations ended, in order. Raises OSError."""
        with _folder_of(self._folder, key) as folder:
            return _read(folder, key).ends

    def silence(self, key: str) -> float:
        """Seconds for which the job's owner has shown no sign of life, 0 if it has none. Raises OSError."""
        with _folder_of(self._folder, key) as folder:
            found = _read(folder, key)
            return self._owner.silence(folder, f"{key}.{found.last}") if found.standing else 0.0

    def latest(self, key: str) -> int:
        """The job's highest generation, 0 if it was never claimed. Raises OSError."""
        with _folder_of(self._folder, key) as folder:
            return _read(folder, key).last

    def grant(self, key: str, generation: int) -> None:
        """Have the attempts up to this generation no longer count; nothing happens while somebody holds it.

        Granting one generation twice, or from several ranks, is granting it once. Raises OSError.
        """
        with _folder_of(self._folder, key) as folder:
            found = self._settle(folder, key)
            num_ended = found.last - found.standing
            if 0 < generation <= num_ended:
                _mark(folder, f"{key}.{generation}", "granted")

    def look(self, keys: Iterable[str] | None = None) -> Look:
        """How every job stands, or these and some others, from one listing of the names. Raises OSError."""
        generations: dict[str, Generations] = {}
        held: set[str] = set()
        length = _prefix_length(self._folder)
        wanted = None if keys is None else {key[:length] for key in keys}
        for prefix in _prefixes(self._folder):
            if wanted is not None and prefix not in wanted:
                continue
            with open_folder(self._folder, prefix) as folder:
                for key, names in _by_key(list_names(folder)).items():
                    names.sort()
                    generations[key] = found = read_generations(tuple(names))
                    if found.standing and self._owner.fate(folder, f"{key}.{found.last}") == "alive":
                        held.add(key)
        return Look(generations, frozenset(held))

    def _settle(self, folder: int, key: str) -> Generations:
        """Read the job's generations, and record the end of one whose owner is gone."""
        marked: list[str] = []
        while True:
            found = _read(folder, key, marked)
            if not found.standing:
                return found
            name = f"{key}.{found.last}"
            fate = self._owner.fate(folder, name)
            if fate == "alive":
                return found
            _mark(folder, name, fate)
            # Read again: the owner may have recorded an end of its own since the first listing, and that one counts.
            marked.append(f"{name}.{fate}")

    def _take(self, claim: Claim) -> Claim:
        self._made[claim.key] = claim
        self._asked.pop(claim.key, None)
        return claim

    def _forget_ended(self) -> None:
        if len(self._made) >= _MAX_REMEMBERED:
            self._made = {key: claim for key, claim in self._made.items() if not claim.has_ended()}


def read_claims(root: Path) -> dict[str, Generations]:
    """Every job's generations, by key, from the names alone: nothing is written and no owner asked after.

    For those who only look: whether somebody holds a job, `Claims.look` knows. Raises MachineError and OSError.
    """
    found: dict[str, Generations] = {}
    for prefix in _prefixes(root):
        with open_folder(root, prefix) as folder:
            for key, names in _by_key(list_names(folder)).items():
                found[key] = read_generations(tuple(sorted(names)))
    return found


def _prefixes(root: Path) -> list[str]:
    """The folders of claims: those of one length, whatever else is there."""
    with suppress(FileNotFoundError), open_folder(root) as folder:
        names = [name for name in list_names(folder) if _PREFIX.fullmatch(name)]
        return [name for name in names if len(name) == _OLD_PREFIX_LENGTH] or names
    return []


@contextmanager
def _folder_of(root: Path, key: str) -> Iterator[int]:
    assert len(key) == _KEY_LENGTH and _PREFIX.match(key), "a key is made by claim_key"
    with open_folder(root, key[: _prefix_length(root)], make=True) as folder:
        yield folder


@lru_cache(maxsize=16)
def _prefix_length(root: Path) -> int:
    """How many digits of a key name its folder: no run begins with two any more, so what was found stays so."""
    return next(map(len, _prefixes(root)), _PREFIX_LENGTH)


def _read(folder: int, key: str, more: list[str] | None = None) -> Generations:
    names = [name for name in list_names(folder) if name.startswith(key)]
    return read_generations(tuple(_by_key(names + (more or [])).get(key, ())))


def _by_key(names: list[str]) -> dict[str, list[str]]:
    """The names without their keys, by key; what is no claim's name is left out."""
    found: dict[str, list[str]] = {}
    for name in names:
        if name[_KEY_LENGTH : _KEY_LENGTH + 1] == ".":
            found.setdefault(name[:_KEY_LENGTH], []).append(name[_KEY_LENGTH + 1 :])
    return found


def _mark(folder: int, name: str, end: End | Literal["stopping"]) -> None:
    """Add the name of an end, or that it is near: a link like the claim's own, which takes no room of its own."""
    mark = f"{name}.{end}"
    try:
        os.link(name, mark, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except FileExistsError:
        return
    except OSError:  # no more links to that file, or it is another user's
        with suppress(FileExistsError):
            os.close(create(mark, folder))
