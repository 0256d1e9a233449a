"""cluster/*.sbatch as they are, on a real Slurm: tests/cluster.sh starts it, and calls this."""

from pathlib import Path

import pytest
from cluster import Folder, Job, slurm, wait_until

ARRAY, NODES = "slurm-array.sbatch", "slurm.sbatch"


def requeued(job: Job) -> bool:
    return job.restarts == 1


def test_tasks_of_an_array_share_one_output_folder(tmp_path: Path) -> None:
    folder = Folder(tmp_path, num_jobs=12, num_steps=20)
    job = folder.submit(ARRAY, "--array=0-2")
    ended = [Job(f"{job.id}_{task}").end() for task in range(3)]
    assert ended == [("COMPLETED", "0:0")] * 3, folder.log()
    assert folder.problems() == []
    assert len({each.who for each in folder.journal.read()}) > 1, "more than one took part"
    assert sorted(path.name for path in tmp_path.glob("*.out")) == [f"wan-ddp-{job.id}_{task}.out" for task in range(3)]


def test_a_cancelled_job_saves_what_it_is_at_and_leaves_no_process(tmp_path: Path) -> None:
    folder = Folder(tmp_path, num_jobs=1, num_steps=100)
    job = folder.submit(NODES, "--nodes=1")
    folder.begin()
    slurm("scancel", job.id)
    state, _ = job.end()
    assert (state, job.restarts) == ("CANCELLED", 0), folder.log()
    wait_until(lambda: not folder.living(), "all processes end")
    again = folder.submit(NODES, "--nodes=1")
    assert again.end() == ("COMPLETED", "0:0"), folder.log()
    assert folder.problems() == []


def test_a_job_that_is_warned_of_its_time_limit_goes_back_into_the_queue_and_on_to_completion(tmp_path: Path) -> None:
    folder = Folder(tmp_path, num_jobs=1, num_steps=800)
    # Slurm counts limits in minutes, and looks for them every 30 s: this warning is due at its next look.
    job = folder.submit(ARRAY, "--array=0", "--signal=B:TERM@30")
    job = Job(f"{job.id}_0")
    folder.begin()
    minutes, seconds = map(int, job.show()["RunTime"].split(":")[1:])
    slurm("scontrol", "update", f"JobId={job.id}", f"TimeLimit={minutes + 1 + (seconds > 45)}")
    wait_until(lambda: requeued(job), "the job is in the queue again")
    slurm("scontrol", "update", f"JobId={job.id}", "TimeLimit=60")
    assert job.end() == ("COMPLETED", "0:0"), folder.log()
    assert requeued(job)
    assert folder.log().count("goes back into the queue") == 1
    assert folder.problems() == []


def test_a_job_that_is_requeued_in_the_middle_goes_on_where_it_was(tmp_path: Path) -> None:
    folder = Folder(tmp_path, num_jobs=1, num_steps=100)
    job = folder.submit(NODES, "--nodes=1")
    folder.begin()
    slurm("scontrol", "requeue", job.id)
    wait_until(lambda: requeued(job), "the job is in the queue again")
    assert job.end() == ("COMPLETED", "0:0"), folder.log()
    assert requeued(job)
    assert folder.problems() == []


def test_a_preempted_job_makes_room_and_goes_on_later(tmp_path: Path) -> None:
    folder = Folder(tmp_path, num_jobs=1, num_steps=100)
    job = Job(f"{folder.submit(ARRAY, '--array=0').id}_0")
    folder.begin()
    urgent = slurm(
        "sbatch", "--parsable", "--partition=urgent", f"--nodelist={job.node}", "--exclusive", "--output=/dev/null",
        "--wrap=true",
    )  # fmt: skip
    assert Job(urgent).end() == ("COMPLETED", "0:0")
    assert requeued(job), "by the job itself: it has 60 s, and needs one"
    assert job.end() == ("COMPLETED", "0:0"), folder.log()
    assert folder.problems() == []


def test_what_runs_on_a_node_that_goes_down_is_requeued_and_the_rest_finishes(tmp_path: Path) -> None:
    folder = Folder(tmp_path, num_jobs=2, num_steps=100)
    array = folder.submit(ARRAY, "--array=0-1")
    lost, other = (Job(f"{array.id}_{task}") for task in (0, 1))
    folder.begin()
    node = lost.node
    assert other.node != node
    slurm("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")
    assert [each.end() for each in (lost, other)] == [("COMPLETED", "0:0")] * 2, folder.log()
    assert (lost.restarts, other.restarts) == (1, 0)
    assert lost.node != node
    assert folder.problems() == []
    slurm("scontrol", "update", f"NodeName={node}", "State=RESUME")
