"""Workers that fail, die and hang cost the task in their hands and nothing else. Real processes, started and killed."""

import errno
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from factories import fill, make_job
from stand_in_worker import StandIn

from wan_ddp.backlog import Backlog, State
from wan_ddp.claims import Claim, Claims
from wan_ddp.errors import Stopped, StorageError
from wan_ddp.gpu_share import GpuShare
from wan_ddp.heartbeat import Heartbeat, RankState
from wan_ddp.job import Conditions, fingerprint, fingerprint_inputs
from wan_ddp.outputs import Outputs
from wan_ddp.process import is_dead
from wan_ddp.signals import Signals
from wan_ddp.supervisor import Patience, RankEndedError, Supervisor
from wan_ddp.survey import Task
from wan_ddp.verdict import Finding
from wan_ddp.worker_handle import WorkerHandle, WorkerLostError

pytestmark = pytest.mark.timeout(60)

CONDITIONS = Conditions(model="m")


class Rank:
    """A rank's supervisor, with a stand-in for its worker, and what came of its tasks."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.outputs = Outputs(folder / "out")
        self.outputs.root.mkdir(exist_ok=True)
        self.heart = Heartbeat(folder / "state", RankState("run", 0, 0, 0, os.getpid()))
        self.workers = StandIn(folder / "journal", self.outputs.root)
        self.signals = Signals()
        self.size: dict[str, int] = {}
        """Of the videos, as of `make_job`."""

    def work(
        self,
        *prompts: str,
        others: Sequence[str] = (),
        loads: Sequence[str] = (),
        gpu: GpuShare | None = None,
        log_file: Path | None = None,
        takeover: bool = True,
        **patience: float,
    ) -> None:
        """Do a task for each prompt; the tasks' seeds count from 0, those of another rank's shard from 100."""
        self.workers = StandIn(self.folder / "journal", self.outputs.root, loads)
        shards = [
            [self.task(seed, prompt) for seed, prompt in enumerate(prompts)],
            [self.task(100 + seed, prompt) for seed, prompt in enumerate(others)],
        ]
        told = Patience(**{"grace": 10.0, "step_timeout": 30.0, "io_pause": 0.0} | patience)  # type: ignore[arg-type]
        with Claims(self.outputs.claims, run_id="run", rank=0) as claims:
            backlog = Backlog(
                shards, 0, claims, state_of=self.state_of, max_attempts=told.max_attempts, takeover=takeover
            )
            Supervisor(
                start_worker=self.workers.start,
                backlog=backlog,
                outputs=self.outputs,
                heart=self.heart,
                run_id="run",
                signals=self.signals,
                patience=told,
                gpu=gpu,
                log_file=log_file,
            ).work()

    def task(self, seed: int, prompt: str) -> Task:
        job = make_job(seed=seed, prompt=prompt, **self.size)
        return Task(job, fingerprint_inputs(job, CONDITIONS, "digest"), Finding("missing"))

    def state_of(self, task: Task) -> State:
        return "given_up" if self.outputs.inspect(task.job, task.inputs).failure else "to_do"

    def finding(self, seed: int, prompt: str) -> Finding:
        task = self.task(seed, prompt)
        return self.outputs.inspect(task.job, task.inputs)

    def history(self, seed: int, prompt: str) -> tuple[str, ...]:
        with Claims(self.outputs.claims, run_id="later", rank=0) as claims:
            return claims.history(self.task(seed, prompt).key)

    def marks(self, seed: int, prompt: str) -> set[str]:
        """The names of the task's claim files, without its key: generations and their ends."""
        key = self.task(seed, prompt).key
        return {path.name.removeprefix(f"{key}.") for path in self.outputs.claims.glob(f"*/{key}.*")}

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


def comes_true(condition: object, seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def ends(token: str) -> bool:
    """Whether the process is gone within ten seconds: a killed group needs a moment to die."""
    return comes_true(lambda: is_dead(token))


@dataclass
class Gate:
    """Stands before the real publishing: who comes to it waits until it is open."""

    outputs: Outputs
    first: list[object] = field(default_factory=list)
    """What happens as the publishing begins, once each: functions are called, errors raised."""
    is_open: threading.Event = field(default_factory=threading.Event)
    reached: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._publish = self.outputs.publish
        self.outputs.publish = self.publish  # type: ignore[method-assign]

    def publish(self, *args: Any) -> object:
        self.reached.set()
        self.is_open.wait(50)
        if self.first:
            happening = self.first.pop(0)
            if isinstance(happening, Exception):
                raise happening
            happening()  # type: ignore[operator]
        return self._publish(*args)


@contextmanager
def beside(action: Callable[[], object]) -> Iterator[None]:
    """Do this in a thread of its own, and see that it came to its end."""
    errors: list[BaseException] = []

    def act() -> None:
        try:
            action()
        except BaseException as error:  # noqa: BLE001 - raised again below, where the test sees it
            errors.append(error)

    thread = threading.Thread(target=act)
    thread.start()
    yield
    thread.join(20)
    assert not thread.is_alive()
    for error in errors:
        raise error


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
    assert rank.history(2, "publish") == ("done",)


def test_no_tasks_start_no_worker(rank: Rank) -> None:
    rank.work()
    assert rank.started == []
    assert rank.heart.state.phase == "finished"


def test_the_rank_says_which_task_it_works_on_and_how_far_it_is(rank: Rank) -> None:
    rank.work("publish", "step:3/9+publish")
    assert (rank.heart.state.step, rank.heart.state.num_steps) == (3, 9)
    with pytest.raises(Stopped):
        stopped_by_its_worker(rank, "signal_supervisor+sleep:60")
    state = rank.heart.state
    assert (state.phase, state.job, state.step) == ("working", make_job(seed=0).id, 0)


@pytest.mark.parametrize("kind", ["bad_input", "error"])
def test_a_failure_that_another_attempt_would_not_mend_is_given_up_at_once(rank: Rank, kind: str) -> None:
    rank.work(f"fail:{kind}", "publish")
    assert rank.orders == [0, 1]
    assert len(rank.started) == 1
    assert rank.counts == (1, 1)
    failure = rank.finding(0, f"fail:{kind}").failure
    assert failure is not None
    assert failure.fingerprint == fingerprint(rank.task(0, f"fail:{kind}").inputs)
    assert (failure.error, failure.kind) == (f"told to fail with {kind}", kind)
    assert (failure.attempts, failure.run_id, failure.generation) == (1, "run", 1)


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
    assert rank.history(0, how) == (kind,)


def test_a_task_that_failed_is_tried_again_after_the_others(rank: Rank) -> None:
    rank.work("die publish", "publish", "publish")
    assert rank.orders == [0, 1, 2, 0]
    assert rank.counts == (3, 0)
    assert rank.history(0, "die publish") == ("worker_died", "done")
    assert rank.finding(0, "die publish").state == "verified"


def test_a_task_that_kills_every_worker_is_given_up_after_so_many_attempts(rank: Rank) -> None:
    rank.work("publish", "die", "publish", max_attempts=2)
    assert rank.orders == [0, 1, 2, 1]
    assert rank.counts == (2, 1)
    failure = rank.finding(1, "die").failure
    assert failure is not None
    assert (failure.attempts, failure.generation) == (2, 2)


def test_attempts_count_on_in_the_next_run_and_what_was_given_up_stays_so(rank: Rank) -> None:
    rank.work("die", max_attempts=1)
    rank.work("die", max_attempts=1)
    assert rank.orders == [0]
    rank.work("die", max_attempts=3)
    assert rank.orders == [0], "the failure on disk says that it was given up"


def test_a_task_that_is_given_up_keeps_the_end_of_the_log_of_its_last_attempt(rank: Rank, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("of another task\n")
    stderr = os.dup(2)
    try:
        with log.open("a") as file:
            os.dup2(file.fileno(), 2)
        rank.work("say:the_first_attempt+die say:the_last_words+die", max_attempts=2, log_file=log)
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
    failure = rank.finding(0, "say:the_first_attempt+die say:the_last_words+die").failure
    assert failure is not None
    assert "the_last_words" in failure.log_tail
    assert "the_first_attempt" not in failure.log_tail
    assert "another task" not in failure.log_tail


def test_a_worker_that_says_nothing_for_too_long_is_killed_and_its_task_tried_again(
    rank: Rank, caplog: pytest.LogCaptureFixture
) -> None:
    rank.work("step:1/2+ignore_sigterm+sleep:60 publish", step_timeout=1.0)
    assert "failed (hang), attempt 1: no step for 1 s (--step-timeout)" in caplog.text
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
    with pytest.raises(RankEndedError, match=r"no worker starts \(out_of_memory\): told to fail"):
        rank.work("publish", "publish", loads=["die", "die", "fail:out_of_memory", "load"])
    assert len(rank.started) == 3
    assert rank.orders == []
    assert rank.counts == (0, 0)
    assert rank.history(0, "publish") == ("released",)


def test_workers_lost_on_different_tasks_in_a_row_mean_that_the_gpu_is_given_up(rank: Rank) -> None:
    with pytest.raises(RankEndedError, match="the GPU is given up: workers were lost on 3 different jobs in a row"):
        rank.work("die", "fail:gpu", "die:SIGSEGV", "publish")
    assert rank.orders == [0, 1, 2]
    assert rank.counts == (0, 0)
    assert rank.history(3, "publish") == ()


def test_a_video_in_between_shows_that_the_gpu_is_not_to_blame(rank: Rank) -> None:
    rank.work("die publish", "die publish", "publish", "die publish", "publish")
    assert rank.counts == (5, 0)


def test_out_of_memory_is_tried_once_more_alone_with_offload_and_then_given_up(rank: Rank, tmp_path: Path) -> None:
    rank.work("fail:out_of_memory", "publish", gpu=GpuShare(tmp_path, "0"))
    assert rank.orders == [0, 1, 0]
    assert [how for _, how in rank.workers.entries("asked")] == ["plain", "offload"]
    assert rank.counts == (1, 1)
    failure = rank.finding(0, "fail:out_of_memory").failure
    assert failure is not None
    assert (failure.kind, failure.attempts) == ("out_of_memory", 2)


def test_a_task_for_which_no_worker_starts_with_offload_is_given_up_and_the_rank_goes_on(
    rank: Rank, tmp_path: Path
) -> None:
    gpu = GpuShare(tmp_path, "0")
    rank.work("fail:out_of_memory", "publish", "publish", loads=["load", "die", "die", "die"], gpu=gpu)
    assert rank.counts == (2, 1)
    failure = rank.finding(0, "fail:out_of_memory").failure
    assert failure is not None
    assert failure.kind == "out_of_memory"
    assert "no worker starts alone on the GPU (worker_died)" in failure.error


def test_a_gpu_that_fails_while_a_worker_loads_alone_is_not_held_against_the_task(rank: Rank, tmp_path: Path) -> None:
    with pytest.raises(RankEndedError, match=r"no worker starts \(gpu\)"):
        rank.work("fail:out_of_memory", loads=["load", *["fail:gpu"] * 3], gpu=GpuShare(tmp_path, "0"))
    assert rank.history(0, "fail:out_of_memory") == ("out_of_memory", "released")


def test_the_worker_is_a_plain_one_again_after_a_task_that_needed_the_gpu_alone(rank: Rank, tmp_path: Path) -> None:
    rank.work("fail:out_of_memory publish", "die publish", gpu=GpuShare(tmp_path, "0"))
    assert rank.orders == [0, 1, 0, 1]
    assert [how for _, how in rank.workers.entries("asked")] == ["plain", "offload", "plain"]
    assert rank.counts == (2, 0)


def test_alone_means_that_the_other_ranks_of_the_gpu_have_left_it(rank: Rank, tmp_path: Path) -> None:
    neighbour = GpuShare(tmp_path, "0")
    neighbour.join()
    seen: list[int] = []

    def leave_when_asked() -> None:
        assert comes_true(neighbour.is_wanted_whole)
        seen.append(len(rank.started))
        neighbour.leave()

    thread = threading.Thread(target=leave_when_asked)
    thread.start()
    rank.work("fail:out_of_memory publish", gpu=GpuShare(tmp_path, "0"))
    thread.join()
    assert seen == [1]
    assert rank.counts == (1, 0)


def test_a_rank_leaves_the_gpu_between_two_videos_to_one_that_wants_it_alone(rank: Rank, tmp_path: Path) -> None:
    neighbour = GpuShare(tmp_path, "0")
    seen: list[int] = []

    def be_alone() -> None:
        assert comes_true(lambda: len(rank.orders) == 1)
        neighbour.take_whole()
        seen.append(len(rank.orders))
        assert all(map(ends, rank.started))
        neighbour.leave()

    thread = threading.Thread(target=be_alone)
    thread.start()
    rank.work("sleep:1+publish", "publish", gpu=GpuShare(tmp_path, "0"))
    thread.join()
    assert seen == [1]
    assert len(rank.started) == 2
    assert rank.counts == (2, 0)


def test_trouble_with_what_a_task_reads_is_tried_again_later_and_charged(rank: Rank) -> None:
    rank.work("fail:io fail:io publish", "publish", io_pause=0.3)
    assert rank.orders == [0, 1, 0, 0]
    assert rank.counts == (2, 0)
    rank.work("fail:io", max_attempts=2)
    assert rank.counts == (2, 1)
    failure = rank.finding(0, "fail:io").failure
    assert failure is not None
    assert (failure.kind, failure.attempts) == ("io", 2)


def test_a_task_is_in_no_other_ranks_hands_while_it_waits_for_what_it_reads(rank: Rank) -> None:
    found: list[object] = []

    def try_it_meanwhile() -> None:
        with Claims(rank.outputs.claims, run_id="other", rank=1) as other:
            assert comes_true(lambda: rank.heart.state.phase == "waiting for the disk")
            found.append(other.claim(rank.task(0, "fail:io publish").key, 3))

    thread = threading.Thread(target=try_it_meanwhile)
    thread.start()
    rank.work("fail:io publish", "publish", io_pause=1.0)
    thread.join()
    assert found == ["held"]
    assert rank.counts == (2, 0)


def test_a_file_server_that_is_away_costs_few_tasks_an_attempt(rank: Rank) -> None:
    started = time.monotonic()
    rank.work(*["fail:io publish"] * 4, io_pause=0.3)
    assert time.monotonic() - started > 4 * 0.3, "a pause after each, whichever task is next"
    assert rank.counts == (4, 0)


def fail_once(monkeypatch: pytest.MonkeyPatch, owner: object, name: str) -> None:
    """Have the next call of this function fail as it does when a file server is away."""
    real, calls = getattr(owner, name), iter([OSError(errno.ESTALE, os.strerror(errno.ESTALE))])

    def call(*arguments: object) -> object:
        for error in calls:
            raise error
        return real(*arguments)

    monkeypatch.setattr(owner, name, call)


@pytest.mark.parametrize("prompt", ["publish", "fail:io publish", "die publish"])
def test_an_end_that_the_disk_does_not_take_is_written_later(
    rank: Rank, prompt: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_once(monkeypatch, Claim, "end")
    rank.work(prompt)
    assert rank.counts == (1, 0)
    assert len(rank.history(0, prompt)) == len(rank.orders), "every attempt is on record"


@pytest.mark.parametrize("where", ["claim", "look", "state_of"])
@pytest.mark.parametrize("own", [True, False])
def test_a_disk_that_fails_while_a_task_is_taken_is_waited_for(
    rank: Rank, where: str, own: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_once(monkeypatch, rank if where == "state_of" else Claims, where)
    rank.work(*(["publish"] if own else []), others=[] if own else ["publish"])
    assert rank.counts == (1, 0)


def test_a_claim_that_was_made_though_an_error_came_back_is_worked_on(
    rank: Rank, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.link

    def link(source: str, target: str, **how: object) -> None:
        real(source, target, **how)  # type: ignore[arg-type]
        if target.endswith(".1"):
            monkeypatch.setattr(os, "link", real)
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "link", link)
    rank.work(others=["publish"])
    assert rank.counts == (1, 0)
    assert rank.history(100, "publish") == ("done",)


def test_patience_with_claims_that_cannot_be_read_ends_the_rank(rank: Rank, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(Claims, "claim", fail)
    with pytest.raises(RankEndedError, match=r"could not be used for 0.5 s \(--io-patience\)"):
        rank.work("publish", io_patience=0.5)


def test_a_log_that_somebody_removed_stops_no_rank(rank: Rank, tmp_path: Path) -> None:
    rank.work("die publish", log_file=tmp_path / "gone")
    assert rank.counts == (1, 0)


def test_a_full_disk_is_no_tasks_fault(rank: Rank) -> None:
    rank.work("disk_full disk_full disk_full disk_full publish", max_attempts=1)
    assert rank.counts == (1, 0)


def test_a_full_disk_pauses_the_work_until_there_is_room(
    rank: Rank, small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rank.outputs = Outputs(small_disk)
    fill(small_disk, 64 * 1024)

    def make_room() -> None:
        assert comes_true(lambda: rank.heart.state.phase == "waiting for the disk")
        (small_disk / "filler").unlink()

    thread = threading.Thread(target=make_room)
    thread.start()
    rank.work("publish", "publish")
    thread.join()
    assert rank.counts == (2, 0)
    assert rank.history(0, "publish") == ("done",)
    assert "waiting for room" in caplog.text


def test_patience_with_a_full_disk_ends_the_rank_and_no_task_is_blamed(rank: Rank, small_disk: Path) -> None:
    rank.outputs = Outputs(small_disk)
    fill(small_disk, 64 * 1024)
    with pytest.raises(RankEndedError, match=r"took no video for 0.5 s \(--io-patience\): make room"):
        rank.work("publish", io_patience=0.5)
    assert rank.orders == []
    assert rank.counts == (0, 0)


def test_a_task_that_another_process_took_over_is_left_to_it(rank: Rank) -> None:
    rank.work("superseded publish", "publish")
    assert rank.counts == (2, 0)
    assert rank.history(0, "superseded publish")[-1] == "done"


def test_a_prompt_that_the_worker_has_not_encoded_gets_a_worker_that_has(
    rank: Rank, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wan_ddp.supervisor._MAX_PROMPTS", 2)
    rank.work("publish", "step:1/2+publish", "step:2/2+publish", "publish")
    assert rank.orders == [0, 1, 2, 3]
    assert [number for number, _ in rank.workers.entries("asked")] == ["2", "2"]
    assert rank.counts == (4, 0)


def test_after_its_own_shard_a_rank_makes_what_others_have_not_begun_from_their_end(rank: Rank) -> None:
    rank.work("publish", others=["publish"] * 3)
    assert rank.orders == [0, 102, 101, 100]
    assert rank.counts == (4, 0)


def test_without_takeover_a_rank_makes_its_own_shard_alone(rank: Rank) -> None:
    rank.work("publish", others=["publish"], takeover=False)
    assert rank.orders == [0]


OTHER = """
import sys, time
from pathlib import Path
from wan_ddp.claims import Claims
with Claims(Path(sys.argv[1]), run_id="other", rank=1) as claims:
    claim = claims.claim(sys.argv[2], 3)
    print("claimed", flush=True)
    sys.stdin.readline()
    claim.end("done")
"""


@pytest.fixture
def other(rank: Rank) -> Iterator["subprocess.Popen[str]"]:
    """Another process that has claimed task 1, and has done it when it is sent a line."""
    command = [sys.executable, "-c", OTHER, rank.outputs.claims, rank.task(1, "publish").key]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "claimed\n"
    yield process
    process.kill()
    process.communicate()


def test_a_task_that_another_process_is_at_is_waited_for_and_not_made_twice(
    rank: Rank, other: "subprocess.Popen[str]", monkeypatch: pytest.MonkeyPatch
) -> None:
    made = rank.task(1, "publish").key
    monkeypatch.setattr(rank, "state_of", lambda task: "made" if task.key == made else "to_do")

    def finish() -> None:
        assert comes_true(lambda: rank.heart.state.phase == "waiting")
        assert all(map(ends, rank.started)), "who waits leaves the GPU to the others"
        other.communicate("\n")

    thread = threading.Thread(target=finish)
    thread.start()
    rank.work("publish", "publish")
    thread.join()
    assert rank.orders == [0]
    assert rank.counts == (1, 0)


def test_a_rank_that_waits_looks_again_soon_however_long_its_worker_took_to_leave(
    rank: Rank, other: "subprocess.Popen[str]", monkeypatch: pytest.MonkeyPatch
) -> None:
    made = rank.task(1, "publish").key
    monkeypatch.setattr(rank, "state_of", lambda task: "made" if task.key == made else "to_do")
    dismiss = WorkerHandle.dismiss

    def dismiss_slowly(worker: WorkerHandle, grace: float) -> None:
        time.sleep(2.0)
        dismiss(worker, grace)

    monkeypatch.setattr(WorkerHandle, "dismiss", dismiss_slowly)
    ended: list[float] = []

    def finish() -> None:
        assert comes_true(lambda: rank.heart.state.phase == "waiting")
        other.communicate("\n")
        ended.append(time.monotonic())

    thread = threading.Thread(target=finish)
    thread.start()
    rank.work("publish", "publish")
    thread.join()
    assert time.monotonic() - ended[0] < 10


def test_a_task_whose_owner_dies_is_taken_over_and_the_death_is_charged(
    rank: Rank, other: "subprocess.Popen[str]"
) -> None:
    def kill() -> None:
        assert comes_true(lambda: rank.heart.state.phase == "waiting")
        other.kill()

    thread = threading.Thread(target=kill)
    thread.start()
    rank.work("publish", "publish")
    thread.join()
    assert rank.orders == [0, 1]
    assert rank.history(1, "publish") == ("died", "done")


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


def test_a_supervisor_that_is_stopped_stops_its_worker_and_releases_the_task_uncharged(rank: Rank) -> None:
    started = time.monotonic()
    with pytest.raises(Stopped):
        stopped_by_its_worker(rank, "publish", "signal_supervisor+sleep:60", "publish")
    assert time.monotonic() - started < 10
    assert rank.orders == [0, 1]
    assert rank.counts == (1, 0)
    assert rank.finding(1, "signal_supervisor+sleep:60").state == "missing"
    assert rank.history(1, "signal_supervisor+sleep:60") == ("released",)


def test_the_task_in_hand_is_held_until_its_worker_has_stopped_and_is_free_should_the_rank_be_killed_meanwhile(
    rank: Rank,
) -> None:
    prompt = "ignore_sigterm+signal_supervisor+sleep:60"
    alive: list[bool] = []

    def see() -> None:
        assert comes_true(lambda: rank.marks(0, prompt) == {"1", "1.stopping"})
        alive.append(not is_dead(rank.started[0]))

    thread = threading.Thread(target=see)
    thread.start()
    with pytest.raises(Stopped):
        stopped_by_its_worker(rank, prompt, grace=3.0)
    thread.join()
    assert alive == [True]
    assert rank.history(0, prompt) == ("released",)


def test_a_video_that_is_published_while_the_worker_is_stopped_counts_as_done(rank: Rank) -> None:
    prompt = "publish_when_told_to_end+signal_supervisor+sleep:60"
    with pytest.raises(Stopped):
        stopped_by_its_worker(rank, prompt)
    assert rank.counts == (1, 0)
    assert rank.history(0, prompt) == ("done",)


def test_a_worker_that_will_not_stop_is_killed_after_the_grace(rank: Rank) -> None:
    with pytest.raises(Stopped):
        stopped_by_its_worker(rank, "ignore_sigterm+start_child+signal_supervisor+sleep:60", grace=0.3)
    [[child]] = rank.workers.entries("child")
    assert ends(child)


def test_a_failure_that_cannot_be_written_down_is_logged_and_the_work_goes_on(
    rank: Rank, caplog: pytest.LogCaptureFixture
) -> None:
    rank.outputs.failure(make_job(seed=0)).mkdir(parents=True)  # a folder where the file should be
    with caplog.at_level(logging.ERROR):
        rank.work("fail:error", "publish")
    assert rank.counts == (1, 1)
    assert "the failure could not be written down: Is a directory" in caplog.text


def test_a_worker_that_somebody_stops_alone_costs_no_attempt(rank: Rank) -> None:
    rank.work("exit:143 exit:130 publish", max_attempts=1)
    assert rank.counts == (1, 0)
    assert rank.history(0, "exit:143 exit:130 publish") == ("released", "released", "done")


def test_a_worker_that_is_stopped_again_and_again_over_one_task_is_charged_to_it(rank: Rank) -> None:
    prompt = "exit:143 exit:143 exit:143 publish"
    rank.work(prompt, max_attempts=1)
    assert rank.history(0, prompt) == ("released", "released", "worker_died")
    finding = rank.finding(0, prompt)
    assert finding.failure is not None
    assert "3 times at this job" in finding.failure.error


def test_a_worker_that_not_even_sigkill_ends_ends_its_rank_and_is_charged_to_its_task(
    rank: Rank, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(handle: WorkerHandle) -> bool:
        really_kill(handle)
        return False  # as for one that hangs in a GPU's driver, which no test can make

    really_kill = WorkerHandle.kill
    monkeypatch.setattr(WorkerHandle, "kill", kill)
    with pytest.raises(RankEndedError, match=r"worker \d+ does not end, not even by SIGKILL"):
        rank.work("die publish", "publish")
    assert rank.history(0, "die publish") == ("worker_died",)
    assert rank.history(1, "publish") == ()
    assert len(rank.started) == 1


def test_an_order_to_a_dead_worker_is_answered_by_its_death(rank: Rank) -> None:
    rank.workers = StandIn(rank.folder / "journal", rank.outputs.root, ["die"])
    worker = WorkerHandle(lambda connection: rank.workers.start(connection, jobs=[], offload=False))
    with pytest.raises(WorkerLostError):
        worker.receive(30)
    worker.kill()


# Publishing, beside the next video.


def test_the_next_video_is_begun_before_the_last_one_is_encoded(rank: Rank) -> None:
    rank.size = {"width": 320, "height": 192, "num_frames": 17}  # of noise: a while for an encoder
    rank.work("publish", "note_videos+publish")
    assert rank.workers.entries("videos") == [["0"]]
    assert rank.counts == (2, 0)
    for seed, prompt in enumerate(["publish", "note_videos+publish"]):
        task = rank.task(seed, prompt)
        assert rank.outputs.inspect(task.job, task.inputs).state == "verified"
        record = json.loads(rank.outputs.record(task.job).read_bytes())
        assert record["seconds"]["save"] > 0.05
        assert record["finished"] > "2020"


def test_no_more_than_two_videos_are_held_in_memory_and_none_of_them_is_asked_for_again(rank: Rank) -> None:
    gate = Gate(rank.outputs)

    def see() -> None:
        assert comes_true(lambda: len(rank.orders) == 2)
        assert not comes_true(lambda: len(rank.orders) > 2, seconds=1.0)
        assert rank.counts == (0, 0)
        assert (rank.heart.state.phase, rank.heart.state.job) == ("working", rank.task(1, "publish").job.id)
        gate.is_open.set()

    with beside(see):
        rank.work(*["publish"] * 4)
    assert [entry[:2] for entry in rank.workers.entries("order")] == [
        ["0", "1"],
        ["1", "2"],
        ["2", "3"],
        ["3", "nothing"],
    ]
    assert rank.counts == (4, 0)
    assert rank.heart.state.published == rank.task(3, "publish").job.id


def test_a_worker_that_dies_while_its_last_video_is_published_loses_only_what_it_is_at(rank: Rank) -> None:
    gate = Gate(rank.outputs)

    def see() -> None:
        assert comes_true(lambda: len(rank.started) == 2)
        gate.is_open.set()

    with beside(see):
        rank.work("publish", "die publish")
    assert rank.orders == [0, 1, 1]
    assert rank.history(0, "publish") == ("done",)
    assert rank.history(1, "die publish") == ("worker_died", "done")
    assert rank.finding(0, "publish").state == "verified"


KILLED = """
import sys
from pathlib import Path
from test_supervisor import Gate, Rank
rank = Rank(Path(sys.argv[1]))
Gate(rank.outputs)
rank.work("publish", "sleep:60 publish")
"""


def test_a_supervisor_that_is_killed_with_a_video_in_its_hands_loses_it_to_another_that_makes_it(rank: Rank) -> None:
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    command = [sys.executable, "-c", KILLED, rank.folder]
    with subprocess.Popen(command, env=os.environ | {"PYTHONPATH": paths}) as process:
        assert comes_true(lambda: len(rank.orders) == 2, seconds=40)
        process.kill()
    rank.work("publish", "sleep:60 publish")
    assert rank.counts == (2, 0)
    assert rank.orders == [0, 1, 0, 1]
    assert rank.history(0, "publish") == ("died", "done")


def test_a_disk_that_fills_while_a_video_is_published_costs_it_no_attempt(rank: Rank, small_disk: Path) -> None:
    rank.outputs = Outputs(small_disk)
    gate = Gate(rank.outputs, first=[lambda: fill(small_disk, 4096)])
    gate.is_open.set()

    def make_room() -> None:
        assert comes_true(lambda: rank.heart.state.phase == "waiting for the disk")
        (small_disk / "filler").unlink()

    with beside(make_room):
        rank.work("publish", max_attempts=1)
    assert rank.counts == (1, 0)
    assert rank.history(0, "publish") == ("released", "done")


def test_trouble_with_the_disk_while_a_video_is_published_is_charged_to_it_after_a_pause(rank: Rank) -> None:
    gate = Gate(rank.outputs, first=[StorageError("stale file handle")])
    gate.is_open.set()
    started = time.monotonic()
    rank.work("publish", "publish", io_pause=1.0)
    assert time.monotonic() - started > 1.0
    assert rank.orders == [0, 1, 0]
    assert rank.history(0, "publish") == ("io", "done")
    assert rank.counts == (2, 0)


def test_a_video_that_cannot_be_published_is_given_up_after_so_many_attempts(rank: Rank) -> None:
    gate = Gate(rank.outputs, first=[StorageError("stale file handle")] * 2)
    gate.is_open.set()
    rank.work("publish", max_attempts=2)
    assert rank.counts == (0, 1)
    failure = rank.finding(0, "publish").failure
    assert failure is not None
    assert (failure.kind, failure.error, failure.attempts) == ("io", "stale file handle", 2)


def test_a_video_that_was_taken_over_while_it_waited_is_not_published(
    rank: Rank, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([False])
    monkeypatch.setattr(Claim, "stands", lambda _: next(answers, True))
    rank.work("publish")
    assert rank.history(0, "publish") == ("released", "done")
    assert rank.counts == (1, 0)


def test_what_is_made_is_published_before_a_supervisor_that_is_stopped_ends(rank: Rank) -> None:
    gate = Gate(rank.outputs)

    def see() -> None:
        assert comes_true(lambda: "1.stopping" in rank.marks(0, "publish"))
        assert rank.counts == (0, 0)
        gate.is_open.set()

    with beside(see), pytest.raises(Stopped):
        stopped_by_its_worker(rank, "publish", "signal_supervisor+sleep:60")
    assert rank.counts == (1, 0)
    assert rank.history(0, "publish") == ("done",)
    assert rank.history(1, "signal_supervisor+sleep:60") == ("released",)


def test_what_is_not_published_within_the_grace_is_released_and_never_put_in_place(rank: Rank) -> None:
    gate = Gate(rank.outputs)
    with pytest.raises(Stopped):
        stopped_by_its_worker(rank, "publish", "signal_supervisor+sleep:60", grace=1.0)
    assert rank.history(0, "publish") == ("released",)
    gate.is_open.set()
    assert comes_true(lambda: not any(thread.name == "publisher" for thread in threading.enumerate()))
    assert rank.finding(0, "publish").state == "missing"
    assert list(rank.outputs.root.glob("camera_motion/*/*")) == []


def test_a_disk_that_hangs_over_a_video_ends_the_rank_and_the_video_is_another_ranks(
    rank: Rank, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wan_ddp.supervisor._PUBLISH_TIMEOUT", 0.5)
    gate = Gate(rank.outputs)
    with pytest.raises(RankEndedError, match=r"could not be written within 0.5 s: the disk of .* hangs"):
        rank.work("publish", grace=0.1)
    assert rank.history(0, "publish") == ("released",)
    gate.is_open.set()
