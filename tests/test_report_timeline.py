"""What the ranks did follows from their histories: every second once, deaths and take-overs where they happened."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wan_ddp.heartbeat import RankState
from wan_ddp.report.timeline import DOINGS, Clock, Span, Timeline, gpu_shares, make_clock, read_timeline


def state(time: float, phase: str = "working", part: str = "denoise", **changes: Any) -> RankState:
    return replace(RankState("r", 0, 0, 0, "t", host="h"), time=time, phase=phase, part=part, **changes)


def shown(timeline: Timeline) -> list[tuple[str, float, float]]:
    return [(span.doing, span.start, span.end) for span in timeline.spans]


def test_each_state_holds_until_the_next() -> None:
    history = [
        state(10, "loading", ""),
        state(70, part="read", job="a", attempt=1),
        state(71, part="turn", job="a", attempt=1),
        state(90, job="a", attempt=1),
        state(400, "waiting", ""),
        state(500, "finished", ""),
    ]
    timeline = read_timeline([history], {})
    expected = [("load", 10, 70), ("read", 70, 71), ("turn", 71, 90), ("denoise", 90, 400), ("wait", 400, 500)]
    assert shown(timeline) == expected
    assert timeline.marks == ()


def test_what_a_killed_process_was_at_lasted_until_its_last_sign_of_life() -> None:
    history = [
        state(10, job="a"),
        state(1000, "loading", "", token="another"),
        state(1060, "finished", token="another"),
    ]
    assert shown(read_timeline([history], {("r", 0): 300.0})) == [("denoise", 10, 300), ("load", 1000, 1060)]
    assert shown(read_timeline([history], {("r", 0): 5000.0}))[0] == ("denoise", 10, 1000)
    assert shown(read_timeline([history], {})) == [("load", 1000, 1060)]


def test_crashes_take_overs_and_early_ends_are_marked_where_they_happened() -> None:
    history = [
        state(10, job="a", attempt=1),
        state(20, job="a", attempt=1, num_lost=1),
        state(30, job="b", attempt=2, taken_over=True, num_lost=1),
        state(40, job="b", attempt=2, taken_over=True, num_lost=1, part="decode"),
        state(50, job="b", attempt=2, taken_over=True, num_lost=2, num_failed=1),
        state(60, "failed", "", num_lost=2, num_failed=1, error="no more"),
    ]
    marks = [(mark.kind, mark.time, mark.job) for mark in read_timeline([history], {}).marks]
    assert marks == [
        ("lost", 20, "a"),
        ("taken over", 30, "b"),
        ("lost", 50, "b"),
        ("given up", 50, "b"),
        ("ended early", 60, "b"),
    ]


def test_the_clock_leaves_out_what_lies_between_two_runs() -> None:
    clock = make_clock([(100, 200), (150, 400), (500, 600), (90_000, 90_100)])
    assert clock == Clock(((100, 600), (90_000, 90_100)))
    assert clock.seconds == 600
    assert [clock.at(time) for time in (0, 100, 350, 600, 50_000, 90_000, 90_050, 99_999)] == [
        *(0, 0, 250, 500, 500, 500, 550, 600)
    ]


def spans(draw: st.DrawFn) -> list[Span]:
    found = []
    for rank in range(draw(st.integers(1, 4))):
        time = draw(st.floats(0, 100))
        for doing in draw(st.lists(st.sampled_from(DOINGS), max_size=8)):
            end = time + draw(st.floats(0.01, 1000))
            found.append(Span(rank, f"h:{rank // 2}", time, end, doing, None))
            time = end
    return found


@given(st.composite(spans)())
def test_the_shares_of_every_gpu_add_up_to_its_time(found: list[Span]) -> None:
    clock = make_clock((span.start, span.end) for span in found)
    for gpu, shares in gpu_shares(Timeline(tuple(found), ()), clock).items():
        assert sum(shares.values()) == pytest.approx(1)
        assert all(share >= 0 for share in shares.values())
        denoising = [span for span in found if span.gpu == gpu and span.doing == "denoise"]
        assert (shares["denoising"] + shares["by several"] > 0) == bool(denoising)


def test_two_ranks_that_denoise_at_once_are_told_from_one() -> None:
    found = (Span(0, "h:0", 0, 100, "denoise", "a"), Span(1, "h:0", 60, 80, "denoise", "b"))
    shares = gpu_shares(Timeline(found, ()), Clock(((0, 200),)))["h:0"]
    assert shares["denoising"] == pytest.approx(0.4)
    assert shares["by several"] == pytest.approx(0.1)
    assert shares["idle"] == pytest.approx(0.5)
