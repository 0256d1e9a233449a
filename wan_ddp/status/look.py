"""Looks at an output folder, again and again, at a price that does not grow with what is done already."""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from wan_ddp.attempts import End, num_charged
from wan_ddp.claims import read_claims
from wan_ddp.errors import WanDdpError
from wan_ddp.files import read_or_none
from wan_ddp.job import Job
from wan_ddp.outputs import Outputs
from wan_ddp.results import Run, SeenRank, no_such_run, read_runs, survey_only, told
from wan_ddp.status.histories import Doings, Histories
from wan_ddp.status.life import Life, RunLife, SignsOfLife, life_of, run_life
from wan_ddp.survey import Task

_NUM_READERS = 8  # a network file system answers many at once


class LiveRank(NamedTuple):
    """A rank's last state, whether it lives, for how long it was silent, and all that it did."""

    seen: SeenRank
    life: Life
    silence: float
    doings: Doings


class LiveRun(NamedTuple):
    run: Run
    life: RunLife
    ranks: tuple[LiveRank, ...]


@dataclass(frozen=True, slots=True)
class Sight:
    """What was seen in one look: the runs that go on, or the latest, and their jobs beside what is on disk."""

    output: Path
    runs: tuple[LiveRun, ...]
    tasks: tuple[Task, ...]
    ends: dict[str, tuple[End, ...]]
    """How the attempts at a job ended that is not made, by its id."""
    flags: dict[str, tuple[str, ...]]
    """What is suspicious in a video, by its id."""


class Looker:
    """One output folder as it is looked at. While a run goes on, what was verified is not looked at again."""

    def __init__(self, output: Path, run_id: str | None = None) -> None:
        """Of the run `run_id`, or of all that go on; where none does, of the latest."""
        self._output, self._run_id = output, run_id
        self._signs = SignsOfLife()
        self._histories = Histories(output)
        self._run_ids: list[str] = []
        self._told: list[tuple[Run, list[Job]]] = []
        self._tasks: dict[str, Task] = {}
        self._flags: dict[str, tuple[str, ...]] = {}

    def look(self) -> Sight:
        """How things stand now. Raises UnusableError where there is no such folder or run, and OSError."""
        runs = self._look_at_runs()
        tasks = self._look_at_tasks(runs)
        self._look_for_flags([task.job for task in tasks if task.finding.state == "verified"])
        flags = {task.job.id: self._flags.get(task.job.id, ()) for task in tasks}
        return Sight(
            self._output,
            tuple(runs),
            tuple(tasks),
            self._ends([task for task in tasks if task.finding.state != "verified"]),
            {job_id: flagged for job_id, flagged in flags.items() if flagged},
        )

    def _look_at_runs(self) -> list[LiveRun]:
        found = [run for run in read_runs(self._output) if self._run_id in (None, run.run_id)]
        if not found:
            raise no_such_run(self._output, self._run_id)
        silences = iter(self._signs.silence([rank for run in found for rank in run.ranks]))
        live = [self._live(run, [next(silences) for _ in run.ranks]) for run in found]
        runs = [each for each in live if each.life != "ended"] or live[-1:]
        self._histories.read_on(each.run.run_id for each in runs)
        return runs

    def _live(self, run: Run, silences: Sequence[float]) -> LiveRun:
        ranks = [
            LiveRank(rank, life_of(rank, silence), silence, self._histories.of(run.run_id, rank.state.rank))
            for rank, silence in zip(run.ranks, silences, strict=True)
        ]
        return LiveRun(run, run_life(run, [rank.life for rank in ranks], silences), tuple(ranks))

    def _look_at_tasks(self, live: Sequence[LiveRun]) -> list[Task]:
        runs = {each.run.run_id: each.run for each in live}
        if list(runs) != self._run_ids:
            self._run_ids, self._told = list(runs), told(self._output, list(runs.values()))
            self._forget()
        if all(each.life == "ended" for each in live):  # the last word is about every video
            self._forget()
        for run, jobs in self._told:
            rest = [job for job in jobs if not self._is_verified(job)]
            found = survey_only(self._output, runs[run.run_id], rest)
            self._tasks |= {task.job.id: task for task in found}
        return [self._tasks[job.id] for _, jobs in self._told for job in jobs]

    def _forget(self) -> None:
        self._tasks.clear()
        self._flags.clear()

    def _is_verified(self, job: Job) -> bool:
        return job.id in self._tasks and self._tasks[job.id].finding.state == "verified"

    def _look_for_flags(self, jobs: Sequence[Job]) -> None:
        outputs = Outputs(self._output)
        new = [job for job in jobs if job.id not in self._flags]
        with ThreadPoolExecutor(_NUM_READERS) as readers:
            records = readers.map(outputs.record, new)
            self._flags |= zip((job.id for job in new), readers.map(_read_flags, records), strict=True)

    def _ends(self, tasks: Sequence[Task]) -> dict[str, tuple[End, ...]]:
        charged: dict[str, tuple[End, ...]] = {}
        with suppress(OSError, WanDdpError):  # another user's, or a link in their place
            claims = read_claims(Outputs(self._output).claims)
            charged = {key: found.ends for key, found in claims.items() if num_charged(found.ends)}
        if not charged:  # most often, and keys cost some time
            return {}
        return {task.job.id: charged[task.key] for task in tasks if task.key in charged}


def _read_flags(record: Path) -> tuple[str, ...]:
    """What the record says is suspicious in its video."""
    with suppress(OSError, ValueError, AttributeError, TypeError):
        content = read_or_none(record) or b""
        if b'"sanity"' in content:
            return tuple(map(str, json.loads(content)["sanity"].get("flags") or ()))
    return ()
