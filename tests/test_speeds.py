"""Speeds: what a run measures of its ranks, what a plan makes of it, and what is refused."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from factories import experiment_jobs, make_job
from hypothesis import given
from hypothesis import strategies as st
from test_dry_run import Project, rows
from test_plan import any_jobs, by_category, cost, equal_jobs, unequal_jobs

from wan_ddp.errors import UnusableError
from wan_ddp.heartbeat import RankState
from wan_ddp.job import Job
from wan_ddp.plan import num_references, plan
from wan_ddp.speeds import FILE_NAME, longest_seconds, measure, read_speeds, write_speeds

VIDEO = experiment_jobs()[0].cost
speeds = st.lists(st.floats(0.5, 50.0), min_size=1, max_size=9)


def state(rank: int, *, videos: int = 1, seconds: float = 0.0, gpu: int | None = None, **more: Any) -> RankState:
    made = {"num_done": videos, "made_cost": videos * VIDEO, "made_seconds": seconds}
    return RankState("run", rank, rank if gpu is None else gpu, 0, "token", **made | more)


def write(path: Path, *ranks: Any, version: int = 1) -> Path:
    path.write_text(json.dumps({"version": version, "ranks": ranks}))
    return path


@given(any_jobs, speeds)
def test_every_job_is_in_one_shard_whatever_the_speeds(jobs: list[Job], seconds: list[float]) -> None:
    shards = plan(jobs, len(seconds), seconds)
    assert len(shards) == len(seconds)
    assert Counter(job.id for shard in shards for job in shard) == Counter(job.id for job in jobs)


@given(equal_jobs(), speeds)
def test_a_ranks_share_of_each_category_is_its_speeds_share_rounded_down_or_up(
    jobs: list[Job], seconds: list[float]
) -> None:
    total = sum(1 / each for each in seconds)
    shards = plan(jobs, len(seconds), seconds)
    for category, of_category in by_category(jobs).items():
        for shard, each in zip(shards, seconds, strict=True):
            share = len(of_category) / each / total
            assert abs(sum(job.category == category for job in shard) - share) < 1 + 1e-6


@given(unequal_jobs(), speeds)
def test_shares_of_unequal_jobs_are_off_by_no_more_than_twice_the_dearest(
    jobs: list[Job], seconds: list[float]
) -> None:
    total = sum(1 / each for each in seconds)
    for shard, each in zip(plan(jobs, len(seconds), seconds), seconds, strict=True):
        for category, of_category in by_category(jobs).items():
            mine = [job for job in shard if job.category == category]
            assert abs(cost(mine) - cost(of_category) / each / total) <= 4 * max(job.cost for job in jobs)


@given(any_jobs, speeds)
def test_few_references_are_split_by_speeds_too(jobs: list[Job], seconds: list[float]) -> None:
    shards = plan(jobs, len(seconds), seconds)
    for category, of_category in by_category(jobs).items():
        pairs = sum(num_references([job for job in shard if job.category == category]) for shard in shards)
        assert pairs <= num_references(of_category) + len(seconds) - 1


@given(any_jobs, st.integers(1, 9), st.floats(0.5, 50.0))
def test_equal_speeds_change_nothing(jobs: list[Job], world_size: int, seconds: float) -> None:
    assert plan(jobs, world_size, [seconds] * world_size) == plan(jobs, world_size)


def test_a_gpu_of_half_the_speed_gets_half_the_experiments_videos_and_is_done_with_the_others() -> None:
    seconds = [680.0] * 2 + [340.0] * 6
    shards = plan(experiment_jobs(), 8, seconds)
    assert [len(shard) for shard in shards] == [49] * 2 + [97] * 6
    ideal = 680 / sum(1 / each for each in seconds)
    assert longest_seconds([cost(shard) for shard in shards], seconds) < 1.01 * ideal


def test_what_the_ranks_of_a_gpu_took_is_one_figure_and_that_of_other_nodes_another() -> None:
    states = [
        state(0, videos=3, seconds=900.0, gpu=0, gpu_name="H100"),
        state(1, videos=1, seconds=500.0, gpu=0, gpu_name="H100"),
        state(2, videos=1, seconds=700.0, gpu=0, node=1, host="b"),
        state(3, videos=0, gpu=1),
    ]
    found = {each.rank: each for each in measure(states)}
    assert {rank: each.seconds_a_video for rank, each in found.items()} == {0: 350.0, 1: 350.0, 2: 700.0}
    assert (found[0].gpu_name, found[2].host, found[2].node) == ("H100", "b", 1)


def test_what_a_run_leaves_is_what_the_next_one_reads(tmp_path: Path) -> None:
    write_speeds(tmp_path, [state(rank, seconds=100.0 * (rank + 1)) for rank in range(3)])
    assert read_speeds(tmp_path / FILE_NAME, 3) == (100.0, 200.0, 300.0)
    assert read_speeds(tmp_path / FILE_NAME, 2) == (100.0, 200.0), "what it says of other ranks does not count"
    assert read_speeds(tmp_path / FILE_NAME, 5) == (100.0, 200.0, 300.0, 200.0, 200.0), "the median for the unknown"
    assert read_speeds(None, 3) is None


def test_a_run_that_had_work_for_few_ranks_leaves_the_file_as_it_is(tmp_path: Path) -> None:
    write_speeds(tmp_path, [state(0, seconds=100.0), state(1, seconds=100.0)])
    write_speeds(tmp_path, [state(0, seconds=900.0), state(1, videos=0)])
    write_speeds(tmp_path, [])
    assert read_speeds(tmp_path / FILE_NAME, 2) == (100.0, 100.0)


RANK = {"rank": 0, "seconds_a_video": 340.5}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", 'not a file of speeds, which has "version": 1'),
        (json.dumps({"version": 2, "ranks": [RANK]}), 'not a file of speeds, which has "version": 1'),
        (json.dumps({"version": 1}), "ranks is a list of objects with rank"),
        (json.dumps({"version": 1, "ranks": [{"rank": 0}]}), "ranks.0.seconds_a_video"),
        (json.dumps({"version": 1, "ranks": [RANK | {"seconds_a_video": 0}]}), "ranks.0.seconds_a_video"),
        (json.dumps({"version": 1, "ranks": [RANK | {"seconds_a_video": "340"}]}), "ranks.0.seconds_a_video"),
        (json.dumps({"version": 1, "ranks": [RANK | {"seconds_a_video": float("inf")}]}), "ranks.0.seconds_a_video"),
        (json.dumps({"version": 1, "ranks": [RANK | {"rank": -1}]}), "ranks.0.rank"),
        (json.dumps({"version": 1, "ranks": [RANK | {"rank": True}]}), "ranks.0.rank"),
        (json.dumps({"version": 1, "ranks": [RANK, RANK]}), "rank 0 stands twice"),
        (json.dumps({"version": 1, "ranks": [RANK | {"rank": 8}]}), "says nothing of ranks 0 to 7"),
    ],
)
def test_what_is_no_file_of_speeds_is_refused_in_one_line(tmp_path: Path, content: str, says: str) -> None:
    path = tmp_path / "s.json"
    path.write_text(content)
    with pytest.raises(UnusableError) as error:
        read_speeds(path, 8)
    assert str(error.value).startswith(f"{path}: ")
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_the_plan_that_is_shown_is_by_the_file_in_table_and_json(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.write([make_job(reference=f"/r/{number // 4}.mp4", seed=number) for number in range(12)])
    flags = (
        "--world-size",
        "2",
        "--speeds",
        str(write(tmp_path / "s.json", RANK, {"rank": 1, "seconds_a_video": 681})),
    )
    assert [len(rank["jobs"]) for rank in project.plan(*flags)["ranks"]] == [8, 4]
    text = project.dry_run(*flags).stdout
    assert [row[-1] for row in rows(text)[:-1]] == ["340", "681"]
    assert f"the speeds in {tmp_path / 's.json'}" in text


def test_a_file_that_is_not_there_is_said_with_exit_code_2(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.jobs(2)
    result = project.dry_run("--speeds", "none.json")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("error: none.json: cannot be read: No such file or directory")
    assert len(result.stderr.splitlines()) == 1


def test_speeds_change_no_fingerprint(tmp_path: Path) -> None:
    """A video is the same whoever makes it: all that decides pixels is in the conditions."""
    from wan_ddp.settings import parse

    path = write(tmp_path / "s.json", RANK)
    with_speeds = parse(["--speeds", str(path)], {})
    assert with_speeds.speeds == path
    assert with_speeds.conditions("m") == replace(with_speeds, speeds=None).conditions("m")
