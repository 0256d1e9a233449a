"""The verdict is written from what lies on disk, and read back for its own run only."""

import json
import threading
import time
from dataclasses import asdict, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from factories import make_job

from wan_ddp.conclude import conclude, exit_code, read_verdict, summary
from wan_ddp.errors import UnusableError
from wan_ddp.files import write_atomically
from wan_ddp.heartbeat import RankState
from wan_ddp.manifest import read_manifest
from wan_ddp.process import own_token
from wan_ddp.settings import Settings, parse
from wan_ddp.survey import Task
from wan_ddp.verdict import Failure, Finding

STARTED = datetime(2024, 5, 6, 7, 8, 9, tzinfo=timezone.utc)
STATE = RankState("run", 0, 0, 0, "0-0-4711-0", num_done=1)
VERIFIED = Finding("verified")
FAILED = Finding("failed", "boom", Failure("f", "boom", "out_of_memory", 1, "run"))
MISSING = Finding("missing", "it was never made")
CORRUPT = Finding("corrupt", "its video is gone")
CHANGED = Finding("changed", "seed was 1 and is 42")


def settings_for(output: Path, *flags: str, run_id: str = "run") -> Settings:
    output.mkdir(exist_ok=True)
    return parse(["--output", str(output), *flags], {"WAN_RUN_ID": run_id})


def own_report(output: Path) -> Path:
    """The run's own copy of the report, from which its exit code is read."""
    folder = output / "logs" / ".run-run"
    folder.mkdir(parents=True)
    return folder / "report.json"


def conclude_with(settings: Settings, *findings: Finding) -> dict[str, Any]:
    tasks = [Task(make_job(seed=seed), {}, finding) for seed, finding in enumerate(findings)]
    return conclude(settings, tasks, [STATE], "run", STARTED, [3])


def test_the_report_on_disk_is_the_verdict(tmp_path: Path) -> None:
    verdict = conclude_with(settings_for(tmp_path), VERIFIED, FAILED)
    assert json.loads((tmp_path / "report.json").read_bytes()) == verdict
    assert (verdict["run_id"], verdict["started"]) == ("run", "2024-05-06T07:08:09Z")
    assert datetime.strptime(verdict["finished"], "%Y-%m-%dT%H:%M:%S%z") > STARTED
    assert verdict["ranks"] == [asdict(STATE)]
    assert verdict["silent_ranks"] == [3]
    assert (verdict["expected"], verdict["verified"], verdict["complete"]) == (2, 1, False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["logs", "missing.jsonl", "report.json"]


def test_the_re_run_list_holds_every_job_without_a_verified_video(tmp_path: Path) -> None:
    conclude_with(settings_for(tmp_path), VERIFIED, FAILED, MISSING, CORRUPT, CHANGED)
    jobs = read_manifest(tmp_path / "missing.jsonl", {})
    assert jobs == [make_job(seed=seed) for seed in (1, 2, 3, 4)]


def test_a_complete_run_leaves_an_empty_re_run_list(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    conclude_with(settings, MISSING)
    verdict = conclude_with(settings, VERIFIED, VERIFIED)
    assert (tmp_path / "missing.jsonl").read_bytes() == b""
    assert (exit_code(verdict), read_verdict(settings)) == (0, 0)


@pytest.mark.parametrize("finding", [FAILED, MISSING, CORRUPT, CHANGED], ids=lambda finding: finding.state)
def test_anything_short_of_verified_is_incomplete(tmp_path: Path, finding: Finding) -> None:
    settings = settings_for(tmp_path)
    assert exit_code(conclude_with(settings, VERIFIED, finding)) == 1
    assert read_verdict(settings) == 1


def test_kept_videos_of_other_settings_complete_a_run(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, "--on-change", "keep")
    assert exit_code(conclude_with(settings, VERIFIED, CHANGED)) == 0
    assert (tmp_path / "missing.jsonl").read_bytes() == b""


def test_an_old_report_does_not_speak_for_a_new_run(tmp_path: Path) -> None:
    conclude_with(settings_for(tmp_path), VERIFIED)
    assert read_verdict(settings_for(tmp_path)) == 0
    assert read_verdict(settings_for(tmp_path, run_id="another")) == 1


def test_the_report_of_another_run_on_the_same_folder_takes_no_verdict_away(tmp_path: Path) -> None:
    conclude_with(settings_for(tmp_path), VERIFIED)
    (tmp_path / "report.json").write_text('{"run_id": "another", "complete": false}')
    assert read_verdict(settings_for(tmp_path)) == 0


def test_a_run_without_a_report_is_incomplete(tmp_path: Path) -> None:
    assert read_verdict(settings_for(tmp_path)) == 1


@pytest.mark.parametrize("content", ["[]", '"run"', "null", '{"complete": true}', '{"run_id": "run", "complete": 1}'])
def test_a_report_that_does_not_say_complete_in_as_many_words_is_not(tmp_path: Path, content: str) -> None:
    own_report(tmp_path).write_text(content)
    assert read_verdict(settings_for(tmp_path)) == 1


def test_a_report_that_cannot_be_read_is_an_error_that_names_it(tmp_path: Path) -> None:
    own_report(tmp_path).write_text('{"run_id": ')
    with pytest.raises(UnusableError, match=r"report\.json: cannot be read"):
        read_verdict(settings_for(tmp_path))


def test_the_summary_counts_per_category_and_says_what_is_wrong_and_how_to_go_on(tmp_path: Path) -> None:
    verdict = conclude_with(settings_for(tmp_path), VERIFIED, FAILED, MISSING, CORRUPT)
    verdict["ranks"][0]["error"] = "the GPU is given up"
    lines = summary(verdict, tmp_path).splitlines()
    assert lines == [
        "  camera_motion      1 of     4",
        f"  {make_job(seed=1).id}: failed (out_of_memory): boom",
        f"  {make_job(seed=3).id}: corrupt: its video is gone",
        "  rank 0 ended early: the GPU is given up",
        "  rank 3 never came to the barrier",
        "not complete: 1 of 4 videos are there and verified (1 failed, 1 missing, 1 corrupt)",
        "what failed stays given up; --retry-failed tries it again",
        "run the same command again to make the rest",
        f"all that is not there: {tmp_path / 'missing.jsonl'}, a manifest with the errors in it",
    ]


def test_the_summary_of_a_complete_run_says_where_the_videos_are(tmp_path: Path) -> None:
    verdict = conclude_with(settings_for(tmp_path), VERIFIED, VERIFIED)
    assert summary(verdict, tmp_path).splitlines() == [
        "  camera_motion      2 of     2",
        "  rank 3 never came to the barrier",
        f"complete: 2 of 2 videos are there and verified, in {tmp_path}",
    ]


def test_a_verdict_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    (tmp_path / "report.json").mkdir()
    with pytest.raises(OSError, match=r"report\.json"):
        conclude_with(settings, VERIFIED)


def write_state(output: Path, **changes: Any) -> None:
    state = replace(STATE, **changes)
    write_atomically(output / "logs" / ".run-run" / "rank0.json", json.dumps(asdict(state)).encode())


def test_a_node_waits_for_the_verdict_while_rank_0_elsewhere_shows_signs_of_life(tmp_path: Path) -> None:
    settings, path = settings_for(tmp_path), own_report(tmp_path)

    def rank_0() -> None:
        for beat in range(6):
            write_state(tmp_path, beat=beat)
            time.sleep(0.5)
        write_atomically(path, json.dumps({"run_id": "run", "complete": True}).encode())

    thread = threading.Thread(target=rank_0)
    thread.start()
    assert read_verdict(settings, patience=2.0) == 0
    thread.join()


@pytest.mark.parametrize("changes", [{}, {"phase": "stopped"}, {"token": own_token()[:-1]}])
def test_a_node_waits_no_longer_for_a_rank_0_that_is_lost_was_stopped_or_died(
    tmp_path: Path, changes: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    settings, _ = settings_for(tmp_path), own_report(tmp_path)
    write_state(tmp_path, **changes)
    started = time.monotonic()
    assert read_verdict(settings, patience=30.0 if changes else 1.0) == 1
    assert time.monotonic() - started < 10
    assert "ended without a verdict; rank 0 was stopped or lost; the same command goes on" in capsys.readouterr().err
