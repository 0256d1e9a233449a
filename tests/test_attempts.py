"""Whether a job is tried again follows from how its attempts ended."""

from itertools import permutations
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wan_ddp.attempts import MAX_LOST_IN_A_ROW, End, Generations, decide, num_charged, read_generations
from wan_ddp.errors import FailureKind

ENDS: tuple[End, ...] = get_args(End)
TRIED_AGAIN = ("died", "worker_died", "hang", "gpu", "io")
lists_of_ends = st.lists(st.sampled_from(ENDS), max_size=15)


def test_every_kind_of_failure_is_an_end() -> None:
    assert set(ENDS) == {"done", "granted", "released", "lost", "died", *get_args(FailureKind)}


def test_a_job_that_was_never_claimed_is_tried() -> None:
    assert decide([], 1) == "try"


@pytest.mark.parametrize("end", ["bad_input", "error"])
def test_what_another_attempt_cannot_mend_is_never_tried_again(end: End) -> None:
    assert decide([end], 100) == "give_up"
    assert decide([end, "released", "lost"], 100) == "give_up"


def test_out_of_memory_is_tried_once_more_alone_and_then_given_up() -> None:
    assert decide(["out_of_memory"], 1) == "try_alone"
    assert decide(["out_of_memory", "released", "hang"], 2) == "try_alone"
    assert decide(["out_of_memory", "released", "out_of_memory"], 100) == "give_up"


@pytest.mark.parametrize("end", TRIED_AGAIN)
def test_deaths_hangs_gpu_and_io_errors_are_tried_max_attempts_times(end: End) -> None:
    assert decide([end] * 2, 3) == "try"
    assert decide([end] * 3, 3) == "give_up"
    assert decide([end], 1) == "give_up"


def test_running_out_of_memory_is_none_of_the_max_attempts() -> None:
    assert decide(["out_of_memory", "hang", "gpu"], 3) == "try_alone"
    assert decide(["out_of_memory", "hang", "gpu", "died"], 3) == "give_up"


def test_lost_hosts_are_free_until_ten_in_a_row_had_the_job() -> None:
    assert MAX_LOST_IN_A_ROW == 10
    assert decide(["lost"] * 9, 1) == "try"
    assert decide(["lost"] * 10, 1) == "give_up"
    assert decide(["lost"] * 9 + ["released"] + ["lost"] * 9, 1) == "try"
    assert decide(["lost"] * 10 + ["granted"], 1) == "try"


@given(lists_of_ends, st.sampled_from(["done", "granted"]), lists_of_ends, st.integers(1, 5))
def test_nothing_before_the_last_reset_counts(before: list[End], reset: End, after: list[End], most: int) -> None:
    assert decide([*before, reset, *after], most) == decide(after, most)
    assert num_charged([*before, reset, *after]) == num_charged(after)


@given(lists_of_ends, st.integers(0, 15), st.integers(1, 5))
def test_a_release_changes_nothing_but_a_row_of_lost_hosts(ends: list[End], at: int, most: int) -> None:
    released: list[End] = [*ends[:at], "released", *ends[at:]]
    assert num_charged(released) == num_charged(ends)
    if "lost" not in ends:
        assert decide(released, most) == decide(ends, most)


@given(lists_of_ends, st.sampled_from(ENDS), st.integers(1, 5))
def test_given_up_stays_given_up_but_for_a_grant_or_a_video(ends: list[End], more: End, most: int) -> None:
    if decide(ends, most) == "give_up" and set(ends[-10:]) != {"lost"}:
        assert (decide([*ends, more], most) == "give_up") == (more not in ("done", "granted"))


@given(lists_of_ends, st.integers(1, 5))
def test_a_job_is_given_up_after_a_bounded_number_of_attempts(ends: list[End], most: int) -> None:
    if num_charged(ends) > most + 1:  # the one more is for running out of memory
        assert decide(ends, most) == "give_up"


def test_charged_are_failures_and_deaths() -> None:
    assert [end for end in ENDS if num_charged([end])] == ["died", *get_args(FailureKind)]


def test_names_tell_the_generations_and_their_ends_in_any_order() -> None:
    names = ("1", "1.gpu", "2", "2.released", "3", "3.hang", "3.granted", "4")
    expected = Generations(4, standing=True, ends=("gpu", "released", "hang", "granted"))
    for order in permutations(names[:7]):
        assert read_generations((*order, "4")) == expected
    assert read_generations(()) == Generations()
    assert read_generations(("1", "1.done")) == Generations(1, done=True, ends=("done",))
    assert read_generations(("1", "1.done", "2", "2.lost")) == Generations(2, ends=("done", "lost"))


@pytest.mark.parametrize(
    ("words", "counts"),
    [
        ({"done", "lost"}, "done"),
        ({"released", "done"}, "done"),
        ({"gpu", "lost"}, "gpu"),
        ({"gpu", "died"}, "gpu"),
        ({"gpu", "released"}, "gpu"),
        ({"released", "died"}, "released"),
        ({"died", "lost"}, "died"),
    ],
)
def test_of_several_ends_the_owners_own_word_and_then_the_weightiest_counts(words: set[str], counts: End) -> None:
    assert read_generations(("1", *(f"1.{word}" for word in words))).ends == (counts,)


def test_a_death_on_the_way_to_an_orderly_end_is_a_release() -> None:
    assert read_generations(("1", "1.stopping")) == Generations(1, standing=True)
    assert read_generations(("1", "1.stopping", "1.died")) == Generations(1, ends=("released",))
    assert read_generations(("1", "1.stopping", "1.done")).done
    assert read_generations(("1", "1.stopping", "1.hang")).ends == ("hang",)
    assert read_generations(("1", "1.stopping", "1.released", "2", "2.died")).ends == ("released", "died")


def test_every_end_but_a_grant_ends_a_generation() -> None:
    for end in ENDS:
        assert read_generations(("1", f"1.{end}")).standing == (end == "granted")


def test_a_name_that_a_listing_missed_never_makes_a_later_one_count() -> None:
    assert read_generations(("1", "1.gpu", "3", "3.done")) == Generations(1, ends=("gpu",))
    assert read_generations(("2", "2.done")) == Generations()
    assert read_generations(("1", "2", "2.done")) == Generations(1, standing=True)


def test_an_end_is_enough_to_tell_of_its_generation() -> None:
    assert read_generations(("1.gpu",)) == Generations(1, ends=("gpu",))


@pytest.mark.parametrize(
    "garbage", ["", "0", "01", "1.", "1.pending", "1.DONE", "1.done.tmp", "-1", "1e5", "x", "²", "9" * 40]
)
def test_names_that_are_none_of_ours_are_ignored(garbage: str) -> None:
    assert read_generations((garbage,)) in (Generations(), Generations(1, standing=True))
    assert read_generations(("1", "1.hang", garbage)) == Generations(1, ends=("hang",))
