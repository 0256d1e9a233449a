"""`python -m wan_ddp status` as a user calls it: on 680 finished videos, on failures, on a run that goes on."""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from factories import EXPERIMENT
from finished import ELSEWHERE, Finished
from looking import Terminal, command, environ, status, status_json
from rich.cells import cell_len

from wan_ddp.claims import Claims, claim_key
from wan_ddp.job import fingerprint


@pytest.fixture(scope="module")
def complete() -> Iterator[Finished]:
    """The experiment's 680 videos, all made, in a folder that others may read: pytest's own are its user's alone."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        finished = Finished(Path(folder), EXPERIMENT, seeds=range(10))
        finished.make_all()
        finished.begin("run", world_size=8)
        yield finished


def test_680_finished_videos_are_complete_in_every_form(complete: Finished) -> None:
    result = status(complete.output)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("complete: 680 of 680 videos verified\n")
    assert "\x1b" not in result.stdout
    for category, number in EXPERIMENT.items():
        assert re.search(rf"^{category} +━+ +{number * 10}/{number * 10} 100%$", result.stdout, re.M)
    assert re.search(r"^all +━+ 680/680 100%$", result.stdout, re.M)
    seen = status_json(complete.output)
    assert (seen["state"], seen["complete"], seen["left"], seen["seconds_left"]) == ("ended", True, 0, 0.0)
    assert seen["categories"]["single_object"] == {"expected": 330, "verified": 330, "failed": 0, "left": 0}
    assert seen["pace"] == {"seconds_per_video": 4.0, "num_measured": 680, "basis": "earlier videos"}
    terminal = Terminal(complete.output, "--watch", lines=24)
    assert terminal.end() == 0, "a watch of what has ended ends"
    assert "680/680" in terminal.said()


def test_a_folder_that_may_only_be_read_is_looked_at_as_another_user_and_stays_as_it_is(
    complete: Finished,
) -> None:
    if os.getuid() != 0:
        pytest.skip("needs root, to be somebody else")
    before = {path: path.lstat().st_mtime_ns for path in complete.output.rglob("*")}
    # The interpreter may be root's alone: what it imports is imported before.
    code = (
        "import os, sys, wan_ddp.__main__ as tools; tools.main(sys.argv[1:]);"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534); code = tools.main(sys.argv[1:]);"
        "sys.stdout.flush(); os._exit(code)"  # past what wants to write at the end, such as a measurement of coverage
    )
    who = subprocess.run(
        [sys.executable, "-c", code, "status", str(complete.output)], env=environ(), capture_output=True, text=True
    )
    assert (who.returncode, who.stderr) == (0, "")
    assert who.stdout.count("680 of 680") == 2
    assert {path: path.lstat().st_mtime_ns for path in complete.output.rglob("*")} == before


@pytest.fixture
def troubled(tmp_path: Path) -> Finished:
    """A run of four ranks over 12 videos: some made, some given up, ranks in all sorts of states."""
    finished = Finished(tmp_path, {"pan": 2, "人物 [red]": 1}, seeds=(1, 2, 3, 4))
    finished.begin("run", world_size=4)
    jobs = finished.jobs
    finished.make(jobs[0], sanity={"flags": ["static", "black_frames"]})
    finished.make(jobs[1], sanity={"flags": []})
    finished.make(jobs[2], sanity=None)
    finished.make(jobs[3])
    os.truncate(finished.outputs.record(jobs[3]), 5)
    finished.give_up(jobs[4], kind="hang", attempts=3, error="no step for 900 s\x1b[2J (--step-timeout)\nand more")
    with Claims(finished.outputs.claims, run_id="run", rank=0) as claims:
        claim = claims.claim(claim_key(jobs[5].id, fingerprint(finished.inputs(jobs[5]))), 3)
        assert not isinstance(claim, str)
        claim.end("worker_died")
    at_work = {"phase": "working", "part": "denoise", "job": jobs[6].id, "num_steps": 4, "attempt": 2, "num_done": 1}
    finished.rank("run", 0, **at_work, step=3, time=1_800_000_050.0, gpu_utilization=97.0, gpu_memory_gib=70.6)
    finished.tell(
        "run",
        0,
        [
            (0.0, {"phase": "working", "job": jobs[0].id, "attempt": 1}),
            (2.0, {"part": "denoise", "num_steps": 4}),
            (10.0, {"part": "decode", "step": 4}),
            (12.0, {"num_done": 1}),
            (20.0, {"part": "", "job": jobs[6].id, "attempt": 2, "step": 0}),
            (21.0, {"part": "denoise"}),
        ],
    )
    finished.rank("run", 1, token=ELSEWHERE, host="node-b", age=75, phase="working", job=jobs[7].id)
    finished.rank("run", 2, token=dead_token(), phase="loading")
    finished.rank("run", 3, token=ELSEWHERE, host="node-b", age=3600, phase="finished", num_failed=1, num_lost=2)
    return finished


def dead_token() -> str:
    code = "from wan_ddp.process import own_token; print(own_token())"
    return subprocess.run([sys.executable, "-c", code], env=environ(), capture_output=True, text=True).stdout.strip()


def test_failures_silent_and_dead_ranks_retries_and_suspicious_videos_are_named(troubled: Finished) -> None:
    jobs = troubled.jobs
    result = status(troubled.output)
    assert result.returncode == 1
    text = result.stdout
    assert text.startswith("running: 3 of 12 videos verified, 1 failed, 8 to be made\n")
    assert "rank 1 (gpu0_process1 on node-b) is silent for 7" in text
    assert "rank 2 (gpu1_process0 on node-a) is dead: its process ended without a word" in text
    assert "rank 3" not in text, "a rank that has finished is not silent"
    assert f"1 failed:\n  {jobs[4].id}: hang, 3 attempts: no step for 900 s [2J (--step-timeout) and more" in text
    assert "\x1b" not in text
    assert f"1 corrupt:\n  {jobs[3].id}: its record does not parse" in text
    assert f"1 to be tried again:\n  {jobs[5].id}: worker_died" in text
    assert f"1 suspicious:\n  {jobs[0].id}: static, black_frames" in text
    assert re.search(r"^人物 \[red\] +━* +0/4", text, re.M)
    row = next(line for line in text.splitlines() if line.startswith("node-a: gpu0_process0"))
    assert row.split()[2:] == ["denoise", "3/4", "2", "2", "300", "1", "1", "97%", "71", "GiB", jobs[6].id]


def test_the_same_in_json_with_rates_and_the_time_that_is_left(troubled: Finished) -> None:
    seen = status_json(troubled.output)
    assert [rank["state"] for rank in seen["ranks"]] == ["alive", "silent", "dead", "over"]
    assert 70 < seen["ranks"][1]["silent_seconds"] < 100
    first = seen["ranks"][0]
    assert (first["seconds_per_step"], first["seconds_per_video"], first["videos_per_hour"]) == (2.0, 12.0, 300.0)
    assert (first["retries"], first["done"], first["gpu_utilization"]) == (1, 1, 97.0)
    assert (seen["ranks"][3]["failed"], seen["ranks"][3]["lost"]) == (1, 2)
    assert seen["failed"][0]["kind"] == "hang"
    assert seen["suspicious"] == [{"id": troubled.jobs[0].id, "flags": ["static", "black_frames"]}]
    assert seen["retried"] == [{"id": troubled.jobs[5].id, "ends": ["worker_died"]}]
    # One rank is left, with a quarter of a video in hand and seven to come, at 12 s each.
    assert seen["seconds_left"] == pytest.approx(12 * 7.25)


def test_a_run_on_another_host_is_told_silent_by_a_second_look_and_alive_if_it_beats_whatever_the_clocks_say(
    troubled: Finished,
) -> None:
    for rank in range(4):
        troubled.rank("run", rank, token=ELSEWHERE, host="node-b", age=7200, phase="working")
    process = subprocess.Popen(command(troubled.output, "--json"), env=environ(), stdout=subprocess.PIPE, text=True)
    beat = 0
    while process.poll() is None:  # rank 0 lives, on a file server whose clock is two hours behind
        beat += 1
        troubled.rank("run", 0, token=ELSEWHERE, host="node-b", age=7200, phase="working", beat=beat)
        time.sleep(0.2)
    said, _ = process.communicate()
    ranks = json.loads(said)["ranks"]
    assert [rank["state"] for rank in ranks] == ["alive", "silent", "silent", "silent"]


def test_what_earlier_runs_gave_up_is_to_be_made_while_a_run_tries_it_again(troubled: Finished) -> None:
    troubled.begin("again", flags="--retry-failed", day=2)
    troubled.rank("again", 0, phase="loading")
    seen = status_json(troubled.output, "--run", "again")
    assert (seen["failed"], seen["left"]) == ([], 9)
    assert status_json(troubled.output, "--run", "run")["left"] == 8
    together = status_json(troubled.output)
    assert [run["run_id"] for run in together["runs"]] == ["run", "again"]
    assert len(together["ranks"]) == 5, "the ranks of all that go on, as of a Slurm array"
    text = status(troubled.output).stdout
    assert "node-a: gpu0_process0 #2 loading" in text
    assert "not begun yet of run again: rank 1\n" in text


def test_metrics_are_written_whole_and_every_label_is_quoted(troubled: Finished, tmp_path: Path) -> None:
    path = tmp_path / "metrics" / "wan.prom"
    path.parent.mkdir()
    assert status(troubled.output, "--prometheus", path).returncode == 1
    assert list(path.parent.iterdir()) == [path]
    text = path.read_text(encoding="utf-8")
    label = r'[a-z_]+="(?:[^"\\\n]|\\["\\n])*"'
    sample = rf"(wan_ddp_[a-z_]+)\{{{label}(?:,{label})*\}} -?[0-9.e+-]+"
    described: set[str] = set()
    for line in text.splitlines():
        if line.startswith("# "):
            described.add(line.split()[2])
        else:
            match = re.fullmatch(sample, line)
            assert match and match[1] in described, line
    out = f'output="{troubled.output}"'
    assert f'wan_ddp_videos{{{out},category="人物 [red]",state="left"}} 4.0' in text
    assert re.search(r'wan_ddp_rank_up\{.*rank="1".*\} 0\.0', text)
    assert re.search(r'wan_ddp_rank_gpu_memory_bytes\{.*rank="0".*\} 7580\d+\.\d', text)


def test_64_ranks_stay_readable_on_80_columns_and_24_lines(tmp_path: Path) -> None:
    finished = Finished(tmp_path, {"a_category_with_a_long_name": 4, "镜头运动与人物动作": 4}, seeds=range(20))
    finished.begin("run", world_size=64)
    for number in range(64):
        host = f"node-{number // 8}"
        job = finished.jobs[number].id
        finished.rank("run", number, host=host, phase="working", part="denoise", job=job, step=1, num_steps=4)
    finished.rank("run", 9, token=ELSEWHERE, host="node-1", age=75, phase="working")
    terminal = Terminal(finished.output, "--watch", "0.2")
    terminal.wait_for("is silent for")
    os.write(terminal.master, b"\x03")  # Ctrl-C
    assert terminal.end() == 130
    for picture in terminal.pictures():
        lines = picture.rstrip().split("\n")
        assert len(lines) <= 24
        assert max(map(cell_len, lines)) <= 80
    [*_, last] = terminal.pictures()
    assert "node-7: 8 ranks" in last
    assert "8 denoise" in last
    assert "rank 9 (gpu4_process1 on node-1) is silent" in last
    every_rank = status(finished.output).stdout
    assert sum(" denoise " in line for line in every_rank.splitlines()) == 63


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["none"], "none: there is no such folder; give the folder that --output names"),
        (["."], ".: no run has begun there; give the folder that --output names"),
        (["out", "--run", "x"], "out: no run x has begun there"),
        (["none", "--watch"], "none: there is no such folder"),
        (["out", "--prometheus", "none/x.prom"], "No such file or directory"),
    ],
)
def test_what_cannot_be_looked_at_is_said_in_a_line(tmp_path: Path, arguments: list[str], says: str) -> None:
    finished = Finished(tmp_path, {"pan": 1})
    finished.begin("run")
    (tmp_path / "out").symlink_to(finished.output)
    (tmp_path / "empty").mkdir()
    result = status(*arguments, cwd=tmp_path / "empty" if arguments == ["."] else tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("error: ")
    assert says in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_reader_that_leaves_early_changes_no_exit_code(complete: Finished) -> None:
    line = " ".join(["set -o pipefail;", *command(complete.output), "| head -1"])
    result = subprocess.run(["bash", "-c", line], env=environ(), capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "complete: 680 of 680 videos verified\n"


def test_a_watch_waits_for_the_run_that_it_is_given_and_in_a_pipe_says_each_change_once(tmp_path: Path) -> None:
    finished = Finished(tmp_path, {"pan": 1}, seeds=(1, 2))
    watch = command(finished.output, "--watch", "0.1", "--run", "run")
    process = subprocess.Popen(watch, env=environ(), stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting for run run to begin\n"
    finished.begin("run", world_size=1)
    finished.rank("run", 0, phase="working")
    assert process.stdout.readline() == "videos: 0/2, 0 failed, no video yet\n"
    finished.make(finished.jobs[0])
    assert process.stdout.readline().startswith("videos: 1/2, 0 failed, 4 s left, 900 videos/h, 4 s a video")
    finished.rank("run", 0, phase="stopped")
    rest, _ = process.communicate(timeout=30)
    assert rest.startswith("not complete: 1 of 2 videos verified, 1 to be made\n")
    assert process.returncode == 1
