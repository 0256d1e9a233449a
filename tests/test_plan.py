"""Shards are disjoint, cover, balance, and read as few references as they can, for any manifest and world size."""

import json
import os
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import accumulate, combinations, groupby

import pytest
from factories import EXPERIMENT, experiment_jobs, make_job
from hypothesis import example, given, settings
from hypothesis import strategies as st

from wan_ddp.job import Job
from wan_ddp.plan import num_references, plan

world_sizes = st.integers(1, 17)
# Category -> how many jobs each of its references has.
layouts = st.dictionaries(
    st.sampled_from("abcd"), st.lists(st.integers(1, 6), min_size=1, max_size=8), min_size=1, max_size=4
)


def jobs_of(layout: dict[str, list[int]], costs: Callable[[], int] = lambda: 1) -> list[Job]:
    """Jobs in the order that a person writes them in; `costs` gives each one's number of steps."""
    return [
        make_job(category=category, reference=f"/r/{category}/{number}.mp4", seed=seed, num_inference_steps=costs())
        for category, references in layout.items()
        for number, num_jobs in enumerate(references)
        for seed in range(num_jobs)
    ]


@st.composite
def equal_jobs(draw: st.DrawFn) -> list[Job]:
    """Any manifest whose jobs cost the same, in any order."""
    return draw(st.permutations(jobs_of(draw(layouts))))


@st.composite
def unequal_jobs(draw: st.DrawFn) -> list[Job]:
    costs = st.sampled_from([1, 1, 1, 2, 5, 50])
    return draw(st.permutations(jobs_of(draw(layouts), lambda: draw(costs))))


any_jobs = equal_jobs() | unequal_jobs()


def by_category(jobs: Sequence[Job]) -> dict[str, list[Job]]:
    categories = defaultdict(list)
    for job in jobs:
        categories[job.category].append(job)
    return categories


def num_pairs(shards: Sequence[Sequence[Job]], category: str) -> int:
    """How often a reference of the category is read."""
    return len({(rank, job.reference) for rank, jobs in enumerate(shards) for job in jobs if job.category == category})


def spread(values: Sequence[int]) -> int:
    return max(values) - min(values)


def cost(jobs: Sequence[Job]) -> int:
    return sum(job.cost for job in jobs)


@given(any_jobs, world_sizes)
def test_every_job_is_in_one_shard_and_there_is_a_shard_for_every_rank(jobs: list[Job], world_size: int) -> None:
    shards = plan(jobs, world_size)
    assert len(shards) == world_size
    assert Counter(job.id for shard in shards for job in shard) == Counter(job.id for job in jobs)


@given(equal_jobs(), world_sizes)
def test_shares_of_equal_jobs_differ_by_at_most_one_in_every_category_and_in_all(
    jobs: list[Job], world_size: int
) -> None:
    shards = plan(jobs, world_size)
    for category in by_category(jobs):
        assert spread([sum(job.category == category for job in shard) for shard in shards]) <= 1
    assert spread([len(shard) for shard in shards]) <= 1


@given(layouts, st.lists(st.sampled_from([1, 3, 7]), min_size=4, max_size=4), world_sizes)
def test_categories_of_different_cost_still_differ_by_at_most_one_job_each(
    layout: dict[str, list[int]], steps: list[int], world_size: int
) -> None:
    steps_of = dict(zip("abcd", steps, strict=True))
    jobs = [replace(job, num_inference_steps=steps_of[job.category]) for job in jobs_of(layout)]
    shards = plan(jobs, world_size)
    for category in by_category(jobs):
        assert spread([sum(job.category == category for job in shard) for shard in shards]) <= 1
    assert spread([cost(shard) for shard in shards]) <= max(job.cost for job in jobs)


@given(unequal_jobs(), world_sizes)
def test_no_share_of_a_category_is_off_the_equal_cost_by_more_than_its_dearest_job(
    jobs: list[Job], world_size: int
) -> None:
    """Each of a piece's two cuts lies within half a job of where equal shares would be cut."""
    shards = plan(jobs, world_size)
    for category, of_category in by_category(jobs).items():
        dearest = max(job.cost for job in of_category)
        for shard in shards:
            share = cost([job for job in shard if job.category == category])
            assert abs(share - cost(of_category) / world_size) <= dearest


def test_unequal_jobs_are_cut_where_the_cost_is_nearest_to_equal() -> None:
    steps = iter([2, 3, 4])
    jobs = jobs_of({"a": [3]}, lambda: next(steps))
    assert sorted(sum(job.num_inference_steps for job in shard) for shard in plan(jobs, 2)) == [4, 5]


@given(unequal_jobs(), world_sizes)
def test_the_ranks_totals_differ_by_at_most_twice_the_dearest_job(jobs: list[Job], world_size: int) -> None:
    """Dearer pieces go to less loaded ranks, so the spread of the sums is at most the widest of the categories'.

    A category's own spread is at most twice its dearest job, as above; categories do not add up.
    """
    shards = plan(jobs, world_size)
    assert spread([cost(shard) for shard in shards]) <= 2 * max(job.cost for job in jobs)


@given(any_jobs, world_sizes)
def test_a_rank_makes_the_jobs_of_a_reference_one_after_another(jobs: list[Job], world_size: int) -> None:
    for shard in plan(jobs, world_size):
        runs = [reference for reference, _ in groupby(job.reference for job in shard)]
        assert len(runs) == len(set(runs)) == num_references(shard)


@given(any_jobs, world_sizes)
def test_at_most_one_reference_fewer_than_ranks_is_split_in_a_category(jobs: list[Job], world_size: int) -> None:
    shards = plan(jobs, world_size)
    for category, of_category in by_category(jobs).items():
        assert num_pairs(shards, category) <= num_references(of_category) + world_size - 1


@settings(max_examples=200)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=8), st.integers(1, 7))
@example([2, 1, 2, 1, 2], 3)
@example([3, 2, 2], 3)
@example([1, 1, 1], 7)
def test_no_other_consecutive_cut_into_equal_shares_reads_fewer_references(
    references: list[int], world_size: int
) -> None:
    jobs = jobs_of({"a": references})
    clean = {0, *accumulate(references)}
    size, num_longer = divmod(len(jobs), world_size)
    fewest = min(
        len(references) + sum(end not in clean for end in ends[:-1])
        for longer in combinations(range(world_size), num_longer)
        for ends in [list(accumulate(size + (piece in longer) for piece in range(world_size)))]
    )
    assert num_pairs(plan(jobs, world_size), "a") == fewest


@given(any_jobs, world_sizes)
def test_each_rank_has_a_consecutive_piece_of_each_category(jobs: list[Job], world_size: int) -> None:
    grouped: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for job in jobs:
        grouped[job.category][job.reference].append(job.id)
    order = {name: [id for group in references.values() for id in group] for name, references in grouped.items()}
    for shard in plan(jobs, world_size):
        for category, piece in by_category(shard).items():
            first = order[category].index(piece[0].id)
            assert order[category][first : first + len(piece)] == [job.id for job in piece]


@given(any_jobs, world_sizes)
def test_the_same_jobs_give_the_same_plan(jobs: list[Job], world_size: int) -> None:
    assert plan(jobs, world_size) == plan([replace(job) for job in jobs], world_size)


def test_every_process_makes_the_same_plan() -> None:
    """Ranks plan for themselves: nothing may depend on a process's hash seed."""
    code = (
        "import json, factories; from wan_ddp.plan import plan; "
        "print(json.dumps([[job.id for job in shard] for shard in plan(factories.experiment_jobs(), 8)]))"
    )
    path = os.pathsep.join(sys.path)
    plans = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": path},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert plans[0] == plans[1]
    assert json.loads(plans[0]) == [[job.id for job in shard] for shard in plan(experiment_jobs(), 8)]


@pytest.mark.parametrize("world_size", [1, 2, 4, 8, 16, 64])
def test_the_experiment_is_shared_out_evenly(world_size: int) -> None:
    shards = plan(experiment_jobs(), world_size)
    assert sum(map(len, shards)) == 680
    assert {len(shard) for shard in shards} <= {680 // world_size, -(-680 // world_size)}


def test_eight_ranks_make_85_of_the_experiments_videos_each() -> None:
    shards = plan(experiment_jobs(), 8)
    assert [len(shard) for shard in shards] == [85] * 8
    for category, num_of_category in EXPERIMENT.items():
        assert num_pairs(shards, category) <= num_of_category + 7


def test_more_ranks_than_jobs_leave_some_without_work() -> None:
    shards = plan(jobs_of({"a": [1, 1]}), 5)
    assert sorted(map(len, shards)) == [0, 0, 0, 1, 1]


def test_no_jobs_are_no_work_for_anybody() -> None:
    assert plan([], 3) == [[], [], []]


@pytest.mark.parametrize("world_size", [0, -1])
def test_a_world_without_ranks_is_refused(world_size: int) -> None:
    with pytest.raises(ValueError, match=f"world_size is {world_size}; it must be 1 or more"):
        plan(experiment_jobs(), world_size)
