"""cluster/*.sbatch as they are, on a real Slurm: tests/cluster.sh starts it, and calls this."""

import json
import shutil
from pathlib import Path

import pytest

from cluster import Checkout, Folder, Job, slurm, wait_until

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


def test_a_job_over_several_nodes_is_one_run(tmp_path: Path) -> None:
    folder = Folder(tmp_path, num_jobs=6, num_steps=20)
    job = folder.submit(NODES, "--nodes=2")
    assert job.end() == ("COMPLETED", "0:0"), folder.log()
    assert folder.problems() == []
    logs = [(folder.output / "logs" / f"node{node}" / "gpu0_process0.log").read_text() for node in (0, 1)]
    for rank, log in enumerate(logs):
        assert f"rank {rank} of 2" in log
    report = json.loads((folder.output / "report.json").read_text())
    assert report["complete"] is True
    assert sorted(rank["host"] for rank in report["ranks"]) == sorted(job.nodes)


def test_a_cancelled_job_saves_what_it_is_at_and_leaves_no_process(tmp_path: Path) -> None:
    folder = Folder(tmp_path, num_jobs=1, num_steps=100)
    job = folder.submit(NODES, "--nodes=1")
    folder.begin()
    slurm("scancel", job.id)
    state, _ = job.end()
    assert (state, job.restarts) == ("CANCELLED", 0), folder.log()
    wait_until(lambda: not folder.living(), "no process is left")
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


def test_a_job_over_several_nodes_that_is_requeued_in_the_middle_goes_on_where_it_was(tmp_path: Path) -> None:
    folder = Folder(tmp_path, num_jobs=2, num_steps=100)
    job = folder.submit(NODES, "--nodes=2")
    folder.begin()
    slurm("scontrol", "requeue", job.id)
    wait_until(lambda: requeued(job), "the job is in the queue again")
    assert job.end() == ("COMPLETED", "0:0"), folder.log()
    assert requeued(job)
    assert folder.problems() == []


def test_a_job_over_several_nodes_goes_on_elsewhere_when_one_of_them_goes_down(tmp_path: Path) -> None:
    folder = Folder(tmp_path, num_jobs=2, num_steps=100)
    job = folder.submit(NODES, "--nodes=2")
    folder.begin()
    node = job.nodes[1]
    slurm("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")
    assert job.end() == ("COMPLETED", "0:0"), folder.log()
    assert requeued(job)
    assert node not in job.nodes
    assert folder.problems() == []
    slurm("scontrol", "update", f"NodeName={node}", "State=RESUME")


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


def test_each_node_gets_its_part_of_one_launch_and_the_arguments_as_they_were_given(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    setup = tmp_path / "set up.sh"
    setup.write_text('echo "$OF_NO_VALUE"; export SITE="$(hostname)"')
    arguments = ["--manifest", "a b.jsonl", "--negative-prompt", 'it\'s $HOME * "一只猫"', ""]
    job = checkout.submit(NODES, "--nodes=2", arguments=arguments, WAN_SETUP=str(setup))
    assert job.end() == ("COMPLETED", "0:0"), checkout.log()
    first = job.node
    for rank in range(2):
        assert checkout.said(f"arguments{rank}").split("\n")[:-1] == arguments
        said = dict(line.split("=", 1) for line in checkout.said(f"environ{rank}").splitlines())
        port = 20000 + int(job.id) % 10000
        meeting = {"RDZV_ENDPOINT": f"{first}:{port}", "RDZV_ID": f"slurm-{job.id}"}
        assert said == meeting | {"NNODES": "2", "NODE_RANK": str(rank), "SITE": first, "PWD": str(tmp_path)}
    assert {checkout.said("host0").strip(), checkout.said("host1").strip()} == set(job.nodes)


@pytest.mark.parametrize(("codes", "ended"), [("0 1", ("FAILED", "1:0")), ("2 2", ("FAILED", "2:0"))])
def test_the_exit_code_of_the_launch_is_the_jobs(tmp_path: Path, codes: str, ended: tuple[str, str]) -> None:
    checkout = Checkout(tmp_path)
    assert checkout.submit(NODES, "--nodes=2", CODES=codes).end() == ended
    assert "goes back" not in checkout.log()


def test_a_warning_reaches_every_node_and_puts_the_job_back(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    job = checkout.submit(NODES, "--nodes=2", CODES="wait wait")
    for rank in range(2):
        checkout.said(f"waiting{rank}")
    slurm("scancel", "--batch", "--signal=TERM", job.id)
    for rank in range(2):
        assert set(checkout.said(f"told{rank}").split()) == {"TERM"}
    wait_until(lambda: job.restarts == 1, "it is in the queue again")
    slurm("scancel", job.id)
    assert job.end()[0] == "CANCELLED"


def test_only_the_task_of_an_array_that_was_warned_goes_back(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    array = checkout.submit(ARRAY, "--array=0-1", CODES="wait")
    tasks = [Job(f"{array.id}_{number}") for number in range(2)]
    wait_until(lambda: [task.state for task in tasks] == ["RUNNING"] * 2, "both run")
    last = next(task for task in tasks if task.show()["JobId"] == array.id)
    wait_until(lambda: checkout.log().count("waits") == 2, "both wait")
    slurm("scancel", "--batch", "--signal=TERM", last.id)
    wait_until(lambda: last.restarts == 1, "it is in the queue again")
    (other,) = (task for task in tasks if task != last)
    assert (other.state, other.restarts) == ("RUNNING", 0), (
        "the task with the array's own number stands for itself only"
    )
    slurm("scancel", array.id)
    assert [task.end()[0] for task in tasks] == ["CANCELLED"] * 2


def test_a_job_that_is_asked_to_end_for_good_saves_and_does_not_go_back(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    asked, forbidden = (
        checkout.submit(ARRAY, "--array=0", CODES="wait"),
        checkout.submit(ARRAY, "--array=0", "--no-requeue", CODES="wait"),
    )
    wait_until(lambda: checkout.log().count("waits") == 2, "both wait")
    slurm("scancel", "--batch", "--signal=INT", f"{asked.id}_0")
    slurm("scancel", "--batch", "--signal=TERM", f"{forbidden.id}_0")
    assert Job(f"{asked.id}_0").end() == ("FAILED", "130:0")
    assert Job(f"{forbidden.id}_0").end() == ("FAILED", "143:0")


def test_a_copy_of_a_script_is_told_where_the_checkout_is(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    copy = tmp_path / "mine.sbatch"
    shutil.copy(checkout.here / "cluster" / NODES, copy)
    assert checkout.submit(copy, "--nodes=1").end() == ("FAILED", "2:0")
    assert f"error: there is no wan-ddp in {tmp_path}" in checkout.log()
    assert checkout.submit(copy, "--nodes=1", WAN_CHECKOUT=str(checkout.here)).end() == ("COMPLETED", "0:0")
