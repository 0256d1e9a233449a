"""What a pilot measured, kept beside the videos: whom it speaks for, and what a plan says then."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from factories import make_job

from wan_ddp.estimate import Sample
from wan_ddp.job import Job
from wan_ddp.manifest import job_line
from wan_ddp.pilot import CPU, Pilot, fitting_pilot, read_pilot, setup_of, write_pilot
from wan_ddp.settings import ROOT, Settings, parse

PARTS = {"read": 0.5, "encode": 0.5, "denoise": 4.0, "decode": 2.0, "save": 1.0}
H100 = "NVIDIA H100 80GB HBM3"


def settings(folder: Path, *flags: str) -> Settings:
    return parse(["--output", str(folder / "out"), "--model-dir", str(folder / "none"), *flags], {})


def pilot(
    folder: Path, *flags: str, device: str = H100, num_ranks: int = 8, gib: float | None = 69.9, job: Job | None = None
) -> Pilot:
    setup = setup_of(settings(folder, *flags), "some model", device, num_ranks)
    sample = Sample(job or make_job(num_inference_steps=2), PARTS, 1000)
    return Pilot(setup, "2026-11-24T10:00:00Z", 20.0, (sample,), gib)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    written = pilot(tmp_path)
    assert write_pilot(tmp_path / "out", written) == tmp_path / "out" / "pilot.json"
    assert read_pilot(tmp_path / "out") == written


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "{", '{"version": 2}', "null", "\xff", json.dumps({"version": 1, "videos": []})]
)
def test_a_file_that_is_none_of_ours_is_no_pilot(tmp_path: Path, text: str) -> None:
    (tmp_path / "pilot.json").write_text(text, encoding="latin-1")
    assert read_pilot(tmp_path) is None
    (tmp_path / "pilot.json").unlink()
    assert read_pilot(tmp_path) is None
    (tmp_path / "pilot.json").mkdir()
    assert read_pilot(tmp_path) is None


@pytest.mark.parametrize("change", [{"version": 2}, {"videos": ()}])
def test_another_version_and_a_pilot_of_nothing_do_not_count(tmp_path: Path, change: dict[str, int]) -> None:
    write_pilot(tmp_path, replace(pilot(tmp_path), **change))
    assert read_pilot(tmp_path) is None


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--no-tiled"], "tiled was True and is False"),
        (["--ranks-per-gpu", "1"], "ranks_per_gpu was 2 and is 1"),
        (["--cpu-offload"], "cpu_offload was False and is True"),
        (["--vram-limit", "40"], "vram_limit was None and is 40.0"),
        (["--sampling", "time"], "sampling was 'frames' and is 'time'"),
    ],
)
def test_a_pilot_of_other_settings_does_not_count_and_is_said(tmp_path: Path, flags: list[str], says: str) -> None:
    write_pilot(tmp_path / "out", pilot(tmp_path))
    assert fitting_pilot(settings(tmp_path, *flags), "some model", 8) == (None, says)


def test_a_pilot_of_another_model_or_gpu_does_not_count(tmp_path: Path) -> None:
    write_pilot(tmp_path / "out", pilot(tmp_path))
    now = settings(tmp_path)
    assert fitting_pilot(now, "another model", 8)[1] == "model was 'some model' and is 'another model'"
    assert fitting_pilot(now, "some model", 8, "NVIDIA A800")[1] == f"device was '{H100}' and is 'NVIDIA A800'"
    on_cpu, why = fitting_pilot(now, "some model", 8, CPU)
    assert on_cpu is None
    assert f"device was '{H100}' and is 'CPU'" in why


def test_a_plan_away_from_model_and_gpus_takes_what_it_cannot_compare(tmp_path: Path) -> None:
    written = pilot(tmp_path)
    write_pilot(tmp_path / "out", written)
    for identity in (None, "some model"):
        for device in (None, H100):
            for num_ranks in (1, 8, 64):  # of GPUs there may be more; how many ranks share one is what counts
                assert fitting_pilot(settings(tmp_path), identity, num_ranks, device) == (written, "")


def test_on_a_cpu_the_ranks_share_it_all(tmp_path: Path) -> None:
    write_pilot(tmp_path / "out", pilot(tmp_path, device=CPU, num_ranks=2, gib=None))
    assert fitting_pilot(settings(tmp_path), None, 2)[0]
    assert fitting_pilot(settings(tmp_path), None, 8) == (None, "number of ranks was 2 and is 8")


def dry_run(folder: Path, *flags: str) -> str:
    jobs = [make_job(reference=str(folder / "a.mp4"), seed=seed, num_inference_steps=20) for seed in range(10)]
    (folder / "a.mp4").touch()
    (folder / "a.jsonl").write_text("\n".join(map(job_line, jobs)))
    where = [
        "--output",
        str(folder / "out"),
        "--model-dir",
        str(folder / "none"),
        "--manifest",
        str(folder / "a.jsonl"),
    ]
    command = [sys.executable, str(ROOT / "generate.py"), "--dry-run", *where, *flags]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_a_plan_tells_time_disk_and_memory_by_the_pilot_and_says_so(tmp_path: Path) -> None:
    """10 videos of 20 steps on one rank: 20 s to start, 1 s for the one reference, and 20 x 2 + 3 s each."""
    write_pilot(tmp_path / "out", pilot(tmp_path))
    text = dry_run(tmp_path, "--world-size", "1")
    assert re.search(rf"time +8 min \(the pilot of 2026-11-24: 1 short videos, 2 ranks on each {H100}\)", text)
    assert "memory  69.9 GiB on the fullest GPU (the pilot)" in text
    assert "pilot.json" not in text


def test_a_plan_with_other_settings_says_why_the_pilot_does_not_count(tmp_path: Path) -> None:
    write_pilot(tmp_path / "out", pilot(tmp_path))
    text = dry_run(tmp_path, "--no-tiled")
    assert "(Wan2.1-T2V-14B on H100, as DiffSynth comes)" in text
    assert "pilot.json does not count: tiled was True and is False" in text
