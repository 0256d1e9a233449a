"""The end of a run: rank 0 looks at every video on disk, writes the verdict and says it."""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from wan_ddp.errors import EXIT_COMPLETE, EXIT_INCOMPLETE, UnusableError
from wan_ddp.files import read_or_none, write_atomically
from wan_ddp.heartbeat import RankState, States, run_folder
from wan_ddp.process import is_dead
from wan_ddp.settings import Settings
from wan_ddp.survey import Task
from wan_ddp.totals import describe, sum_up
from wan_ddp.verdict import Record, report, rerun_lines

_POLL_SECONDS = 1.0


def conclude(
    settings: Settings,
    tasks: Sequence[Task],
    states: Sequence[RankState],
    run_id: str,
    started: datetime,
    silent_ranks: Sequence[int],
    *,
    records: Sequence[Record] = (),
    on_gpus: bool = False,
) -> dict[str, Any]:
    """Write `report.json` and `missing.jsonl` from what was found on disk; returns the report. Raises OSError.

    `records` are of the verified videos that this run made; `on_gpus` says whether its ranks held GPUs.
    """
    jobs, findings = [task.job for task in tasks], [task.finding for task in tasks]
    finished = datetime.now(timezone.utc)
    gpus = {(state.node, state.host, state.gpu) for state in states}
    totals = sum_up(
        records,
        findings,
        num_ranks=len(states),
        num_gpus=len(gpus) if on_gpus else 0,
        wall_seconds=(finished - started).total_seconds(),
    )
    keep = settings.on_change == "keep"
    verdict = report(jobs, findings, keep_changed=keep) | {
        "run_id": run_id,
        "started": f"{started:%Y-%m-%dT%H:%M:%SZ}",
        "finished": f"{finished:%Y-%m-%dT%H:%M:%SZ}",
        "totals": totals,
        "silent_ranks": list(silent_ranks),
        "ranks": [asdict(state) for state in states],
    }
    lines = rerun_lines(jobs, findings, keep_changed=keep)
    write_atomically(settings.output / "missing.jsonl", "".join(f"{line}\n" for line in lines).encode())
    text = json.dumps(verdict, ensure_ascii=False, indent=1).encode()
    own = _report_of_run(settings, run_id)
    own.parent.mkdir(parents=True, exist_ok=True)
    for path in (settings.output / "report.json", own):
        write_atomically(path, text)
    return verdict


def _report_of_run(settings: Settings, run_id: str | None) -> Path:
    """The run's own copy: `report.json` may be that of another run on the same output folder, by now."""
    return run_folder(settings.output / "logs", str(run_id)) / "report.json"


def summary(verdict: dict[str, Any], output: Path) -> str:
    """The verdict as a person reads it: a line per category, what is not there, and how to go on."""
    width = max(len(name) for name in verdict["categories"])
    lines = [
        f"  {name:<{width}}  {counts['verified']:>5} of {counts['expected']:>5}"
        for name, counts in verdict["categories"].items()
    ]
    lines += [f"  {job['id']}: failed ({job['kind']}): {job['error']}" for job in verdict["failed"]]
    for state in ("corrupt", "changed"):
        lines += [f"  {job['id']}: {state}: {job['why']}" for job in verdict[state]]
    lines += [f"  rank {state['rank']} ended early: {state['error']}" for state in verdict["ranks"] if state["error"]]
    lines += [f"  rank {rank} never came to the barrier" for rank in verdict["silent_ranks"]]
    if took := describe(verdict["totals"]):
        lines.append(f"  this run: {took}")
    verified = f"{verdict['verified']} of {verdict['expected']} videos are there and verified"
    if verdict["complete"]:
        return "\n".join([*lines, f"complete: {verified}, in {output}"])
    counts = [
        f"{len(verdict[state])} {state}" for state in ("failed", "missing", "corrupt", "changed") if verdict[state]
    ]
    lines.append(f"not complete: {verified} ({', '.join(counts)})")
    if verdict["failed"]:
        lines.append("what failed stays given up; --retry-failed tries it again")
    if len(verdict["failed"]) < verdict["expected"] - verdict["verified"]:
        lines.append("run the same command again to make the rest")
    return "\n".join([*lines, f"all that is not there: {output / 'missing.jsonl'}, a manifest with the errors in it"])


def exit_code(verdict: dict[str, Any]) -> int:
    return EXIT_COMPLETE if verdict["complete"] else EXIT_INCOMPLETE


def read_verdict(settings: Settings, patience: float = 0.0) -> int:
    """The exit code of the run `settings.run_id`, from its report: an older report does not speak for it.

    Rank 0 may still be at it on another node: it is waited for until it shows no sign of life for `patience` s.
    """
    path = _report_of_run(settings, settings.run_id)
    try:
        verdict = _await_report(path, States(settings.output / "logs", str(settings.run_id), 1), patience)
    except (OSError, ValueError) as error:
        raise UnusableError(f"{path}: cannot be read: {error}") from error
    if not isinstance(verdict, dict) or verdict.get("run_id") != settings.run_id:
        why = "rank 0 was stopped or lost; the same command goes on" if patience else "the logs say why"
        print(f"error: the run {settings.run_id} ended without a verdict; {why}", file=sys.stderr)
        return EXIT_INCOMPLETE
    return EXIT_COMPLETE if verdict.get("complete") is True else EXIT_INCOMPLETE


def _await_report(path: Path, states: States, patience: float) -> Any:
    """What the report says; None where there is none, and will be none. Raises OSError and ValueError."""
    beat, since = -1, time.monotonic()
    while True:
        state = states.one(0)
        if (report := json.loads(read_or_none(path) or b"null")) is not None:
            return report
        if state is not None and state.beat != beat:
            beat, since = state.beat, time.monotonic()
        if time.monotonic() - since >= patience or (state is not None and _has_gone(state)):
            return None
        time.sleep(_POLL_SECONDS)


def _has_gone(state: RankState) -> bool:
    return state.phase == "stopped" or is_dead(state.token) is True
