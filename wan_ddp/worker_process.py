"""The process that holds the GPU: its parts assembled, started by the supervisor, ordered about through a pipe."""

import logging
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import recv_handle, send_handle
from typing import Any

from wan_ddp.entry import end_quietly
from wan_ddp.errors import JobError, Stopped
from wan_ddp.gpu_share import machine_lock, turn_of
from wan_ddp.job import Job
from wan_ddp.logs import start_logging
from wan_ddp.outputs import Outputs
from wan_ddp.presets import can_offload
from wan_ddp.process import die_with_parent
from wan_ddp.settings import Settings
from wan_ddp.signals import Signals
from wan_ddp.wan.checkpoint import Checkpoint
from wan_ddp.weights_holder import Tie, Weights, ask, end_with
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
    offload: bool = False
    """Whether the weights stay in the CPU's memory, layer by layer."""

    def shared_weights(self) -> Weights | None:
        """Those that it has in common with the GPU's other workers; None if it has its own."""
        settings = self.settings
        if self.offload or not settings.shares_weights(on_gpu=self.device != "cpu"):
            return None
        return Weights(self.checkpoint, self.device, settings.lora, settings.preset)


class Workers:
    """Starts a rank's workers, and keeps a successor ready: a process that has imported all and waits for its task.

    Imports take 10 s, 25 on some machines, during which the GPU would stand idle when a worker is lost.
    """

    def __init__(self, spec: WorkerSpec) -> None:
        self._spec = spec
        self._ready: _Blank | None = None

    def start(self, connection: Connection, *, jobs: Sequence[Job], offload: bool) -> BaseProcess:
        """Start a worker that will be asked for some of `jobs`, through the other end of `connection`."""
        blank, self._ready = self._ready, None
        if blank is None or not blank.process.is_alive():
            blank = _Blank()
        return blank.become(replace(self._spec, jobs=jobs, offload=offload), connection)

    def weights(self, environ: Mapping[str, str]) -> Tie | None:
        """This rank's tie to the weights that its workers share with others; None if each has its own."""
        shared = self._spec.shared_weights()
        return Tie(shared, environ) if shared else None

    def prepare(self) -> None:
        """Have a successor ready. It must be called in a thread that lives as long as the workers shall."""
        if self._ready is None or not self._ready.process.is_alive():
            self._ready = _Blank()

    def close(self) -> None:
        blank, self._ready = self._ready, None
        if blank is not None:
            blank.kill()


class _Blank:
    """A process that imports what a worker needs and then waits to be told which one it is."""

    def __init__(self) -> None:
        self._orders, theirs = multiprocessing.Pipe()
        # Not forked: a supervisor has threads, and CUDA does not survive a fork.
        context = multiprocessing.get_context("spawn")
        self.process = context.Process(target=_main, args=(theirs, os.getpid()), name="worker")
        self.process.start()
        theirs.close()

    def become(self, spec: WorkerSpec, connection: Connection) -> BaseProcess:
        with self._orders, suppress(BrokenPipeError):  # its death shows at its first message
            send_handle(self._orders, connection.fileno(), self.process.pid)
            self._orders.send(spec)
        return self.process

    def kill(self) -> None:
        self._orders.close()
        self.process.kill()
        self.process.join()


def _main(orders: Connection, supervisor_pid: int) -> None:
    # A group of its own: Ctrl-C in the terminal reaches the supervisor alone, which then ends the whole group.
    os.setpgid(0, 0)
    die_with_parent()
    if os.getppid() != supervisor_pid:
        sys.exit("the supervisor ended before its worker began")
    start_logging()
    # Until there is something to finish. An exception would not do here: raised in a callback of an import, it is lost.
    end_quietly()
    import_parts()
    try:
        connection = Connection(recv_handle(orders))
        spec: WorkerSpec = orders.recv()
    except EOFError:
        sys.exit(0)
    orders.close()
    try:
        _work(spec, connection)
    except Stopped as stopped:
        log.info("worker %s", stopped)
        sys.exit(stopped.exit_code)


def import_parts() -> None:
    """What takes 5 to 25 s, and what the supervisor, which imports this module, does without."""
    from wan_ddp.wan.lean_import import lean_import

    with lean_import():
        import wan_ddp.wan.pipeline
    import wan_ddp.reader
    import wan_ddp.sanity  # noqa: F401


def _work(spec: WorkerSpec, connection: Connection) -> None:
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
        generator, about = load_generator(spec)
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
            step_timeout=settings.step_timeout,
            turn=turn_of(spec.device, os.environ),
        )
        say(Loaded(str(about["device"])))
        worker.work(_orders(connection), say)


def load_generator(spec: WorkerSpec) -> tuple[Generator, Mapping[str, Any]]:
    """The generator on the spec's device, and what its videos' records say of it.

    Raises OutOfGpuMemoryError, GpuError, and whatever damaged files lead to.
    """
    from wan_ddp.wan.about import describe
    from wan_ddp.wan.kept import KeptTensors
    from wan_ddp.wan.loading import Offload
    from wan_ddp.wan.models import attach_models, load_models
    from wan_ddp.wan.pipeline import Generator as WanGenerator
    from wan_ddp.wan.presets import check_device
    from wan_ddp.wan.prompts import KeptPrompts, obtain_prompts, prompts_of
    from wan_ddp.wan.units import KeptLatents, ReferenceLatents

    settings, checkpoint, device = spec.settings, spec.checkpoint, spec.device
    check_device(settings.preset, settings.attention, device)
    # A limit that is always exceeded: the DiT is nearly all there is, so keeping whole models away would gain nothing.
    # A preset that cannot do so has the GPU to itself all the same, and half the weights.
    offload = spec.offload and can_offload(settings.preset)
    how = Offload(cpu=True, vram_limit=0.0) if offload else Offload(settings.cpu_offload, settings.vram_limit)
    clock = time.monotonic()
    prompts = prompts_of(spec.jobs)
    kept = KeptTensors(Outputs(settings.output).encoded)
    # One worker of this machine at a time: the others find what it has encoded, and never load the text encoder.
    embeddings = obtain_prompts(
        checkpoint, prompts, KeptPrompts(kept, checkpoint, device), machine_lock("load"), device=device, offload=how
    )
    encoded = time.monotonic()
    log.info("%d prompts encoded or found in %.1f s", len(prompts), encoded - clock)
    if weights := spec.shared_weights():
        connection = ask(weights, os.environ)
        pipe = attach_models(checkpoint, connection, device=device, preset=settings.preset)
        end_with(connection)
    else:
        loras = [(lora.path, lora.alpha) for lora in settings.lora]
        with machine_lock("load"):
            pipe = load_models(checkpoint, device=device, offload=how, loras=loras, preset=settings.preset)
    generator = WanGenerator(
        pipe,
        embeddings,
        device=device,
        tiled=settings.tiled,
        preset=settings.preset,
        attention=settings.attention,
        latents=ReferenceLatents(KeptLatents(kept, checkpoint, device, tiled=settings.tiled)),
    )
    loaded = time.monotonic()
    log.info("%s loaded in %.1f s", checkpoint.name, loaded - encoded)
    seconds = {"encode_prompts": round(encoded - clock, 3), "load_model": round(loaded - encoded, 3)}
    about = describe(checkpoint, device) | {"loading_seconds": seconds}
    if generator.kernels:
        about["kernels"] = dict(generator.kernels)
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
