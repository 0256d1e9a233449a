"""The experiment's figures over the real plan and claims on disk: what benchmarks/RESULTS.md says of them holds."""

import pytest

from benchmarks.simulate import EXPERIMENT_SCENARIOS, Result, Scenario, simulate

A_CATEGORY_A_GPU, PLAN, HALF_SPEED = EXPERIMENT_SCENARIOS


def made(scenario: Scenario) -> Result:
    result = simulate(scenario)
    assert result.num_made + result.num_given_up == (scenario.num_jobs or 680)
    return result


def test_the_plan_ends_within_two_percent_of_the_ideal_where_a_category_a_gpu_takes_twice_as_long() -> None:
    assert made(PLAN).over_ideal <= 1.02
    assert made(A_CATEGORY_A_GPU).over_ideal == pytest.approx(1.94, abs=0.01)


def test_a_gpu_at_half_speed_costs_no_more_than_five_percent_whether_it_was_told_or_not() -> None:
    told = made(HALF_SPEED)
    assert told.over_ideal <= 1.05
    assert told.num_taken_over <= 2
    not_told = made(Scenario("not told", slow={0: 2.0, 1: 2.0}, is_told=False))
    assert not_told.over_ideal <= 1.05
    assert not_told.num_taken_over > 50


def test_what_dead_ranks_and_workers_leave_is_made_by_the_others() -> None:
    result = made(Scenario("deaths", deaths={2: 0.5, 3: 0.5}, worker_deaths=0.01, on_disk=True))
    assert (result.num_given_up, result.num_taken_over > 60) == (0, True)
    assert result.over_ideal <= 1.05
