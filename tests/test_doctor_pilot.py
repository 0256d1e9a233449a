"""The pilot's choice, its launch, and what is told of the whole run; the real one is in test_doctor.py."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from itertools import zip_longest
from pathlib import Path

import pytest
from experiment import wait_for
from factories import EXPERIMENT, experiment_jobs, make_job
from hypothesis import given
from hypothesis import strategies as st

from wan_ddp.doctor import trial
from wan_ddp.doctor.outcome import outcome_of, outcome_text
from wan_ddp.doctor.trial import NUM_STEPS, Trial, choose, folder_of, shorten
from wan_ddp.errors import MachineError, UnusableError
from wan_ddp.estimate import Sample
from wan_ddp.job import Job
from wan_ddp.manifest import read_manifest
from wan_ddp.outputs import Outputs
from wan_ddp.pilot import CPU, Pilot, setup_of
from wan_ddp.plan import plan
from wan_ddp.settings import ROOT, parse


def without_references(jobs: list[Job]) -> list[Job]:
    """Such as need no file."""
    return [replace(job, mechanism="none", denoising_strength=1.0) for job in jobs]


JOBS = without_references(experiment_jobs())


def test_the_experiments_pilot_has_a_job_of_each_category_and_one_for_every_rank() -> None:
    assert [job.category for job in choose(JOBS, 1)] == list(EXPERIMENT)
    assert [job.category for job in choose(JOBS, 8)] == [*EXPERIMENT, *EXPERIMENT]
    assert all(len(shard) == 1 for shard in plan(choose(JOBS, 8), 8))


@given(st.lists(st.sampled_from("abcde"), min_size=1, max_size=30), st.integers(1, 12))
def test_a_choice_is_of_different_jobs_covers_the_categories_and_fills_the_ranks(names: list[str], ranks: int) -> None:
    jobs = without_references([make_job(category=name, seed=seed) for seed, name in enumerate(names)])
    chosen = choose(jobs, ranks)
    assert chosen == choose(jobs, ranks)
    assert len(set(chosen)) == len(chosen)
    assert {job.category for job in chosen} == set(names)
    assert len(chosen) % ranks == 0 or len(chosen) == len(jobs)
    assert len(chosen) < len(set(names)) + ranks


def test_a_job_whose_reference_is_missing_is_not_chosen(tmp_path: Path) -> None:
    (tmp_path / "there.mp4").touch()
    missing, there = (make_job(reference=str(tmp_path / name)) for name in ("gone.mp4", "there.mp4"))
    assert choose([missing, there], 1) == [there]
    assert choose([missing], 1) == []


def test_a_short_video_keeps_everything_but_its_steps() -> None:
    job = make_job(num_inference_steps=50, note="x", num_frames=81)
    assert shorten(job) == replace(job, num_inference_steps=NUM_STEPS)
    assert shorten(job).note is None
    assert shorten(make_job(num_inference_steps=2)).num_inference_steps == 2


def test_a_pilots_folder_lies_beside_the_output(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert folder_of(Path("/data/out")) == Path("/data/out-pilot")
    monkeypatch.chdir(tmp_path)
    assert folder_of(Path("out")) == tmp_path / "out-pilot"
    assert folder_of(Path()) == tmp_path.with_name(f"{tmp_path.name}-pilot")


PARTS = {"read": 1.0, "encode": 3.0, "denoise": 56.0, "decode": 9.0, "save": 6.0}


def pilot(device: str = "NVIDIA H100", num_ranks: int = 8) -> Pilot:
    samples = tuple(Sample(shorten(job), PARTS, 3_000_000) for job in choose(JOBS, 8))
    return Pilot(setup_of(parse([], {}), "m", device, num_ranks), "2026-11-24T10:00:00Z", 12.0, samples, 69.9)


def test_the_outcome_tells_gpu_hours_and_the_end_of_the_run() -> None:
    """170 videos a GPU, whose two ranks denoise in turns, 50 steps of 7 s each; the 15 s more hide behind that."""
    begins = datetime(2026, 11, 24, 12, 0, tzinfo=timezone(timedelta(hours=1)))
    shards = plan(JOBS, 8)
    outcome = outcome_of(pilot(), shards, begins)
    assert outcome.seconds == pytest.approx(12 + 170 * 50 * 7)
    assert (outcome.num_ranks, outcome.num_gpus) == (8, 4)
    assert outcome.gpu_hours == pytest.approx(4 * outcome.seconds / 3600)
    assert outcome.ends == "2026-11-25 04:31 +0100"
    assert outcome.num_bytes == pytest.approx(680 * 3_000_000)
    assert {each.name: each.num_to_do for each in outcome.categories} == {n: 10 * c for n, c in EXPERIMENT.items()}
    assert outcome.categories[0].step_seconds == pytest.approx(7)
    text = outcome_text(outcome, "16 h 32 min")
    for said in (
        "GPU-hours  66.1",
        "begun now, it ends 2026-11-25 04:31 +0100",
        "8 ranks on 4 GPUs",
        "69.9 GiB",
        "2.0 GB",
    ):
        assert said in text


def test_twice_the_ranks_on_twice_the_gpus_take_half_the_time_and_the_same_gpu_hours() -> None:
    now = datetime.now().astimezone()
    few, many = (outcome_of(pilot(), plan(JOBS, ranks), now) for ranks in (4, 8))
    assert few.seconds == pytest.approx(2 * many.seconds, rel=0.02)
    assert few.gpu_hours == pytest.approx(many.gpu_hours, rel=0.02)


def test_a_cpu_has_no_gpu_hours() -> None:
    outcome = outcome_of(pilot(CPU, 2), plan(JOBS, 2), datetime.now().astimezone())
    assert (outcome.num_gpus, outcome.gpu_hours) == (0, 0)
    assert "on the CPU" in outcome_text(outcome, "")
    assert "GPU-hours" not in outcome_text(outcome, "")


@pytest.fixture
def launcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where launch.sh is looked for."""
    folder = tmp_path / "check out"
    folder.mkdir()
    monkeypatch.setattr(trial, "ROOT", folder)
    return folder / "launch.sh"


def a_trial(folder: Path, *flags: str) -> Trial:
    settings = parse(["--output", str(folder / "out")], {})
    return Trial(settings, [shorten(job) for job in choose(JOBS, 2)], flags, 2)


def test_a_pilot_is_launched_with_the_runs_own_flags_on_a_manifest_of_its_own(tmp_path: Path, launcher: Path) -> None:
    launcher.write_text(
        f'printf "%s\\n" "$@" >"{tmp_path}/told"; echo "$WAN_NUM_RANKS $PATH" >"{tmp_path}/environ"; exit 1'
    )
    with pytest.raises(UnusableError, match=r"pilot: 0 of 4 short videos were made \(exit code 1\)"):
        a_trial(tmp_path, "--no-tiled", "--output", str(tmp_path / "out")).run(os.environ)
    told = (tmp_path / "told").read_text().splitlines()
    assert told[:1] == ["--no-tiled"]
    settings = parse(told, {})
    assert (settings.tiled, settings.output) == (False, tmp_path / "out-pilot")
    assert read_manifest(settings.manifest, {}) == [shorten(job) for job in choose(JOBS, 2)]
    assert (tmp_path / "environ").read_text().startswith(f"2 {Path(sys.executable).parent}:")
    assert not (tmp_path / "out").exists()


def test_videos_of_an_earlier_pilot_are_made_again_and_nothing_else_is_touched(tmp_path: Path, launcher: Path) -> None:
    launcher.write_text("exit 1")
    outputs = Outputs(folder_of(tmp_path / "out"))
    job = choose(JOBS, 2)[0]
    outputs.prepare(job)
    stays = [outputs.root / "notes.txt", outputs.failure(job)]
    goes = [outputs.video(job), outputs.record(job), outputs.steps(job)]
    for path in (*stays, *goes):
        path.write_text("{}")
    with pytest.raises(UnusableError):
        a_trial(tmp_path).run(os.environ)
    assert [path.exists() for path in stays] == [True, True]
    assert [path.exists() for path in goes] == [False, False, False]


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path, launcher: Path) -> None:
    (tmp_path / "out-pilot").touch()
    with pytest.raises(MachineError, match="the pilot cannot be prepared: Not a directory"):
        a_trial(tmp_path).run(os.environ)


def test_what_was_in_use_on_the_gpus_meanwhile_is_watched(
    tmp_path: Path, launcher: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    smi = tmp_path / "nvidia-smi"
    smi.write_text(
        f"#!/bin/sh\necho >>{tmp_path}/asked\nused=$(($(wc -l <{tmp_path}/asked) == 2 ? 40960 : 1024))\n"
        "echo 0, GPU-1, H100, 580, 81559, $used, 9.0, Default, Disabled\n"
    )
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(trial, "_POLL_SECONDS", 0.05)
    launcher.write_text(f'while [ "$(wc -l <{tmp_path}/asked)" -lt 4 ]; do sleep 0.05; done; exit 7')
    (tmp_path / "asked").touch()
    assert trial._launch(["bash", str(launcher)], os.environ) == (7, 40.0)


def launching(folder: Path, first: str = "") -> "subprocess.Popen[bytes]":
    """A process that has said what comes first, and then launches the folder's launch.sh as a pilot."""
    script = (
        "import os, signal, sys; sys.path.insert(0, sys.argv[1])\nfrom wan_ddp.doctor import trial\n"
        f"from wan_ddp.signals import Signals\nSignals().install()\n{first}\n"
        f"trial._launch(['bash', '{folder}/launch.sh'], os.environ)"
    )
    return subprocess.Popen([sys.executable, "-c", script, str(ROOT)], stderr=subprocess.DEVNULL)


def test_a_signal_that_comes_while_the_pilot_is_being_started_is_not_lost(tmp_path: Path) -> None:
    """What a signal's handler raises in a hook of a fork, Python only prints."""
    (tmp_path / "launch.sh").write_text(f"echo $$ >{tmp_path}/pid; exec sleep 100")
    hook = "os.register_at_fork(after_in_parent=lambda: os.kill(os.getpid(), signal.SIGTERM))"
    assert launching(tmp_path, hook).wait(30) == 1
    if (tmp_path / "pid").exists():
        wait_for(lambda: not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_pilot_ends_with_whoever_makes_it(tmp_path: Path, number: signal.Signals) -> None:
    """The signal is passed on once, to launch.sh alone, and waited for."""
    (tmp_path / "launch.sh").write_text(
        f'for name in TERM INT; do trap "echo $name >>{tmp_path}/heard; exit 1" $name; done\n'
        f"echo $$ >{tmp_path}/pid; while :; do sleep 0.1; done"
    )
    doctor = launching(tmp_path)
    wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text() != "")
    doctor.send_signal(number)
    doctor.wait(30)
    wait_for((tmp_path / "heard").exists)
    wait_for(lambda: not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists())
    expected = "INT" if number == signal.SIGINT else "TERM"
    assert (tmp_path / "heard").read_text().split() == [expected]


def test_categories_are_taken_in_turn() -> None:
    per_category = [[job for job in JOBS if job.category == name] for name in EXPERIMENT]
    in_turn = [job for turn in zip_longest(*per_category) for job in turn if job]
    assert choose(JOBS, 680) == in_turn
