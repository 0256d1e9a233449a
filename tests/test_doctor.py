"""`python -m wan_ddp doctor` as people and scripts call it, the short form before a run, and a pilot really made."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from experiment import Experiment

from wan_ddp.doctor import brief
from wan_ddp.doctor.found import Driver
from wan_ddp.doctor.model import look_at_model
from wan_ddp.doctor.project import find_ranks, find_references, find_tasks, read_references
from wan_ddp.doctor.rows import Row
from wan_ddp.job import Job
from wan_ddp.manifest import read_manifest
from wan_ddp.pilot import read_pilot
from wan_ddp.preflight import check
from wan_ddp.progress import describe_seconds
from wan_ddp.rank import Rank
from wan_ddp.settings import ROOT, Settings, parse
from wan_ddp.wan.checkpoint import find_checkpoint

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    return Experiment(tmp_path)


def rows_of(result: "subprocess.CompletedProcess[str]") -> dict[str, dict[str, Any]]:
    """What the JSON says, by row; nothing else may stand on standard output."""
    return {row["name"]: row for row in json.loads(result.stdout)["rows"]}


def doctor(
    experiment: Experiment, *flags: str, environ: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "wan_ddp", "doctor", *experiment.flags(*flags)]
    full = {**os.environ, "COLUMNS": "120", **(environ or {})}
    return subprocess.run(command, cwd=ROOT, env=full, capture_output=True, text=True)


@pytest.fixture(scope="module")
def piloted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Experiment, "subprocess.CompletedProcess[str]"]:
    """A pilot over two categories, by two ranks on the CPU."""
    experiment = Experiment(tmp_path_factory.mktemp("piloted"))
    experiment.add("camera_motion", "镜头仰角旋转", num_inference_steps=30)
    experiment.add("single_object", "ref_ball_64x64", seeds=[1, 2, 3])
    return experiment, doctor(experiment, "--pilot", "--json")


Piloted = tuple[Experiment, "subprocess.CompletedProcess[str]"]


def test_a_machine_on_which_a_run_works_gets_exit_code_0(piloted: Piloted) -> None:
    _, result = piloted
    assert result.returncode == 0, result.stderr
    rows = rows_of(result)
    assert {name for name, row in rows.items() if row["verdict"] == "fails"} == set()
    expected = {
        "Python",
        "packages",
        "torch",
        "driver",
        "GPUs",
        "host memory",
        "CPU threads",
        "ffmpeg",
        "temporary files",
    }
    expected |= {
        "home folder",
        "output",
        "disk",
        "clock",
        "tmux",
        "manifest",
        "model",
        "ranks",
        "references",
        "reading",
    }
    assert expected <= rows.keys()
    assert rows["reading"]["found"].endswith("64x64, 5 frames, 15 fps, and 1 more")


def test_a_pilot_makes_a_short_video_of_each_category_in_a_folder_of_its_own(piloted: Piloted) -> None:
    experiment, _ = piloted
    assert [path.name for path in experiment.output.iterdir()] == ["pilot.json"]
    folder = experiment.folder / "output-pilot"
    records = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*/*/seed_*.json")]
    assert sorted(record["id"].split("/")[0] for record in records) == ["camera_motion", "single_object"]
    assert sorted(record["inputs"]["num_inference_steps"] for record in records) == [2, 8]
    assert len({record["rank"] for record in records}) == 2
    assert json.loads((folder / "report.json").read_text())["complete"] is True


def test_a_pilots_outcome_follows_from_its_records(piloted: Piloted) -> None:
    experiment, result = piloted
    told = json.loads(result.stdout)["pilot"]
    pilot = read_pilot(experiment.output)
    assert pilot is not None
    (camera, ball) = pilot.videos
    folder = experiment.folder / "output-pilot"
    record = json.loads((folder / f"{camera.job.id}.json").read_text(encoding="utf-8"))
    assert camera.seconds == {part: seconds for part, seconds in record["seconds"].items() if part != "turn"}
    assert camera.num_bytes == record["video"]["num_bytes"] == (folder / f"{camera.job.id}.mp4").stat().st_size
    # Two videos of 30 steps on one rank or two; three of two steps; a reference for each.
    step = camera.seconds["denoise"] / 8
    by_name = {each["name"]: each for each in told["categories"]}
    assert by_name["camera_motion"]["step_seconds"] == pytest.approx(step)
    fixed = sum(camera.seconds[part] for part in ("decode", "inspect", "save"))
    assert by_name["camera_motion"]["video_seconds"] == pytest.approx(30 * step + fixed)
    assert by_name["single_object"]["num_to_do"] == 3
    assert told["num_bytes"] == pytest.approx(2 * camera.num_bytes + 3 * ball.num_bytes)
    assert told["seconds"] > 30 * step + fixed
    assert pilot.start_seconds > 0
    assert (told["num_ranks"], told["num_gpus"], told["gpu_hours"]) == (2, 0, 0)


def test_a_dry_run_takes_the_pilots_figures_until_there_are_videos(piloted: Piloted) -> None:
    experiment, result = piloted
    text = experiment.generate("--dry-run", "--world-size", "2").stdout
    assert "2 short videos, 2 ranks on the CPU)" in text
    assert "0 of 5 videos are done" in text
    assert f"time    {describe_seconds(json.loads(result.stdout)['pilot']['seconds'])} (" in text
    assert "tiled was True and is False" in experiment.generate("--dry-run", "--world-size", "2", "--no-tiled").stdout


def test_the_check_before_a_run_says_in_short_what_is_not_well(piloted: Piloted) -> None:
    experiment, _ = piloted
    result = experiment.generate("--check")
    assert (result.returncode, result.stdout) == (0, "2\n")
    noise, *warnings, machine = result.stderr.splitlines()
    assert noise == "tiny has random weights here: the videos will be noise"
    assert all(line.startswith("warning: ") for line in warnings)
    assert any(line.startswith("warning: GPUs: none") for line in warnings)
    assert machine.startswith("machine: no GPU, 2 ranks on the CPU; model tiny, 0.005 GB; 5 of 5 videos to make; disk ")


def test_the_short_form_takes_no_time(piloted: Piloted) -> None:
    experiment, _ = piloted
    settings = parse(experiment.flags(), {})
    ready = check(settings, read_manifest(settings.manifest, {}), Rank())
    began = time.process_time()
    lines = brief._lines(settings, ready, Driver(is_missing=True), {})
    assert time.process_time() - began < 0.2
    assert lines[-1].startswith("machine: ")


def test_what_the_short_form_cannot_look_at_refuses_no_run(
    piloted: Piloted, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment, _ = piloted
    settings = parse(experiment.flags(), {})
    monkeypatch.setattr(brief, "look_at_memory", lambda: {}["MemTotal"])
    assert brief.check_in_short(settings, read_manifest(settings.manifest, {}), Rank(), {}) == 0
    out, err = capsys.readouterr()
    assert out == "2\n"
    assert err.splitlines()[-1] == "warning: the machine could not be looked at: KeyError: 'MemTotal'"


def test_the_short_form_names_the_gpus_and_what_a_run_needs_of_them(piloted: Piloted) -> None:
    from test_doctor_checks import GPUS

    experiment, _ = piloted
    settings = parse(experiment.flags(), {})
    ready = replace(check(settings, read_manifest(settings.manifest, {}), Rank()), num_gpus=4)
    lines = brief._lines(
        settings, ready, Driver((replace(GPUS[0], used_gib=79.0), *GPUS[1:]), "580"), {"WAN_NUM_RANKS": ""}
    )
    assert lines[-1].startswith("machine: 4 x NVIDIA H100 80GB HBM3, 2 ranks each, 2 of 80 GiB needed; model tiny")
    (memory,) = [line for line in lines if "GPU memory" in line]
    assert "79.0 GiB of GPU 0" in memory


def test_a_machine_that_lacks_nearly_everything_is_told_so_row_by_row(experiment: Experiment, tmp_path: Path) -> None:
    """A broken torch and ffmpeg, no tmux, no home, no model, no output folder, bad references, threads and ranks."""
    experiment.add("camera_motion", "pan", seeds=[1])
    experiment.add("single_object", "ball", seeds=[1]).write_bytes(b"no video")
    experiment.add("multiple_objects", "gone", seeds=[1]).unlink()
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "torch.py").write_text("import ctypes; ctypes.string_at(0)")
    (tmp_path / "bin").mkdir()
    (tmp_path / "model").mkdir()
    experiment.output.touch()
    environ = {
        "PYTHONPATH": f"{tmp_path / 'modules'}:{ROOT}",
        "PATH": str(tmp_path / "bin"),
        "IMAGEIO_FFMPEG_EXE": "/no/such/ffmpeg",
        "HOME": "/proc",
        "OMP_NUM_THREADS": "100000",
        "WAN_NUM_RANKS": "none",
    }
    flags = ["--model", "Wan2.1-T2V-14B", "--model-dir", str(tmp_path / "model")]
    result = doctor(experiment, "--json", "--pilot", *flags, environ=environ)
    assert result.returncode == 2
    assert result.stderr == "error: pilot: none was made, because the run would fail; mend that first\n"
    assert json.loads(result.stdout)["pilot"] is None
    assert not (experiment.folder / "output-pilot").exists()
    rows = rows_of(result)
    small = {"host memory"}  # as the machine that tests this may be
    assert {name for name, row in rows.items() if row["verdict"] == "fails"} - small == {
        *("packages", "torch", "GPUs", "ffmpeg", "output", "model", "DiT", "text encoder", "VAE", "tokenizer"),
        *("ranks", "references", "reading"),
    }
    assert {name for name, row in rows.items() if row["verdict"] == "warning"} - small == {
        *("home folder", "CPU threads", "disk", "clock", "tmux", "videos"),
    }
    assert "SIGSEGV" in rows["torch"]["found"]
    assert "1 of 3 are missing" in rows["references"]["found"]
    assert "hf download Wan-AI/Wan2.1-T2V-14B" in rows["model"]["remedy"]
    assert all("\n" not in text for row in rows.values() for text in row.values())


def test_the_table_says_what_to_do_and_a_bad_manifest_hides_nothing_else(
    experiment: Experiment, tmp_path: Path
) -> None:
    experiment.add("camera_motion", "pan", seeds=[1])
    experiment.jobs[0]["num_frames"] = 80
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "torch.py").write_text("raise ImportError('libcudart.so.13 is not there')")
    (tmp_path / "modules" / "tqdm.py").write_text("raise ModuleNotFoundError('No module named tqdm')")
    result = doctor(experiment, environ={"PYTHONPATH": f"{tmp_path / 'modules'}:{ROOT}"})
    assert result.returncode == 2
    lines = result.stdout.splitlines()
    assert lines[-1].startswith("a run would fail: packages, torch")
    assert "manifest, videos" in lines[-1]
    assert "not looked at: ModuleNotFoundError" in " ".join(result.stdout.split())
    assert "num_frames is 80; it must be 4n+1" in " ".join(result.stdout.split())
    assert any(line.strip().startswith("-> python generate.py --manifest") for line in lines)
    assert any(line.startswith("ok") and "ffmpeg" in line for line in lines)


def test_flags_are_those_of_a_run_and_wrong_ones_are_said(experiment: Experiment) -> None:
    experiment.add("camera_motion", "pan", seeds=[1])
    result = doctor(experiment, "--num-frames", "80")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("error: settings: num_frames is 80; it must be 4n+1")


@pytest.mark.parametrize("flags", [["--help"], ["doctor", "--help"]])
def test_help_needs_no_torch(flags: list[str]) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "wan_ddp", *flags]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0
    assert "doctor" in result.stdout
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in result.stderr.splitlines()}
    assert not imported & {"torch", "numpy", "diffsynth", "imageio_ffmpeg", "tqdm"}


def test_an_environment_without_the_packages_is_said_in_a_line(tmp_path: Path) -> None:
    """The interpreter without its site-packages: as the system's own is, where nobody activated .venv."""
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-S", "-m", "wan_ddp", "doctor"]
    result = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: pydantic is not installed for ")


def jobs_of(experiment: Experiment) -> tuple[Settings, list[Job]]:
    settings = parse(experiment.flags(), {})
    return settings, read_manifest(settings.manifest, {})


def test_a_reference_that_cannot_be_read_is_named_with_what_to_do(experiment: Experiment) -> None:
    experiment.add("camera_motion", "pan", seeds=[1])
    cut_off = experiment.add("single_object", "ball", seeds=[1])
    cut_off.write_bytes(cut_off.read_bytes()[:600])
    experiment.add("multiple_objects", "short", seeds=[1], num_frames=4)
    row = read_references(*jobs_of(experiment))
    assert (row.verdict, row.found) == ("warning", "2 of 3 tried cannot be used")
    assert row.remedy.startswith(f"{cut_off}: it is ")
    assert "ffmpeg -i OLD" in row.remedy


def test_missing_references_fail_unless_they_may_be_missing(experiment: Experiment) -> None:
    experiment.add("camera_motion", "pan", seeds=[1]).unlink()
    settings, jobs = jobs_of(experiment)
    assert find_references(settings, jobs).verdict == "fails"
    assert find_references(replace(settings, allow_missing=True), jobs).verdict == "warning"


@pytest.mark.parametrize(
    ("asked", "num_gpus", "num_ranks", "says"),
    [
        ("", 4, 8, ""),
        ("", 0, 2, ""),
        ("6", 4, 6, ""),
        ("9", 4, 9, "9 ranks are too many: 4 GPUs x 2 ranks per GPU = 8"),
        ("0", 4, 8, "WAN_NUM_RANKS is '0'"),
        ("many", 0, 2, "WAN_NUM_RANKS is 'many'"),
    ],
)
def test_ranks_are_those_that_launch_sh_will_start(asked: str, num_gpus: int, num_ranks: int, says: str) -> None:
    found, row = find_ranks(parse([], {}), num_gpus, {"WAN_NUM_RANKS": asked})
    assert found == num_ranks
    assert row.verdict == ("fails" if says else "ok")
    assert says in row.found


class Model:
    """A copy of the tiny checkpoint, to be damaged."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def look(self, *flags: str) -> dict[str, Row]:
        _, rows = look_at_model(parse(["--model", "tiny", "--model-dir", str(self.folder), *flags], {}))
        return {row.name: row for row in rows}


@pytest.fixture
def model(piloted: Piloted, tmp_path: Path) -> Model:
    shutil.copytree(ROOT / "models" / "tiny", tmp_path / "tiny")
    return Model(tmp_path / "tiny")


def test_a_whole_model_is_told_by_its_files_sizes_and_hashes(model: Model) -> None:
    rows = model.look()
    assert {row.verdict for row in rows.values()} == {"ok"}
    assert "tiny, 0.0 GB in" in rows["model"].found
    assert rows["DiT"].found.endswith("0.001 GB, hash 2f3a345569bb65a3efec2a40fb2637d7")
    assert rows["VAE"].needed == "hash cb16b9a02ae4539361b6cc6302ce413b (tiny)"
    size = look_at_model(parse(["--model", "tiny", "--model-dir", str(model.folder)], {}))[0].size
    assert (size.num_weights, size.width, size.num_text_weights) == (343_648, 96, 107_072)


@pytest.mark.parametrize(
    ("name", "part", "damage", "says"),
    [
        ("Wan2.1_VAE.pth", "VAE", None, "not there"),
        ("Wan2.1_VAE.pth", "VAE", 1000, "is truncated"),
        ("diffusion_pytorch_model.safetensors", "DiT", 1000, "is truncated"),
        ("models_t5_umt5-xxl-enc-bf16.safetensors", "text encoder", 0, "is empty"),
        ("google/umt5-xxl/tokenizer_config.json", "model", None, "lacks google/umt5-xxl/tokenizer_config.json"),
    ],
)
def test_a_file_that_is_missing_or_cut_off_is_named(
    model: Model, name: str, part: str, damage: int | None, says: str
) -> None:
    path = model.folder / name
    path.unlink() if damage is None else path.write_bytes(path.read_bytes()[:damage])
    rows = model.look()
    assert rows["model"].verdict == rows[part].verdict == "fails"
    assert says in rows[part].found
    assert "checkpoint make --like tiny" in rows["model"].remedy


def test_weights_of_another_model_have_another_hash(model: Model) -> None:
    vae = model.folder / "Wan2.1_VAE.pth"
    shutil.copy(model.folder / "diffusion_pytorch_model.safetensors", vae.with_suffix(".safetensors"))
    row = model.look()["VAE"]
    assert row.verdict == "fails"
    assert row.found.endswith("hash 2f3a345569bb65a3efec2a40fb2637d7")


def test_a_model_that_the_run_will_make_or_fetch_is_not_missed(tmp_path: Path) -> None:
    model = Model(tmp_path / "none")
    assert model.look()["model"].verdict == "ok"
    real = model.look("--model", "Wan2.1-T2V-14B")
    assert real["model"].verdict == "fails"
    assert model.look("--model", "Wan2.1-T2V-14B", "--download")["model"].verdict == "warning"


def test_videos_that_were_made_with_other_settings_fail_unless_it_is_said_what_to_do(piloted: Piloted) -> None:
    experiment, _ = piloted
    made = parse([*experiment.flags(), "--output", str(experiment.folder / "output-pilot")], {})
    jobs = [
        replace(job, num_inference_steps=min(job.num_inference_steps, 8)) for job in read_manifest(made.manifest, {})
    ]
    identity = find_checkpoint(made.model_dir).identity
    tasks, row = find_tasks(made, jobs, identity)
    assert (row.verdict, len(tasks)) == ("ok", 5)
    assert row.found == "2 of 5 are done"
    other = replace(made, tiled=False)
    _, row = find_tasks(other, jobs, identity)
    assert row.verdict == "fails"
    assert "--on-change rerun" in row.remedy
    assert find_tasks(replace(other, on_change="rerun"), jobs, identity)[1].verdict == "ok"
