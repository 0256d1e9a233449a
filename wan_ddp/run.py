"""A rank's part of a run, assembled: join the launch, make the shard, meet at the barrier, give the verdict."""

import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from wan_ddp.conclude import conclude, exit_code, summary
from wan_ddp.errors import EXIT_COMPLETE, WanDdpError
from wan_ddp.heartbeat import Heartbeat, RankState, read_state
from wan_ddp.logs import open_log
from wan_ddp.plan import plan
from wan_ddp.preflight import Ready, look
from wan_ddp.progress import Progress
from wan_ddp.rank import Rank
from wan_ddp.rendezvous import Launch
from wan_ddp.settings import Settings
from wan_ddp.signals import Signals
from wan_ddp.supervisor import Supervisor
from wan_ddp.survey import Task
from wan_ddp.worker_process import WorkerSpec

log = logging.getLogger(__name__)


def run(settings: Settings, rank: Rank, ready: Ready, environ: Mapping[str, str]) -> int:
    """Make this rank's videos. Rank 0 waits for the others and returns the verdict's exit code, the others 0.

    Raises Stopped on SIGTERM and SIGINT.
    """
    Signals().install()
    started = datetime.now(timezone.utc)
    launch = Launch.join(rank, environ, settings.run_id)
    terminal = open_log(settings.output / rank.log_folder / f"{rank.name}.log")
    states = States(settings.output, rank.world_size, launch.run_id)
    tasks = _tasks_of(rank, ready, settings, launch)
    with ExitStack() as stack:
        state = RankState(launch.run_id, rank.rank, rank.gpu, rank.process, os.getpid(), num_jobs=len(tasks))
        heart = stack.enter_context(Heartbeat(states.path(rank.rank), state))
        if rank.rank == 0:
            num_done = sum(not task.is_to_do(settings.on_change, None) for task in ready.tasks)
            stack.enter_context(Progress(terminal, num_jobs=len(ready.tasks), num_done=num_done, states=states.all))
        _make_videos(settings, rank, ready, launch, tasks, heart)
        launch.arrive()
        if rank.rank != 0:
            return EXIT_COMPLETE
        silent = launch.wait_for_all(states.one, settings.barrier_timeout)
    ready.outputs.sweep()
    found = look(settings, [task.job for task in ready.tasks], ready.outputs, ready.conditions)
    verdict = conclude(settings, found, states.all(), launch.run_id, started, silent)
    print(summary(verdict, settings.output), file=terminal)
    # launch.sh reads the verdict from the report itself, and torchrun must not take it for a crash.
    return EXIT_COMPLETE if settings.run_id else exit_code(verdict)


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


def _tasks_of(rank: Rank, ready: Ready, settings: Settings, launch: Launch) -> list[Task]:
    """What this rank has to make: its shard, less what is there."""
    by_id = {task.job.id: task for task in ready.tasks}
    shard = [by_id[job.id] for job in plan([task.job for task in ready.tasks], rank.world_size)[rank.rank]]
    tasks = [task for task in shard if task.is_to_do(settings.on_change, launch.run_id)]
    log.info(
        "run %s: rank %d of %d on %s, restart %d", launch.run_id, rank.rank, rank.world_size, ready.device, rank.restart
    )
    log.info("%d videos in the shard, %d of them to make", len(shard), len(tasks))
    return tasks


def _make_videos(
    settings: Settings, rank: Rank, ready: Ready, launch: Launch, tasks: Sequence[Task], heart: Heartbeat
) -> None:
    """Have a worker make the tasks' videos. What fails here is logged, and the other ranks go on."""
    if not tasks:
        return
    prompted = [task.job for task in tasks]
    spec = WorkerSpec(settings, rank.rank, ready.checkpoint, ready.device, launch.run_id, prompted)
    supervisor = Supervisor(
        start_worker=spec.start,
        outputs=ready.outputs,
        heart=heart,
        run_id=launch.run_id,
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
