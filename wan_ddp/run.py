"""A rank's part of a run, assembled: join the launch, make the shard, meet at the barrier, give the verdict."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from datetime import datetime, timezone
from socket import gethostname
from typing import TextIO

from wan_ddp.attempts import decide, num_charged
from wan_ddp.backlog import Backlog, State
from wan_ddp.claims import Claims
from wan_ddp.conclude import conclude, exit_code, summary
from wan_ddp.errors import EXIT_COMPLETE, EXIT_INCOMPLETE, Stopped, WanDdpError
from wan_ddp.gpu_share import share_of
from wan_ddp.gpu_use import GpuUse
from wan_ddp.heartbeat import Heartbeat, RankState, States, sweep_runs
from wan_ddp.job import fingerprint
from wan_ddp.logs import open_log
from wan_ddp.preflight import Ready, look_again
from wan_ddp.process import die_with_parent, own_token
from wan_ddp.progress import Progress
from wan_ddp.rank import Rank
from wan_ddp.rendezvous import Launch
from wan_ddp.run_file import describe_run, sweep_manifests, write_run_file
from wan_ddp.settings import Settings
from wan_ddp.signals import Signals
from wan_ddp.speeds import write_speeds
from wan_ddp.supervisor import Patience, Supervisor
from wan_ddp.survey import Task, shards_of
from wan_ddp.verdict import Failure, Record
from wan_ddp.worker_process import Workers, WorkerSpec

log = logging.getLogger(__name__)


def run(settings: Settings, rank: Rank, ready: Ready, environ: Mapping[str, str], signals: Signals) -> int:
    """Make this rank's videos. Rank 0 waits for the others and returns the verdict's exit code, the others 0.

    Raises Stopped on SIGTERM and SIGINT.
    """
    if rank.world_size > 1:
        die_with_parent()  # torchrun's agent: killed by SIGKILL, it would leave its ranks behind
    launch = Launch.join(rank, environ, settings.run_id)
    with Claims(ready.outputs.claims, run_id=launch.run_id, rank=rank.rank) as claims:
        return _run(settings, rank, ready, environ, signals, launch, claims)


def _run(
    settings: Settings,
    rank: Rank,
    ready: Ready,
    environ: Mapping[str, str],
    signals: Signals,
    launch: Launch,
    claims: Claims,
) -> int:
    started = datetime.now(timezone.utc)
    terminal = open_log(settings.output / rank.log)
    log.info(
        "run %s: rank %d of %d on %s, restart %d",
        launch.run_id,
        rank.rank,
        rank.world_size,
        ready.device,
        rank.restart,
    )
    if rank.rank == 0:
        _begin(settings, rank, ready, launch.run_id, started)
        claims.sweep()
    states = States(settings.output / "logs", launch.run_id, rank.world_size)
    rank_run = _RankRun(settings, rank, ready, launch.run_id, claims, signals, terminal, environ)
    try:
        with ExitStack() as stack:
            heart = Heartbeat(
                states.path(rank.rank), rank_run.state(), claims.beat, history=settings.output / rank.history
            )
            stack.enter_context(heart)
            if rank.process == 0:
                stack.enter_context(GpuUse(ready.device, environ, heart.update))
            if rank.rank == 0:
                stack.enter_context(rank_run.progress(states))
            rank_run.make_videos(heart)
            heart.write()
            launch.arrive()
            if rank.rank != 0:
                return EXIT_COMPLETE
            claims.release()  # the others would wait for it, and this rank for them
            silent = launch.wait_for_all(states.one, settings.barrier_timeout)
            tasks = rank_run.settle(look_again(settings, ready))  # hours, where every video is decoded
        verdict = conclude(
            settings,
            tasks,
            states.all(),
            launch.run_id,
            started,
            silent,
            records=rank_run.records(tasks),
            on_gpus=ready.num_gpus > 0,
        )
        _leave_speeds(settings, states.all())
        states.end(silent)
    except Stopped as stopped:
        if rank.rank == 0:
            print(f"{stopped}; the same command goes on where this run stopped", file=terminal)
        raise
    except OSError as error:
        log.exception("no verdict could be given")
        print(f"error: no verdict could be written: {error}; make room and run again", file=terminal)
        return EXIT_INCOMPLETE
    print(summary(verdict, settings.output), file=terminal)
    # launch.sh reads the verdict from the report itself, and torchrun must not take it for a crash.
    return EXIT_COMPLETE if settings.run_id else exit_code(verdict)


def _leave_speeds(settings: Settings, states: Sequence[RankState]) -> None:
    """Write down how fast the ranks were, for the next run's --speeds."""
    try:
        write_speeds(settings.output, states)
    except OSError as error:
        log.warning("how fast the ranks were could not be written down: %s", error)


def _begin(settings: Settings, rank: Rank, ready: Ready, run_id: str, started: datetime) -> None:
    """Write down what the run was told, and remove what runs of long ago were."""
    logs = settings.output / "logs"
    sweep_runs(logs)
    sweep_manifests(logs)
    try:
        run_file = describe_run(
            settings,
            ready.conditions,
            run_id=run_id,
            started=started,
            world_size=rank.world_size,
            num_gpus=ready.num_gpus,
            model=ready.checkpoint.name,
            random_weights=ready.checkpoint.random_weights,
        )
        write_run_file(logs, run_file)
    except OSError as error:  # for people and reports; the videos can do without
        log.warning("what this run was told could not be written down: %s", error)


class _RankRun:
    """What one rank needs to make its part of the videos."""

    def __init__(
        self,
        settings: Settings,
        rank: Rank,
        ready: Ready,
        run_id: str,
        claims: Claims,
        signals: Signals,
        terminal: TextIO,
        environ: Mapping[str, str],
    ) -> None:
        self._settings, self._rank, self._ready, self._run_id = settings, rank, ready, run_id
        self._claims, self._signals, self._terminal, self._environ = claims, signals, terminal, environ

    def state(self) -> RankState:
        rank = self._rank
        return RankState(
            self._run_id, rank.rank, rank.gpu, rank.process, own_token(), host=gethostname(), node=rank.node
        )

    def progress(self, states: States) -> Progress:
        tasks = self._ready.tasks
        num_done = sum(not self._is_to_do(task) for task in tasks)
        return Progress(self._terminal, num_jobs=len(tasks), num_done=num_done, states=states.all)

    def make_videos(self, heart: Heartbeat) -> None:
        """Have a worker make the shard's videos. What fails here is said, and the other ranks go on."""
        shards = self._shards()
        own = shards[self._rank.rank]
        log.info("%d videos to make in the shard, %d in all", len(own), sum(map(len, shards)))
        heart.update(num_jobs=len(own))
        try:
            with closing(self._workers()) as workers:
                self._supervisor(shards, heart, workers).work()
        except Stopped:
            heart.update(phase="stopped")
            raise
        except WanDdpError as error:
            self._end_early(heart, str(error))
        except Exception as error:
            log.exception("this rank ends early")
            self._end_early(heart, f"{type(error).__name__}: {error}")

    def settle(self, tasks: Sequence[Task]) -> list[Task]:
        """Write down as given up what the claims say is, and no rank lived to write down."""
        return [self._settle(task) for task in tasks]

    def records(self, tasks: Sequence[Task]) -> list[Record]:
        """Of the videos that this run made since its start, and not another one on the same folder."""
        before = self._ready.tasks
        new = [task for was, task in zip(before, tasks, strict=True) if was.finding.state != "verified"]
        verified = [task for task in new if task.finding.state == "verified"]
        found = [task.finding.record or self._ready.outputs.read_record(task.job) for task in verified]
        return [record for record in found if record and record.run_id == self._run_id]

    def _settle(self, task: Task) -> Task:
        history = self._claims.history(task.key) if self._is_to_do(task) else ()
        if decide(history, self._settings.max_attempts) != "give_up":
            return task
        error = f"its last {num_charged(history)} attempts ended so: {', '.join(history)}; the logs say more"
        generation = sum(end != "granted" for end in history)
        failure = Failure(
            fingerprint(task.inputs), error, "worker_died", num_charged(history), self._run_id, generation
        )
        self._ready.outputs.record_failure(task.job, failure)
        return task._replace(finding=self._ready.outputs.inspect(task.job, task.inputs))

    def _shards(self) -> list[list[Task]]:
        """What every rank has to make: the plan's shards, less what is there."""
        shards = shards_of(self._ready.tasks, self._rank.world_size, self._ready.seconds_a_video)
        to_do = [list(filter(self._is_to_do, shard)) for shard in shards]
        for shard in to_do:
            for task in shard:
                if task.finding.failure:  # --retry-failed
                    self._claims.grant(task.key, task.finding.failure.generation)
        return to_do

    def _is_to_do(self, task: Task) -> bool:
        return task.is_to_do(self._settings, self._run_id)

    def _state_of(self, task: Task) -> State:
        full = self._settings.verify == "full"  # else a video that is there, but damaged, would count as made
        now = task._replace(finding=self._ready.outputs.inspect(task.job, task.inputs, full=full))
        if self._is_to_do(now):
            return "to_do"
        return "given_up" if now.finding.failure else "made"

    def _workers(self) -> Workers:
        ready = self._ready
        return Workers(WorkerSpec(self._settings, self._rank.rank, ready.checkpoint, ready.device, self._run_id, ()))

    def _supervisor(self, shards: Sequence[Sequence[Task]], heart: Heartbeat, workers: Workers) -> Supervisor:
        settings, ready = self._settings, self._ready
        return Supervisor(
            start_worker=workers.start,
            prepare_worker=workers.prepare if ready.device != "cpu" else None,
            weights=workers.weights(self._environ),
            backlog=Backlog(
                shards,
                self._rank.rank,
                self._claims,
                state_of=self._state_of,
                max_attempts=settings.max_attempts,
                takeover=settings.takeover,
            ),
            outputs=ready.outputs,
            heart=heart,
            run_id=self._run_id,
            signals=self._signals,
            patience=Patience(
                max_attempts=settings.max_attempts,
                step_timeout=settings.step_timeout,
                grace=settings.grace,
                io_patience=settings.io_patience,
                silence=settings.barrier_timeout,
            ),
            gpu=share_of(ready.device, self._environ),
            log_file=settings.output / self._rank.log,
        )

    def _end_early(self, heart: Heartbeat, why: str) -> None:
        log.error("this rank ends early: %s", why)
        print(f"error: rank {self._rank.rank} ({self._rank.name}) ends early: {why}", file=self._terminal)
        heart.update(phase="failed", job=None, part="", error=why)
