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
from wan_ddp.heartbeat import RankState
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
        """Connect to the launch's store; alone there is none. All ranks, restarted ones too, get one run id."""
        proposed = run_id or new_run_id()
        if rank.world_size == 1:
            return cls(rank, None, proposed)
        store = _connect(rank, environ)
        agreed: str = store.compare_set(_RUN_ID_KEY, "", proposed).decode()
        return cls(rank, store, agreed)

    def arrive(self) -> None:
        """Say that this rank has nothing left to do."""
        if self._store is not None:
            self._store.set(self._key(self._rank.rank), "1")

    def wait_for_all(self, state_of: Callable[[int], RankState | None], timeout: float) -> list[int]:
        """Wait until every rank has arrived; returns those that have not and show no sign of life for `timeout` s.

        A rank lives while its heartbeat goes on changing, by this process's clock alone.
        """
        waiting = {rank: (-1, time.monotonic()) for rank in range(self._rank.world_size)}
        silent: list[int] = []
        while waiting:
            for rank, (beat, since) in list(waiting.items()):
                if self._has_arrived(rank):
                    del waiting[rank]
                    continue
                state = state_of(rank)
                if state is not None and state.beat != beat:
                    waiting[rank] = (state.beat, time.monotonic())
                elif time.monotonic() - since > timeout:
                    log.error("rank %d never came to the barrier, and is silent for %.0f s", rank, timeout)
                    silent.append(rank)
                    del waiting[rank]
            if waiting:
                time.sleep(_POLL_SECONDS)
        return silent

    def _has_arrived(self, rank: int) -> bool:
        return self._store is None or bool(self._store.check([self._key(rank)]))

    def _key(self, rank: int) -> str:
        # The store outlives a restart of all ranks: marks of an earlier round must not pass this one's barrier.
        return f"wan_ddp/{self.run_id}/{self._rank.restart}/arrived/{rank}"


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
