"""The final barrier over a real store: who has arrived, who lives, and who is waited for no longer."""

import logging
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from torch.distributed import HashStore, Store, TCPStore  # type: ignore[attr-defined]

from wan_ddp.heartbeat import RankState
from wan_ddp.process import own_token
from wan_ddp.rank import Rank
from wan_ddp.rendezvous import Launch

pytestmark = pytest.mark.timeout(60)

RANKS = [Rank(rank=rank, world_size=3) for rank in range(3)]
STATE = RankState("run", 0, 0, 0, own_token(), beat=7)


def launches(store: Store) -> list[Launch]:
    return [Launch(rank, store, "run") for rank in RANKS]


@pytest.fixture
def store() -> Iterator[Store]:
    return HashStore()


def test_ranks_that_have_all_arrived_are_not_waited_for(store: Store) -> None:
    ranks = launches(store)
    for rank in ranks:
        rank.arrive()
    started = time.monotonic()
    assert ranks[0].wait_for_all(lambda _: STATE, 30) == []
    assert time.monotonic() - started < 5


def test_ranks_that_never_came_and_ranks_that_fell_silent_are_named(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    ranks = launches(store)
    ranks[0].arrive()
    with caplog.at_level(logging.ERROR):
        assert ranks[0].wait_for_all(lambda rank: None if rank == 1 else STATE, 0.5) == [1, 2]
    assert "rank 1 never came to the barrier" in caplog.text


def test_a_rank_whose_heart_beats_is_waited_for_however_long_it_takes(store: Store) -> None:
    ranks = launches(store)
    ranks[0].arrive()
    ranks[1].arrive()
    beats = iter(range(9))

    def state_of(rank: int) -> RankState:
        beat = next(beats, None)
        if beat is None:
            ranks[rank].arrive()
        return replace(STATE, beat=beat or 0)

    started = time.monotonic()
    assert ranks[0].wait_for_all(state_of, 1.0) == []
    assert time.monotonic() - started > 1.0


def test_who_arrived_before_a_restart_has_not_arrived_after_it(store: Store) -> None:
    for rank in launches(store):
        rank.arrive()
    states = [STATE, replace(STATE, token="another process"), None]
    assert launches(store)[0].wait_for_all(lambda rank: states[rank], 0.3) == [1, 2]


@pytest.mark.parametrize("phase", ["finished", "failed", "stopped"])
def test_a_store_that_is_lost_with_its_node_neither_stops_a_rank_nor_has_it_wait_for_those_that_are_done(
    phase: str,
) -> None:
    server = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    ranks = launches(TCPStore("127.0.0.1", server.port, is_master=False, wait_for_workers=False))
    del server
    ranks[0].arrive()
    ranks[1].arrive()
    states = [replace(STATE, phase="finished"), replace(STATE, phase=phase), replace(STATE, phase="working")]
    assert ranks[0].wait_for_all(lambda rank: states[rank], 0.5) == [2]


def test_ranks_that_were_given_no_run_id_agree_on_one_and_others_keep_theirs() -> None:
    server = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(server.port), "TORCHELASTIC_USE_AGENT_STORE": "True"}
    assert len({Launch.join(rank, meeting, None).run_id for rank in RANKS}) == 1
    assert {Launch.join(rank, meeting, "given").run_id for rank in RANKS} == {"given"}
