"""A survey that remembers records finds what one that reads them all finds, whatever was done to the files between."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from factories import make_job
from hypothesis import given, settings
from hypothesis import strategies as st

from wan_ddp import record_index
from wan_ddp import survey as surveys
from wan_ddp.digests import ReferenceDigests
from wan_ddp.files import touched
from wan_ddp.job import Conditions, Job, fingerprint, fingerprint_inputs
from wan_ddp.outputs import Outputs
from wan_ddp.record_index import RecordIndex
from wan_ddp.survey import survey
from wan_ddp.verdict import Failure, Finding

CONDITIONS = Conditions(model="m")
# Of one length each, so that their records are as well.
JOBS = [make_job(mechanism="none", seed=seed) for seed in (1, 2, 3)] + [make_job(mechanism="none", category="other")]
TICK = 20_000_000
VIDEO = b"a video"


@pytest.fixture(autouse=True, scope="module")
def short_tick() -> Iterator[None]:
    """Two seconds are too long to wait for in each example; Linux's own ticks are at most 10 ms."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(record_index, "_TICK_NANOSECONDS", TICK)
        yield


def inputs_of(job: Job, conditions: Conditions = CONDITIONS) -> dict[str, Any]:
    return fingerprint_inputs(job, conditions, None)


def record_text(job: Job, **changes: Any) -> str:
    video = {"num_bytes": len(VIDEO), "sha256": "0" * 64, "num_frames": 5, "fps": 15.0, "width": 32, "height": 16}
    inputs = inputs_of(job)
    seconds = {"denoise": 2.5, "save": 0.5}
    return json.dumps(
        {"fingerprint": fingerprint(inputs), "inputs": inputs, "video": video, "seconds": seconds} | changes
    )


def put(outputs: Outputs, jobs: list[Job] = JOBS) -> None:
    for job in jobs:
        outputs.video(job).parent.mkdir(parents=True, exist_ok=True)
        outputs.video(job).write_bytes(VIDEO)
        outputs.record(job).write_text(record_text(job))


def age(outputs: Outputs) -> None:
    """Let what was written up to now become old enough to be remembered."""
    start = touched(outputs.root).st_mtime_ns
    while touched(outputs.root).st_mtime_ns <= start + TICK:
        pass


def look(outputs: Outputs, conditions: Conditions = CONDITIONS, **how: bool) -> list[Finding]:
    digests = ReferenceDigests(outputs.root / "digests")
    return [task.finding for task in survey(JOBS, outputs, digests, conditions, **how)]


def read_all(outputs: Outputs, conditions: Conditions = CONDITIONS) -> list[Finding]:
    return [outputs.inspect(job, inputs_of(job, conditions)) for job in JOBS]


def facts(findings: list[Finding]) -> list[tuple[object, ...]]:
    return [(finding.state, finding.why, finding.failure, finding.seconds) for finding in findings]


@pytest.fixture
def outputs(tmp_path: Path) -> Outputs:
    """Four finished jobs, surveyed once."""
    outputs = Outputs(tmp_path / "out")
    put(outputs)
    age(outputs)
    look(outputs)
    return outputs


@pytest.fixture
def inspected(monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """The jobs whose records are read from now on."""
    jobs: list[Job] = []
    inspect = Outputs.inspect

    def watched(self: Outputs, job: Job, *arguments: Any, **how: Any) -> Finding:
        jobs.append(job)
        return inspect(self, job, *arguments, **how)

    monkeypatch.setattr(Outputs, "inspect", watched)
    return jobs


# What can happen to files between two surveys. Each takes two jobs' paths and may find nothing to do.

Change = Callable[[Outputs, Job, Job], object]


def overwrite(path: Path, content: bytes, *, keep_times: bool) -> None:
    """Other content in the same inode, if there is one; the modification time as it was, if asked."""
    before = path.stat() if path.exists() else None
    path.write_bytes(content)
    if before and keep_times:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace(path: Path, content: bytes) -> None:
    """Another inode with other content and the modification time of the file before."""
    aside = path.with_name("aside")
    aside.write_bytes(content)
    if path.exists():
        os.utime(aside, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    aside.replace(path)


def swap(one: Path, other: Path) -> None:
    if one != other:
        aside = one.with_name("aside")
        one.rename(aside)
        other.rename(one)
        aside.rename(other)


def link_to(path: Path, target: Path) -> None:
    if path != target:
        path.unlink(missing_ok=True)
        path.symlink_to(target)


def make_folder(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.mkdir()


def damage(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes() or b"empty")
    content[at % len(content)] ^= 1
    path.write_bytes(content)


def of_other_length(job: Job) -> bytes:
    return record_text(job).replace(f'"num_bytes": {len(VIDEO)}', '"num_bytes": 5').encode()


def of_no_sense(job: Job) -> bytes:
    return record_text(job).replace("{", "[", 1).encode()


CHANGES: dict[str, Change] = {
    "survey": lambda outputs, a, b: look(outputs),
    "age and survey": lambda outputs, a, b: (age(outputs), look(outputs)),
    "survey with other settings": lambda outputs, a, b: look(outputs, Conditions(model="other")),
    "make again": lambda outputs, a, b: put(outputs, [a]),
    "remove the video": lambda outputs, a, b: outputs.video(a).unlink(),
    "remove the record": lambda outputs, a, b: outputs.record(a).unlink(),
    "cut the video": lambda outputs, a, b: os.truncate(outputs.video(a), 5),
    "lengthen the video": lambda outputs, a, b: outputs.video(a).write_bytes(VIDEO + b"."),
    "empty the record": lambda outputs, a, b: os.truncate(outputs.record(a), 0),
    "give it another's record": lambda outputs, a, b: overwrite(
        outputs.record(a), outputs.record(b).read_bytes(), keep_times=False
    ),
    "give it another's record, keep its time": lambda outputs, a, b: overwrite(
        outputs.record(a), outputs.record(b).read_bytes(), keep_times=True
    ),
    "give it a record of another length, keep its time": lambda outputs, a, b: overwrite(
        outputs.record(a), of_other_length(a), keep_times=True
    ),
    "replace it by another length": lambda outputs, a, b: replace(outputs.record(a), of_other_length(a)),
    "make nonsense of the record, keep its time": lambda outputs, a, b: overwrite(
        outputs.record(a), of_no_sense(a), keep_times=True
    ),
    "replace it by nonsense": lambda outputs, a, b: replace(outputs.record(a), of_no_sense(a)),
    "swap the records": lambda outputs, a, b: swap(outputs.record(a), outputs.record(b)),
    "swap the videos": lambda outputs, a, b: swap(outputs.video(a), outputs.video(b)),
    "link the records": lambda outputs, a, b: (
        outputs.record(a).unlink(),
        os.link(outputs.record(b), outputs.record(a)),
    ),
    "touch the record": lambda outputs, a, b: os.utime(outputs.record(a), (0, 0)),
    "lead the record elsewhere": lambda outputs, a, b: link_to(outputs.record(a), outputs.record(b)),
    "lead the video nowhere": lambda outputs, a, b: link_to(outputs.video(a), Path("x" * len(VIDEO))),
    "lead the video elsewhere": lambda outputs, a, b: link_to(outputs.video(a), outputs.video(b)),
    "a folder for the record": lambda outputs, a, b: make_folder(outputs.record(a)),
    "a folder for the failure": lambda outputs, a, b: make_folder(outputs.failure(a)),
    "a failure": lambda outputs, a, b: outputs.record_failure(
        a, Failure(fingerprint(inputs_of(a)), "boom", "error", 1, "run")
    ),
    "move the folder away": lambda outputs, a, b: outputs.video(a).parent.rename(outputs.root / "away"),
    "copy the whole folder": lambda outputs, a, b: (
        shutil.copytree(outputs.root, outputs.root.with_name("copy")),
        shutil.rmtree(outputs.root),
        outputs.root.with_name("copy").rename(outputs.root),
    ),
    "remove the index": lambda outputs, a, b: outputs.index.unlink(),
    "damage the index": lambda outputs, a, b: damage(outputs.index, a.seed * 31),
    "cut the index": lambda outputs, a, b: os.truncate(outputs.index, outputs.index.stat().st_size - 80),
    "empty the index": lambda outputs, a, b: os.truncate(outputs.index, 0),
}


def surveys_agree_after(changes: list[tuple[str, Job, Job]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        outputs = Outputs(Path(folder, "out"))
        put(outputs)
        age(outputs)
        assert facts(look(outputs)) == facts(read_all(outputs))
        for name, job, other in changes:
            with suppress(OSError):
                CHANGES[name](outputs, job, other)
            for conditions in (CONDITIONS, Conditions(model="other"), Conditions()):
                expected = facts(read_all(outputs, conditions))
                assert facts(look(outputs, conditions, read_references=False)) == expected
        assert facts(look(outputs)) == facts(read_all(outputs))
        assert facts(look(outputs)) == facts(read_all(outputs))


@pytest.mark.parametrize("name", CHANGES)
def test_a_survey_finds_one_change_as_reading_every_record_does(name: str) -> None:
    surveys_agree_after([(name, JOBS[0], JOBS[1])])


@pytest.mark.parametrize("name", CHANGES)
def test_two_processes_find_what_one_does(outputs: Outputs, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with suppress(OSError):
        CHANGES[name](outputs, JOBS[0], JOBS[-1])
    digests = ReferenceDigests(outputs.root / "digests")
    look_only = partial(survey, JOBS, outputs, digests, CONDITIONS, read_references=False)
    by_one = look_only(divided_from=len(JOBS) + 1)
    divided = Mock(wraps=surveys.beside)
    monkeypatch.setattr(surveys, "beside", divided)
    monkeypatch.setattr(surveys, "num_cores", lambda: 2)
    assert look_only(divided_from=len(JOBS)) == by_one
    divided.assert_called_once()


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.sampled_from(sorted(CHANGES)), st.sampled_from(JOBS), st.sampled_from(JOBS)),
        min_size=1,
        max_size=6,
    )
)
def test_a_survey_finds_many_changes_as_reading_every_record_does(changes: list[tuple[str, Job, Job]]) -> None:
    surveys_agree_after(changes)


def test_a_record_is_read_once_and_again_when_it_was_touched(outputs: Outputs, inspected: list[Job]) -> None:
    assert [finding.state for finding in look(outputs)] == ["verified"] * 4
    assert [finding.seconds for finding in look(outputs)] == [3.0] * 4
    assert inspected == []
    outputs.record(JOBS[1]).touch()
    look(outputs)
    assert inspected == [JOBS[1]]
    age(outputs)
    look(outputs)
    look(outputs)
    assert inspected == [JOBS[1]] * 2


def test_records_of_other_settings_are_read_to_say_the_difference(outputs: Outputs) -> None:
    for _ in range(2):
        [finding, *_] = look(outputs, Conditions(model="other"))
        assert (finding.state, finding.why) == ("changed", "model was 'm' and is 'other'")


def test_a_record_that_may_be_written_again_in_the_same_tick_is_not_remembered(tmp_path: Path) -> None:
    outputs = Outputs(tmp_path)
    put(outputs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(record_index, "_TICK_NANOSECONDS", 3600 * 10**9)
        look(outputs)
    assert not outputs.index.exists()
    age(outputs)
    look(outputs)
    assert outputs.index.exists()


def test_a_write_between_the_listing_and_the_reading_is_seen_by_the_next_survey(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs = Outputs(tmp_path)
    put(outputs)
    age(outputs)
    overwrite(outputs.record(JOBS[0]), of_other_length(JOBS[0]), keep_times=False)
    age(outputs)
    inspect = Outputs.inspect

    def mended_then_broken(self: Outputs, job: Job, *arguments: Any, **how: Any) -> Finding:
        overwrite(self.record(JOBS[0]), record_text(JOBS[0]).encode(), keep_times=True)
        finding = inspect(self, job, *arguments, **how)
        overwrite(self.record(JOBS[0]), of_other_length(JOBS[0]), keep_times=True)
        return finding

    with monkeypatch.context() as patch:
        patch.setattr(Outputs, "inspect", mended_then_broken)
        assert look(outputs)[0].state == "verified"
    assert facts(look(outputs)) == facts(read_all(outputs))
    assert look(outputs)[0].state == "corrupt"


def test_a_full_verification_reads_every_record_and_video(outputs: Outputs, inspected: list[Job]) -> None:
    assert {finding.why for finding in look(outputs, full=True)} == {
        "its content is not what its record says (SHA-256)"
    }
    assert inspected == JOBS


def test_a_dry_run_uses_the_index_and_writes_none(outputs: Outputs, inspected: list[Job]) -> None:
    look(outputs, read_references=False)
    assert inspected == []
    outputs.index.unlink()
    before = sorted(outputs.root.rglob("*"))
    look(outputs, read_references=False)
    assert inspected == JOBS
    assert sorted(outputs.root.rglob("*")) == before


def test_where_the_index_cannot_be_written_every_record_is_read(outputs: Outputs, inspected: list[Job]) -> None:
    make_folder(outputs.index)
    before = sorted(outputs.root.rglob("*"))
    assert [finding.state for finding in look(outputs)] == ["verified"] * 4
    assert inspected == JOBS
    assert sorted(outputs.root.rglob("*")) == before


def test_a_moved_folder_is_known_where_it_is_now(outputs: Outputs, inspected: list[Job]) -> None:
    moved = Outputs(outputs.root.rename(outputs.root.with_name("moved")))
    assert [finding.state for finding in look(moved)] == ["verified"] * 4
    assert inspected == []


def test_an_index_with_a_changed_byte_says_nothing(outputs: Outputs) -> None:
    content = outputs.index.read_bytes()
    known = [(outputs.record(job).stat(), bytes.fromhex(fingerprint(inputs_of(job))), len(VIDEO)) for job in JOBS]
    assert all(RecordIndex(outputs.index).seconds(*each) == 3.0 for each in known)
    for at in range(len(content)):
        damage(outputs.index, at)
        assert all(RecordIndex(outputs.index).seconds(*each) is None for each in known)
        outputs.index.write_bytes(content)


def test_rows_are_kept_for_the_jobs_of_other_manifests_up_to_a_limit(
    outputs: Outputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def num_rows() -> int:
        return (outputs.index.stat().st_size - 18 - 32) // 80

    def look_at_one_made_again() -> None:
        put(outputs, JOBS[:1])
        age(outputs)
        survey(JOBS[:1], outputs, ReferenceDigests(outputs.root / "digests"), CONDITIONS)

    assert num_rows() == 4
    look_at_one_made_again()
    assert num_rows() == 5
    monkeypatch.setattr(record_index, "_MAX_ROWS", 5)
    look_at_one_made_again()
    assert num_rows() == 1
