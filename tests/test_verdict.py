"""What is true of a video follows from what lies on disk, and the report and re-run list follow from that."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from factories import make_job
from hypothesis import given, settings
from hypothesis import strategies as st

from wan_ddp.job import Conditions, fingerprint, fingerprint_inputs
from wan_ddp.manifest import read_manifest
from wan_ddp.verdict import Failure, Finding, VideoFile, judge, report, rerun_lines

VIDEO = VideoFile(num_bytes=1000, sha256="0" * 64, num_frames=5, fps=15.0, width=32, height=16)
INPUTS = fingerprint_inputs(make_job(), Conditions(model="m"), "digest")
FAILURE = Failure(fingerprint(INPUTS), "boom", "error", attempts=3, run_id="run")


def record(inputs: dict[str, Any] = INPUTS, **changes: Any) -> bytes:
    content = {"id": "x", "fingerprint": fingerprint(inputs), "inputs": inputs, "video": asdict(VIDEO)} | changes
    return json.dumps(content | {"gpu": "something for people"}).encode()


def failure(**changes: Any) -> bytes:
    return json.dumps(asdict(FAILURE) | changes).encode()


def test_a_record_that_fits_and_a_video_of_its_size_are_verified() -> None:
    finding = judge(INPUTS, record(), 1000, None)
    assert (finding.state, finding.why) == ("verified", "")
    assert finding.record is not None
    assert finding.record.video == VIDEO


def test_what_a_video_took_is_told_where_its_record_says_it() -> None:
    text = record(seconds={"denoise": 2.5, "save": 0.5})
    assert judge(INPUTS, text, 1000, None).seconds == 3.0
    assert judge(INPUTS | {"seed": 1}, text, 1000, None).seconds == 3.0
    assert judge(INPUTS, record(), 1000, None).seconds == 0.0


def test_a_verified_video_is_not_failed_whatever_failed_before() -> None:
    assert judge(INPUTS, record(), 1000, failure()).state == "verified"


@pytest.mark.parametrize(
    ("video_bytes", "why"),
    [(999, "its video has 999 bytes, its record says 1000"), (0, "0 bytes"), (None, "its video is gone")],
)
def test_a_video_that_is_not_the_recorded_one_is_corrupt(video_bytes: int | None, why: str) -> None:
    finding = judge(INPUTS, record(), video_bytes, None)
    assert finding.state == "corrupt"
    assert why in finding.why


@pytest.mark.parametrize(
    "text",
    [
        *(b"", b"{", b"null", b"[]", b"\xff", b"{}", record()[:-1]),
        record(fingerprint=None),
        record(inputs=[]),
        record(video=None),
        record(video={"num_bytes": 1}),
        record(video=asdict(VIDEO) | {"num_bytes": "many"}),
    ],
)
def test_a_record_that_does_not_parse_is_corrupt(text: bytes) -> None:
    finding = judge(INPUTS, text, 1000, None)
    assert (finding.state, finding.why) == ("corrupt", "its record does not parse")


@pytest.mark.parametrize("name", INPUTS)
def test_a_record_of_other_settings_is_changed_and_says_which(name: str) -> None:
    finding = judge(INPUTS, record(INPUTS | {name: "other"}), 1000, None)
    assert finding.state == "changed"
    assert finding.why == f"{name} was 'other' and is {INPUTS[name]!r:.60}"


def test_every_difference_is_told() -> None:
    finding = judge(INPUTS, record(INPUTS | {"seed": 1, "width": 64, "gone": 1}), 1000, None)
    assert finding.why == "seed was 1 and is 42; width was 64 and is 32; gone was 1"


def test_a_setting_that_the_record_does_not_know_is_a_difference() -> None:
    old = {name: value for name, value in INPUTS.items() if name != "preset"}
    assert judge(INPUTS, record(old), 1000, None).why == "preset was None and is 'plain'"


def test_a_fingerprint_that_is_not_that_of_its_inputs_is_a_difference() -> None:
    finding = judge(INPUTS, record(fingerprint="0" * 64), 1000, None)
    assert (finding.state, finding.why) == ("changed", "the fingerprint")


@pytest.mark.parametrize("unknown", [{"model": None}, {"reference": None}, {"model": None, "reference": None}])
def test_what_is_not_known_is_compared_with_nothing(unknown: dict[str, None]) -> None:
    assert judge(INPUTS | unknown, record(), 1000, None).state == "verified"
    changed = judge(INPUTS | unknown | {"seed": 1}, record(), 1000, None)
    assert (changed.state, changed.why) == ("changed", "seed was 42 and is 1")


def test_nothing_on_disk_is_missing_and_a_video_alone_is_not_done() -> None:
    assert judge(INPUTS, None, None, None) == Finding("missing", "it was never made")
    assert judge(INPUTS, None, 1000, None).state == "missing"


def test_a_failure_is_told_with_its_reason() -> None:
    finding = judge(INPUTS, None, None, failure())
    assert (finding.state, finding.why, finding.failure) == ("failed", "boom", FAILURE)


def test_a_failure_under_other_settings_or_without_sense_does_not_count() -> None:
    for text in (failure(fingerprint="0" * 64), b"", b"{", b"[]", failure(kind="bad luck"), failure(attempts=None)):
        assert judge(INPUTS, None, None, text).state == "missing"


def test_a_failure_is_told_beside_an_old_record_that_it_leaves_as_it_is() -> None:
    changed = judge(INPUTS | {"seed": 7}, record(), 1000, failure(fingerprint=fingerprint(INPUTS | {"seed": 7})))
    corrupt = judge(INPUTS, record(), 999, failure())
    for finding, state in ((changed, "changed"), (corrupt, "corrupt")):
        assert finding.state == state
        assert finding.failure is not None
        verdict = report([make_job()], [finding], keep_changed=False)
        assert [job["id"] for job in verdict["failed"]] == [make_job().id]
        assert verdict[state] == []
    assert judge(INPUTS, record(), 1000, failure()).failure is None


def test_a_failure_of_an_unknown_model_counts_as_it_stands() -> None:
    assert judge(INPUTS | {"model": None}, None, None, failure()).state == "failed"


@given(
    st.none() | st.binary(max_size=200) | st.just(record()),
    st.none() | st.integers(0, 2000),
    st.none() | st.binary(max_size=200) | st.just(failure()),
)
def test_nothing_but_a_record_that_fits_is_verified_whatever_the_bytes(
    text: bytes | None, video_bytes: int | None, failed: bytes | None
) -> None:
    finding = judge(INPUTS, text, video_bytes, failed)
    assert (finding.state == "verified") == (text == record() and video_bytes == 1000)


findings = st.sampled_from(
    [
        judge(INPUTS, record(), 1000, None),
        judge(INPUTS, record(), 1, None),
        judge(INPUTS, record(INPUTS | {"seed": 1}), 1000, None),
        judge(INPUTS, None, None, None),
        judge(INPUTS, None, None, failure()),
    ]
)


@given(st.lists(st.tuples(st.sampled_from("abc"), findings), min_size=1, max_size=20), st.booleans())
def test_every_video_is_counted_once_and_complete_means_every_one(
    found: list[tuple[str, Finding]], keep_changed: bool
) -> None:
    jobs = [make_job(category=category, seed=seed) for seed, (category, _) in enumerate(found)]
    told = report(jobs, [finding for _, finding in found], keep_changed=keep_changed)
    assert told["expected"] == len(jobs)
    named = [*told["missing"], *(entry["id"] for name in ("failed", "corrupt", "changed") for entry in told[name])]
    kept = len(told["changed"]) if keep_changed else 0
    assert told["verified"] + len(named) - kept == len(jobs)
    assert len(set(named)) == len(named)
    assert told["complete"] is (told["verified"] == told["expected"])
    assert sum(counts["expected"] for counts in told["categories"].values()) == len(jobs)
    assert sum(counts["verified"] for counts in told["categories"].values()) == told["verified"]
    assert json.loads(json.dumps(told)) == told
    lines = rerun_lines(jobs, [finding for _, finding in found], keep_changed=keep_changed)
    assert len(lines) == len(jobs) - told["verified"]


def test_the_report_says_of_each_what_the_contract_says() -> None:
    jobs = [make_job(seed=seed) for seed in range(4)]
    told = report(
        jobs,
        [
            judge(INPUTS, record(), 1000, None),
            judge(INPUTS, None, None, failure()),
            judge(INPUTS, None, None, None),
            judge(INPUTS, record(), None, None),
        ],
        keep_changed=False,
    )
    assert told == {
        "complete": False,
        "expected": 4,
        "verified": 1,
        "failed": [{"id": jobs[1].id, "error": "boom", "kind": "error", "attempts": 3}],
        "missing": [jobs[2].id],
        "corrupt": [{"id": jobs[3].id, "why": "its video is gone"}],
        "changed": [],
        "categories": {"camera_motion": {"expected": 4, "verified": 1}},
    }


def test_videos_of_other_settings_count_only_where_they_are_kept() -> None:
    changed = [judge(INPUTS, record(INPUTS | {"seed": 1}), 1000, None)]
    assert report([make_job()], changed, keep_changed=True)["complete"] is True
    assert report([make_job()], changed, keep_changed=False)["complete"] is False


@pytest.mark.parametrize(
    ("note", "kept"),
    [
        (None, {}),
        ("by hand", {"note": "by hand"}),
        (["a"], {"note": ["a"]}),
        ({"by": "A", "error": "old"}, {"by": "A"}),
    ],
)
def test_a_jobs_own_note_is_kept_beside_the_newest_error(note: Any, kept: dict[str, Any]) -> None:
    [line] = rerun_lines([make_job(note=note)], [Finding("missing", "it was never made")], keep_changed=False)
    assert json.loads(line)["note"] == kept | {"error": "it was never made"}


@settings(max_examples=25)
@given(st.lists(findings, min_size=1, max_size=8))
def test_the_re_run_list_is_a_manifest_of_the_same_jobs_wherever_it_lies(
    tmp_path_factory: pytest.TempPathFactory, found: list[Finding]
) -> None:
    jobs = [make_job(seed=seed, num_frames=9, negative_prompt="模糊", note={"by": "A"}) for seed in range(len(found))]
    lines = rerun_lines(jobs, found, keep_changed=False)
    not_verified = [(job, finding) for job, finding in zip(jobs, found, strict=True) if finding.state != "verified"]
    notes = [json.loads(line)["note"] for line in lines]
    assert notes == [{"by": "A", "error": finding.why} for _, finding in not_verified]
    if lines:
        path: Path = tmp_path_factory.getbasetemp() / "missing.jsonl"
        path.write_text("\n".join(lines), encoding="utf-8")
        assert read_manifest(path, {"width": 64}) == [job for job, _ in not_verified]
