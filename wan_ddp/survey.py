"""Every job beside what lies on disk for it: what is done, what is to do, what was made with other settings."""

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from wan_ddp.claims import claim_key
from wan_ddp.digests import ReferenceDigests
from wan_ddp.errors import UnusableError
from wan_ddp.job import Conditions, Identifier, Job, fingerprint, own_inputs
from wan_ddp.outputs import Outputs
from wan_ddp.record_index import RecordIndex, list_files
from wan_ddp.settings import Settings
from wan_ddp.uncollected import uncollected
from wan_ddp.verdict import NEVER_MADE, Finding

_NUM_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Task:
    """A job with everything that decides its pixels, and what was found on disk for it."""

    job: Job
    shared_inputs: Mapping[str, Any]
    """One for many jobs: a million times all inputs would be a gigabyte."""
    finding: Finding
    mark: str | None = None
    """The fingerprint of the inputs, where it was known in time."""

    @property
    def inputs(self) -> dict[str, Any]:
        """See `job.fingerprint_inputs`."""
        return own_inputs(self.shared_inputs, self.job)

    @property
    def key(self) -> str:
        """What the task is claimed by: another output, or other settings, is another task."""
        return claim_key(self.job.id, self.mark or fingerprint(self.inputs))

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
) -> list[Task]:
    """Look at every job's files. Without `read_references` only remembered digests count, and nothing is written.

    Records that were read before and have not been touched since are not read again (see `wan_ddp.record_index`). The
    verdict of a run rests on that too: what it takes on trust, a record's change time, is more than the size that it
    asks of the video itself. With `full` every record and video is read.
    """
    marks: list[str | None] = []
    shared: list[dict[str, Any]] = []
    identify = Identifier(conditions).identify
    for job in jobs:
        digest = digests.digest(job.reference, read=read_references) if job.mechanism != "none" else None
        inputs, mark = identify(job, digest)
        shared.append(inputs)
        marks.append(mark)
    index = RecordIndex(outputs.index)
    findings = [None] * len(jobs) if full else _look_up(jobs, marks, outputs, index)
    if read_references and None in findings:
        index.start()
    tasks = [
        Task(job, inputs, finding or _inspect(job, inputs, mark, outputs, index, full=full), mark)
        for job, inputs, mark, finding in zip(jobs, shared, marks, findings, strict=True)
    ]
    with suppress(OSError):  # then the records are read again next time
        index.save()
    return tasks


def _look_up(
    jobs: Sequence[Job], marks: Sequence[str | None], outputs: Outputs, index: RecordIndex
) -> list[Finding | None]:
    """What the index proves to be verified, and what is not there at all; None for all else.

    Each folder is listed once: a file that is not in it need not be asked for.
    """
    findings: list[Finding | None] = [None] * len(jobs)
    folders: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for position, job in enumerate(jobs):
        folder, _, stem = job.id.rpartition("/")
        folders[folder].append((stem, position))
    for folder, members in folders.items():
        path = f"{outputs.root}/{folder}"
        found = list_files(path)
        if found is None:
            continue
        is_own = not _is_linked(path)  # else it may lead out of the output folder, which is no place for a video
        if is_own and not found:
            for _, position in members:
                findings[position] = NEVER_MADE
            continue
        for stem, position in members:
            record, mark = found.get(f"{stem}.json"), marks[position]
            if f".{stem}.failed.json" in found:
                continue
            if record and mark and (video := found.get(f"{stem}.mp4")):
                seconds = index.seconds(record, mark, video.st_size)
                findings[position] = None if seconds is None else Finding("verified", seconds=seconds)
            elif is_own and f"{stem}.json" not in found:
                findings[position] = NEVER_MADE
    return findings


def _is_linked(folder: str) -> bool:
    """Whether the job's folder, or that of its category, is a symbolic link."""
    return os.path.islink(folder) or os.path.islink(os.path.dirname(folder))  # noqa: PTH114, PTH120 - a million of them


def _inspect(
    job: Job, shared: Mapping[str, Any], mark: str | None, outputs: Outputs, index: RecordIndex, *, full: bool
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
    return [reference for reference in dict.fromkeys(job.reference for job in jobs) if not os.path.exists(reference)]  # noqa: PTH110


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
