"""Runs that are stopped, killed, starved of disk and left by their processes: nothing is lost, no verdict is false."""

import json
import os
import signal
import sys
from pathlib import Path

import pytest
from experiment import Experiment, command_line, finish, living, states, states_in, wait_for
from factories import fill

from wan_ddp.video import probe

LONG = 300  # steps: long enough to be caught in the middle of a job


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    return Experiment(tmp_path)


def is_under_way(experiment: Experiment) -> bool:
    return any(state["step"] > 10 for state in states(experiment))


def test_a_launch_that_gets_sigterm_leaves_no_process_and_goes_on_when_asked(experiment: Experiment) -> None:
    experiment.add("camera_motion", "pan", num_inference_steps=LONG)
    process = experiment.start("bash", "launch.sh", *experiment.flags())
    wait_for(lambda: any(state["step"] > 0 for state in states(experiment)))
    process.terminate()
    stopped = finish(process)
    assert stopped.returncode == 143, stopped.stderr
    wait_for(lambda: living(experiment) == [])
    assert not (experiment.output / "report.json").exists()
    kept = list(experiment.output.glob("*/*/.*.steps"))
    assert kept, "the step in hand is saved"
    result = experiment.generate()
    assert result.returncode == 0, result.stderr
    assert experiment.report()["verified"] == 2
    assert experiment.hidden() == []
    assert "goes on after step" in experiment.log()
    assert all(step > 0 for record in experiment.records() for step in record["resumed_from"])
    assert any(record["resumed_from"] for record in experiment.records())


@pytest.mark.parametrize("command", [("bash", "launch.sh"), (sys.executable, "generate.py")])
def test_ctrl_c_ends_a_run_with_130_and_no_process_left(experiment: Experiment, command: tuple[str, ...]) -> None:
    experiment.add("camera_motion", "pan", num_inference_steps=LONG)
    process = experiment.start(*command, *experiment.flags())
    wait_for(lambda: any(state["step"] > 0 for state in states(experiment)))
    os.killpg(process.pid, signal.SIGINT)  # a terminal's Ctrl-C reaches the whole group
    result = finish(process)
    assert result.returncode == 130, result.stderr
    wait_for(lambda: living(experiment) == [])
    assert "goes on where this run stopped" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_worker_that_is_killed_costs_no_video(experiment: Experiment) -> None:
    experiment.add("camera_motion", "pan", seeds=[42], num_inference_steps=LONG)
    process = experiment.start(sys.executable, "generate.py", *experiment.flags())
    wait_for(lambda: list(experiment.output.glob("*/*/.*.steps")))
    (worker,) = [pid for pid in living(experiment) if "multiprocessing.spawn" in command_line(pid)]
    os.kill(worker, signal.SIGKILL)
    result = finish(process)
    assert result.returncode == 0, result.stderr
    assert "the worker was killed by SIGKILL" in experiment.log()
    [record] = experiment.records()
    assert record["resumed_from"], "the next worker goes on from the last saved step"


def test_a_disk_that_fills_pauses_the_run_until_there_is_room_and_fails_no_video(
    experiment: Experiment, small_disk: Path
) -> None:
    experiment.add("camera_motion", "pan", seeds=range(6))
    flags = ["--manifest", str(experiment.manifest), "--output", str(small_disk), "--model", "tiny"]
    fill(small_disk, 200 * 1024)
    process = experiment.start(sys.executable, "generate.py", *flags)
    wait_for(lambda: any(state["phase"] == "waiting for the disk" for state in states_in(small_disk)))
    assert len(list(small_disk.glob("*/*/*.mp4"))) < 6
    (small_disk / "filler").unlink()
    result = finish(process)
    assert result.returncode == 0, result.stderr
    assert all(probe(video).num_frames == 5 for video in small_disk.glob("*/*/*.mp4"))


def test_a_disk_that_stays_full_ends_the_run_with_what_it_has_and_the_next_run_goes_on(
    experiment: Experiment, small_disk: Path
) -> None:
    experiment.add("camera_motion", "pan", seeds=range(6))
    flags = ["--manifest", str(experiment.manifest), "--output", str(small_disk), "--model", "tiny"]
    fill(small_disk, 200 * 1024)
    result = finish(experiment.start(sys.executable, "generate.py", *flags, "--io-patience", "0.5"))
    assert result.returncode == 1, result.stderr
    assert "took no video for 0.5 s (--io-patience): make room" in result.stderr
    report = json.loads((small_disk / "report.json").read_text(encoding="utf-8"))
    assert (report["failed"], report["verified"] + len(report["missing"])) == ([], 6)
    (small_disk / "filler").unlink()
    assert finish(experiment.start(sys.executable, "generate.py", *flags)).returncode == 0


def supervisors(experiment: Experiment) -> dict[int, int]:
    """The process ids of the ranks, by rank."""
    return {state["rank"]: int(state["token"].split("-")[2]) for state in states(experiment)}


def test_a_supervisor_that_is_killed_is_started_again_with_all_ranks_and_the_run_completes(
    experiment: Experiment,
) -> None:
    experiment.add("camera_motion", "pan", num_inference_steps=LONG)
    process = experiment.start("bash", "launch.sh", *experiment.flags())
    wait_for(lambda: len(supervisors(experiment)) == 2 and is_under_way(experiment))
    os.kill(supervisors(experiment)[1], signal.SIGKILL)
    result = finish(process)
    assert result.returncode == 0, result.stderr
    assert "restart 1" in experiment.log(1)
    assert experiment.report()["verified"] == 2
    wait_for(lambda: living(experiment) == [])


def test_a_rank_that_is_silent_is_named_and_replaced_and_its_video_is_made(experiment: Experiment) -> None:
    experiment.add("camera_motion", "pan", seeds=[42])
    experiment.add("single_object", "ball", seeds=[42], num_inference_steps=LONG)
    process = experiment.start("bash", "launch.sh", *experiment.flags("--barrier-timeout", "3"))
    # The rank with the long video, and its worker, stand still: alive, but no sign of life.
    wait_for(lambda: is_under_way(experiment))
    [rank] = [state["rank"] for state in states(experiment) if state["step"] > 10]
    supervisor = supervisors(experiment)[rank]
    workers = [pid for pid in children(supervisor) if "resource_tracker" not in command_line(pid)]
    for pid in [supervisor, *workers]:
        os.kill(pid, signal.SIGSTOP)
    result = finish(process)
    assert result.returncode == 0, result.stderr
    assert f"rank {rank} never came to the barrier" in result.stderr or "no sign of life" in result.stderr
    assert experiment.report()["verified"] == 2
    wait_for(lambda: living(experiment) == [])


def test_two_launches_on_one_output_folder_share_the_work(experiment: Experiment) -> None:
    experiment.add("camera_motion", "pan", seeds=range(4), num_inference_steps=40)
    launches = [experiment.start(sys.executable, "generate.py", *experiment.flags()) for _ in range(2)]
    results = [finish(launch) for launch in launches]
    assert [result.returncode for result in results] == [0, 0], [result.stderr for result in results]
    log = experiment.log()
    published = [line.split()[3] for line in log.splitlines() if ": published," in line]
    assert len(published) == len(set(published)) == 4
    assert len({record["run_id"] for record in experiment.records()}) == 2


def test_what_was_given_up_stays_so_until_it_is_to_be_tried_again(experiment: Experiment) -> None:
    bad = experiment.add("camera_motion", "pan", num_frames=4, seeds=[42])
    assert experiment.generate().returncode == 1
    log = experiment.log()
    again = experiment.generate()
    assert again.returncode == 1
    assert "what failed stays given up; --retry-failed tries it again" in again.stderr
    assert experiment.log()[len(log) :].count("loaded in") == 0, "no model is loaded for it"
    [failed] = experiment.report()["failed"]
    assert failed["kind"] == "bad_input"
    retried = experiment.generate("--retry-failed")
    assert retried.returncode == 1
    assert experiment.log()[len(log) :].count("it has 4 of the 5 frames") > 0, "it was tried"
    assert bad.exists()


def test_an_output_folder_that_leads_elsewhere_is_not_followed(experiment: Experiment, tmp_path: Path) -> None:
    experiment.add("camera_motion", "pan", seeds=[42])
    experiment.add("single_object", "ball", seeds=[42])
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    experiment.output.mkdir()
    (experiment.output / "camera_motion").symlink_to(elsewhere)
    result = experiment.generate()
    assert result.returncode == 1
    assert "a symbolic link leads out of the output folder" in result.stderr
    assert list(elsewhere.rglob("*.mp4")) == []
    assert experiment.report()["verified"] == 1


def test_claims_that_lead_elsewhere_are_refused(experiment: Experiment, tmp_path: Path) -> None:
    experiment.add("camera_motion", "pan", seeds=[42])
    experiment.output.mkdir()
    (experiment.output / ".claims").symlink_to(tmp_path)
    result = experiment.generate()
    assert result.returncode == 2
    assert "a symbolic link or a file lies where the claims belong" in result.stderr


def children(pid: int) -> list[int]:
    """The processes below one, all the way down."""
    direct = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [each for child in direct for each in (child, *children(child))]
