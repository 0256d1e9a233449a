"""What a run will take, before it and while it goes on."""

from dataclasses import replace

import pytest
from factories import experiment_jobs
from hypothesis import given
from hypothesis import strategies as st

from wan_ddp.estimate import (
    GIB_PER_RANK,
    ModelSize,
    Sample,
    Samples,
    cpu_step_seconds,
    estimate,
    h100_seconds,
    one_copy_gib,
    rank_gib,
    rank_host_gib,
    video_bytes,
)
from wan_ddp.job import Job
from wan_ddp.plan import plan

JOB = experiment_jobs()[0]


def seconds(shards: list[list[Job]], num_gpus: int = 1, measured: list[float] | None = None) -> float:
    return estimate(shards, num_gpus, [(JOB, seconds) for seconds in measured or []]).seconds


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
    found = estimate([[JOB] * 3, [JOB]], 1, [(JOB, 100.0), (JOB, 120.0), (JOB, 9000.0)])
    assert found.seconds == pytest.approx(3 * 120)
    assert found.basis == "120 s a video, the median of those made"


def test_short_videos_made_already_do_not_make_the_long_ones_seem_short() -> None:
    short = replace(JOB, num_frames=5, num_inference_steps=2)
    assert seconds([[JOB], [JOB]]) > 100 * h100_seconds(short)
    found = estimate([[JOB]], 1, [(short, 2 * h100_seconds(short))])
    assert found.seconds == pytest.approx(2 * h100_seconds(JOB))


@given(st.lists(st.integers(0, 5), min_size=1, max_size=8), st.lists(st.floats(1, 1000), max_size=3))
def test_more_jobs_never_take_less(counts: list[int], measured: list[float]) -> None:
    shards = [[JOB] * count for count in counts]
    more = [[*shards[0], JOB], *shards[1:]]
    made = [(JOB, seconds) for seconds in measured]
    before, after = estimate(shards, len(shards), made), estimate(more, len(shards), made)
    assert after.seconds >= before.seconds >= 0
    assert after.num_bytes > before.num_bytes >= 0


def test_the_experiments_videos_take_a_few_gigabytes() -> None:
    assert 1e9 < estimate(plan(experiment_jobs(), 8), 4, []).num_bytes < 10e9


PARTS = {"read": 1.0, "encode": 3.0, "denoise": 40.0, "decode": 5.0, "save": 2.0}
SHORT = Sample(replace(JOB, num_inference_steps=8), PARTS, 4_000_000)
PILOT = Samples((SHORT,), 20.0, "the pilot")


def test_a_pilots_steps_and_fixed_parts_give_a_whole_video() -> None:
    """50 of the steps of which 8 took 40 s; decoding and saving as measured; one reference read and encoded."""
    found = estimate([[JOB]], 1, [], PILOT)
    assert found.seconds == pytest.approx(20 + 50 * 40 / 8 + 5 + 2 + 1 + 3)
    assert found.num_bytes == pytest.approx(4_000_000)
    assert found.basis == "the pilot"


def test_videos_of_one_reference_share_its_encoding_and_ranks_work_side_by_side() -> None:
    other = replace(JOB, reference="/references/other.mp4")
    video = 50 * 40 / 8 + 5 + 2
    assert PILOT.shard_seconds([JOB, JOB, JOB, other]) == pytest.approx(20 + 4 * video + 2 * (1 + 3))
    assert estimate([[JOB], [JOB, JOB]], 1, [], PILOT).seconds == pytest.approx(20 + 2 * video + 4)
    assert PILOT.shard_seconds([replace(JOB, mechanism="none", denoising_strength=1.0)]) == pytest.approx(20 + video)
    assert PILOT.shard_seconds([]) == 0


def test_a_pilots_figures_are_scaled_to_jobs_of_other_sizes() -> None:
    assert PILOT.video_seconds(replace(JOB, cfg_scale=1.0)) == pytest.approx(50 * 40 / 8 / 2 + 7)
    half = replace(JOB, width=416)
    assert PILOT.num_bytes(half) == pytest.approx(2_000_000)
    assert PILOT.video_seconds(half) < PILOT.video_seconds(JOB) / 2  # attention grows with the square


def test_a_job_is_estimated_by_its_own_category_where_the_pilot_has_it() -> None:
    slow = Sample(replace(SHORT.job, category="slow"), PARTS | {"denoise": 80.0}, 4_000_000)
    both = Samples((SHORT, slow), 0.0, "")
    assert both.denoise_seconds(replace(JOB, category="slow")) == pytest.approx(2 * both.denoise_seconds(JOB))
    assert both.denoise_seconds(replace(JOB, category="new")) == pytest.approx(1.5 * both.denoise_seconds(JOB))


def test_videos_of_this_run_count_for_more_than_a_pilot() -> None:
    assert estimate([[JOB]], 1, [(JOB, 100.0)], PILOT).seconds == pytest.approx(100)


def test_a_smaller_model_takes_less_time_memory_and_says_that_it_is_in_proportion() -> None:
    small = ModelSize(1_418_996_800, 1536)
    found = estimate([[JOB]], 1, [], None, small)
    assert found.seconds < seconds([[JOB]]) / 5
    assert found.basis.startswith("in proportion to Wan2.1-T2V-14B")
    assert rank_gib(JOB, small, tiled=True) < 15
    assert cpu_step_seconds(JOB, small) < cpu_step_seconds(JOB, ModelSize()) / 5


def test_two_ranks_of_the_experiment_take_what_was_measured() -> None:
    assert 2 * rank_gib(JOB, ModelSize(), tiled=True) == pytest.approx(69.9)
    assert 2 * rank_host_gib(ModelSize()) == pytest.approx(12.7e9 / 2**30)
    assert 2 * GIB_PER_RANK == 69.9


def test_two_ranks_with_one_copy_of_the_weights_take_what_was_measured() -> None:
    def gib(num_ranks: int, *, in_float8: bool = False) -> float:
        return one_copy_gib(JOB, ModelSize(), num_ranks, tiled=True, in_float8=in_float8)

    assert gib(2) == pytest.approx(36.9)
    assert gib(2, in_float8=True) < 30 < gib(1) < gib(3) < gib(4)


def test_the_text_encoder_is_the_most_that_a_small_model_holds() -> None:
    tiny = ModelSize(343_648, 96, 107_072)
    assert rank_gib(JOB, ModelSize(343_648, 96), tiled=True) > 10 > 2 > rank_gib(JOB, tiny, tiled=True)


@given(st.sampled_from([16, 480, 832, 1280]), st.sampled_from([5, 81, 161]), st.booleans())
def test_larger_videos_and_vaes_in_one_piece_never_take_less_memory(width: int, num_frames: int, tiled: bool) -> None:
    job = replace(JOB, width=width, num_frames=num_frames)
    larger = replace(job, width=width + 16, num_frames=num_frames + 4)
    assert rank_gib(job, ModelSize(), tiled=tiled) <= rank_gib(larger, ModelSize(), tiled=tiled)
    assert rank_gib(job, ModelSize(), tiled=True) <= rank_gib(job, ModelSize(), tiled=False)


def test_noise_takes_more_room_than_a_picture() -> None:
    assert video_bytes(JOB, noise=True) == pytest.approx(26e6, rel=0.02)  # measured
    assert video_bytes(JOB) < video_bytes(JOB, noise=True) / 5


def test_ranks_that_denoise_in_turns_take_as_long_as_all_their_denoising_together() -> None:
    side_by_side = estimate([[JOB], [JOB]], 1, [], PILOT).seconds
    in_turns = estimate([[JOB], [JOB]], 1, [], replace(PILOT, takes_turns=True)).seconds
    alone = PILOT.denoise_seconds(JOB)
    assert side_by_side == pytest.approx(PILOT.shard_seconds([JOB]))
    assert in_turns == pytest.approx(max(side_by_side, PILOT.start_seconds + 2 * alone))
    assert in_turns > side_by_side
    two_gpus = estimate([[JOB], [JOB]], 2, [], replace(PILOT, takes_turns=True)).seconds
    assert two_gpus == pytest.approx(side_by_side)
