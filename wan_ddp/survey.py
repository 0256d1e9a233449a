"""Every job beside what lies on disk for it: what is done, what is to do, what was made with other settings."""

import os
from array import array
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain, repeat
from operator import attrgetter
from struct import Struct
from typing import Any, Literal, NamedTuple
from unicodedata import is_normalized

from wan_ddp.beside import beside, num_cores
from wan_ddp.claims import claim_key
from wan_ddp.digests import ReferenceDigests
from wan_ddp.errors import UnusableError
from wan_ddp.job import Conditions, Identifier, Job, fingerprint, own_inputs, runs_of_alike, shared_inputs
from wan_ddp.outputs import Outputs
from wan_ddp.plan import plan
from wan_ddp.record_index import RecordIndex, list_files
from wan_ddp.settings import Settings
from wan_ddp.uncollected import uncollected
from wan_ddp.verdict import NEVER_MADE, Finding

_NUM_SHOWN = 10
_DIVIDED_FROM = 100_000


class Task(NamedTuple):
    """A job with everything that decides its pixels, and what was found on disk for it."""

    job: Job
    shared_inputs: Mapping[str, Any]
    """One for many jobs: a million times all inputs would be a gigabyte."""
    finding: Finding
    mark: bytes | None = None
    """The fingerprint of the inputs, 32 bytes, where it was known in time."""

    @property
    def inputs(self) -> dict[str, Any]:
        """See `job.fingerprint_inputs`."""
        return own_inputs(self.shared_inputs, self.job)

    @property
    def key(self) -> str:
        """What the task is claimed by: another output, or other settings, is another task."""
        return claim_key(self.job.id, self.mark.hex() if self.mark else fingerprint(self.inputs))

    def is_to_do(self, settings: Settings, run_id: str | None) -> bool:
        """Whether the video is to be made: not if it is there, nor if it was given up.

        With --retry-failed what earlier runs have given up counts as to do, and what this very run did does not.
        """
        failure = self.finding.failure
        if failure and not (settings.retry_failed and failure.run_id != run_id):
            return False
        if self.finding.state == "changed":
            return settings.on_change == "rerun"
        return self.finding.state != "verified"


@uncollected()
def survey(
    jobs: Sequence[Job],
    outputs: Outputs,
    digests: ReferenceDigests,
    conditions: Conditions,
    *,
    read_references: bool = True,
    full: bool = False,
    divided_from: int = _DIVIDED_FROM,
) -> list[Task]:
    """Look at every job's files. Without `read_references` only remembered digests count, and nothing is written.

    Records that were read before and have not been touched since are not read again (see `wan_ddp.record_index`). The
    verdict of a run rests on that too: what it takes on trust, a record's change time, is more than the size that it
    asks of the video itself. With `full` every record and video is read. From `divided_from` jobs on, two processes
    look.
    """
    index = RecordIndex(outputs.index)
    # Before anything is divided: what is read of a reference is remembered, and is the same for both halves.
    references = dict.fromkeys(job.reference for job in jobs if job.mechanism != "none")
    known = {reference: digests.digest(reference, read=read_references) for reference in references}
    look = partial(_look, known, conditions, str(outputs.root), None if full else index)
    # Without a model there are no fingerprints to make and nothing to compare: a fork costs more than it saves.
    if len(jobs) >= divided_from and conditions.model and num_cores() > 1:
        middle = len(jobs) // 2
        with beside(partial(look, jobs[middle:])) as rest:
            seen = look(jobs[:middle]) + rest()
    else:
        seen = look(jobs)
    if read_references and _TO_READ in seen.states:
        index.start()
    alike = (repeat(shared_inputs(jobs[run.start], conditions, run.digest), run.end - run.start) for run in seen.runs)
    inputs = list(chain.from_iterable(alike))
    marks = seen.marks_of(0, len(jobs))

    finding_of = Finding._make  # a million of them, in a third of the time
    findings = [
        finding_of(("verified", "", None, None, seconds))
        if state == _VERIFIED
        else NEVER_MADE
        if state == _NEVER_MADE
        else _inspect(job, shared, mark, outputs, index, full=full)
        for job, shared, state, seconds, mark in zip(jobs, inputs, seen.states, seen.seconds, marks, strict=True)
    ]
    tasks = list(map(Task._make, zip(jobs, inputs, findings, marks, strict=True)))
    with suppress(OSError):  # then the records are read again next time
        index.save()
    return tasks


def shards_of(tasks: Sequence[Task], world_size: int, seconds: Sequence[float] | None = None) -> list[list[Task]]:
    """The tasks by the rank that their jobs are planned for, see `plan`."""
    jobs = [task.job for task in tasks]
    by_job = dict(zip(map(id, jobs), tasks, strict=True))  # of a million jobs, comparing them would take its time
    return [list(map(by_job.__getitem__, map(id, shard))) for shard in plan(jobs, world_size, seconds)]


class _Run(NamedTuple):
    """Jobs that are alike, see `runs_of_alike`: their positions, and what digest their reference has."""

    start: int
    end: int
    digest: str | None


@dataclass(frozen=True, slots=True)
class _Seen:
    """What was seen of jobs that follow one another, in few bytes: it may come from another process."""

    runs: list[_Run]
    states: bytearray
    """_VERIFIED where the index proves it, _NEVER_MADE where nothing is there, else _TO_READ."""
    seconds: "array[float]"
    """What making each took that is verified."""
    marks: bytearray
    """Each one's fingerprint, or _NOT_KNOWN."""

    def __add__(self, other: "_Seen") -> "_Seen":
        here = len(self.states)
        runs = [*self.runs, *(_Run(here + start, here + end, digest) for start, end, digest in other.runs)]
        return _Seen(runs, self.states + other.states, self.seconds + other.seconds, self.marks + other.marks)

    def marks_of(self, start: int, end: int) -> list[bytes | None]:
        """The fingerprints, None where one is not known."""
        marks = self.marks[start * _MARK_BYTES : end * _MARK_BYTES]
        if marks == bytes(len(marks)):  # without a model none is known
            return [None] * (end - start)
        known = chain.from_iterable(_MARK.iter_unpack(marks))
        return [None if mark == _NOT_KNOWN else mark for mark in known]


_TO_READ, _NEVER_MADE, _VERIFIED = range(3)
_MARK = Struct("32s")
_MARK_BYTES = _MARK.size
_NOT_KNOWN = bytes(_MARK_BYTES)


def _look(
    digests: Mapping[str, str | None],
    conditions: Conditions,
    root: str,
    index: RecordIndex | None,
    jobs: Sequence[Job],
) -> _Seen:
    """The jobs' fingerprints, and what the index, if there is one, and their folders' listings say."""
    identifier = Identifier(conditions)
    runs: list[_Run] = []
    marks = bytearray()
    for start, end in runs_of_alike(jobs):
        first = jobs[start]
        digest = digests[first.reference] if first.mechanism != "none" else None
        runs.append(_Run(start, end, digest))
        identifier.turn_to(first, digest)
        if not identifier.is_known:
            marks += _NOT_KNOWN * (end - start)
            continue
        for job in jobs[start:end]:
            marks += identifier.mark(job) or _NOT_KNOWN
    seen = _Seen(runs, bytearray(len(jobs)), array("d", bytes(8 * len(jobs))), marks)
    if index:
        _look_up(jobs, root, index, seen)
    return seen


def _look_up(jobs: Sequence[Job], root: str, index: RecordIndex, seen: _Seen) -> None:
    """Write down what the index proves to be verified, and what is not there at all.

    Each folder is listed once: a file that is not in it need not be asked for.
    """
    where = _Folders(root).where
    folders: dict[str, list[_Run]] = defaultdict(list)
    for run in seen.runs:
        folders[jobs[run.start].folder].append(run)
    for folder, alike in folders.items():
        place = where(folder)
        found = {} if place == "nowhere" else list_files(f"{root}/{folder}")
        if found is None:
            continue
        is_own = place != "linked"  # else it may lead out of the output folder, which is no place for a video
        failures = {name for name in found if name.endswith(".failed.json")}
        for start, end, _ in alike:
            if is_own and not found:
                seen.states[start:end] = bytes([_NEVER_MADE]) * (end - start)
                continue
            marks = seen.marks_of(start, end)
            for at, job, mark in zip(range(start, end), jobs[start:end], marks, strict=True):
                stem = job.stem
                name = f"{stem}.json"
                record = found.get(name)
                if failures and f".{stem}.failed.json" in failures:
                    continue
                if record and mark and (video := found.get(f"{stem}.mp4")):
                    seconds = index.seconds(record, mark, video.st_size)
                    if seconds is not None:
                        seen.states[at], seen.seconds[at] = _VERIFIED, seconds
                elif is_own and name not in found:
                    seen.states[at] = _NEVER_MADE


Where = Literal["here", "linked", "nowhere"]


class _Folders:
    """Where references' folders are: a category's folder is listed once, instead of asked for each of them."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._listed: dict[str, dict[str, Where] | None] = {}

    def where(self, folder: str) -> Where:
        """Whether it is in its place, by way of a symbolic link (its own or its category's), or not at all."""
        category, _, name = folder.rpartition("/")
        if category not in self._listed:
            self._listed[category] = _list_folders(f"{self._root}/{category}")
        listed = self._listed[category]
        if listed is None:
            return "linked" if _is_linked(f"{self._root}/{folder}") else "here"
        return listed.get(name, "nowhere")


def _list_folders(category: str) -> dict[str, Where] | None:
    """What lies in a category's folder; None where that cannot be trusted to tell what does not."""
    if os.path.islink(category):  # noqa: PTH114 - as below
        return None
    try:
        with os.scandir(category) as entries:
            listed: dict[str, Where] = {each.name: "linked" if each.is_symlink() else "here" for each in entries}
    except FileNotFoundError:
        return {}
    except OSError:
        return None
    # Some file systems keep names in another form than they were given, and find them by either.
    return listed if all(is_normalized("NFC", name) for name in listed) else None


def _is_linked(folder: str) -> bool:
    """Whether the job's folder, or that of its category, is a symbolic link."""
    return os.path.islink(folder) or os.path.islink(os.path.dirname(folder))  # noqa: PTH114, PTH120 - a million of them


def _inspect(
    job: Job, shared: Mapping[str, Any], mark: bytes | None, outputs: Outputs, index: RecordIndex, *, full: bool
) -> Finding:
    """What is true of the job, from its files; the index gets to know what can be proven by it."""
    record = None
    with suppress(OSError):
        record = outputs.record(job).lstat()
    finding = outputs.inspect(job, own_inputs(shared, job), full=full)
    if record and mark and finding.state == "verified" and finding.record:
        index.add(record, mark, finding.record.video.num_bytes, finding.seconds)
    return finding


def missing_references(jobs: Iterable[Job]) -> list[str]:
    """The reference files that do not exist, each once, in the manifest's order."""
    return [reference for reference in dict.fromkeys(map(_reference, jobs)) if not os.path.exists(reference)]  # noqa: PTH110


_reference = attrgetter("reference")


def refuse_missing_references(jobs: Iterable[Job]) -> None:
    """Raises UnusableError that lists them all."""
    missing = missing_references(jobs)
    if missing:
        raise UnusableError(
            "\n".join(f"{reference}: the reference does not exist" for reference in missing)
            + f"\n{len(missing)} references are missing; put them there, correct the manifest, "
            "or go on without them with --allow-missing (their jobs fail)"
        )


def refuse_changed(tasks: Iterable[Task]) -> None:
    """Raises UnusableError that lists videos made with other settings."""
    changed = [task for task in tasks if task.finding.state == "changed"]
    if changed:
        shown = [f"{task.job.id}: {task.finding.why}" for task in changed[:_NUM_SHOWN]]
        more = [f"... and {len(changed) - _NUM_SHOWN} more"] if len(changed) > _NUM_SHOWN else []
        raise UnusableError(
            "\n".join([*shown, *more])
            + f"\n{len(changed)} videos were made with other settings; make them anew with --on-change rerun, count "
            "them as they are with --on-change keep, or give another --output"
        )
