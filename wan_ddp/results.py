"""What an output folder says of its runs and their videos, for those who only look.

Nothing is written: the folder may be another user's, or mounted read-only.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wan_ddp.digests import REMEMBERED, ReferenceDigests
from wan_ddp.errors import UnusableError
from wan_ddp.files import read_or_none
from wan_ddp.heartbeat import RankState, read_history, read_state, run_folder
from wan_ddp.job import Job
from wan_ddp.outputs import Outputs
from wan_ddp.run_file import RunFile, read_run_files
from wan_ddp.survey import Task, survey
from wan_ddp.verdict import Finding


class NoRunError(UnusableError):
    """No run, or not the one that was asked for, has begun in the folder."""


@dataclass(frozen=True, slots=True)
class SeenRank:
    """A rank's last state, and when its file was written, in seconds since the epoch by the file server's clock."""

    state: RankState
    touched: float


@dataclass(frozen=True, slots=True)
class Run:
    """One run: what it was told, its ranks as far as they have begun, and its own verdict once it has given one."""

    file: RunFile
    ranks: tuple[SeenRank, ...]
    report: dict[str, Any] | None
    reported: float
    """When the verdict was written, by the file server's clock; 0 before."""

    @property
    def run_id(self) -> str:
        return self.file.run_id


@dataclass(frozen=True, slots=True)
class Results:
    """An output folder: all its runs, in the order of their starts, and the jobs of one beside what is on disk."""

    output: Path
    runs: tuple[Run, ...]
    run: Run
    tasks: tuple[Task, ...]

    def record(self, job: Job) -> dict[str, Any]:
        """All that the video's record says; empty where it cannot be read."""
        return read_record(self.output, job)

    def histories(self) -> list[list[RankState]]:
        """What each rank did over all runs, a list for each `gpu<g>_process<p>`, see `heartbeat.read_history`."""
        found = []
        for path in history_files(self.output):
            with suppress(OSError):
                found.append(read_history(path))
        return found


def read_results(output: Path, run_id: str | None = None) -> Results:
    """The folder as the run `run_id`, by default the latest, would judge it now.

    Raises UnusableError where there is no such folder or run.
    """
    runs = read_runs(output)
    chosen = [run for run in runs if run_id in (None, run.run_id)]
    if not chosen:
        raise no_such_run(output, run_id)
    return Results(output, tuple(runs), chosen[-1], tuple(look(output, chosen[-1:])))


def no_such_run(output: Path, run_id: str | None) -> NoRunError:
    what = "no run has begun there" if run_id is None else f"no run {run_id} has begun there"
    return NoRunError(f"{output}: {what}; give the folder that --output names, where logs/ and the videos are")


def read_runs(output: Path) -> list[Run]:
    """Every run that has begun and is still known of, the latest last; a run is forgotten after a week.

    Raises UnusableError where there is no such folder.
    """
    if not output.is_dir():
        why = "is no folder" if output.exists() else "there is no such folder"
        raise NoRunError(f"{output}: {why}; give the folder that --output names")
    logs = output / "logs"
    with suppress(FileNotFoundError):
        next(logs.iterdir(), None)  # a folder that may not be read is not one without runs
    return [_read_run(logs, file) for file in read_run_files(logs) if file.kept_manifest(logs).exists()]


def look(output: Path, runs: Sequence[Run]) -> list[Task]:
    """The runs' jobs beside what lies on disk for them; of a job that several runs were told, the last one's.

    Videos are taken by their records and sizes. What a run with --verify full found corrupt stays so until it is made
    anew. Raises ManifestError.
    """
    return [task for run, jobs in told(output, runs) for task in survey_only(output, run, jobs)]


def told(output: Path, runs: Sequence[Run]) -> list[tuple[Run, list[Job]]]:
    """What the runs were told to make, each job once, with the last of them that was. Raises ManifestError."""
    found: list[tuple[Run, list[Job]]] = []
    taken: set[str] = set()
    seen: list[object] = []
    for run in reversed(runs):
        what = (run.file.manifest, run.file.manifest_copy, run.file.job_defaults, run.file.conditions)
        if what not in seen:  # of a Slurm array all are told the same
            seen.append(what)
            jobs = [job for job in run.file.jobs(output / "logs") if job.id not in taken]
            taken |= {job.id for job in jobs}
            found.append((run, jobs))
    return found


def survey_only(output: Path, run: Run, jobs: Sequence[Job]) -> list[Task]:
    """Some of a run's jobs beside what lies on disk for them, see `look`."""
    digests = ReferenceDigests(output / REMEMBERED)
    tasks = survey(jobs, Outputs(output), digests, run.file.conditions, read_references=False)
    corrupt = {each["id"]: each["why"] for each in (run.report or {}).get("corrupt", ())}
    return [_as_judged(output, run, task, corrupt.get(task.job.id)) for task in tasks] if corrupt else tasks


def read_record(output: Path, job: Job) -> dict[str, Any]:
    """All that the video's record says; empty where it cannot be read."""
    with suppress(OSError, ValueError):
        record = json.loads(Outputs(output).record(job).read_bytes())
        if isinstance(record, dict):
            return record
    return {}


def history_files(output: Path) -> list[Path]:
    """The ranks' histories, below node folders where there were several nodes."""
    return sorted((output / "logs").glob("**/gpu*_process*.history.jsonl"))


def _read_run(logs: Path, file: RunFile) -> Run:
    folder = run_folder(logs, file.run_id)
    report, reported = None, 0.0
    with suppress(OSError, ValueError):
        report = json.loads(read_or_none(folder / "report.json") or b"null")
        reported = (folder / "report.json").stat().st_mtime
    return Run(file, tuple(_read_ranks(folder, file)), report if isinstance(report, dict) else None, reported)


def _read_ranks(folder: Path, file: RunFile) -> Iterator[SeenRank]:
    for rank in range(file.world_size):
        path = folder / f"rank{rank}.json"
        state = read_state(path, file.run_id)
        with suppress(OSError):
            if state:
                yield SeenRank(state, path.stat().st_mtime)


def _as_judged(output: Path, run: Run, task: Task, corrupt: str | None) -> Task:
    """The task as the run's verdict has it, if that found it corrupt and it was not made anew since."""
    if corrupt is None or task.finding.state != "verified":
        return task
    with suppress(OSError):
        if Outputs(output).record(task.job).stat().st_mtime > run.reported:
            return task
    return task._replace(finding=Finding("corrupt", corrupt))
