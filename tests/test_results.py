"""An output folder is read by those who only look, and stays as it is."""

import json
import os
from datetime import datetime, timezone
from pathlib import Path

import pytest
from finished import Finished

from wan_ddp.errors import UnusableError
from wan_ddp.results import Results, look, read_results, read_runs


@pytest.fixture
def finished(tmp_path: Path) -> Finished:
    """Two runs over four videos of two categories, the second with two more."""
    finished = Finished(tmp_path, {"pan": 1, "人物": 1}, seeds=(1, 2))
    finished.make_all()
    finished.begin("first", day=1)
    finished.begin("second", day=2, seeds=(1, 2, 3))
    return finished


def states(results: Results) -> dict[str, int]:
    found = [task.finding.state for task in results.tasks]
    return {state: found.count(state) for state in set(found)}


def files(folder: Path) -> dict[str, tuple[int, bytes]]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in paths} | {
        str(path): (path.stat().st_mtime_ns, b"") for path in [folder, *folder.rglob("*")] if path.is_dir()
    }


def test_the_latest_run_is_spoken_of_and_any_other_by_its_name(finished: Finished) -> None:
    latest, first = read_results(finished.output), read_results(finished.output, "first")
    assert [run.run_id for run in latest.runs] == ["first", "second"]
    assert (latest.run.run_id, states(latest)) == ("second", {"verified": 4, "missing": 2})
    assert (first.run.run_id, states(first)) == ("first", {"verified": 4})
    assert latest.record(latest.tasks[0].job)["fingerprint"]
    assert latest.record(latest.tasks[-1].job) == {}


def test_of_several_runs_every_job_is_looked_at_once(finished: Finished) -> None:
    tasks = look(finished.output, read_runs(finished.output))
    assert len({task.job.id for task in tasks}) == len(tasks) == 6


def test_looking_writes_nothing(finished: Finished) -> None:
    before = files(finished.output)
    results = read_results(finished.output)
    results.histories()
    assert files(finished.output) == before


def test_what_a_full_verification_found_corrupt_stays_so_until_it_is_made_anew(finished: Finished) -> None:
    damaged = finished.jobs[0]
    finished.give_verdict("second", corrupt=[{"id": damaged.id, "why": "its content is not what its record says"}])
    results = read_results(finished.output)
    assert results.tasks[0].finding.why == "its content is not what its record says"
    assert states(results) == {"verified": 3, "corrupt": 1, "missing": 2}
    finished.make(damaged, later=5)
    assert states(read_results(finished.output)) == {"verified": 4, "missing": 2}


def test_the_ranks_of_a_run_are_those_that_have_begun_and_their_histories_lie_below_node_folders_too(
    finished: Finished,
) -> None:
    finished.rank("second", 1, phase="working", job="a")
    finished.tell("second", 1, [(0.0, {"phase": "loading"}), (5.0, {"phase": "working", "job": "a"})], node=1)
    finished.tell("first", 0, [(0.0, {"phase": "loading"})])
    results = read_results(finished.output)
    [seen] = results.run.ranks
    assert (seen.state.rank, seen.state.job) == (1, "a")
    assert abs(seen.touched - datetime.now(timezone.utc).timestamp()) < 60
    assert [[state.run_id for state in history] for history in results.histories()] == [["first"], ["second"] * 2]


@pytest.fixture
def unreadable(finished: Finished) -> None:
    """Damage of every sort, as killed machines and people leave it."""
    logs = finished.output / "logs"
    (logs / ".run-second" / "report.json").write_bytes(b"[1")
    (logs / ".run-second" / "rank0.json").write_bytes(b"")
    (logs / ".run-second" / "rank1.json").mkdir()
    (logs / ".run-third").mkdir()
    (logs / ".run-third" / "run.json").write_bytes(b"{}")
    (logs / "gpu0_process0.history.jsonl").write_bytes(b'{"run_id"\n\xff\n')
    os.truncate(finished.output / f"{finished.jobs[0].id}.json", 3)


@pytest.mark.usefixtures("unreadable")
def test_damaged_files_are_passed_over(finished: Finished) -> None:
    results = read_results(finished.output)
    assert (results.run.run_id, results.run.ranks, results.run.report) == ("second", (), None)
    assert states(results) == {"verified": 3, "corrupt": 1, "missing": 2}
    assert results.record(finished.jobs[0]) == {}
    assert results.histories() == [[]]


def test_a_run_whose_manifest_is_not_kept_yet_has_not_begun(finished: Finished) -> None:
    run = json.loads((finished.output / "logs" / ".run-second" / "run.json").read_text())
    (finished.output / "logs" / ".manifests" / run["manifest_copy"]).unlink()
    assert [run.run_id for run in read_runs(finished.output)] == ["first"]


@pytest.mark.parametrize(
    ("name", "run_id", "says"),
    [
        ("none", None, "there is no such folder"),
        ("file", None, "is no folder"),
        ("empty", None, "no run has begun there"),
        ("output", "x", "no run x has begun there"),
    ],
)
def test_a_folder_without_such_a_run_is_refused_in_a_line(
    finished: Finished, name: str, run_id: str | None, says: str
) -> None:
    folder = finished.output.parent
    (folder / "empty").mkdir()
    (folder / "file").touch()
    with pytest.raises(UnusableError) as caught:
        read_results(folder / name, run_id)
    assert str(caught.value).startswith(f"{folder / name}: {says}; give the folder that --output names")
