"""What a run took: sums over its records that hold whatever the records say."""

import json
from pathlib import Path
from typing import Any

import pytest
from finished import Finished
from hypothesis import given
from hypothesis import strategies as st
from looking import status, status_json

from wan_ddp.totals import describe, sum_up
from wan_ddp.verdict import Finding, Record, VideoFile, parse_record

HOUR = 3600.0
VIDEO = VideoFile(7, "0" * 64, 81, 15.0, 832, 480)


def record(rank: int, **changes: Any) -> Record:
    """A video of 100 forwards at 3.3 s."""
    seconds = {"read": 1.0, "encode": 4.0, "turn": 300.0, "denoise": 330.0, "decode": 6.0, "save": 5.0}
    loading = {"encode_prompts": 10.0, "load_model": 50.0 + rank}
    fields: dict[str, Any] = {"rank": rank, "num_forwards": 100, "peak_memory_bytes": 30 * 2**30} | changes
    return Record("f", {}, VIDEO, **{"seconds": seconds, "loading_seconds": loading} | fields)


def totals_of(records: list[Record], *, ranks: int = 2, gpus: int = 1, wall: float = HOUR) -> dict[str, Any]:
    findings = [Finding("verified", seconds=sum(each.seconds.values())) for each in records]
    totals = sum_up(records, findings, num_ranks=ranks, num_gpus=gpus, wall_seconds=wall)
    assert json.loads(json.dumps(totals)) == totals
    return totals


def test_two_ranks_that_take_turns_on_one_gpu() -> None:
    run = totals_of([record(0)] * 5 + [record(1)] * 5)["this_run"]
    assert (run["videos"], run["forwards"], run["gpu_hours"]) == (10, 1000, 1.0)
    assert run["denoising_share"] == pytest.approx(3300 / 3600, abs=1e-3)
    assert run["gpu_hours_in_videos"] == pytest.approx(3400 / 3600, abs=1e-3)
    assert (run["seconds_per_forward"], run["peak_memory_gib"], run["rank_balance"]) == (3.3, 30.0, 1.0)
    assert run["forwards_per_second"] == pytest.approx(1000 / 3600, abs=1e-3)
    assert run["seconds"]["turn"] == 3000.0
    assert run["seconds"]["load"] == 60.0 + 61.0, "a worker loads once, whatever it makes"


def test_a_rank_that_did_nothing_counts_in_the_balance() -> None:
    assert totals_of([record(0)] * 4, ranks=4, gpus=2)["this_run"]["rank_balance"] == 4.0
    assert totals_of([record(0), record(0), record(1)])["this_run"]["rank_balance"] == pytest.approx(4 / 3, abs=1e-3)


def test_without_gpus_there_are_no_gpu_hours_and_the_ranks_share_is_told() -> None:
    run = totals_of([record(0)] * 4, ranks=4, gpus=0)["this_run"]
    assert (run["gpu_hours"], run["gpu_hours_in_videos"]) == (None, None)
    assert run["denoising_share"] == pytest.approx(4 * 330 / 4 / 3600, abs=1e-3)


def test_a_run_that_made_nothing_still_says_what_all_videos_took() -> None:
    findings = [Finding("verified", seconds=1800.0), Finding("verified", seconds=1800.0), Finding("missing")]
    totals = sum_up([], findings, num_ranks=8, num_gpus=4, wall_seconds=9.0)
    assert totals["all_videos"] == {"videos": 2, "rank_hours": 1.0}
    assert (totals["this_run"]["videos"], totals["this_run"]["seconds_per_forward"]) == (0, None)
    assert describe(totals) == ""


anything = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers())
odd_records = st.builds(
    lambda told: Record("f", {}, VIDEO, **told),
    st.fixed_dictionaries(
        {},
        optional={
            "seconds": st.dictionaries(st.text(), st.floats()),
            "run_id": anything,
            "rank": anything,
            "num_forwards": anything,
            "peak_memory_bytes": anything,
            "loading_seconds": anything | st.dictionaries(st.text(), anything),
        },
    ),
)


@given(st.lists(odd_records), st.integers(0, 9), st.integers(0, 4), st.floats(-1e6, 1e6))
def test_records_that_say_odd_things_harm_no_verdict(records: list[Record], ranks: int, gpus: int, wall: float) -> None:
    totals = sum_up(records, [], num_ranks=ranks, num_gpus=gpus, wall_seconds=wall)
    assert json.loads(json.dumps(totals, allow_nan=False))["this_run"]["videos"] == len(records)
    assert isinstance(describe(totals), str)


@given(anything | st.dictionaries(st.just("this_run"), st.dictionaries(st.text(), anything)))
def test_a_report_that_says_odd_things_is_described_as_far_as_it_goes(totals: object) -> None:
    assert isinstance(describe(totals), str)


def test_what_the_totals_need_changes_no_verdict_about_a_record() -> None:
    told = {"fingerprint": "f", "inputs": {}, "video": {"num_bytes": 7, "sha256": "0", "num_frames": 81}}
    told["video"] |= {"fps": 15, "width": 832, "height": 480}  # type: ignore[operator]
    odd = {"run_id": 1, "rank": [], "num_forwards": "many", "peak_memory_bytes": {}, "loading_seconds": 3}
    found = parse_record(json.dumps(told | odd).encode())
    assert found is not None
    assert (found.rank, found.num_forwards) == ([], "many")


def test_status_shows_what_the_run_took(tmp_path: Path) -> None:
    finished = Finished(tmp_path, {"a": 1})
    finished.make_all()
    finished.begin("run")
    totals = totals_of([record(0), record(1)])
    finished.give_verdict("run", totals=totals)
    says = "2 videos in 1.00 h, 1.00 GPU-hours, 18.3% of that denoising, 3.30 s a forward"
    assert says in status(finished.output).stdout
    assert status_json(finished.output)["runs"][0]["totals"] == totals
