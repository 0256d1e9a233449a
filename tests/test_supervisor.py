"""Workers that fail, die and hang cost the task in their hands and nothing else. Real processes, started and killed."""

import logging
import os
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

import pytest
from factories import make_job
from stand_in_worker import StandIn

from wan_ddp.errors import Stopped
from wan_ddp.heartbeat import Heartbeat, RankState
from wan_ddp.job import Conditions, fingerprint, fingerprint_inputs
from wan_ddp.outputs import Outputs
from wan_ddp.process import is_dead
from wan_ddp.supervisor import Supervisor, WorkerLostError, WorkerProcess
from wan_ddp.survey import Task
from wan_ddp.verdict import Failure, Finding

pytestmark = pytest.mark.timeout(60)

CONDITIONS = Conditions(model="m")


class Rank:
    """A rank's supervisor, with a stand-in for its worker, and what came of its tasks."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.outputs = Outputs(folder / "out")
        self.heart = Heartbeat(folder / "state", RankState("run", 0, 0, 0, os.getpid()))
        self.workers = StandIn(folder / "journal")

    def work(
        self,
        *prompts: str,
        loads: Sequence[str] = (),
        max_attempts: int = 3,
        step_timeout: float = 30.0,
        grace: float = 10.0,
    ) -> None:
        """Do a task for each prompt; the tasks' seeds count from 0."""
        self.workers = StandIn(self.folder / "journal", loads)
        supervisor = Supervisor(
            start_worker=self.workers.start,
            outputs=self.outputs,
            heart=self.heart,
            run_id="run",
            max_attempts=max_attempts,
            step_timeout=step_timeout,
            grace=grace,
        )
        supervisor.work([self.task(seed, prompt) for seed, prompt in enumerate(prompts)])

    def task(self, seed: int, prompt: str) -> Task:
        job = make_job(seed=seed, prompt=prompt)
        return Task(job, fingerprint_inputs(job, CONDITIONS, "digest"), Finding("missing"))

    def finding(self, seed: int, prompt: str) -> Finding:
        task = self.task(seed, prompt)
        return self.outputs.inspect(task.job, task.inputs)

    @property
    def counts(self) -> tuple[int, int]:
        return self.heart.state.num_done, self.heart.state.num_failed

    @property
    def orders(self) -> list[int]:
        """The seeds of the tasks that workers were given, in order."""
        return [int(seed) for seed, *_ in self.workers.entries("order")]

    @property
    def started(self) -> list[str]:
        """A token for every worker that was started."""
        return [token for [token] in self.workers.entries("start")]


def ends(token: str) -> bool:
    """Whether the process is gone within ten seconds: a killed group needs a moment to die."""
    end = time.monotonic() + 10
    while not is_dead(token) and time.monotonic() < end:
        time.sleep(0.01)
    return is_dead(token) is True


@pytest.fixture
def rank(tmp_path: Path) -> Iterator[Rank]:
    rank = Rank(tmp_path)
    yield rank
    assert all(is_dead(token) for token in rank.started), "no worker may outlive its supervisor's work"


def test_one_worker_does_every_task_in_order_and_hears_of_the_next(rank: Rank) -> None:
    rank.work("publish", "step:1/2+step:2/2+publish", "publish")
    assert [entry[:2] for entry in rank.workers.entries("order")] == [["0", "1"], ["1", "2"], ["2", "nothing"]]
    assert len(rank.started) == 1
    assert rank.counts == (3, 0)
    assert (rank.heart.state.phase, rank.heart.state.job) == ("finished", None)


def test_no_tasks_start_no_worker(rank: Rank) -> None:
    rank.work()
    assert rank.started == []
    assert rank.heart.state.phase == "finished"


def test_the_rank_says_which_task_it_works_on_and_how_far_it_is(rank: Rank) -> None:
    rank.work("publish", "step:3/9+publish")
    assert (rank.heart.state.step, rank.heart.state.num_steps) == (3, 9)
    with pytest.raises(Stopped):
        stopped_by_its_worker(rank, "publish", "signal_supervisor+sleep:60")
    state = rank.heart.state
    assert (state.phase, state.job, state.step) == ("working", make_job(seed=1).id, 0)


def test_a_failure_that_another_attempt_would_not_mend_is_given_up_at_once(rank: Rank) -> None:
    kinds = ["bad_input", "out_of_memory", "io", "error"]
    rank.work(*(f"fail:{kind}" for kind in kinds), "publish")
    assert rank.orders == [0, 1, 2, 3, 4]
    assert len(rank.started) == 1
    assert rank.counts == (1, 4)
    for seed, kind in enumerate(kinds):
        finding = rank.finding(seed, f"fail:{kind}")
        assert finding.state == "failed"
        mark = fingerprint(rank.task(seed, f"fail:{kind}").inputs)
        assert finding.failure == Failure(mark, f"told to fail with {kind}", kind, attempts=1, run_id="run")


@pytest.mark.parametrize(
    ("how", "kind", "error"),
    [
        ("die", "worker_died", "killed by SIGKILL: the kernel's out-of-memory killer does that, see dmesg"),
        ("die:SIGSEGV", "worker_died", "the worker was killed by SIGSEGV"),
        ("step:1/2+exit:0", "worker_died", "the worker ended with exit code 0"),
        ("die_inside_a_message", "worker_died", "the worker was killed by SIGKILL"),
        ("fail:gpu", "gpu", "told to fail with gpu"),
    ],
)
def test_a_worker_that_is_lost_is_charged_to_the_task_in_its_hands_and_another_goes_on(
    rank: Rank, how: str, kind: str, error: str
) -> None:
    rank.work(how, "publish", max_attempts=1)
    assert rank.orders == [0, 1]
    assert len(rank.started) == 2
    assert rank.counts == (1, 1)
    failure = rank.finding(0, how).failure
    assert failure is not None
    assert (failure.kind, failure.attempts) == (kind, 1)
    assert error in failure.error


def test_a_task_that_kills_every_worker_is_given_up_after_so_many_attempts(rank: Rank) -> None:
    rank.work("publish", "die", "publish", max_attempts=2)
    assert rank.orders == [0, 1, 1, 2]
    assert len(rank.started) == 3
    assert rank.counts == (2, 1)
    failure = rank.finding(1, "die").failure
    assert failure is not None
    assert failure.attempts == 2


def test_a_task_that_succeeds_at_last_has_not_failed(rank: Rank) -> None:
    prompt = "die fail:gpu publish"
    rank.work(prompt, max_attempts=3)
    assert rank.counts == (1, 0)
    assert rank.finding(0, prompt).state == "missing"  # no failure was written down


def test_a_worker_that_says_nothing_for_too_long_is_killed_and_its_task_tried_again(
    rank: Rank, caplog: pytest.LogCaptureFixture
) -> None:
    rank.work("step:1/2+ignore_sigterm+sleep:60 publish", step_timeout=1.0)
    assert "attempt 1 failed (hang): no step for 1 s (--step-timeout)" in caplog.text
    assert rank.orders == [0, 0]
    assert rank.counts == (1, 0)


def test_a_task_may_take_longer_than_a_step_may(rank: Rank) -> None:
    started = time.monotonic()
    rank.work("+".join(["sleep:0.3+step:1/9"] * 4 + ["publish"]), step_timeout=1.0, max_attempts=1)
    assert time.monotonic() - started > 1.2
    assert rank.counts == (1, 0)


def test_a_worker_that_dies_with_nothing_in_its_hands_costs_no_task(rank: Rank) -> None:
    rank.work("publish+die", "publish", "publish")
    assert rank.counts == (3, 0)
    assert rank.finding(1, "publish").failure is None


def test_a_worker_that_does_not_load_is_started_again(rank: Rank) -> None:
    rank.work("publish", loads=["die", "fail:out_of_memory"])
    assert len(rank.started) == 3
    assert rank.counts == (1, 0)


def test_workers_that_never_load_end_the_rank_and_are_no_tasks_fault(rank: Rank) -> None:
    with pytest.raises(WorkerLostError) as caught:
        rank.work("publish", "publish", loads=["die", "die", "fail:out_of_memory", "load"])
    assert caught.value.kind == "out_of_memory"
    assert len(rank.started) == 3
    assert rank.orders == []
    assert rank.counts == (0, 0)
    assert rank.finding(0, "publish").failure is None


@pytest.mark.parametrize("end", ["die", "sleep:60"])
def test_nothing_that_a_lost_worker_started_lives_on(rank: Rank, end: str) -> None:
    rank.work(f"start_child+{end} publish", step_timeout=0.5)
    [[child]] = rank.workers.entries("child")
    assert ends(child)


def test_nothing_that_a_worker_started_outlives_its_work(rank: Rank) -> None:
    rank.work("start_child+publish")
    [[child]] = rank.workers.entries("child")
    assert ends(child)


def stopped_by_its_worker(rank: Rank, *prompts: str, grace: float = 10.0) -> None:
    """Work until the worker sends this process the signal that stands for SIGTERM."""

    def stop(number: int, _: FrameType | None) -> None:
        raise Stopped(signal.SIGTERM)

    before = signal.signal(signal.SIGUSR1, stop)
    try:
        rank.work(*prompts, grace=grace)
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_supervisor_that_is_stopped_stops_its_worker_and_blames_no_task(rank: Rank) -> None:
    started = time.monotonic()
    with pytest.raises(Stopped):
        stopped_by_its_worker(rank, "publish", "signal_supervisor+sleep:60", "publish")
    assert time.monotonic() - started < 10
    assert rank.orders == [0, 1]
    assert rank.counts == (1, 0)
    assert rank.finding(1, "signal_supervisor+sleep:60").state == "missing"


def test_a_worker_that_will_not_stop_is_killed_after_the_grace(rank: Rank) -> None:
    with pytest.raises(Stopped):
        stopped_by_its_worker(rank, "ignore_sigterm+start_child+signal_supervisor+sleep:60", grace=0.3)
    [[child]] = rank.workers.entries("child")
    assert ends(child)


def test_a_failure_that_cannot_be_written_down_is_logged_and_the_work_goes_on(
    rank: Rank, caplog: pytest.LogCaptureFixture
) -> None:
    rank.outputs.root.write_text("a file where the folder should be")
    with caplog.at_level(logging.ERROR):
        rank.work("fail:io", "publish")
    assert rank.counts == (1, 1)
    assert "the failure could not be written down: Not a directory" in caplog.text


def test_an_order_to_a_dead_worker_is_answered_by_its_death(rank: Rank) -> None:
    rank.workers = StandIn(rank.folder / "journal", ["die"])
    worker = WorkerProcess(rank.workers.start)
    with pytest.raises(WorkerLostError):
        worker.receive(30)
    worker.kill()
