"""The process that holds the GPU: its parts assembled, started by the supervisor, ordered about through a pipe."""

import logging
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from wan_ddp.entry import end_quietly
from wan_ddp.errors import JobError, Stopped
from wan_ddp.gpu_share import machine_lock, turn_of
from wan_ddp.job import Job
from wan_ddp.logs import start_logging
from wan_ddp.outputs import Outputs
from wan_ddp.process import die_with_parent
from wan_ddp.settings import Settings
from wan_ddp.signals import Signals
from wan_ddp.wan.checkpoint import Checkpoint
from wan_ddp.worker import Failed, Generator, Loaded, Made, Message, Order, Worker

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

    def start(self, connection: Connection, *, offload: bool) -> BaseProcess:
        """Start a worker; with `offload` its weights stay in the CPU's memory, layer by layer."""
        # Not forked: a supervisor has threads, and CUDA does not survive a fork.
        context = multiprocessing.get_context("spawn")
        process = context.Process(target=_main, args=(self, connection, offload, os.getpid()), name="worker")
        process.start()
        return process


def _main(spec: WorkerSpec, connection: Connection, offload: bool, supervisor_pid: int) -> None:
    # A group of its own: Ctrl-C in the terminal reaches the supervisor alone, which then ends the whole group.
    os.setpgid(0, 0)
    die_with_parent()
    if os.getppid() != supervisor_pid:
        sys.exit("the supervisor ended before its worker began")
    start_logging()
    # Until there is something to finish. An exception would not do here: raised in a callback of an import, it is lost.
    end_quietly()
    try:
        _work(spec, connection, offload)
    except Stopped as stopped:
        log.info("worker %s", stopped)
        sys.exit(stopped.exit_code)


def _work(spec: WorkerSpec, connection: Connection, offload: bool) -> None:
    import cv2

    from wan_ddp.reader import ReferenceReader
    from wan_ddp.sanity import Inspector

    # Frames are inspected small: OpenCV's threads would gain little, and take it from the GPU's other rank.
    cv2.setNumThreads(1)

    def say(message: Message) -> None:
        try:
            connection.send(message)
            if isinstance(message, Made):
                message.frames.send(connection)
        except OSError:
            sys.exit("the supervisor has gone")

    try:
        generator, about = load_generator(spec, offload)
    except JobError as error:  # the GPU cannot take the model
        log.error("the model cannot be loaded (%s): %s", error.kind, error)
        say(Failed(error.kind, str(error)))
        return
    except Exception as error:
        log.exception("the model cannot be loaded")
        say(Failed("error", _in_one_line(error)))
        return
    signals = Signals()
    signals.install()
    settings = spec.settings
    with ReferenceReader() as reader:
        worker = Worker(
            run_id=spec.run_id,
            rank=spec.rank,
            outputs=Outputs(settings.output),
            reader=reader,
            generator=generator,
            inspector=Inspector(),
            signals=signals,
            sampling=settings.sampling,
            short_reference=settings.short_reference,
            control=settings.control,
            checkpoint_every=settings.checkpoint_every,
            about=about,
            turn=turn_of(spec.device, os.environ),
        )
        say(Loaded(str(about["device"])))
        worker.work(_orders(connection), say)


def load_generator(spec: WorkerSpec, offload: bool) -> tuple[Generator, Mapping[str, Any]]:
    """The generator on the spec's device, and what its videos' records say of it.

    Raises OutOfGpuMemoryError, GpuError, and whatever damaged files lead to.
    """
    # Imported here: 5 to 12 s that the supervisor, which imports this module, does without.
    from wan_ddp.wan.about import describe
    from wan_ddp.wan.kept import KeptTensors
    from wan_ddp.wan.loading import Offload
    from wan_ddp.wan.pipeline import Generator as WanGenerator
    from wan_ddp.wan.prompts import KeptPrompts, obtain_prompts, prompts_of

    settings, checkpoint, device = spec.settings, spec.checkpoint, spec.device
    # A limit that is always exceeded: the DiT is nearly all there is, so keeping whole models away would gain nothing.
    how = Offload(cpu=True, vram_limit=0.0) if offload else Offload(settings.cpu_offload, settings.vram_limit)
    clock = time.monotonic()
    prompts = prompts_of(spec.jobs)
    kept = KeptPrompts(KeptTensors(Outputs(settings.output).encoded), checkpoint, device)
    # One worker of this machine at a time: the others find what it has encoded, and never load the text encoder.
    embeddings = obtain_prompts(checkpoint, prompts, kept, machine_lock("encode"), device=device, offload=how)
    encoded = time.monotonic()
    log.info("%d prompts encoded or found in %.1f s", len(prompts), encoded - clock)
    generator = WanGenerator.load(
        checkpoint,
        embeddings,
        device=device,
        offload=how,
        tiled=settings.tiled,
        loras=[(lora.path, lora.alpha) for lora in settings.lora],
    )
    loaded = time.monotonic()
    log.info("%s loaded in %.1f s", checkpoint.name, loaded - encoded)
    seconds = {"encode_prompts": round(encoded - clock, 3), "load_model": round(loaded - encoded, 3)}
    about = describe(checkpoint, device) | {"loading_seconds": seconds}
    if settings.lora:
        about["lora"] = {str(lora.path.absolute()): lora.alpha for lora in settings.lora}
    return generator, about


def _in_one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def _orders(connection: Connection) -> Iterator[Order]:
    """Orders until the supervisor closes the pipe."""
    while True:
        try:
            yield connection.recv()
        except EOFError:
            return
