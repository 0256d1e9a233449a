"""The process that holds the GPU: its parts assembled, started by the supervisor, ordered about through a pipe."""

import logging
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from wan_ddp.errors import JobError, Stopped
from wan_ddp.job import Job
from wan_ddp.logs import start_logging
from wan_ddp.outputs import Outputs
from wan_ddp.process import die_with_parent
from wan_ddp.settings import Settings
from wan_ddp.signals import Signals
from wan_ddp.wan.checkpoint import Checkpoint
from wan_ddp.worker import Failed, Loaded, Order, Worker

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """All that a worker is told when it starts."""

    settings: Settings
    rank: int
    checkpoint: Checkpoint
    device: str
    run_id: str
    jobs: Sequence[Job]
    """The jobs that it may be ordered to do: their prompts are encoded first."""

    def start(self, connection: Connection) -> BaseProcess:
        # Not forked: a supervisor has threads, and CUDA does not survive a fork.
        process = multiprocessing.get_context("spawn").Process(target=_main, args=(self, connection), name="worker")
        process.start()
        return process


def _main(spec: WorkerSpec, connection: Connection) -> None:
    # A group of its own: Ctrl-C in the terminal reaches the supervisor alone, which then ends the whole group.
    os.setpgid(0, 0)
    die_with_parent()
    start_logging()
    signals = Signals()
    signals.install()
    try:
        _work(spec, connection, signals)
    except JobError as error:  # the GPU cannot take the model
        connection.send(Failed(error.kind, str(error)))
    except Stopped as stopped:
        log.info("worker %s", stopped)
        sys.exit(stopped.exit_code)


def _work(spec: WorkerSpec, connection: Connection, signals: Signals) -> None:
    # Imported here: 5 to 12 s that the supervisor, which imports this module, does without.
    from wan_ddp.reader import ReferenceReader
    from wan_ddp.wan.about import describe
    from wan_ddp.wan.loading import Offload
    from wan_ddp.wan.pipeline import Generator
    from wan_ddp.wan.prompts import encode_prompts, prompts_of

    settings, checkpoint, device = spec.settings, spec.checkpoint, spec.device
    offload = Offload(settings.cpu_offload, settings.vram_limit)
    with ReferenceReader() as reader:
        clock = time.monotonic()
        prompts = prompts_of(spec.jobs)
        embeddings = encode_prompts(checkpoint, prompts, device=device, offload=offload)
        encoded = time.monotonic()
        log.info(
            "%d prompts encoded in %.1f s, the loading of the text encoder included", len(prompts), encoded - clock
        )
        generator = Generator.load(checkpoint, embeddings, device=device, offload=offload, tiled=settings.tiled)
        loaded = time.monotonic()
        log.info("%s loaded in %.1f s", checkpoint.name, loaded - encoded)
        loading = {"encode_prompts": round(encoded - clock, 3), "load_model": round(loaded - encoded, 3)}
        worker = Worker(
            run_id=spec.run_id,
            rank=spec.rank,
            outputs=Outputs(settings.output),
            reader=reader,
            generator=generator,
            signals=signals,
            sampling=settings.sampling,
            short_reference=settings.short_reference,
            control=settings.control,
            about=describe(checkpoint, device) | {"loading_seconds": loading},
        )
        connection.send(Loaded())
        worker.work(_orders(connection), connection.send)


def _orders(connection: Connection) -> Iterator[Order]:
    """Orders until the supervisor closes the pipe."""
    while True:
        try:
            yield connection.recv()
        except EOFError:
            return
