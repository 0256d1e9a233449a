"""The process that holds a GPU's weights, one copy for the workers of all its ranks, and how these reach it.

It belongs to no rank: whoever needs it first starts it, and it ends when no rank is tied to it any more, however they
ended. So a worker's death leaves it standing, and the next worker finds the weights where they are. Its own death ends
the workers that use them; what they were at is released, uncharged, and the next worker has the weights loaded anew.

Ranks and workers talk to it through a socket in this user's folder of lock files, one a GPU and set of weights: a rank
says what it wants held, a worker None, and is answered with None and the weights, or the error in their place.
"""

import hashlib
import logging
import os
import queue
import selectors
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

from wan_ddp import __version__
from wan_ddp.errors import EXIT_WEIGHTS_LOST, JobError, MachineError
from wan_ddp.gpu_share import gpu_name, lock_folder, machine_lock
from wan_ddp.logs import start_logging
from wan_ddp.presets import Preset
from wan_ddp.settings import Lora
from wan_ddp.wan.checkpoint import Checkpoint

if TYPE_CHECKING:
    from wan_ddp.wan.shared_weights import PackedWeights

log = logging.getLogger(__name__)

_HELLO = b"hello"
_HELLO_SECONDS = 120.0  # a Python that starts on a busy machine


@dataclass(frozen=True, slots=True)
class Weights:
    """What a holder loads: the DiT, with LoRAs added, and the VAE of a checkpoint, onto one device."""

    checkpoint: Checkpoint
    device: str
    lora: tuple[Lora, ...] = ()
    preset: Preset = "plain"

    def import_parts(self) -> None:
        """What takes as long as loading, done while the workers encode their prompts."""
        from wan_ddp.wan.lean_import import lean_import

        with lean_import():
            import wan_ddp.wan.models  # noqa: F401

    def load_and_pack(self) -> "PackedWeights":
        """Raises JobError, and whatever damaged files lead to."""
        from wan_ddp.wan.models import load_models
        from wan_ddp.wan.shared_weights import PackedWeights

        loras = [(lora.path, lora.alpha) for lora in self.lora]
        with machine_lock("load"):  # beside another model this one may not fit, on the GPU or on its way there
            pipe = load_models(self.checkpoint, device=self.device, loras=loras, preset=self.preset)
            return PackedWeights(pipe, device=self.device)

    def socket_name(self, environ: Mapping[str, str]) -> str:
        """The same for every process that wants the same weights on the same GPU."""
        loras = [(lora.path.resolve(), lora.path.stat().st_mtime_ns, lora.alpha) for lora in self.lora]
        parts = repr((__version__, self.checkpoint.identity, self.checkpoint.dit, self.device, self.preset, loras))
        return f"{gpu_name(self.device, environ)}.{hashlib.sha256(parts.encode()).hexdigest()[:16]}.weights"


class Tie:
    """A rank's hold on the weights: they are there, or on their way, from `hold` to `let_go` or the rank's end."""

    def __init__(self, weights: Weights, environ: Mapping[str, str]) -> None:
        self._weights = weights
        self._name = weights.socket_name(environ)
        self._connection: Connection | None = None
        self._started: int | None = None
        """The holder's process id, if it was started here."""

    def hold(self) -> None:
        """Tie this rank to the holder, which is started if there is none, or if it died. Raises MachineError."""
        if self._connection is not None and not self._connection.poll():  # it says nothing until it ends
            return
        self.let_go()
        with machine_lock(self._name):
            self._connection = self._tie(_connect(self._name)) or self._start()

    def let_go(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        if self._started is not None and os.waitpid(self._started, os.WNOHANG)[0]:
            self._started = None

    def _tie(self, connection: Connection | None) -> Connection | None:
        """None if nobody lives at the other end."""
        if connection is None:
            return None
        with suppress(OSError, EOFError):
            connection.send(self._weights)
            if connection.poll(_HELLO_SECONDS) and connection.recv_bytes() == _HELLO:
                return connection
        connection.close()
        return None

    def _start(self) -> Connection:
        with _address(self._name) as path, socket.socket(socket.AF_UNIX) as listener:
            path.unlink(missing_ok=True)
            listener.bind(str(path))
            listener.listen(64)
            connection = _connect(self._name)  # before it starts: so it is never without a rank that needs it
            # Expandable segments are memory that cannot be shared by CUDA IPC everywhere.
            environ = {name: text for name, text in os.environ.items() if not name.startswith("PYTORCH_")}
            paths = os.pathsep.join(each or str(Path.cwd()) for each in sys.path)
            # Not a child as others are: it ends with no process of this rank, and no signal to all is for it.
            self._started = os.posix_spawn(
                sys.executable,
                [sys.executable, "-c", f"from {__name__} import main; main()"],
                environ | {"PYTHONPATH": paths, "PYTHONSAFEPATH": "1"},
                file_actions=[(os.POSIX_SPAWN_DUP2, listener.fileno(), 0)],
                setsid=True,
                setsigmask=(signal.SIGINT, signal.SIGTERM, signal.SIGHUP),
            )
        if tie := self._tie(connection):
            return tie
        raise MachineError(
            "the process that holds the weights for a GPU's ranks does not start; the log may say why, and "
            "--own-weights does without it"
        )


def ask(weights: Weights, environ: Mapping[str, str]) -> Connection:
    """A worker's way to the weights, once they are there: for `shared_weights.take`. Raises JobError."""
    connection = _connect(weights.socket_name(environ))
    try:
        if connection is not None:
            connection.send(None)
            error: JobError | None = connection.recv()
            if error is None:
                return connection
            raise error
    except (OSError, EOFError) as error:
        raise JobError("the process that holds the weights ended while it loaded them; the log may say why") from error
    raise JobError("the process that holds the weights is not there")


def end_with(connection: Connection) -> None:
    """End this worker, at once, when the process at the other end does: the memory of its weights is gone."""

    def watch() -> None:
        with suppress(OSError, EOFError):
            connection.recv_bytes()
        log.error("the process that holds the weights has died, and so ends its worker")
        logging.shutdown()
        os._exit(EXIT_WEIGHTS_LOST)

    threading.Thread(target=watch, name="weights", daemon=True).start()


def main() -> None:
    """The holder itself, with a socket that listens in the place of standard input."""
    told: queue.SimpleQueue[Weights] = queue.SimpleQueue()
    asked: queue.SimpleQueue[Connection] = queue.SimpleQueue()
    threading.Thread(target=_serve, args=(socket.socket(fileno=0), told, asked), name="ties", daemon=True).start()
    start_logging()
    weights = told.get()
    weights.import_parts()
    # By then its prompts are encoded: the text encoder, which takes twice its size while it loads, is gone again.
    worker = asked.get()
    try:
        packed = weights.load_and_pack()
    except Exception as error:
        log.exception("the weights cannot be loaded")
        failed = (
            error if isinstance(error, JobError) else JobError(" ".join(f"{type(error).__name__}: {error}".split()))
        )
        _answer(worker, failed)
        sys.exit(1)  # the next worker has them loaded again
    log.info("weights held for the ranks of %s: %.1f GiB", weights.device, packed.num_bytes / 2**30)
    while True:
        _answer(worker, None, packed)
        worker = asked.get()


def _answer(connection: Connection, error: JobError | None, packed: "PackedWeights | None" = None) -> None:
    with suppress(OSError), connection:  # the worker may have died
        connection.send(error)
        if packed is not None:
            packed.give(connection)


def _serve(listener: socket.socket, told: "queue.SimpleQueue[Weights]", asked: "queue.SimpleQueue[Connection]") -> None:
    """Hear everybody who comes and goes, and end this process when no rank is left."""
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    ties: set[object] = set()
    while True:
        for key, _ in selector.select():
            if key.fileobj is listener:
                selector.register(Connection(listener.accept()[0].detach()), selectors.EVENT_READ)
                continue
            connection = key.fileobj
            assert isinstance(connection, Connection), "nothing else is registered"
            try:
                message: Weights | None = connection.recv()
                if message is None:
                    # This end stays open until the worker ends: so it hears of this process's death.
                    asked.put(Connection(os.dup(connection.fileno())))
                    continue
                ties.add(connection)
                told.put(message)
                connection.send_bytes(_HELLO)
            except (OSError, EOFError):
                selector.unregister(connection)
                connection.close()
                ties.discard(connection)
                if not ties:
                    os._exit(0)


def _connect(name: str) -> Connection | None:
    """A connection to whoever listens at that name."""
    with _address(name) as path, suppress(OSError), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        return Connection(client.detach())
    return None


@contextmanager
def _address(name: str) -> Iterator[Path]:
    """The socket's path, made short: no more than 107 bytes of it count (unix(7)). Raises MachineError."""
    with lock_folder() as folder:
        descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield Path("/proc/self/fd", str(descriptor), name)
        finally:
            os.close(descriptor)
