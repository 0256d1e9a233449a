"""What a run was told can be read again from its output folder, when the manifest has gone."""

import json
from datetime import datetime, timezone
from pathlib import Path

import pytest

from wan_ddp.heartbeat import run_folder
from wan_ddp.job import Conditions
from wan_ddp.manifest import read_manifest
from wan_ddp.run_file import RunFile, describe_run, read_run_files, sweep_manifests, write_run_file
from wan_ddp.settings import parse

JOB = {"category": "pan", "reference": "clips/街道.mp4", "prompt": "一只猫", "prompt_index": 0, "seed": 42}


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    path = tmp_path / "told" / "all.jsonl"
    path.parent.mkdir()
    path.write_text(json.dumps(JOB) + "\n", encoding="utf-8")
    return path


def describe(manifest: Path, run_id: str, day: int = 1) -> RunFile:
    settings = parse(["--manifest", str(manifest), "--num-frames", "33"], {})
    started = datetime(2026, 11, day, tzinfo=timezone.utc)
    return describe_run(
        settings,
        Conditions(model="identity", lora=("a", "b")),
        run_id=run_id,
        started=started,
        world_size=8,
        num_gpus=4,
        model="tiny",
        random_weights=True,
    )


def test_a_run_is_read_as_it_was_told_and_its_jobs_without_the_manifest(manifest: Path, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    told, jobs = describe(manifest, "r"), read_manifest(manifest, {"num_frames": 33})
    write_run_file(logs, told)
    manifest.unlink()
    [found] = read_run_files(logs)
    assert found == told
    assert found.jobs(logs) == jobs
    assert jobs[0].reference == str(manifest.parent / "clips" / "街道.mp4")


def test_runs_come_in_the_order_of_their_starts_and_share_a_manifest(manifest: Path, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    for run_id, day in (("a", 2), ("b", 3), ("c", 1)):
        write_run_file(logs, describe(manifest, run_id, day))
    (run_folder(logs, "b") / "run.json").write_bytes(b"{")
    assert [run.run_id for run in read_run_files(logs)] == ["c", "a"]
    assert len(list(logs.glob(".manifests/*"))) == 1


def test_a_manifest_goes_with_the_last_run_that_was_given_it(manifest: Path, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    write_run_file(logs, describe(manifest, "a"))
    manifest.write_text(json.dumps(JOB | {"seed": 1}) + "\n", encoding="utf-8")
    write_run_file(logs, describe(manifest, "b"))
    (run_folder(logs, "a") / "run.json").unlink()
    sweep_manifests(logs)
    [kept] = read_run_files(logs)
    assert [path.name for path in logs.glob(".manifests/*")] == [kept.manifest_copy]
