"""The launch's shared store: one run id for all ranks, and the final barrier.

The store is torchrun's own, which lives in the agent and outlives its ranks. NCCL is never used: it refuses two ranks
on one GPU, and a dead rank would hang it.
"""

import logging
import secrets
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from wan_ddp.errors import MachineError
from wan_ddp.heartbeat import OVER, RankState
from wan_ddp.process import own_token
from wan_ddp.rank import Rank

if TYPE_CHECKING:
    from torch.distributed import Store  # type: ignore[attr-defined]

log = logging.getLogger(__name__)

_POLL_SECONDS = 0.25
_STORE_TIMEOUT = timedelta(seconds=60)
_RUN_ID_KEY = "wan_ddp/run_id"


class Launch:
    """What the ranks of one launch share."""

    def __init__(self, rank: Rank, store: "Store | None", run_id: str) -> None:
        self._rank = rank
        self._store = store
        self.run_id = run_id

    @classmethod
    def join(cls, rank: Rank, environ: Mapping[str, str], run_id: str | None) -> "Launch":
        """Connect to the launch's store; alone there is none.

        All ranks, restarted ones too, get one run id: the one that launch.sh gives them, or agree on one.
        """
        if rank.world_size == 1:
            return cls(rank, None, run_id or new_run_id())
        store = _connect(rank, environ)
        return cls(rank, store, run_id or store.compare_set(_RUN_ID_KEY, "", new_run_id()).decode())

    def arrive(self) -> None:
        """Say that this rank has nothing left to do."""
        if self._store is not None:
            try:
                self._store.set(self._key(self._rank.rank), own_token())
            except RuntimeError as error:
                log.warning("the launch's store has gone with its node: %s", str(error).partition("\n")[0])

    def wait_for_all(self, state_of: Callable[[int], RankState | None], timeout: float) -> list[int]:
        """Wait until every rank has arrived; returns those that have not and show no sign of life for `timeout` s.

        A rank lives while its heartbeat goes on changing, by this process's clock alone.
        """
        waiting = {rank: (-1, time.monotonic()) for rank in range(self._rank.world_size)}
        silent: list[int] = []
        while waiting:
            for rank, (beat, since) in list(waiting.items()):
                state = state_of(rank)
                if self._has_arrived(rank, state):
                    del waiting[rank]
                elif state is not None and state.beat != beat:
                    waiting[rank] = (state.beat, time.monotonic())
                elif time.monotonic() - since > timeout:
                    log.error("rank %d never came to the barrier, and is silent for %.0f s", rank, timeout)
                    silent.append(rank)
                    del waiting[rank]
            if waiting:
                time.sleep(_POLL_SECONDS)
        return silent

    def _has_arrived(self, rank: int, state: RankState | None) -> bool:
        if self._store is None:
            return True
        if state is None or state.phase in OVER:  # so the folder says, whatever became of the store
            return state is not None
        # The store outlives restarts, of one node's ranks or of all: a mark holds for the process that made it.
        try:
            key = self._key(rank)
            return self._store.check([key]) and self._store.get(key).decode() == state.token
        except RuntimeError:  # it has gone with its node
            return False

    def _key(self, rank: int) -> str:
        return f"wan_ddp/{self.run_id}/arrived/{rank}"


def new_run_id() -> str:
    return f"{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


def _connect(rank: Rank, environ: Mapping[str, str]) -> "Store":
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    in_agent = environ.get("TORCHELASTIC_USE_AGENT_STORE") == str(True)
    address, port = environ["MASTER_ADDR"], environ["MASTER_PORT"]
    try:
        return TCPStore(
            address,
            int(port),
            is_master=not in_agent and rank.rank == 0,
            timeout=_STORE_TIMEOUT,
            wait_for_workers=False,
        )
    except (ValueError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise MachineError(
            f"the launch's store at MASTER_ADDR {address}, MASTER_PORT {port} cannot be reached: {reason}; "
            "start the ranks with torchrun"
        ) from error
