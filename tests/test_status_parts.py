"""What `status` rests on: what histories tell, how long the rest takes, who lives."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from finished import ELSEWHERE, Finished
from hypothesis import given
from hypothesis import strategies as st

from wan_ddp.heartbeat import RankState
from wan_ddp.process import own_token
from wan_ddp.results import Run, SeenRank, read_runs
from wan_ddp.status.histories import Doings, Histories, Made
from wan_ddp.status.life import Life, SignsOfLife, life_of, run_life
from wan_ddp.status.time_left import Measured, Pace, pace_of, seconds_left

STATE = RankState("run", 0, 0, 0, own_token())
PACE = Pace(2.0, 1.0, 1, "this run")


def doings(*lines: tuple[float, dict[str, object]]) -> Doings:
    """The doings of a rank whose history has these changes, at these times."""
    found, state = Doings(), STATE
    for seconds, changes in lines:
        state = replace(state, time=seconds, **changes)  # type: ignore[arg-type]
        found.add(state)
    return found


TAKEN = {"phase": "working", "part": "", "attempt": 1}


def test_a_video_takes_from_its_order_to_its_publishing_and_a_step_its_share_of_the_denoising() -> None:
    found = doings(
        (0.0, {"phase": "loading"}),
        (60.0, TAKEN | {"job": "a", "num_steps": 10}),
        (61.0, {"part": "read"}),
        (62.0, {"part": "denoise", "step": 0}),
        (82.0, {"part": "decode", "step": 10}),
        (90.0, {"part": "save"}),
        (91.0, {"num_done": 1}),
    )
    assert found.made == [Made("a", 31.0, 1.0)]
    assert found.step_seconds == [2.0]
    assert found.denoises_since is None


def test_a_video_that_is_published_beside_the_next_took_until_the_next_was_ordered() -> None:
    found = doings(
        (0.0, TAKEN | {"job": "a", "num_steps": 10}),
        (1.0, {"part": "denoise", "step": 0}),
        (21.0, {"part": "save", "step": 10}),
        (22.0, TAKEN | {"job": "b", "step": 0}),
        (23.0, {"part": "denoise"}),
        (26.0, {"num_done": 1, "published": "a"}),
        (33.0, {"part": "save", "step": 5}),
        (34.0, {"num_done": 2, "published": "b"}),
    )
    assert found.made == [Made("a", 22.0, 1.0), Made("b", 12.0, 1.0)]
    assert found.step_seconds == [2.0, 2.0]


def test_steps_that_were_saved_before_count_for_nothing() -> None:
    found = doings(
        (0.0, TAKEN | {"job": "a", "num_steps": 10}),
        (1.0, {"part": "denoise", "step": 8}),
        (7.0, {"part": "decode", "step": 10}),
        (9.0, {"num_done": 1}),
    )
    assert found.made == [Made("a", 9.0, pytest.approx(0.2))]
    assert found.step_seconds == [3.0]


def test_what_failed_is_no_measure_and_what_follows_is_a_retry() -> None:
    found = doings(
        (0.0, TAKEN | {"job": "a", "num_steps": 10}),
        (1.0, {"part": "denoise", "step": 0}),
        (5.0, {"part": "", "job": None, "phase": "loading", "num_lost": 1}),
        (9.0, TAKEN | {"job": "b"}),
        (12.0, {"part": "save", "num_done": 1}),
        (12.0, TAKEN | {"job": "a", "attempt": 2}),
        (20.0, {"num_failed": 1}),
    )
    assert found.made == [Made("b", 3.0, 1.0)]
    assert found.step_seconds == []
    assert found.num_retries == 1


def test_counts_go_on_over_a_restart_of_the_ranks_process() -> None:
    found = doings(
        (0.0, TAKEN | {"job": "a"}),
        (1.0, {"num_done": 1, "num_lost": 2}),
        (5.0, {"token": "another", "num_done": 0, "num_lost": 0, "phase": "loading", "job": None}),
        (6.0, TAKEN | {"job": "b"}),
        (8.0, {"num_done": 1}),
    )
    assert found.counts(replace(STATE, token="another", num_done=3, num_failed=1)) == (4, 1, 2)
    assert [made.job for made in found.made] == ["a", "b"]


def test_histories_are_read_on_line_by_whole_line_and_other_runs_are_left_out(tmp_path: Path) -> None:
    finished = Finished(tmp_path, {"pan": 1})
    histories = Histories(finished.output)
    finished.tell("other", 0, [(0.0, TAKEN | {"job": "x"}), (1.0, {"num_done": 1})])
    finished.tell("run", 0, [(0.0, TAKEN | {"job": "a"})])
    histories.read_on(["run"])
    path = finished.logs / "gpu0_process0.history.jsonl"
    finished.tell("run", 0, [(4.0, TAKEN | {"job": "a", "part": "save", "num_done": 1})])
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    histories.read_on(["run"])
    assert histories.of("run", 0).made == []
    path.write_bytes(whole)
    histories.read_on(["run"])
    histories.read_on(["run"])
    assert histories.of("run", 0).made == [Made("a", 4.0, 1.0)]
    assert histories.of("other", 0).made == []


costs = st.floats(0.0, 1000.0)


@given(st.lists(costs, min_size=1, max_size=8), st.lists(costs, max_size=30))
def test_the_time_left_is_at_least_every_ranks_share_and_at_most_one_video_more(
    in_hand: list[float], waiting: list[float]
) -> None:
    left = seconds_left(PACE, in_hand, waiting)
    share = (sum(in_hand) + sum(waiting)) / len(in_hand)
    dearest = max([*in_hand, *waiting])
    assert max(share, max(in_hand), max(waiting, default=0.0)) - 1e-6 <= left <= share + dearest + 1e-6


def test_the_pace_is_the_median_of_this_run_else_of_earlier_videos_else_unknown() -> None:
    this_run = [Measured(seconds, 2.0) for seconds in (1.0, 4.0, 100.0)]
    earlier = [Measured(50.0, 2.0), Measured(0.0, 2.0)]
    assert pace_of(this_run, earlier) == Pace(4.0, 2.0, 3, "this run")
    assert pace_of([], earlier) == Pace(50.0, 25.0, 1, "earlier videos")
    assert pace_of([], earlier[1:]) is None


def seen(rank: int = 0, age: float = 0.0, **changes: object) -> SeenRank:
    state = replace(STATE, rank=rank, token=ELSEWHERE, phase="working")
    return SeenRank(replace(state, **changes), time.time() - age)  # type: ignore[arg-type]


def lives(*ranks: SeenRank) -> list[Life]:
    return [life_of(rank, silence) for rank, silence in zip(ranks, SignsOfLife().silence(ranks), strict=True)]


def test_a_rank_elsewhere_is_silent_by_the_newest_state_and_where_all_are_old_by_a_patient_clock() -> None:
    assert lives(seen(0, 0), seen(1, 29), seen(2, 31)) == ["alive", "alive", "silent"]
    assert lives(seen(0, 7200), seen(1, 7200 + 31)) == ["silent", "silent"]
    assert lives(seen(0, 100), seen(1, 110)) == ["alive", "alive"], "the machines' clocks may differ by so much"
    assert lives(seen(0, -7200), seen(1, -7200)) == ["alive", "alive"]


def test_a_rank_of_this_machine_is_dead_when_its_process_is_and_one_that_is_done_is_neither() -> None:
    gone = "-".join([*own_token().split("-")[:2], "4000000", "1"])
    assert lives(seen(token=gone), seen(token=gone, phase="finished"), seen(token="?")) == ["dead", "over", "alive"]


def test_what_is_seen_to_beat_lives_whatever_the_clocks_say(monkeypatch: pytest.MonkeyPatch) -> None:
    signs, now = SignsOfLife(), time.monotonic()

    def at(seconds: float, beat: int) -> float:
        monkeypatch.setattr(time, "monotonic", lambda: now + seconds)
        return signs.silence([seen(0, 7200, beat=beat), seen(1, 0)])[0]

    assert at(0, 1) > 7000
    assert at(3, 2) == 0
    assert at(40, 2) == 37


@pytest.fixture
def run(tmp_path: Path) -> Run:
    finished = Finished(tmp_path, {"pan": 1})
    finished.begin("run", world_size=2)
    return read_runs(finished.output)[0]


@pytest.mark.parametrize(
    ("phases", "reported", "life"),
    [
        (("working", "finished"), 0.0, "running"),
        (("finished", "finished"), 0.0, "running"),  # rank 0 looks at every video
        (("failed", "finished"), 0.0, "running"),
        (("finished", "finished"), 2e9, "ended"),
        (("stopped", "stopped"), 0.0, "ended"),
        (("finished", "working"), 2e9, "running"),  # started again by torchrun
    ],
)
def test_a_run_goes_on_until_its_verdict_or_its_ranks_last_word(
    run: Run, phases: Sequence[str], reported: float, life: str
) -> None:
    ranks = tuple(seen(rank, phase=phase) for rank, phase in enumerate(phases))
    silences = SignsOfLife().silence(ranks)
    found = [life_of(rank, silence) for rank, silence in zip(ranks, silences, strict=True)]
    assert run_life(replace(run, ranks=ranks, reported=reported), found, silences) == life


def test_a_run_whose_ranks_are_all_silent_is_so_until_it_counts_as_lost(run: Run) -> None:
    ranks = (seen(0), seen(1))
    assert run_life(replace(run, ranks=ranks), ["silent", "dead"], [60.0, 9.0]) == "silent"
    assert run_life(replace(run, ranks=ranks), ["silent", "dead"], [301.0, 9.0]) == "ended"
    assert run_life(replace(run, ranks=ranks), ["dead", "dead"], [9.0, 9.0]) == "ended"
    assert run_life(run, [], []) == "ended", "it began weeks ago"
