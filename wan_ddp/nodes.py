"""How the agents of several nodes meet: torchrun's c10d rendezvous, but a node that is lost costs the others nothing.

torchrun's own handler numbers the nodes by their host names, and ends an agent, with its ranks, when it cannot ask the
rendezvous whether a node has joined. Here a node has the number that NODE_RANK gives it, and one that has lost the
others goes on by itself: its ranks need nothing but the output folder.
"""

import logging
import os
import socket
import sys
import threading
import time
from datetime import timedelta

from torch.distributed import Store  # type: ignore[attr-defined]
from torch.distributed.elastic.rendezvous import (
    RendezvousConnectionError,
    RendezvousError,
    RendezvousHandler,
    RendezvousInfo,
    RendezvousParameters,
    RendezvousStoreInfo,
    rendezvous_handler_registry,
)
from torch.distributed.elastic.rendezvous.c10d_rendezvous_backend import DEFAULT_PORT, create_backend
from torch.distributed.elastic.rendezvous.dynamic_rendezvous import create_handler
from torch.distributed.elastic.rendezvous.utils import parse_rendezvous_endpoint

from wan_ddp.rendezvous import new_run_id

BACKEND = "c10d_nodes"
_PATIENCE_SECONDS = 600  # for the first node, and for an answer of its store
_POLL_SECONDS = 1.0


def register() -> None:
    """Have torchrun know this as `--rdzv-backend=c10d_nodes`, with `--rdzv-conf=node_rank=<this node's>`."""
    rendezvous_handler_registry.register(BACKEND, _create)


def _create(params: RendezvousParameters) -> "Nodes":
    node_rank = params.get_as_int("node_rank")
    assert node_rank is not None, "launch.sh gives it"
    # The ranks use the store where the nodes meet: a second one, at a name that others may not know, is not needed.
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    params.config |= {
        "is_host": str(node_rank == 0),
        "read_timeout": _PATIENCE_SECONDS,
        "join_timeout": (params.get_as_int("last_call_timeout") or 0) + _PATIENCE_SECONDS,
        # Heartbeats are stamped by each node's own clock: at torchrun's 15 s nodes whose clocks differ never meet.
        "keep_alive_max_attempt": 24,
    }
    host, port = parse_rendezvous_endpoint(params.endpoint, DEFAULT_PORT)
    if node_rank > 0:
        _wait_for_first_node(host, port)
    backend, store = create_backend(params)
    return Nodes(create_handler(store, backend, params), store, RendezvousStoreInfo(host, port), node_rank, params)


def _wait_for_first_node(host: str, port: int) -> None:
    """Until it answers. The store's own waiting takes no signal."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            socket.create_connection((host, port), timeout=5).close()
            return
        except OSError as error:
            if time.monotonic() > deadline:
                raise RendezvousConnectionError(f"no answer for {_PATIENCE_SECONDS} s: {error}") from error
        time.sleep(_POLL_SECONDS)


class Nodes(RendezvousHandler):
    """One agent's part in the meeting. `store` is the one at `meeting_point`, in the agent of the first node."""

    def __init__(
        self,
        rounds: RendezvousHandler,
        store: Store,
        meeting_point: RendezvousStoreInfo,
        node_rank: int,
        params: RendezvousParameters,
    ) -> None:
        self._rounds, self._store, self._meeting_point = rounds, store, meeting_point
        self._node_rank, self._num_nodes = node_rank, params.max_nodes
        self._run_id_key = f"wan_ddp/{params.run_id}/run_id"
        self._num_waiting = 0
        self._is_asking = threading.Lock()
        self._has_left = threading.Event()
        threading.Thread(target=self._ask, name="nodes", daemon=True).start()

    def next_rendezvous(self) -> RendezvousInfo:
        """Meet the other nodes, and agree on this one's number and on the run's id, WAN_RUN_ID for the ranks."""
        with self._is_asking:
            info = self._rounds.next_rendezvous()
            self._num_waiting = 0
            number = self._number(info)
            run_id: str = self._store.compare_set(self._run_id_key, "", new_run_id()).decode()
        os.environ["WAN_RUN_ID"] = run_id
        others = "; the others may still come" if info.world_size < self._num_nodes else ""
        met = f"{info.world_size} of {self._num_nodes} nodes have met"
        print(f"launch: run {run_id}, node {self._node_rank}: {met}{others}", flush=True)
        return RendezvousInfo(info.store, number, info.world_size, self._meeting_point)

    def _number(self, info: RendezvousInfo) -> int:
        """This node's place among those that have met, in the order of NODE_RANK."""
        keys = [f"wan_ddp/node_rank/{number}" for number in range(info.world_size)]
        info.store.set(keys[info.rank], str(self._node_rank))
        info.store.wait(keys, timedelta(seconds=60))
        node_ranks = sorted(int(rank) for rank in info.store.multi_get(keys))
        if len(set(node_ranks)) < len(node_ranks):
            raise RendezvousError(f"several nodes have one NODE_RANK, of {node_ranks}; give each its own")
        return node_ranks.index(self._node_rank)

    def _ask(self) -> None:
        """See whether nodes wait to join, in a thread: without an answer the agent still watches its ranks."""
        while not self._has_left.wait(_POLL_SECONDS):
            with self._is_asking:
                try:
                    self._num_waiting = self._rounds.num_nodes_waiting()
                except RendezvousError:
                    print("launch: node 0 is not to be reached any more; this node goes on by itself", file=sys.stderr)
                    # The heartbeats go on in vain, and would be told of every five seconds.
                    logging.getLogger(create_handler.__module__).setLevel(logging.ERROR)
                    return

    def num_nodes_waiting(self) -> int:
        return self._num_waiting

    def shutdown(self) -> bool:
        """Leave. The others may go on, so the rendezvous is not closed for them."""
        self._has_left.set()
        return True

    @property
    def use_agent_store(self) -> bool:
        return True

    def get_backend(self) -> str:
        return BACKEND

    def get_run_id(self) -> str:
        return self._rounds.get_run_id()

    def is_closed(self) -> bool:
        return False

    def set_closed(self) -> None:
        """Nobody closes it: see `shutdown`."""
