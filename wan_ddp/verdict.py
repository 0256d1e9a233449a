"""What is true of each video, judged from what lies on disk, and the report and re-run list that follow from it."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from wan_ddp.errors import FailureKind
from wan_ddp.job import Job, fingerprint
from wan_ddp.manifest import job_line

State = Literal["verified", "missing", "failed", "corrupt", "changed"]


@dataclass(frozen=True, slots=True)
class VideoFile:
    """What a record says of its video."""

    num_bytes: int
    sha256: str
    num_frames: int
    fps: float
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Record:
    """The part of a video's record that the verdict rests on; the rest of it is for people."""

    fingerprint: str
    inputs: dict[str, Any]
    video: VideoFile
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a job has no video, as the rank that gave it up wrote it down."""

    fingerprint: str
    error: str
    kind: FailureKind
    attempts: int
    run_id: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One job's state, and what is to be said of it."""

    state: State
    why: str = ""
    failure: Failure | None = None
    record: Record | None = None


_RECORD = TypeAdapter(Record)
_FAILURE = TypeAdapter(Failure)


def judge(inputs: Mapping[str, Any], record: bytes | None, video_bytes: int | None, failure: bytes | None) -> Finding:
    """The state of one job, from its record's and failure's text and its video's size (None: no such file).

    Inputs that are None (the model in a dry run without one) are compared with nothing.
    """
    if record is None:
        return _judge_failure(inputs, failure)
    try:
        found = _RECORD.validate_json(record)
    except ValidationError:
        return Finding("corrupt", "its record does not parse")
    differences = _differences(inputs, found)
    if differences:
        return Finding("changed", "; ".join(differences), record=found)
    if video_bytes is None:
        return Finding("corrupt", "its video is gone")
    if video_bytes != found.video.num_bytes:
        return Finding("corrupt", f"its video has {video_bytes} bytes, its record says {found.video.num_bytes}")
    return Finding("verified", record=found)


def _judge_failure(inputs: Mapping[str, Any], text: bytes | None) -> Finding:
    if text is None:
        return Finding("missing", "it was never made")
    try:
        failure = _FAILURE.validate_json(text)
    except ValidationError:
        return Finding("missing", "it was never made")
    if failure.fingerprint != fingerprint(inputs) and None not in inputs.values():
        return Finding("missing", "it was never made with these settings")
    return Finding("failed", failure.error, failure)


def _differences(inputs: Mapping[str, Any], record: Record) -> list[str]:
    known = {name: value for name, value in inputs.items() if value is not None}
    differences = [
        f"{name} was {record.inputs.get(name)!r:.60} and is {value!r:.60}"
        for name, value in known.items()
        if record.inputs.get(name) != value
    ]
    differences += [f"{name} was {record.inputs[name]!r:.60}" for name in record.inputs.keys() - inputs.keys()]
    if not differences and len(known) == len(inputs) and record.fingerprint != fingerprint(inputs):
        differences.append("the fingerprint")
    return differences


def report(jobs: Sequence[Job], findings: Sequence[Finding], *, keep_changed: bool) -> dict[str, Any]:
    """The verdict over all jobs, as `report.json` holds it. `keep_changed`: videos of other settings count as well."""
    good = {"verified", "changed"} if keep_changed else {"verified"}
    expected: Counter[str] = Counter(job.category for job in jobs)
    verified: Counter[str] = Counter(
        job.category for job, finding in zip(jobs, findings, strict=True) if finding.state in good
    )
    by_state: dict[str, list[tuple[Job, Finding]]] = defaultdict(list)
    for job, finding in zip(jobs, findings, strict=True):
        by_state[finding.state].append((job, finding))
    return {
        "complete": verified == expected,
        "expected": len(jobs),
        "verified": sum(verified.values()),
        "failed": [
            {"id": job.id, "error": finding.failure.error, "kind": finding.failure.kind}
            | {"attempts": finding.failure.attempts}
            for job, finding in by_state["failed"]
            if finding.failure
        ],
        "missing": [job.id for job, _ in by_state["missing"]],
        "corrupt": [{"id": job.id, "why": finding.why} for job, finding in by_state["corrupt"]],
        "changed": [{"id": job.id, "why": finding.why} for job, finding in by_state["changed"]],
        "categories": {name: {"expected": number, "verified": verified[name]} for name, number in expected.items()},
    }


def rerun_lines(jobs: Sequence[Job], findings: Sequence[Finding], *, keep_changed: bool) -> list[str]:
    """A manifest line, with the error as its note, for every job that has no verified video."""
    good = {"verified", "changed"} if keep_changed else {"verified"}
    return [
        job_line(replace(job, note=_with_error(job.note, finding.why)))
        for job, finding in zip(jobs, findings, strict=True)
        if finding.state not in good
    ]


def _with_error(note: Any, error: str) -> dict[str, Any]:
    """The job's own note, kept, and beside it the error."""
    own = note if isinstance(note, dict) else {} if note is None else {"note": note}
    return own | {"error": error}
