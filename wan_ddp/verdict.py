"""What is true of each video, judged from what lies on disk, and the report and re-run list that follow from it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

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
    run_id: Any = None
    """This and what follows is for `wan_ddp.totals`; whatever stands there, the verdict is the same."""
    rank: Any = None
    num_forwards: Any = None
    peak_memory_bytes: Any = None
    loading_seconds: Any = None


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a job has no video, as the rank that gave it up wrote it down."""

    fingerprint: str
    error: str
    kind: FailureKind
    attempts: int
    run_id: str
    generation: int = 0
    """Of the claim that it was given up with: new attempts are granted from there."""
    log_tail: str = ""


class Finding(NamedTuple):
    """One job's state, and what is to be said of it."""

    state: State
    why: str = ""
    failure: Failure | None = None
    record: Record | None = None
    seconds: float = 0.0
    """What making the video took, where its record says."""


NEVER_MADE = Finding("missing", "it was never made")
_RECORD = TypeAdapter(Record)
_FAILURE = TypeAdapter(Failure)


def judge(inputs: Mapping[str, Any], record: bytes | None, video_bytes: int | None, failure: bytes | None) -> Finding:
    """The state of one job, from its record's and failure's text and its video's size (None: no such file).

    Inputs that are None (the model in a dry run without one) are compared with nothing. A failure counts only if it
    was one of these very settings.
    """
    finding = _judge_record(inputs, record, video_bytes)
    given_up = _parse_failure(inputs, failure) if failure and finding.state != "verified" else None
    if given_up is None:
        return finding
    if finding.state == "missing":
        return Finding("failed", given_up.error, given_up)
    return finding._replace(failure=given_up)


def parse_record(text: bytes) -> Record | None:
    """What a record says; None if it does not parse."""
    try:
        return _RECORD.validate_json(text)
    except ValidationError:
        return None


def _judge_record(inputs: Mapping[str, Any], record: bytes | None, video_bytes: int | None) -> Finding:
    if record is None:
        return NEVER_MADE
    found = parse_record(record)
    if found is None:
        return Finding("corrupt", "its record does not parse")
    if video_bytes is None:
        return Finding("corrupt", "its video is gone")
    if video_bytes != found.video.num_bytes:
        return Finding("corrupt", f"its video has {video_bytes} bytes, its record says {found.video.num_bytes}")
    seconds = sum(found.seconds.values())
    differences = _differences(inputs, found)
    if differences:
        return Finding("changed", "; ".join(differences), record=found, seconds=seconds)
    return Finding("verified", record=found, seconds=seconds)


def _parse_failure(inputs: Mapping[str, Any], text: bytes) -> Failure | None:
    try:
        failure = _FAILURE.validate_json(text)
    except ValidationError:
        return None
    unknown = None in inputs.values()
    return failure if unknown or failure.fingerprint == fingerprint(inputs) else None


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
    expected: Counter[str] = Counter(job.category for job in jobs)
    verified: Counter[str] = Counter()
    failed: list[dict[str, Any]] = []
    others: dict[State, list[dict[str, str]]] = {"missing": [], "corrupt": [], "changed": []}
    for job, finding in zip(jobs, findings, strict=True):
        if _is_good(finding, keep_changed):
            verified[job.category] += 1
        elif finding.failure:
            given_up = finding.failure
            failed.append({"id": job.id} | _reported(given_up))
        if finding.state in others and not finding.failure:
            others[finding.state].append({"id": job.id, "why": finding.why})
    return {
        "complete": verified == expected,
        "expected": len(jobs),
        "verified": sum(verified.values()),
        "failed": failed,
        "missing": [job["id"] for job in others["missing"]],
        "corrupt": others["corrupt"],
        "changed": others["changed"],
        "categories": {name: {"expected": number, "verified": verified[name]} for name, number in expected.items()},
    }


def _reported(failure: Failure) -> dict[str, Any]:
    log = {"log": failure.log_tail} if failure.log_tail else {}
    return {"error": failure.error, "kind": failure.kind, "attempts": failure.attempts} | log


def rerun_lines(jobs: Sequence[Job], findings: Sequence[Finding], *, keep_changed: bool) -> list[str]:
    """A manifest line, with the error in its note, for every job that has no verified video."""
    return [
        job_line(replace(job, note=_with_error(job.note, finding.failure.error if finding.failure else finding.why)))
        for job, finding in zip(jobs, findings, strict=True)
        if not _is_good(finding, keep_changed)
    ]


def _is_good(finding: Finding, keep_changed: bool) -> bool:
    return finding.state == "verified" or (keep_changed and finding.state == "changed")


def _with_error(note: Any, error: str) -> dict[str, Any]:
    """The job's own note, kept, and beside it the error."""
    own = note if isinstance(note, dict) else {} if note is None else {"note": note}
    return own | {"error": error}
