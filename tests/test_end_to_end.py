"""The commands as a user gives them: real torchrun, real H.264 files, the real pipeline on the tiny checkpoint."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from experiment import Experiment, finish

from wan_ddp.speeds import read_speeds
from wan_ddp.video import probe


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    return Experiment(tmp_path)


@pytest.fixture(scope="module")
def launched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Experiment, subprocess.CompletedProcess[str]]:
    """One launch of two ranks over good and bad references."""
    experiment = Experiment(tmp_path_factory.mktemp("launched"))
    experiment.add("camera_motion", "镜头仰角旋转", num_frames=8)
    experiment.add("single_object", "ref_ball_64x64")
    truncated = experiment.add("single_object", "truncated", seeds=[42])
    truncated.write_bytes(truncated.read_bytes()[:600])
    experiment.add("multiple_objects", "short", num_frames=4, seeds=[42])
    return experiment, experiment.launch()


Launched = tuple[Experiment, subprocess.CompletedProcess[str]]


def test_a_launch_makes_every_video_that_can_be_made_and_says_what_could_not(launched: Launched) -> None:
    experiment, result = launched
    assert result.returncode == 1, result.stderr
    report = experiment.report()
    assert (report["complete"], report["expected"], report["verified"]) == (False, 6, 4)
    assert {job["id"]: job["kind"] for job in report["failed"]} == {
        "single_object/ref_truncated_64x64/seed_42_prompt_0": "bad_input",
        "multiple_objects/ref_short_64x64/seed_42_prompt_0": "bad_input",
    }
    assert report["categories"]["camera_motion"] == {"expected": 2, "verified": 2}
    assert "4 of 6 videos are there and verified" in result.stderr
    assert "it has 4 of the 5 frames that the job needs" in result.stderr


def test_a_run_leaves_how_fast_its_ranks_were_for_the_next_one(launched: Launched) -> None:
    experiment, _ = launched
    speeds = json.loads((experiment.output / "speeds.json").read_text())["ranks"]
    assert sum(each["num_videos"] for each in speeds) == 4
    assert {(each["node"], each["gpu"]) for each in speeds} == {(0, 0)}
    assert all(each["host"] and each["gpu_name"] for each in speeds)
    assert read_speeds(experiment.output / "speeds.json", 2) is not None


def test_the_verdict_sums_up_what_the_records_of_the_run_say(launched: Launched) -> None:
    experiment, result = launched
    records = [json.loads(path.read_bytes()) for path in experiment.output.glob("*/*/seed_*.json")]
    took = experiment.report()["totals"]["this_run"]
    assert (took["videos"], took["ranks"], took["gpus"], took["gpu_hours"]) == (4, 2, 0, None)
    assert took["forwards"] == sum(record["num_forwards"] for record in records)
    assert took["seconds"]["denoise"] == pytest.approx(
        sum(record["seconds"]["denoise"] for record in records), abs=0.01
    )
    assert all(record["seconds_per_forward"] > 0 and record["seconds"]["turn"] >= 0 for record in records)
    assert "this run: 4 videos in" in result.stderr


def test_videos_lie_where_the_contract_says_and_are_what_the_jobs_ask_for(launched: Launched) -> None:
    experiment, _ = launched
    names = {str(path.relative_to(experiment.output)) for path in experiment.output.rglob("*.mp4")}
    assert names == {
        f"{folder}/seed_{seed}_prompt_0.mp4"
        for folder in ("camera_motion/ref_镜头仰角旋转_64x64", "single_object/ref_ball_64x64")
        for seed in (42, 142)
    }
    info = probe(experiment.output / "single_object" / "ref_ball_64x64" / "seed_42_prompt_0.mp4")
    assert (info.num_frames, info.fps, info.width, info.height) == (5, 15, 64, 64)
    assert [name for name in experiment.hidden() if not name.endswith(".failed.json")] == []


def test_each_rank_has_a_log_and_the_share_of_the_reference_is_said(launched: Launched) -> None:
    experiment, _ = launched
    assert "rank 0 of 2" in experiment.log(0)
    assert "rank 1 of 2" in experiment.log(1)
    assert "of the first latent" in experiment.log(0)
    record = json.loads(next(experiment.output.glob("single_object/ref_ball*/seed_42*.json")).read_text("utf-8"))
    assert record["random_weights"] is True
    assert 0 < record["reference_share"] < 1
    assert record["inputs"]["denoising_strength"] == 0.75


def test_a_second_run_makes_only_what_is_missing_and_the_same_bytes_on_one_rank(launched: Launched) -> None:
    experiment, _ = launched
    before = experiment.digests()
    removed = experiment.output / "camera_motion" / "ref_镜头仰角旋转_64x64" / "seed_142_prompt_0.json"
    removed.unlink()
    kept = experiment.output / "single_object" / "ref_ball_64x64" / "seed_42_prompt_0.mp4"
    kept_at = kept.stat().st_mtime_ns
    result = experiment.generate("--short-reference", "refuse")
    assert result.returncode == 1
    assert experiment.digests() == before
    assert kept.stat().st_mtime_ns == kept_at
    assert len(experiment.report()["failed"]) == 2
    totals = experiment.report()["totals"]
    assert (totals["this_run"]["videos"], totals["all_videos"]["videos"]) == (1, 4)


def test_the_list_of_what_is_missing_runs_as_it_is(launched: Launched, tmp_path: Path) -> None:
    experiment, _ = launched
    missing = experiment.output / "missing.jsonl"
    lines = [json.loads(line) for line in missing.read_text(encoding="utf-8").splitlines()]
    assert len(lines) == 2
    assert all(Path(line["reference"]).is_absolute() and line["note"] for line in lines)
    short = tmp_path / "missing.jsonl"
    short.write_text(json.dumps(next(line for line in lines if "short.mp4" in line["reference"])))
    flags = ["--manifest", str(short), "--output", str(tmp_path / "output"), "--model", "tiny"]
    result = finish(experiment.start(sys.executable, "generate.py", *flags, "--short-reference", "hold"))
    assert result.returncode == 0, result.stderr


def test_with_nothing_missing_a_run_ends_without_loading_a_model(launched: Launched, tmp_path: Path) -> None:
    first, _ = launched
    good = Experiment(first.folder, [job for job in first.jobs if "ball" in job["reference"]])
    before = first.log().count("loaded in")
    result = good.generate()
    assert result.returncode == 0, result.stderr
    assert "complete: 2 of 2 videos are there and verified" in result.stderr
    assert first.log().count("loaded in") == before


def test_changed_settings_are_refused_then_kept_or_made_anew(launched: Launched) -> None:
    first, _ = launched
    good = Experiment(first.folder, [job for job in first.jobs if "ball" in job["reference"]])
    before = first.digests()
    refused = good.generate("--no-tiled")
    assert refused.returncode == 2
    assert "tiled was True and is False" in refused.stderr
    assert first.digests() == before
    kept = good.generate("--no-tiled", "--on-change", "keep")
    assert kept.returncode == 0, kept.stderr
    assert first.digests() == before
    good.jobs[0]["sigma_shift"] = 3.0
    rerun = good.generate("--on-change", "rerun")
    assert rerun.returncode == 0, rerun.stderr
    changed = {job for job, digest in first.digests().items() if before[job] != digest}
    assert changed == {"single_object/ref_ball_64x64/seed_42_prompt_0"}


def test_more_ranks_than_the_gpus_allow_are_refused_before_anything_is_made(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No GPU is needed to see the refusal: the driver's count is what the machine would say.
    from wan_ddp import preflight
    from wan_ddp.errors import MachineError
    from wan_ddp.rank import Rank
    from wan_ddp.settings import parse

    experiment.add("camera_motion", "pan")
    monkeypatch.setattr(preflight, "count_gpus", lambda: 2)
    settings = parse(experiment.flags(), {})
    from wan_ddp.manifest import read_manifest

    with pytest.raises(MachineError, match=r"8 ranks are too many: 2 GPUs x 2 ranks per GPU = 4"):
        preflight.check(settings, read_manifest(settings.manifest, {}), Rank(world_size=8, local_world_size=8))
    assert not experiment.output.exists()


def test_what_cannot_be_used_is_said_in_a_line_with_exit_code_2(experiment: Experiment) -> None:
    experiment.add("camera_motion", "pan")
    no_model = ["--manifest", str(experiment.manifest), "--output", str(experiment.output), "--model-dir", "/nowhere"]
    result = finish(experiment.start("bash", "launch.sh", *no_model))
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: there is no folder /nowhere; get it with")
    experiment.jobs[0]["reference"] = "references/gone.mp4"
    result = experiment.generate()
    assert result.returncode == 2
    assert "gone.mp4: the reference does not exist" in result.stderr
    experiment.jobs[0]["num_frames"] = 80
    result = experiment.generate()
    assert result.returncode == 2
    assert "manifest.jsonl:1: num_frames is 80; it must be 4n+1" in result.stderr
