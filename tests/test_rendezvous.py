"""The final barrier over a real store: who has arrived, who lives, and who is waited for no longer."""

import logging
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from torch.distributed import HashStore, Store  # type: ignore[attr-defined]

from wan_ddp.heartbeat import RankState
from wan_ddp.rank import Rank
from wan_ddp.rendezvous import Launch

pytestmark = pytest.mark.timeout(60)

RANKS = [Rank(rank=rank, world_size=3) for rank in range(3)]
STATE = RankState("run", 0, 0, 0, "token", beat=7)


def launches(store: Store, restart: int = 0) -> list[Launch]:
    return [Launch(replace(rank, restart=restart), store, "run") for rank in RANKS]


@pytest.fixture
def store() -> Iterator[Store]:
    return HashStore()


def test_ranks_that_have_all_arrived_are_not_waited_for(store: Store) -> None:
    ranks = launches(store)
    for rank in ranks:
        rank.arrive()
    started = time.monotonic()
    assert ranks[0].wait_for_all(lambda _: None, 30) == []
    assert time.monotonic() - started < 5


def test_ranks_that_never_came_and_ranks_that_fell_silent_are_named(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    ranks = launches(store)
    ranks[0].arrive()
    with caplog.at_level(logging.ERROR):
        assert ranks[0].wait_for_all(lambda rank: STATE if rank == 2 else None, 0.5) == [1, 2]
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
    again = launches(store, restart=1)
    again[0].arrive()
    assert again[0].wait_for_all(lambda _: None, 0.3) == [1, 2]
