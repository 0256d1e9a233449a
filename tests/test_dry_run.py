"""`generate.py --dry-run`, as people and scripts call it."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from factories import experiment_jobs, make_job

from wan_ddp.digests import ReferenceDigests
from wan_ddp.job import Conditions, Job, fingerprint, fingerprint_inputs
from wan_ddp.manifest import job_line
from wan_ddp.outputs import Outputs
from wan_ddp.plan import plan
from wan_ddp.verdict import Failure

GENERATE = Path(__file__).resolve().parent.parent / "generate.py"


class Project:
    """A folder with a manifest, from which plans are asked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest = folder / "a.jsonl"
        self.outputs = Outputs(folder / "out")
        self.reference = folder / "pan.mp4"
        self.reference.write_bytes(b"frames")

    def write(self, jobs: Sequence[Job]) -> list[Job]:
        self.manifest.write_text("\n".join(map(job_line, jobs)), encoding="utf-8")
        return list(jobs)

    def jobs(self, number: int) -> list[Job]:
        return self.write([make_job(reference=str(self.reference), seed=seed) for seed in range(number)])

    def conditions(self) -> Conditions:
        return Conditions(model="some model", preset="fused")

    def publish(self, job: Job, **record: Any) -> None:
        digests = ReferenceDigests(self.outputs.root / ".references.json")
        inputs = fingerprint_inputs(job, self.conditions(), digests.digest(job.reference))
        shape = (job.num_frames, job.height, job.width, 3)
        self.outputs.prepare(job)
        self.outputs.publish(
            job,
            np.zeros(shape, np.uint8),
            lambda video: {"fingerprint": fingerprint(inputs), "inputs": inputs, "video": asdict(video)} | record,
        )
        digests.save()

    def dry_run(
        self, *flags: str, python_flags: Sequence[str] = (), **environ: str
    ) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *python_flags, str(GENERATE), "--manifest", str(self.manifest), "--dry-run"]
        where = ["--output", str(self.outputs.root), "--model-dir", str(self.folder / "no model")]
        kept = {
            name: value for name, value in os.environ.items() if name != "WORLD_SIZE" and not name.startswith("WAN_")
        }
        return subprocess.run(
            [*command, *where, *flags], env=kept | environ, cwd=self.folder, capture_output=True, text=True
        )

    def plan(self, *flags: str, **environ: str) -> dict[str, Any]:
        result = self.dry_run("--json", *flags, **environ)
        assert (result.returncode, result.stderr) == (0, "")
        found: dict[str, Any] = json.loads(result.stdout)
        return found


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def rows(text: str) -> list[list[str]]:
    """The table's rows, without its header."""
    return [line.split() for line in text.split("\n\n")[0].splitlines()[1:]]


def test_the_json_is_the_plan_in_the_shape_that_scripts_rely_on(project: Project) -> None:
    jobs = project.write(experiment_jobs())
    assert project.plan() == {
        "jobs": 680,
        "done": 0,
        "ranks": [
            {"rank": rank, "gpu": rank // 2, "process": rank % 2, "jobs": [job.id for job in shard]}
            for rank, shard in enumerate(plan(jobs, 8))
        ],
    }


def test_the_table_tells_the_experiments_plan(project: Project) -> None:
    project.write(experiment_jobs())
    result = project.dry_run()
    assert (result.returncode, result.stderr) == (0, "")
    table = rows(result.stdout)
    assert [row[:5] for row in table[:-1]] == [[str(r), str(r // 2), str(r % 2), "85", "0"] for r in range(8)]
    assert [int(count) for count in table[-1][1:7]] == [680, 0, 140, 330, 130, 80]
    for column, num_of_category in zip(range(5, 9), (140, 330, 130, 80), strict=True):
        shares = [int(row[column]) for row in table[:-1]]
        assert sum(shares) == num_of_category
        assert max(shares) - min(shares) <= 1
    assert "0 of 680 videos are done" in result.stdout
    for estimate in (r"time +\d+ h \d\d min", r"disk +\d+\.\d GB", r"memory +\d+ GiB on each GPU"):
        assert re.search(estimate, result.stdout)
    assert "68 references do not exist:" in result.stdout


def test_a_dry_run_imports_no_heavy_library(project: Project) -> None:
    project.jobs(2)
    result = project.dry_run(python_flags=["-X", "importtime"])
    assert result.returncode == 0
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in result.stderr.splitlines()}
    assert "wan_ddp" in imported
    assert not imported & {"torch", "torchvision", "diffsynth", "transformers", "numpy", "decord"}


@pytest.mark.parametrize(
    ("flags", "environ", "num_ranks"),
    [
        ([], {}, 8),
        ([], {"WORLD_SIZE": "3"}, 3),
        (["--world-size", "5"], {}, 5),
        (["--world-size", "5"], {"WORLD_SIZE": "3"}, 5),
        (["--world-size", "1"], {"RANK": "6", "LOCAL_RANK": "6"}, 1),
    ],
)
def test_the_plan_is_for_the_world_size_that_was_asked_for(
    project: Project, flags: list[str], environ: dict[str, str], num_ranks: int
) -> None:
    jobs = project.jobs(7)
    ranks = project.plan(*flags, **environ)["ranks"]
    assert [rank["rank"] for rank in ranks] == list(range(num_ranks))
    assert sorted(id for rank in ranks for id in rank["jobs"]) == sorted(job.id for job in jobs)


def test_ranks_are_put_on_gpus_as_they_will_run(project: Project) -> None:
    project.jobs(1)
    ranks = project.plan("--world-size", "4", "--ranks-per-gpu", "3")["ranks"]
    assert [(rank["gpu"], rank["process"]) for rank in ranks] == [(0, 0), (0, 1), (0, 2), (1, 0)]


def test_missing_references_are_listed_and_are_no_error(project: Project) -> None:
    project.write([make_job(reference=f"/none/{name}.mp4", seed=seed) for name in "ab" for seed in range(3)])
    result = project.dry_run()
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.endswith("2 references do not exist:\n  /none/a.mp4\n  /none/b.mp4\n")


def test_what_is_done_is_counted_without_a_model_which_is_said(project: Project) -> None:
    jobs = project.jobs(4)
    for job in jobs[:3]:
        project.publish(job)
    assert project.plan()["done"] == 3
    text = project.dry_run().stdout
    assert "3 of 4 videos are done" in text
    assert "no model was found: everything but the model was compared with the records" in text
    assert "estimates for the 1 videos to do" in text
    assert sum(int(row[4]) for row in rows(text)[:-1]) == 3


def test_a_finished_output_has_nothing_left_to_do(project: Project) -> None:
    for job in project.jobs(2):
        project.publish(job)
    assert "nothing is left to do" in project.dry_run().stdout


def test_videos_that_failed_changed_or_are_damaged_are_told_apart(project: Project) -> None:
    verified, changed, corrupt, failed, _ = project.jobs(5)
    for job in (verified, changed, corrupt):
        project.publish(job)
    record = json.loads(project.outputs.record(changed).read_text())
    record["inputs"]["cfg_scale"] = 1.0
    project.outputs.record(changed).write_text(json.dumps(record))
    project.outputs.video(corrupt).write_bytes(b"")
    digest = record["inputs"]["reference"]
    mark = fingerprint(fingerprint_inputs(failed, project.conditions(), digest))
    project.outputs.record_failure(failed, Failure(mark, "boom", "error", 1, "run"))
    text = project.dry_run().stdout
    assert "1 of 5 videos are done, 1 failed, 1 corrupt, 1 changed" in text
    assert f"  {changed.id}: cfg_scale was 1.0 and is 5.0" in text
    assert f"  {corrupt.id}: its video has 0 bytes" in text
    assert project.plan()["done"] == 1


def test_times_of_videos_made_already_are_what_is_estimated_from(project: Project) -> None:
    jobs = project.jobs(9)
    project.publish(jobs[0], seconds={"read": 1.0, "denoise": 299.0})
    text = project.dry_run("--world-size", "1").stdout
    assert re.search(r"time +40 min \(300 s a video, the median of those made\)", text)


def test_a_dry_run_writes_nothing_and_reads_no_reference(project: Project) -> None:
    project.jobs(2)
    project.reference.chmod(0)
    before = sorted(project.folder.rglob("*"))
    assert project.dry_run().returncode == 0
    assert sorted(project.folder.rglob("*")) == before


def test_a_bad_manifest_is_said_line_by_line_with_exit_code_2(project: Project) -> None:
    project.manifest.write_text(f"{job_line(make_job())}\n[]\n{{\n")
    result = project.dry_run("--json")
    assert (result.returncode, result.stdout) == (2, "")
    first, second = result.stderr.splitlines()
    assert first.startswith(f"error: {project.manifest}:2: [] is not a job; ")
    assert second.startswith(f"error: {project.manifest}:3: not JSON: ")


def test_a_manifest_that_is_not_there_is_said_with_exit_code_2(project: Project) -> None:
    result = project.dry_run()
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith(f"error: {project.manifest}: cannot be read: No such file or directory")


def test_settings_on_the_command_line_fill_what_lines_leave_out(project: Project) -> None:
    project.manifest.write_text(
        '{"category": "a", "reference": "pan.mp4", "prompt": "p", "prompt_index": 0, "seed": 1}\n'
        '{"category": "a", "reference": "pan.mp4", "prompt": "p", "prompt_index": 0, "seed": 1, "width": 64}\n'
    )
    [rank] = project.plan("--world-size", "1", "--width", "640", "--height", "352")["ranks"]
    assert rank["jobs"] == ["a/ref_pan_640x352/seed_1_prompt_0", "a/ref_pan_64x352/seed_1_prompt_0"]


def test_the_plan_is_printed_in_any_locale(project: Project) -> None:
    project.write([make_job(category="镜头", reference="/none/参考.mp4")])
    assert project.plan(LC_ALL="C")["ranks"][0]["jobs"] == ["镜头/ref_参考_32x16/seed_42_prompt_0"]
    assert project.dry_run(LC_ALL="C").returncode == 0
