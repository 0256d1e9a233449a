"""A rank's part of a run, assembled: join the launch, make the shard, meet at the barrier, give the verdict."""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TextIO

from wan_ddp.conclude import conclude, exit_code, summary
from wan_ddp.errors import EXIT_COMPLETE, EXIT_INCOMPLETE, Stopped, WanDdpError
from wan_ddp.heartbeat import Heartbeat, RankState, read_state
from wan_ddp.logs import open_log
from wan_ddp.plan import plan
from wan_ddp.preflight import Ready, look_again
from wan_ddp.process import die_with_parent
from wan_ddp.progress import Progress
from wan_ddp.rank import Rank
from wan_ddp.rendezvous import Launch
from wan_ddp.settings import Settings
from wan_ddp.supervisor import Supervisor
from wan_ddp.survey import Task
from wan_ddp.worker_process import WorkerSpec

log = logging.getLogger(__name__)


def run(settings: Settings, rank: Rank, ready: Ready, environ: Mapping[str, str]) -> int:
    """Make this rank's videos. Rank 0 waits for the others and returns the verdict's exit code, the others 0.

    Raises Stopped on SIGTERM and SIGINT.
    """
    if rank.world_size > 1:
        die_with_parent()  # torchrun's agent: killed by SIGKILL, it would leave its ranks behind
    started = datetime.now(timezone.utc)
    launch = Launch.join(rank, environ, settings.run_id)
    states = States(settings.output, rank.world_size, launch.run_id)
    terminal = open_log(settings.output / rank.log_folder / f"{rank.name}.log")
    try:
        with _heart_and_progress(settings, rank, ready, states, terminal) as heart:
            _make_videos(settings, rank, ready, launch.run_id, heart)
            launch.arrive()
            if rank.rank != 0:
                return EXIT_COMPLETE
            silent = launch.wait_for_all(states.one, settings.barrier_timeout)
        verdict = conclude(settings, look_again(settings, ready), states.all(), launch.run_id, started, silent)
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


@contextmanager
def _heart_and_progress(
    settings: Settings, rank: Rank, ready: Ready, states: "States", terminal: TextIO
) -> Iterator[Heartbeat]:
    state = RankState(states.run_id, rank.rank, rank.gpu, rank.process, os.getpid())
    with ExitStack() as stack:
        heart = stack.enter_context(Heartbeat(states.path(rank.rank), state))
        if rank.rank == 0:
            num_done = sum(not task.is_to_do(settings.on_change, None) for task in ready.tasks)
            stack.enter_context(Progress(terminal, num_jobs=len(ready.tasks), num_done=num_done, states=states.all))
        yield heart


@dataclass(frozen=True, slots=True)
class States:
    """Where the ranks of a run write what they do."""

    output: Path
    world_size: int
    run_id: str

    def path(self, rank: int) -> Path:
        return self.output / "logs" / f".rank{rank}.json"

    def one(self, rank: int) -> RankState | None:
        return read_state(self.path(rank), self.run_id)

    def all(self) -> list[RankState]:
        return [state for state in map(self.one, range(self.world_size)) if state is not None]


def _tasks_of(settings: Settings, rank: Rank, ready: Ready, run_id: str) -> list[Task]:
    """What this rank has to make: its shard, less what is there."""
    by_id = {task.job.id: task for task in ready.tasks}
    shard = [by_id[job.id] for job in plan([task.job for task in ready.tasks], rank.world_size)[rank.rank]]
    tasks = [task for task in shard if task.is_to_do(settings.on_change, run_id)]
    log.info("run %s: rank %d of %d on %s, restart %d", run_id, rank.rank, rank.world_size, ready.device, rank.restart)
    log.info("%d videos in the shard, %d of them to make", len(shard), len(tasks))
    return tasks


def _make_videos(settings: Settings, rank: Rank, ready: Ready, run_id: str, heart: Heartbeat) -> None:
    """Have a worker make the shard's videos. What fails here is logged, and the other ranks go on."""
    tasks = _tasks_of(settings, rank, ready, run_id)
    heart.update(num_jobs=len(tasks))
    if not tasks:
        return
    prompted = [task.job for task in tasks]
    spec = WorkerSpec(settings, rank.rank, ready.checkpoint, ready.device, run_id, prompted)
    supervisor = Supervisor(
        start_worker=spec.start,
        outputs=ready.outputs,
        heart=heart,
        run_id=run_id,
        max_attempts=settings.max_attempts,
        step_timeout=settings.step_timeout,
        grace=settings.grace,
    )
    try:
        supervisor.work(tasks)
    except WanDdpError as error:
        log.error("this rank ends early: %s", error)
        heart.update(phase="failed")
    except Exception:
        log.exception("this rank ends early")
        heart.update(phase="failed")
