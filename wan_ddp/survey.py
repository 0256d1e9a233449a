"""Every job beside what lies on disk for it: what is done, what is to do, what was made with other settings."""

import gc
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from wan_ddp.claims import claim_key
from wan_ddp.digests import ReferenceDigests
from wan_ddp.errors import UnusableError
from wan_ddp.job import Conditions, Job, fingerprint, identify
from wan_ddp.outputs import Outputs
from wan_ddp.record_index import RecordIndex, list_files
from wan_ddp.settings import Settings
from wan_ddp.verdict import Finding

_NUM_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Task:
    """A job with everything that decides its pixels, and what was found on disk for it."""

    job: Job
    inputs: dict[str, Any]
    finding: Finding

    @property
    def key(self) -> str:
        """What the task is claimed by: another output, or other settings, is another task."""
        return claim_key(self.job.id, fingerprint(self.inputs))

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


@contextmanager
def _uncollected() -> Iterator[None]:
    """Make many objects of which none is garbage, without Python going through all of them again and again for some.

    That is a fifth of the time for 100,000 jobs.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@_uncollected()
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
    identified = []
    for job in jobs:
        digest = digests.digest(job.reference, read=read_references) if job.mechanism != "none" else None
        identified.append(_Identified(job, *identify(job, conditions, digest)))
    index = RecordIndex(outputs.index)
    findings = [None] * len(jobs) if full else _look_up(identified, outputs, index)
    if read_references and None in findings:
        index.start()
    tasks = [
        Task(each.job, each.inputs, finding or _inspect(each, outputs, index, full=full))
        for each, finding in zip(identified, findings, strict=True)
    ]
    with suppress(OSError):  # then the records are read again next time
        index.save()
    return tasks


class _Identified(NamedTuple):
    job: Job
    inputs: dict[str, Any]
    mark: str | None
    """The fingerprint, None where it is not known."""


def _look_up(identified: Sequence[_Identified], outputs: Outputs, index: RecordIndex) -> list[Finding | None]:
    """What the index proves to be verified, None for all else; each folder is listed once."""
    findings: list[Finding | None] = [None] * len(identified)
    folders: dict[str, dict[str, int]] = defaultdict(dict)
    for position, each in enumerate(identified):
        folder, _, stem = each.job.id.rpartition("/")
        folders[folder][stem] = position
    for folder, positions in folders.items():
        found = list_files(outputs.root / folder)
        for stem, position in positions.items():
            record, video, mark = found.get(f"{stem}.json"), found.get(f"{stem}.mp4"), identified[position].mark
            if record and video and mark and f".{stem}.failed.json" not in found:
                seconds = index.seconds(record, mark, video.st_size)
                findings[position] = None if seconds is None else Finding("verified", seconds=seconds)
    return findings


def _inspect(each: _Identified, outputs: Outputs, index: RecordIndex, *, full: bool) -> Finding:
    """What is true of the job, from its files; the index gets to know what can be proven by it."""
    record = None
    with suppress(OSError):
        record = outputs.record(each.job).lstat()
    finding = outputs.inspect(each.job, each.inputs, full=full)
    if record and each.mark and finding.state == "verified" and finding.record:
        index.add(record, each.mark, finding.record.video.num_bytes, finding.seconds)
    return finding


def missing_references(jobs: Iterable[Job]) -> list[str]:
    """The reference files that do not exist, each once, in the manifest's order."""
    return [reference for reference in dict.fromkeys(job.reference for job in jobs) if not Path(reference).exists()]


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
