"""What a rank takes next, over real claims of several ranks in one folder."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from factories import make_job

from wan_ddp.attempts import End
from wan_ddp.backlog import Backlog, State
from wan_ddp.claims import Claims
from wan_ddp.job import Conditions, fingerprint_inputs
from wan_ddp.survey import Task
from wan_ddp.verdict import Finding


def task(seed: int) -> Task:
    job = make_job(seed=seed)
    return Task(job, fingerprint_inputs(job, Conditions(model="m"), "digest"), Finding("missing"))


class Launch:
    """Ranks of one launch, each with its own view of the same shards: seeds 0, 1, ... and 100, 101, ... and so on."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.stack = stack
        self.states: dict[str, State] = {}

    def rank(self, number: int, sizes: list[int], *, takeover: bool = True) -> "Rank":
        claims = self.stack.enter_context(Claims(self.folder, run_id="run", rank=number))
        shards = [[task(100 * shard + each) for each in range(size)] for shard, size in enumerate(sizes)]
        backlog = Backlog(
            shards,
            number,
            claims,
            state_of=lambda each: self.states.get(each.key, "to_do"),
            max_attempts=2,
            takeover=takeover,
        )
        return Rank(backlog)


class Rank:
    def __init__(self, backlog: Backlog) -> None:
        self.backlog = backlog

    def take(self) -> int | None:
        """The seed of the task taken and left in hand."""
        taken = self.backlog.take()
        return taken.task.job.seed if taken else None

    def make(self, end: End = "done") -> int | None:
        """The seed of the task taken, and ended so."""
        taken = self.backlog.take()
        if taken is None:
            return None
        taken.claim.end(end)
        if end == "done":
            self.backlog.finish(taken.task)
        else:
            self.backlog.postpone(taken.task, 0.0)
        return taken.task.job.seed


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    with ExitStack() as stack:
        yield Launch(tmp_path / "claims", stack)


def test_the_own_shard_comes_first_and_in_order_then_the_fullest_one_from_its_end(launch: Launch) -> None:
    rank = launch.rank(0, [2, 1, 3])
    assert [rank.make() for _ in range(7)] == [0, 1, 202, 201, 100, 200, None]
    assert rank.backlog.is_empty()


def test_nothing_is_taken_by_two_ranks(launch: Launch) -> None:
    ranks = [launch.rank(number, [4, 4, 4]) for number in range(3)]
    taken = [rank.take() for _ in range(4) for rank in ranks]
    assert sorted(taken) == [0, 1, 2, 3, 100, 101, 102, 103, 200, 201, 202, 203]
    assert [rank.take() for rank in ranks] == [None] * 3
    assert not any(rank.backlog.is_empty() for rank in ranks), "others may still lose what they hold"


def test_a_rank_leaves_when_others_have_finished_what_they_held(launch: Launch) -> None:
    first, second = launch.rank(0, [1, 1]), launch.rank(1, [1, 1])
    taken = second.backlog.take()
    assert taken is not None
    assert first.make() == 0
    assert first.take() is None
    assert not first.backlog.is_empty()
    taken.claim.end("done")
    launch.states[taken.task.key] = "made"
    assert first.take() is None
    assert first.backlog.is_empty()


def test_what_ended_as_done_but_is_not_on_the_disk_is_made_again(launch: Launch) -> None:
    first, second = launch.rank(0, [1, 1]), launch.rank(1, [1, 1])
    assert second.make() == 100
    assert [first.make(), first.make()] == [0, 100]


def test_what_was_made_meanwhile_is_found_when_it_is_claimed(launch: Launch) -> None:
    rank = launch.rank(0, [2])
    launch.states[task(0).key] = "made"
    assert rank.make() == 1
    assert rank.take() is None
    assert rank.backlog.is_empty()


def test_what_was_given_up_meanwhile_is_left_alone_and_does_not_count_as_done(launch: Launch) -> None:
    rank = launch.rank(0, [2])
    launch.states[task(0).key] = "given_up"
    assert rank.make() == 1
    with Claims(launch.folder, run_id="later", rank=0) as claims:
        assert claims.history(task(0).key) == ("released",)


def test_a_task_that_failed_is_behind_the_others_and_given_up_after_its_last_attempt(launch: Launch) -> None:
    first, second = launch.rank(0, [2, 0]), launch.rank(1, [2, 0])
    assert [first.make("worker_died"), first.make()] == [0, 1]
    launch.states[task(1).key] = "made"
    assert second.make("hang") == 0, "another rank may have more luck"
    assert first.take() is None
    assert first.backlog.is_empty()


def test_a_task_that_is_postponed_is_left_alone_for_a_while(launch: Launch) -> None:
    rank = launch.rank(0, [1])
    taken = rank.backlog.take()
    assert taken is not None
    taken.claim.end("released")
    rank.backlog.postpone(taken.task, 60.0)
    assert rank.take() is None
    assert not rank.backlog.is_empty()


def test_without_takeover_the_own_shard_is_all_there_is(launch: Launch) -> None:
    rank = launch.rank(0, [1, 3], takeover=False)
    assert [each.job.seed for each in rank.backlog.ahead()] == [0]
    assert [rank.make(), rank.make()] == [0, None]
    assert rank.backlog.is_empty()


def test_what_lies_ahead_is_the_own_shard_and_then_the_others_from_their_ends(launch: Launch) -> None:
    rank = launch.rank(1, [2, 2])
    assert [each.job.seed for each in rank.backlog.ahead()] == [100, 101, 1, 0]
    assert [rank.make(), rank.make(), rank.make()] == [100, 101, 1]
    assert [each.job.seed for each in rank.backlog.ahead()] == [0]


def test_what_silent_ranks_hold_is_told_from_what_living_ones_do(launch: Launch) -> None:
    first, second = launch.rank(0, [0, 1]), launch.rank(1, [0, 1])
    assert (second.take(), first.take()) == (100, None)
    assert not first.backlog.is_stuck(60.0)
    assert first.backlog.is_stuck(-1.0)
