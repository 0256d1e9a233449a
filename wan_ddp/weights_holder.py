"""The process that holds a GPU's weights, one copy for the workers of all its ranks, and how these reach it.

It belongs to no rank: whoever needs it first starts it, and it ends when no rank is tied to it any more, however they
ended. So a worker's death leaves it standing, and the next worker finds the weights where they are. Its own death ends
the workers that use them; what they were at is released, uncharged, and the next worker has the weights loaded anew.

Ranks and workers talk to it through a socket in this user's folder of lock files, one a GPU and set of weights.
"""

import hashlib
import logging
import multiprocessing
import os
import queue
import selectors
import signal
import socket
import subprocess
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
from wan_ddp.settings import Lora
from wan_ddp.wan.checkpoint import Checkpoint

if TYPE_CHECKING:
    from wan_ddp.wan.shared_weights import PackedWeights

log = logging.getLogger(__name__)

_TIE, _ASK, _HELLO = b"tie", b"ask", b"hello"
_HELLO_SECONDS = 120.0  # a Python that starts on a busy machine
_SPARED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Weights:
    """What a holder loads: the DiT, with LoRAs added, and the VAE of a checkpoint, onto one device."""

    checkpoint: Checkpoint
    device: str
    lora: tuple[Lora, ...] = ()

    def load_and_pack(self) -> "PackedWeights":
        """Raises JobError, and whatever damaged files lead to."""
        from wan_ddp.wan.loading import load_models
        from wan_ddp.wan.shared_weights import PackedWeights

        loras = [(lora.path, lora.alpha) for lora in self.lora]
        with machine_lock("load"):  # beside another model this one may not fit, on the GPU or on its way there
            return PackedWeights(load_models(self.checkpoint, device=self.device, loras=loras), device=self.device)

    def socket_name(self, environ: Mapping[str, str]) -> str:
        """The same for every process that wants the same weights on the same GPU."""
        loras = [(lora.path.resolve(), lora.path.stat().st_mtime_ns, lora.alpha) for lora in self.lora]
        parts = repr((__version__, self.checkpoint.identity, self.checkpoint.dit, self.device, loras))
        return f"{gpu_name(self.device, environ)}.{hashlib.sha256(parts.encode()).hexdigest()[:16]}.weights"


class Tie:
    """A rank's hold on the weights: they are there, or on their way, from `hold` to `let_go` or the rank's end."""

    def __init__(self, weights: Weights, environ: Mapping[str, str]) -> None:
        self._weights = weights
        self._name = weights.socket_name(environ)
        self._connection: Connection | None = None
        self._process: subprocess.Popen[bytes] | None = None

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
        if self._process is not None:
            self._process.poll()  # if it has ended, that is known now

    def _tie(self, connection: Connection | None) -> Connection | None:
        """None if nobody lives at the other end."""
        if connection is None:
            return None
        with suppress(OSError, EOFError):
            connection.send_bytes(_TIE)
            if connection.poll(_HELLO_SECONDS) and connection.recv_bytes() == _HELLO:
                return connection
        connection.close()
        return None

    def _start(self) -> Connection:
        ours, theirs = multiprocessing.Pipe()
        with ours, theirs, _address(self._name) as path, socket.socket(socket.AF_UNIX) as listener:
            path.unlink(missing_ok=True)
            listener.bind(str(path))
            listener.listen(64)
            connection = _connect(self._name)  # before it starts: so it is never without a rank that needs it
            code = f"from wan_ddp.weights_holder import main; main({listener.fileno()}, {theirs.fileno()})"
            paths = os.pathsep.join(each or str(Path.cwd()) for each in sys.path)
            environ = os.environ | {"PYTHONPATH": paths, "PYTHONSAFEPATH": "1"}
            # Expandable segments are memory that cannot be shared by CUDA IPC everywhere.
            environ = {name: text for name, text in environ.items() if not name.startswith("PYTORCH_")}
            # Signals to all processes, a scheduler's or a terminal's, are for the ranks to answer: blocked here, and so
            # in what is started, from its first instruction on.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, _SPARED)
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-c", code],
                    stdin=subprocess.DEVNULL,
                    pass_fds=[listener.fileno(), theirs.fileno()],
                    env=environ,
                    start_new_session=True,
                )
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
            ours.send(self._weights)
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
            connection.send_bytes(_ASK)
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


def main(listener: int, orders: int) -> None:
    """The holder itself, with a socket that listens, and a pipe that says what to load."""
    asked: queue.SimpleQueue[Connection] = queue.SimpleQueue()
    threading.Thread(target=_serve, args=(socket.socket(fileno=listener), asked), name="ties", daemon=True).start()
    with Connection(orders) as connection:
        weights: Weights = connection.recv()
    start_logging()
    try:
        packed = weights.load_and_pack()
    except Exception as error:
        log.exception("the weights cannot be loaded")
        failed = (
            error if isinstance(error, JobError) else JobError(" ".join(f"{type(error).__name__}: {error}".split()))
        )
        _answer(asked.get(), failed)
        sys.exit(1)  # the next worker has them loaded again
    log.info("weights held for the ranks of %s: %.1f GiB", weights.device, packed.num_bytes / 2**30)
    while True:
        _answer(asked.get(), None, packed)


def _answer(connection: Connection, error: JobError | None, packed: "PackedWeights | None" = None) -> None:
    with suppress(OSError), connection:  # the worker may have died
        connection.send(error)
        if packed is not None:
            packed.give(connection)


def _serve(listener: socket.socket, asked: "queue.SimpleQueue[Connection]") -> None:
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
            message = _message(connection)
            if message == _TIE:
                ties.add(connection)
            elif message == _ASK:
                # This end stays open until the worker ends: so it hears of this process's death.
                asked.put(Connection(os.dup(connection.fileno())))
            else:
                selector.unregister(connection)
                connection.close()
                ties.discard(connection)
                if not ties:
                    os._exit(0)


def _message(connection: Connection) -> bytes:
    """What was said; nothing if it was the end."""
    try:
        message = connection.recv_bytes()
        if message == _TIE:
            connection.send_bytes(_HELLO)
    except (OSError, EOFError):
        return b""
    return message


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
