"""Every job beside what lies on disk for it: what is done, what is to do, what was made with other settings."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wan_ddp.digests import ReferenceDigests
from wan_ddp.errors import UnusableError
from wan_ddp.job import Conditions, Job, fingerprint_inputs
from wan_ddp.outputs import Outputs
from wan_ddp.settings import OnChange
from wan_ddp.verdict import Finding

_NUM_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Task:
    """A job with everything that decides its pixels, and what was found on disk for it."""

    job: Job
    inputs: dict[str, Any]
    finding: Finding

    def is_to_do(self, on_change: OnChange, run_id: str | None) -> bool:
        """Whether the video is to be made: not if it is there, nor if this very run has already given it up."""
        if self.finding.failure and self.finding.failure.run_id == run_id:
            return False
        if self.finding.state == "changed":
            return on_change == "rerun"
        return self.finding.state != "verified"


def survey(
    jobs: Sequence[Job],
    outputs: Outputs,
    digests: ReferenceDigests,
    conditions: Conditions,
    *,
    read_references: bool = True,
    full: bool = False,
) -> list[Task]:
    """Look at every job's files. Without `read_references` only remembered digests count (a dry run)."""
    tasks = []
    for job in jobs:
        digest = digests.digest(job.reference, read=read_references) if job.mechanism != "none" else None
        inputs = fingerprint_inputs(job, conditions, digest)
        tasks.append(Task(job, inputs, outputs.inspect(job, inputs, full=full)))
    return tasks


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
