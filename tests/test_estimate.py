"""What a run will take, before it and while it goes on."""

from dataclasses import replace

import pytest
from factories import experiment_jobs
from hypothesis import given
from hypothesis import strategies as st

from wan_ddp.estimate import estimate
from wan_ddp.job import Job
from wan_ddp.plan import plan

JOB = experiment_jobs()[0]


def seconds(shards: list[list[Job]], num_gpus: int = 1, measured: list[float] | None = None) -> float:
    return estimate(shards, num_gpus, measured or []).seconds


def test_a_video_of_the_experiment_takes_what_was_measured_on_an_h100() -> None:
    """1.68 PFLOP a forward and 100 forwards, at the 505 TFLOP/s that DiffSynth reaches there, and ten seconds more."""
    assert seconds([[JOB]]) == pytest.approx(100 * 1.68e15 / 505e12 + 10, rel=0.02)


def test_without_guidance_half_the_forwards_are_saved() -> None:
    guided = seconds([[JOB]]) - 10
    assert seconds([[replace(JOB, cfg_scale=1.0)]]) - 10 == pytest.approx(guided / 2)
    assert seconds([[replace(JOB, num_inference_steps=25)]]) - 10 == pytest.approx(guided / 2)


def test_balanced_shards_end_sooner_than_a_category_a_gpu() -> None:
    jobs = experiment_jobs()
    categories = list(dict.fromkeys(job.category for job in jobs))
    by_category = [[job for job in jobs if job.category == category] for category in categories]
    assert seconds(by_category, 4) / seconds(plan(jobs, 8), 4) == pytest.approx(330 / 170)


def test_ranks_that_share_a_gpu_add_up() -> None:
    assert seconds([[JOB], [JOB]], num_gpus=1) == pytest.approx(2 * seconds([[JOB], [JOB]], num_gpus=2))


def test_the_busiest_gpu_sets_the_time_also_where_the_last_has_fewer_ranks() -> None:
    assert seconds([[JOB], [JOB, JOB], [JOB]], num_gpus=2) == pytest.approx(3 * seconds([[JOB]]))


def test_videos_made_already_tell_better() -> None:
    found = estimate([[JOB] * 3, [JOB]], 1, [100.0, 120.0, 9000.0])
    assert found.seconds == 3 * 120
    assert found.basis == "120 s a video, the median of those made"


@given(st.lists(st.integers(0, 5), min_size=1, max_size=8), st.lists(st.floats(1, 1000), max_size=3))
def test_more_jobs_never_take_less(counts: list[int], measured: list[float]) -> None:
    shards = [[JOB] * count for count in counts]
    more = [[*shards[0], JOB], *shards[1:]]
    before, after = estimate(shards, len(shards), measured), estimate(more, len(shards), measured)
    assert after.seconds >= before.seconds >= 0
    assert after.num_bytes > before.num_bytes >= 0


def test_the_experiments_videos_take_a_few_gigabytes() -> None:
    assert 1e9 < estimate(plan(experiment_jobs(), 8), 4, []).num_bytes < 10e9
