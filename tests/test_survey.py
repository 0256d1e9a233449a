"""Jobs beside what lies on disk for them: what is to do, and what a run refuses to start over."""

from dataclasses import replace
from pathlib import Path

import pytest
from factories import make_job

from wan_ddp import survey as surveys
from wan_ddp.digests import ReferenceDigests
from wan_ddp.errors import UnusableError
from wan_ddp.job import Conditions, Job, fingerprint, fingerprint_inputs
from wan_ddp.outputs import Outputs
from wan_ddp.settings import OnChange, Settings, parse
from wan_ddp.survey import Task, missing_references, refuse_changed, refuse_missing_references, survey
from wan_ddp.verdict import Failure, Finding

FAILED_NOW = Finding("failed", "boom", Failure("f", "boom", "error", 1, run_id="now"))


def settings(*flags: str) -> Settings:
    return parse(flags, {})


def task(finding: Finding, job: Job | None = None) -> Task:
    return Task(job or make_job(), {}, finding)


@pytest.mark.parametrize(
    ("finding", "on_change", "to_do"),
    [
        (Finding("verified"), "refuse", False),
        (Finding("verified"), "rerun", False),
        (Finding("missing"), "refuse", True),
        (Finding("corrupt"), "refuse", True),
        (Finding("corrupt"), "keep", True),
        (Finding("changed"), "rerun", True),
        (Finding("changed"), "keep", False),
    ],
)
def test_what_is_there_is_not_made_again_and_what_changed_only_if_asked(
    finding: Finding, on_change: OnChange, to_do: bool
) -> None:
    assert task(finding).is_to_do(settings("--on-change", on_change), "now") is to_do


def test_what_was_given_up_stays_so_until_a_later_run_is_told_to_try_again() -> None:
    assert task(FAILED_NOW).is_to_do(settings(), "now") is False
    assert task(FAILED_NOW).is_to_do(settings(), "later") is False
    assert task(FAILED_NOW).is_to_do(settings("--retry-failed"), "later") is True
    assert task(FAILED_NOW).is_to_do(settings("--retry-failed"), "now") is False


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    path = tmp_path / "pan.mp4"
    path.write_bytes(b"frames")
    return path


def test_a_survey_looks_at_every_job_in_order(tmp_path: Path, reference: Path) -> None:
    jobs = [make_job(reference=str(reference), seed=seed) for seed in range(3)]
    outputs = Outputs(tmp_path / "out")
    conditions = Conditions(model="m")
    digests = ReferenceDigests(tmp_path / "digests")
    inputs = fingerprint_inputs(jobs[1], conditions, digests.digest(str(reference)))
    outputs.record_failure(jobs[1], Failure(fingerprint(inputs), "boom", "io", 1, "run"))
    tasks = survey(jobs, outputs, digests, conditions)
    assert [task.job for task in tasks] == jobs
    assert [task.finding.state for task in tasks] == ["missing", "failed", "missing"]
    assert tasks[1].inputs == inputs


def test_a_reference_is_read_only_if_the_survey_may_and_the_job_uses_it(tmp_path: Path, reference: Path) -> None:
    job = make_job(reference=str(reference))
    outputs, conditions = Outputs(tmp_path / "out"), Conditions()

    def digest(job: Job, *, read: bool) -> object:
        digests = ReferenceDigests(tmp_path / "digests")
        [task] = survey([job], outputs, digests, conditions, read_references=read)
        return task.inputs.get("reference", "unused")

    assert digest(job, read=False) is None
    assert isinstance(digest(job, read=True), str)
    assert digest(replace(job, mechanism="none"), read=True) == "unused"
    assert not (tmp_path / "out").exists()


def test_both_processes_tell_settings_and_references_and_these_are_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    references = [str(tmp_path / name) for name in ("a.mp4", "b.mp4")]
    for reference in references:
        Path(reference).write_text(reference)
    jobs = [make_job(reference=name, num_inference_steps=steps) for name, steps in zip(references, (2, 3), strict=True)]
    conditions = Conditions(model="m")
    digests = ReferenceDigests(tmp_path / "digests")
    monkeypatch.setattr(surveys, "num_cores", lambda: 2)
    tasks = survey(jobs, Outputs(tmp_path / "out"), digests, conditions, divided_from=2)
    digests.save()
    known = [ReferenceDigests(tmp_path / "digests").digest(reference, read=False) for reference in references]
    assert None not in known
    assert [task.inputs["reference"] for task in tasks] == known
    of_each = [fingerprint_inputs(job, conditions, digest) for job, digest in zip(jobs, known, strict=True)]
    assert [task.inputs for task in tasks] == of_each
    assert [task.mark for task in tasks] == [bytes.fromhex(fingerprint(inputs)) for inputs in of_each]


def test_missing_references_are_each_told_once_in_the_manifests_order(reference: Path) -> None:
    names = ["/none/b.mp4", str(reference), "/none/a.mp4", "/none/b.mp4"]
    jobs = [make_job(reference=name, seed=seed) for seed, name in enumerate(names)]
    assert missing_references(jobs) == ["/none/b.mp4", "/none/a.mp4"]
    with pytest.raises(UnusableError) as caught:
        refuse_missing_references(jobs)
    lines = str(caught.value).splitlines()
    assert lines[:2] == [f"{name}: the reference does not exist" for name in ("/none/b.mp4", "/none/a.mp4")]
    assert lines[2].startswith("2 references are missing;")
    assert "--allow-missing" in lines[2]
    refuse_missing_references(job for job in jobs if job.reference == str(reference))


def test_videos_of_other_settings_are_refused_with_their_differences_and_the_ways_out() -> None:
    jobs = [make_job(seed=seed) for seed in range(12)]
    tasks = [task(Finding("changed", f"seed was {job.seed}"), job) for job in jobs]
    with pytest.raises(UnusableError) as caught:
        refuse_changed([task(Finding("missing")), *tasks])
    lines = str(caught.value).splitlines()
    assert lines[:10] == [f"{job.id}: seed was {job.seed}" for job in jobs[:10]]
    assert lines[10] == "... and 2 more"
    assert lines[11].startswith("12 videos were made with other settings;")
    for way in ("--on-change rerun", "--on-change keep", "--output"):
        assert way in lines[11]
    refuse_changed([task(Finding(state)) for state in ("verified", "missing", "failed", "corrupt")])
