"""Each order ends in a published video, its state, or a failure that is told. Real outputs, signals and files."""

import json
import logging
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from factories import fill, make_job

from wan_ddp.errors import BadInputError, GpuError, JobError, OutOfGpuMemoryError, Stopped, StorageError
from wan_ddp.gpu_share import Turn
from wan_ddp.job import Conditions, Control, Job, fingerprint, fingerprint_inputs
from wan_ddp.outputs import Outputs
from wan_ddp.publisher import Outcome, Published, publish
from wan_ddp.reader import ClipRequest
from wan_ddp.sanity import Inspector
from wan_ddp.signals import Signals
from wan_ddp.steps import Header, SavedSteps, load_steps, save_steps
from wan_ddp.survey import Task
from wan_ddp.verdict import Finding
from wan_ddp.video import Clip, Frames, VideoInfo
from wan_ddp.worker import Doing, Failed, Made, Message, OnStep, Order, Superseded, Worker

NUM_STEPS = 6
WHEN = Callable[[], object]


@dataclass(frozen=True)
class FakeClaim:
    """Stands until it has been asked so often; `error` is raised instead of an answer."""

    folder: Path
    answers: int = 1000
    error: OSError | None = None

    @property
    def key(self) -> str:
        return "k" * 32

    def stands(self) -> bool:
        if self.error:
            raise self.error
        with (self.folder / "asked").open("a") as file:
            file.write(".")
        return (self.folder / "asked").stat().st_size <= self.answers


@dataclass(frozen=True)
class Drawn:
    frames: Frames
    seconds: dict[str, float]
    measured: dict[str, Any]


@dataclass
class Counting:
    """A generator whose state is the number of its steps; `at` maps a step, or "decode", to what happens there."""

    at: dict[int | str, WHEN] = field(default_factory=dict)
    fits: bool = True
    colour: int | None = None
    """Of every frame; None makes noise."""
    save: Callable[[int], bytes] = staticmethod(lambda step: str(step).encode())  # noqa: RUF009
    made: list[int] = field(default_factory=list)
    """The steps made, of all attempts."""

    def generate(
        self, job: Job, clip: Frames | None, *, control: Control, state: bytes | None, on_step: OnStep
    ) -> Drawn:
        start = int(state) if state and self.fits else 0
        on_step(start, job.num_inference_steps, lambda: self.save(start))
        for step in range(start + 1, job.num_inference_steps + 1):
            self.made.append(step)
            self.at.get(step, int)()
            on_step(step, job.num_inference_steps, lambda step=step: self.save(step))
        self.at.get("decode", int)()
        shape = (job.num_frames, job.height, job.width, 3)
        frames = np.random.default_rng(job.seed).integers(0, 256, shape, dtype=np.uint8)
        if self.colour is not None:
            frames[:] = self.colour
        return Drawn(frames, {"encode": 0.0, "denoise": 1.5, "decode": 0.0}, {"num_forwards": 2 * len(self.made)})


@dataclass
class FakeReader:
    """Gives a clip at once; `read` is what happens instead."""

    instead: WHEN | None = None
    prefetched: list[str] = field(default_factory=list)

    def read(self, request: ClipRequest) -> Clip:
        if self.instead:
            self.instead()
        frames = np.zeros((request.num_frames, request.height, request.width, 3), np.uint8)
        return Clip(frames, VideoInfo(request.num_frames, 30.0, request.width, request.height))

    def prefetch(self, request: ClipRequest) -> None:
        self.prefetched.append(request.path)


class Bench:
    """A worker of fakes but for its outputs, steps and signals; and what it says.

    What it hands over is published, as its supervisor does, and that is what it is taken to have said.
    """

    def __init__(self, root: Path) -> None:
        self.folder = root
        self.outputs = Outputs(root / "out")
        self.generator = Counting()
        self.reader = FakeReader()
        self.inspector = Inspector()
        self.said: list[Message | Outcome] = []
        self.on_message: Callable[[Message | Outcome], object] = bool
        self.loses = False
        """Whether the supervisor dies with what it is handed."""

    def task(self, **changes: Any) -> Task:
        job = make_job(**{"num_inference_steps": NUM_STEPS} | changes)
        return Task(job, fingerprint_inputs(job, Conditions(model="m"), "digest"), Finding("missing"))

    def work(
        self,
        *tasks: Task,
        claim: FakeClaim | None = None,
        checkpoint_every: int = 2,
        turn: Turn | None = None,
        step_timeout: float = 60.0,
    ) -> list[Message | Outcome]:
        """Have the tasks done by a new worker; returns what came of each."""
        self.said = []
        signals = Signals()
        signals.install()
        worker = Worker(
            run_id="run",
            rank=3,
            outputs=self.outputs,
            reader=self.reader,  # type: ignore[arg-type]
            generator=self.generator,
            inspector=self.inspector,
            signals=signals,
            sampling="frames",
            short_reference="refuse",
            control="as-is",
            checkpoint_every=checkpoint_every,
            about={"model": "m"},
            step_timeout=step_timeout,
            turn=turn,
        )
        chosen = tasks or (self.task(),)
        following = [*chosen[1:], None]
        orders = [Order(*each, claim or FakeClaim(self.folder)) for each in zip(chosen, following, strict=True)]

        def ordered() -> Iterator[Order]:
            for self.order in orders:
                yield self.order

        worker.work(ordered(), self._say)
        return self.results

    def _say(self, message: Message) -> None:
        said: Message | Outcome = message
        if isinstance(message, Made) and self.loses:
            message.frames.close()
        elif isinstance(message, Made):
            said = publish(self.outputs, self.order.task.job, message, self.order.claim.stands)
        self.said.append(said)
        self.on_message(said)

    @property
    def results(self) -> list[Message | Outcome]:
        return [message for message in self.said if not isinstance(message, Doing)]

    @property
    def saved(self) -> SavedSteps | None:
        task = self.task()
        return load_steps(self.outputs.steps(task.job), fingerprint(task.inputs))

    def leave_state(self, step: int, *resumed_from: int) -> None:
        """As an earlier attempt at the task does."""
        task = self.task()
        self.outputs.prepare(task.job)
        header = Header(fingerprint(task.inputs), step, NUM_STEPS, resumed_from)
        save_steps(self.outputs.steps(task.job), SavedSteps(header, str(step).encode()))

    def record(self, task: Task | None = None) -> dict[str, Any]:
        record: dict[str, Any] = json.loads(self.outputs.record((task or self.task()).job).read_bytes())
        return record

    def state(self) -> str:
        task = self.task()
        return self.outputs.inspect(task.job, task.inputs).state

    def files(self) -> list[str]:
        return sorted(path.name for path in self.outputs.root.rglob("*") if path.is_file())


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """The process's own signal handlers, put back."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


def sent(number: int = signal.SIGTERM) -> WHEN:
    return lambda: signal.raise_signal(number)


def raising(error: BaseException) -> WHEN:
    def fail() -> None:
        raise error

    return fail


# Videos


def test_a_video_is_published_with_its_record_and_every_step_is_told(bench: Bench) -> None:
    assert bench.work() == [Published()]
    parts = ["read", "encode", *["denoise"] * NUM_STEPS, "decode", "save"]
    steps = [0, 0, *range(NUM_STEPS + 1), NUM_STEPS]
    assert bench.said[:-1] == [Doing(part, step, NUM_STEPS) for part, step in zip(parts, steps, strict=True)]  # type: ignore[arg-type]
    assert bench.state() == "verified"
    assert bench.files() == ["seed_42_prompt_0.json", "seed_42_prompt_0.mp4"]
    record = bench.record()
    assert (record["model"], record["run_id"], record["rank"], record["num_forwards"]) == ("m", "run", 3, 12)
    assert record["resumed_from"] == []
    assert list(record["seconds"]) == ["read", "encode", "denoise", "decode", "inspect", "save"]
    assert record["seconds"]["denoise"] == 1.5


def test_one_video_follows_another_and_the_next_reference_is_read_ahead(bench: Bench) -> None:
    tasks = [bench.task(seed=1), bench.task(seed=2, reference="/r/next.mp4"), bench.task(seed=3, mechanism="none")]
    assert bench.work(*tasks) == [Published()] * 3
    assert bench.reader.prefetched == ["/r/next.mp4"]


def test_a_suspicious_video_is_published_all_the_same_and_its_record_and_the_log_say_what_is_suspicious(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.generator.colour = 0
    with caplog.at_level(logging.INFO):
        assert bench.work() == [Published()]
    assert bench.state() == "verified"
    assert bench.record()["sanity"] == {
        "flags": ["black"],
        "black_frames": 5,
        "blank_frames": 0,
        "frozen_pairs": 0,
        "flicker": 0.0,
        "motion": {"likeness": None, "camera_likeness": None, "speed_ratio": None},
    }
    assert [each.levelname for each in caplog.records if "suspicious (black)" in each.message] == ["INFO"]


def test_a_video_without_a_reference_is_not_compared_with_one(bench: Bench) -> None:
    task = bench.task(mechanism="none")
    bench.work(task)
    assert bench.record(task)["sanity"]["motion"] is None


def test_a_video_that_cannot_be_inspected_is_published_all_the_same(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fail = raising(ValueError("no such flow"))
    monkeypatch.setattr(bench.inspector, "inspect", lambda *args: fail())
    assert bench.work() == [Published()]
    assert "sanity" not in bench.record()
    assert "could not be inspected" in caplog.text


# Failures


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OutOfGpuMemoryError("too large"), Failed("out_of_memory", "too large")),
        (JobError("not finite"), Failed("error", "not finite")),
        (RuntimeError("boom"), Failed("error", "RuntimeError: boom")),
    ],
)
def test_a_failure_costs_its_own_task_and_the_next_is_made(bench: Bench, error: Exception, expected: Failed) -> None:
    failing = {3: raising(error)}
    bench.generator.at = failing
    bench.on_message = lambda message: isinstance(message, Failed) and failing.clear()
    assert bench.work(bench.task(seed=1), bench.task()) == [expected, Published()]


def test_a_video_of_values_that_are_not_finite_is_never_published(bench: Bench) -> None:
    bench.generator.at = {"decode": raising(JobError("the model made values that are not finite"))}
    assert bench.work() == [Failed("error", "the model made values that are not finite")]
    assert bench.files() == []


def test_bad_input_is_said_before_anything_is_generated(bench: Bench) -> None:
    bench.reader.instead = raising(BadInputError("it is damaged"))
    assert bench.work() == [Failed("bad_input", "it is damaged")]
    assert bench.generator.made == []


def test_a_gpu_that_failed_takes_no_more_orders(bench: Bench) -> None:
    bench.generator.at = {3: raising(GpuError("illegal address"))}
    assert bench.work(bench.task(seed=1), bench.task()) == [Failed("gpu", "illegal address")]


@pytest.mark.parametrize(
    ("error", "is_kept"),
    [
        (GpuError("illegal address"), True),
        (OutOfGpuMemoryError("too large"), True),
        (StorageError("stale"), True),
        (JobError("not finite"), False),
        (RuntimeError("boom"), False),
    ],
)
def test_the_state_stays_for_another_attempt_unless_it_may_be_the_cause(
    bench: Bench, error: Exception, is_kept: bool
) -> None:
    bench.generator.at = {5: raising(error)}
    bench.work()
    assert (bench.saved is not None) == is_kept


def test_a_full_disk_is_told_from_other_failures(small_disk: Path, bench: Bench) -> None:
    bench.outputs = Outputs(small_disk / "out")
    bench.generator.at = {"decode": lambda: fill(small_disk, 4096)}
    [failed] = bench.work(bench.task(width=256, height=256, num_frames=9))
    assert isinstance(failed, Failed)
    assert (failed.kind, failed.disk_full) == ("io", True)
    assert "No space left on device" in failed.error
    (small_disk / "filler").unlink()
    bench.generator.at = {5: raising(StorageError("stale file handle"))}
    assert bench.work() == [Failed("io", "stale file handle", disk_full=False)]


# Steps


def test_the_state_is_saved_every_so_many_steps_and_gone_with_the_publishing(bench: Bench) -> None:
    seen = []

    def look(message: Message) -> None:
        if isinstance(message, Doing) and message.part in ("denoise", "decode"):
            seen.append(bench.saved.header.step if bench.saved else None)

    bench.on_message = look
    bench.work(checkpoint_every=2)
    # A step is told before its state is saved.
    assert seen == [None, None, None, 2, 2, 4, 4]
    assert bench.saved is None


def test_a_worker_that_died_costs_the_steps_since_the_last_that_was_saved(bench: Bench) -> None:
    died = {5: raising(KeyboardInterrupt())}  # what nothing in a worker catches
    bench.generator.at = died
    with pytest.raises(KeyboardInterrupt):
        bench.work()
    died.clear()
    assert bench.work() == [Published()]
    assert bench.generator.made == [1, 2, 3, 4, 5, 5, 6]
    assert [each.step for each in bench.said if isinstance(each, Doing) and each.part in ("denoise", "decode")] == [
        4,
        5,
        6,
    ]
    assert bench.record()["resumed_from"] == [4]
    assert bench.files() == ["seed_42_prompt_0.json", "seed_42_prompt_0.mp4"]


def test_a_video_that_is_lost_before_it_is_published_costs_no_step(bench: Bench) -> None:
    bench.loses = True
    bench.work(checkpoint_every=4)
    assert bench.saved is not None
    assert bench.saved.header.step == NUM_STEPS
    bench.loses = False
    assert bench.work(checkpoint_every=4) == [Published()]
    assert bench.generator.made == [1, 2, 3, 4, 5, 6]
    assert bench.record()["resumed_from"] == [NUM_STEPS]


def test_the_record_lists_every_step_at_which_the_video_was_taken_up(bench: Bench) -> None:
    bench.leave_state(3, 1)
    bench.generator.at = {5: raising(GpuError("lost"))}
    bench.work()
    assert bench.saved is not None
    assert bench.saved.header.resumed_from == (1, 3)
    bench.generator.at = {}
    bench.work()
    assert bench.record()["resumed_from"] == [1, 3, 4]


def test_a_state_that_does_not_fit_is_written_over(bench: Bench) -> None:
    bench.leave_state(4)
    bench.generator = Counting(fits=False, at={3: raising(GpuError("lost"))})
    bench.work()
    assert bench.saved is not None
    assert (bench.saved.header.step, bench.saved.header.resumed_from) == (2, ())
    bench.generator = Counting(fits=False)
    bench.work()
    assert bench.record()["resumed_from"] == []


def test_the_state_of_other_settings_is_left_out(bench: Bench) -> None:
    bench.leave_state(4)
    other = bench.task(prompt="something else")
    assert bench.work(other) == [Published()]
    assert bench.generator.made == [1, 2, 3, 4, 5, 6]
    assert bench.record(other)["resumed_from"] == []


def test_a_state_that_cannot_be_taken_fails_the_video_at_that_step(bench: Bench) -> None:
    bench.generator.save = lambda step: raising(JobError("not finite"))()  # type: ignore[assignment,return-value]
    assert bench.work() == [Failed("error", "not finite")]
    assert bench.generator.made == [1, 2]
    assert bench.files() == []


def test_a_disk_too_full_for_the_state_stops_no_video(bench: Bench, small_disk: Path) -> None:
    bench.outputs = Outputs(small_disk / "out")
    bench.generator.save = lambda step: bytes(2**20)
    assert bench.work() == [Published()]


# Claims


def test_what_was_taken_over_while_it_was_written_is_not_published(bench: Bench) -> None:
    bench.leave_state(4)
    assert bench.work(claim=FakeClaim(bench.folder, answers=1)) == [Superseded()]
    assert bench.state() == "missing"
    # The state is the new owner's by now.
    assert bench.files() == [".seed_42_prompt_0.steps"]


def test_a_job_that_was_taken_over_is_left_where_its_state_would_be_saved(bench: Bench) -> None:
    assert bench.work(bench.task(), bench.task(seed=7), claim=FakeClaim(bench.folder, answers=1)) == [Superseded()] * 2
    assert bench.generator.made == [1, 2, 3, 4, 1, 2]


def test_a_claim_that_cannot_be_seen_costs_no_steps_and_publishes_nothing(bench: Bench) -> None:
    error = OSError(116, "Stale file handle")
    [failed] = bench.work(claim=FakeClaim(bench.folder, error=error))
    assert isinstance(failed, Failed)
    assert failed.kind == "io"
    assert "Stale file handle" in failed.error
    assert bench.state() == "missing"
    assert bench.saved is not None
    assert bench.saved.header.step == NUM_STEPS


def test_an_order_travels_to_another_process(bench: Bench) -> None:
    order = Order(bench.task(), None, FakeClaim(bench.folder))
    assert pickle.loads(pickle.dumps(order)) == order  # noqa: S301


# Turns


def parts(bench: Bench) -> list[str]:
    return [part for part, _ in groupby(each.part for each in bench.said if isinstance(each, Doing))]


def test_a_rank_denoises_in_its_turn_and_decodes_and_saves_beside_the_next(bench: Bench) -> None:
    ours, theirs = Turn(bench.folder, "0"), Turn(bench.folder, "0")
    held: dict[int | str, bool] = {}

    def look(when: int | str) -> None:
        held[when] = not theirs.try_take()
        theirs.release()

    bench.generator.at = {when: lambda when=when: look(when) for when in (1, NUM_STEPS, "decode")}
    assert bench.work(turn=ours) == [Published()]
    assert held == {1: True, NUM_STEPS: True, "decode": False}
    assert parts(bench) == ["read", "encode", "denoise", "decode", "save"]


def test_a_rank_whose_turn_it_is_not_shows_that_it_lives_and_goes_on_when_the_other_has_done(bench: Bench) -> None:
    theirs = Turn(bench.folder, "0")
    assert theirs.try_take()
    waited = []

    def let_go(message: Message) -> None:
        if isinstance(message, Doing) and message.part == "turn":
            assert bench.generator.made == []
            waited.append(message)
            if len(waited) == 2:
                theirs.release()

    bench.on_message = let_go
    assert bench.work(turn=Turn(bench.folder, "0")) == [Published()]
    assert parts(bench) == ["read", "encode", "turn", "denoise", "decode", "save"]


def test_a_turn_is_over_when_the_video_fails(bench: Bench) -> None:
    bench.generator.at = {3: raising(OutOfGpuMemoryError("too large"))}
    bench.work(turn=Turn(bench.folder, "0"))
    assert Turn(bench.folder, "0").try_take()


def test_a_turn_is_over_when_its_holder_is_killed(tmp_path: Path) -> None:
    code = f"from wan_ddp.gpu_share import *; turn = Turn(Path({str(tmp_path)!r}), '0')"
    code += "; print(turn.try_take(), flush=True); input()"
    holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout and holder.stdout.readline() == b"True\n"
    ours = Turn(tmp_path, "0")
    assert not ours.try_take()
    holder.kill()
    holder.communicate()
    assert ours.try_take()


def test_a_turn_that_its_holder_uses_is_waited_for_and_one_that_it_does_not_is_not(bench: Bench) -> None:
    theirs = Turn(bench.folder, "0")
    assert theirs.try_take()
    waited = []

    def use(message: Message) -> None:
        if isinstance(message, Doing) and message.part == "turn" and len(waited) < 3:
            waited.append(time.monotonic())
            theirs.beat()

    bench.on_message = use
    assert bench.work(turn=Turn(bench.folder, "0"), step_timeout=1.5) == [Published()]
    assert len(waited) == 3
    assert waited[-1] - waited[0] > 1.5


def test_a_signal_ends_the_wait_for_a_turn_and_loses_no_step(bench: Bench) -> None:
    bench.leave_state(4)
    theirs = Turn(bench.folder, "0")
    theirs.try_take()
    bench.on_message = lambda message: isinstance(message, Doing) and message.part == "turn" and sent()()
    with pytest.raises(Stopped):
        bench.work(turn=Turn(bench.folder, "0"))
    assert (bench.results, bench.generator.made) == ([], [])
    assert bench.saved is not None
    assert bench.saved.header.step == 4


# Signals


@pytest.mark.parametrize(
    ("number", "exit_code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 143)], ids=str
)
def test_a_signal_ends_the_video_after_the_step_in_hand_with_its_state_saved(
    bench: Bench, number: int, exit_code: int, caplog: pytest.LogCaptureFixture
) -> None:
    stopping = {3: sent(number)}
    bench.generator.at = stopping
    with caplog.at_level(logging.INFO), pytest.raises(Stopped) as caught:
        bench.work(bench.task(), bench.task(seed=1), checkpoint_every=10)
    assert caught.value.exit_code == exit_code
    assert "stopped after step 3 of 6" in caplog.text
    assert bench.results == []
    assert bench.saved is not None
    assert (bench.saved.header.step, bench.saved.state) == (3, b"3")
    stopping.clear()
    assert bench.work() == [Published()]
    assert bench.generator.made == [1, 2, 3, 4, 5, 6]
    assert bench.record()["resumed_from"] == [3]


def test_a_signal_before_the_first_step_saves_nothing(bench: Bench) -> None:
    bench.on_message = lambda message: message == Doing("denoise", 0, NUM_STEPS) and sent()()
    with pytest.raises(Stopped):
        bench.work()
    assert (bench.results, bench.generator.made, bench.files()) == ([], [], [])


@pytest.mark.parametrize("when", [NUM_STEPS, "decode"])
def test_a_video_that_has_all_its_steps_is_published_before_the_worker_ends(bench: Bench, when: int | str) -> None:
    bench.generator.at = {when: sent()}
    with pytest.raises(Stopped):
        bench.work(bench.task(), bench.task(seed=1))
    assert bench.results == [Published()]
    assert bench.state() == "verified"
    assert bench.files() == ["seed_42_prompt_0.json", "seed_42_prompt_0.mp4"]


def test_the_last_step_is_saved_when_a_signal_has_come_should_the_decoding_take_too_long(bench: Bench) -> None:
    bench.generator.at = {NUM_STEPS: sent(), "decode": raising(KeyboardInterrupt())}
    with pytest.raises(KeyboardInterrupt):
        bench.work()
    assert bench.saved is not None
    assert bench.saved.header.step == NUM_STEPS
    bench.generator.at = {}
    assert bench.work() == [Published()]
    assert bench.generator.made == [1, 2, 3, 4, 5, 6]


def test_a_signal_while_the_reference_is_read_acts_at_once(bench: Bench) -> None:
    def read() -> None:
        signal.raise_signal(signal.SIGTERM)
        raise AssertionError("it goes on reading")

    bench.reader.instead = read
    with pytest.raises(Stopped):
        bench.work()
    assert bench.said == [Doing("read", 0, NUM_STEPS)]


def test_a_failure_is_told_though_a_signal_has_come(bench: Bench) -> None:
    def fail() -> None:
        signal.raise_signal(signal.SIGTERM)
        raise OutOfGpuMemoryError("too large")

    bench.generator.at = {3: fail}
    with pytest.raises(Stopped):
        bench.work()
    assert bench.results == [Failed("out_of_memory", "too large")]


def test_a_disk_that_takes_no_state_does_not_keep_a_signal_from_ending_the_worker(
    bench: Bench, small_disk: Path
) -> None:
    bench.outputs = Outputs(small_disk / "out")
    bench.generator = Counting(at={3: sent()}, save=lambda step: bytes(2**20))
    with pytest.raises(Stopped):
        bench.work()


def test_a_second_ctrl_c_ends_the_process_at_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    class Exited(BaseException):
        pass

    def leave(code: int) -> None:
        assert code == 130
        raise Exited

    def interrupt_twice() -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("it goes on")

    monkeypatch.setattr(os, "_exit", leave)
    bench.generator.at = {3: interrupt_twice}
    with pytest.raises(Exited):
        bench.work()


def test_being_told_twice_does_not_interrupt_the_end() -> None:
    signals = Signals()
    signals.install()
    with pytest.raises(Stopped):
        signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGHUP)
    assert signals.received == signal.SIGTERM


def test_what_nohup_ignores_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    Signals().install()
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


def test_between_two_videos_a_signal_acts_at_once(bench: Bench) -> None:
    def stop(message: Message) -> None:
        if isinstance(message, Published):
            signal.raise_signal(signal.SIGTERM)

    bench.on_message = stop
    with pytest.raises(Stopped):
        bench.work(bench.task(), bench.task(seed=1))
    assert bench.results == [Published()]
