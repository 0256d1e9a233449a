"""The reference set: its catalogue, the motion that its clips show, their files, and the manifests over them."""

import argparse
import hashlib
import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
import unicodedata
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from wan_ddp import references
from wan_ddp.errors import MachineError
from wan_ddp.references import actions, catalogue, figure, make, manifests, moves, mp4
from wan_ddp.references.clip import DEMO, FULL, Clip, Format, Stage
from wan_ddp.references.draw import frames

SMALL = Format(width=160, height=96, num_frames=9, fps=15)
ROOT = Path(__file__).parents[1]


def drawn(name: str, size: Format = SMALL) -> NDArray[np.float32]:
    """A clip's brightness, (T, H, W)."""
    return np.array(list(frames(catalogue.find(name), size)), dtype=np.float32).mean(axis=3)


def shift(before: NDArray[np.float32], after: NDArray[np.float32]) -> tuple[int, int]:
    """How far a picture's content moved, right and down, by phase correlation."""
    window = np.outer(np.hanning(before.shape[0]), np.hanning(before.shape[1]))
    spectra = [np.fft.fft2((picture - picture.mean()) * window) for picture in (before, after)]
    cross = np.conj(spectra[0]) * spectra[1]
    peak = np.fft.ifft2(cross / np.maximum(np.abs(cross), 1e-9)).real
    down, right = np.unravel_index(peak.argmax(), peak.shape)
    height, width = peak.shape
    return (int(right) + width // 2) % width - width // 2, (int(down) + height // 2) % height - height // 2


def middle_of_motion(clip: NDArray[np.float32]) -> list[tuple[float, float]]:
    """Where each frame differs from the still backdrop (x, y), for frames in which something is seen."""
    still = np.median(clip, axis=0)
    places = []
    for frame in clip:
        weight = np.abs(frame - still) * (np.abs(frame - still) > 12)
        if weight.sum() > 0:
            rows, columns = np.indices(frame.shape)
            places.append((float((weight * columns).sum() / weight.sum()), float((weight * rows).sum() / weight.sum())))
    return places


def magnification(clip: NDArray[np.float32]) -> float:
    """Which scale about the centre brings the first frame nearest to the next: above 1 the picture grows."""
    first, second = Image.fromarray(clip[0]), clip[1]
    height, width = second.shape
    errors = {}
    for scale in np.arange(0.8, 1.21, 0.02):
        inset = (width / 2 * (1 - 1 / scale), height / 2 * (1 - 1 / scale))
        matrix = (1 / scale, 0, inset[0], 0, 1 / scale, inset[1])
        grown = np.asarray(first.transform((width, height), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR))
        inner = np.s_[16:-16, 24:-24]
        errors[float(scale)] = float(np.abs(grown[inner] - second[inner]).mean())
    return min(errors, key=errors.__getitem__)


def test_the_catalogue_has_the_experiments_counts() -> None:
    assert Counter(clip.category for clip in catalogue.CLIPS) == {
        "camera_motion": 14,
        "single_object": 33,
        "multiple_objects": 13,
        "complex_human_motion": 8,
    }


def test_names_are_unique_composed_and_in_two_languages() -> None:
    names = [clip.name for clip in catalogue.CLIPS]
    assert len(set(names)) == 68
    assert all(unicodedata.is_normalized("NFC", name) for name in names)
    assert len({unicodedata.normalize("NFKC", name).casefold() for name in names}) == 68
    chinese = [name for name in names if re.fullmatch(r"[\u4e00-\u9fff]+", name)]
    english = [name for name in names if re.fullmatch(r"[a-z_]+", name)]
    assert len(chinese) + len(english) == 68
    assert min(len(chinese), len(english)) >= 20
    assert catalogue.find("镜头仰角旋转").path(FULL) == "camera_motion/ref_镜头仰角旋转_832x480.mp4"


def test_prompts_are_five_a_clip_all_different_and_a_third_chinese() -> None:
    assert all(len(clip.prompts) == 5 for clip in catalogue.CLIPS)
    prompts = [prompt for clip in catalogue.CLIPS for prompt in clip.prompts]
    assert len(set(prompts)) == 340
    chinese = [prompt for prompt in prompts if re.search(r"[\u4e00-\u9fff]", prompt)]
    assert 0.25 < len(chinese) / 340 < 0.45
    assert all(prompt == prompt.strip() and prompt[-1] in ".。" and "\n" not in prompt for prompt in prompts)


@pytest.mark.parametrize("clip", catalogue.CLIPS, ids=lambda clip: clip.name)
def test_every_clip_draws_and_moves(clip: Clip) -> None:
    pictures = list(frames(clip, replace(SMALL, num_frames=6)))
    assert [(picture.shape, picture.dtype) for picture in pictures] == [((96, 160, 3), np.dtype(np.uint8))] * 6
    assert pictures[1].std() > 10  # not a plain colour
    assert np.abs(np.diff(np.array(pictures, dtype=np.int16), axis=0)).max() > 20


@pytest.mark.parametrize("name", ["pan_left", "ball_bounces", "行星环绕", "person_walks"])
def test_a_clip_has_the_same_pixels_every_time_and_in_another_process(name: str) -> None:
    size = replace(SMALL, num_frames=3)
    here = [picture.tobytes() for picture in frames(catalogue.find(name), size)]
    assert [picture.tobytes() for picture in frames(catalogue.find(name), size)] == here
    script = (
        "import sys, hashlib; from wan_ddp.references import catalogue; from wan_ddp.references.clip import Format;"
        "from wan_ddp.references.draw import frames; size = Format(160, 96, 3, 15);"
        f"print(hashlib.sha256(b''.join(p.tobytes() for p in frames(catalogue.find({name!r}), size))).hexdigest())"
    )
    other = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert other.stdout.strip() == hashlib.sha256(b"".join(here)).hexdigest()


@pytest.mark.parametrize(
    ("name", "axis", "sign"),
    [("pan_left", 0, 1), ("镜头右摇", 0, -1), ("tilt_up", 1, 1), ("镜头下摇", 1, -1), ("镜头横移", 0, -1)],
)
def test_the_picture_moves_against_the_camera(name: str, axis: int, sign: int) -> None:
    clip = drawn(name, replace(SMALL, num_frames=33))
    moved = [shift(clip[k], clip[k + 1])[axis] for k in (14, 16, 18)]
    assert all(sign * distance > 0 for distance in moved), moved


@pytest.mark.parametrize(
    ("name", "grows"), [("zoom_in", True), ("镜头拉远", False), ("dolly_forward", True), ("镜头后退", False)]
)
def test_zooms_and_dollies_scale_the_picture(name: str, grows: bool) -> None:
    # five frames from the middle of the clip, where the scale changes fastest
    clip = drawn(name, replace(SMALL, num_frames=25))
    scale = magnification(clip[[14, 16]])
    assert scale > 1.01 if grows else scale < 0.99, scale


def test_a_zoom_keeps_the_camera_in_place_and_a_dolly_keeps_the_lens() -> None:
    zoom = [catalogue.find("zoom_in").drawing.move(share) for share in (0.0, 0.5, 1.0)]  # type: ignore[union-attr]
    assert len({(view.x, view.y, view.z) for view in zoom}) == 1
    dolly = [catalogue.find("dolly_forward").drawing.move(share) for share in (0.0, 0.5, 1.0)]  # type: ignore[union-attr]
    assert {view.focal for view in dolly} == {1.0}
    assert dolly[0].z < dolly[1].z < dolly[2].z


def test_an_orbit_keeps_its_distance_and_looks_at_the_middle() -> None:
    move = moves.orbit(15, azimuths=(38, -38), elevations=(10, 10), target_height=1.8)
    for share in np.linspace(0, 1, 5):
        view = move(float(share))
        assert np.hypot(np.hypot(view.x, view.z), view.y - 1.8) == pytest.approx(15)
        ahead = np.array([np.sin(np.radians(view.yaw)), np.cos(np.radians(view.yaw))])
        assert ahead @ np.array([-view.x, -view.z]) == pytest.approx(np.hypot(view.x, view.z))


def test_a_clockwise_roll_turns_the_picture_anticlockwise() -> None:
    clip = drawn("roll_clockwise", replace(SMALL, num_frames=33))
    left, right = np.s_[:, 8:72], np.s_[:, 88:152]
    assert shift(clip[16][left], clip[17][left])[1] > 0
    assert shift(clip[16][right], clip[17][right])[1] < 0


def test_the_rolling_ball_goes_right_before_a_still_backdrop() -> None:
    clip = drawn("ball_rolls_right", replace(SMALL, num_frames=17))
    places = [x for x, _ in middle_of_motion(clip)]
    assert places[-1] - places[0] > 80
    assert all(after > before for before, after in pairwise(places))
    assert np.ptp(clip[:, :40], axis=0).max() == 0  # above the ball nothing changes at all


def test_the_balloon_rises_and_the_swimming_fish_goes_left() -> None:
    rising = [y for _, y in middle_of_motion(drawn("气球升空", replace(SMALL, num_frames=17)))]
    assert rising[-2] < rising[1] - 40
    swimming = [x for x, _ in middle_of_motion(drawn("fish_swims_left", replace(SMALL, num_frames=17)))]
    assert swimming[-2] < swimming[1] - 60


def test_crossing_balls_move_in_opposite_directions() -> None:
    clip = catalogue.find("two_balls_cross")
    poses = [[mover.path(share).x for mover in clip.drawing.movers] for share in (0.1, 0.9)]  # type: ignore[union-attr]
    assert poses[0][0] < poses[1][0]
    assert poses[0][1] > poses[1][1]


def test_every_shape_and_backdrop_of_the_catalogue_exists_and_objects_enter_the_picture() -> None:
    for clip in catalogue.CLIPS:
        if isinstance(clip.drawing, Stage):
            for mover in clip.drawing.movers:
                poses = [mover.path(share) for share in np.linspace(0, 1, 81)]
                seen = sum(abs(pose.x) < 0.86 and abs(pose.y) < 0.5 for pose in poses)
                assert seen > 40, clip.name


def test_a_walking_foot_on_the_ground_does_not_slide() -> None:
    for k in range(200):
        before, after = actions.walk(k / 1000), actions.walk((k + 1) / 1000)
        if before.left_foot[1] == after.left_foot[1] == actions.ANKLE:
            assert before.x + before.left_foot[0] == pytest.approx(after.x + after.left_foot[0], abs=1e-9)


@pytest.mark.parametrize("name", list(actions.ACTIONS))
def test_bones_keep_their_lengths_and_nobody_sinks_into_the_ground(name: str) -> None:
    for progress in np.linspace(0, 1, 41):
        parts = figure.skeleton(actions.ACTIONS[name](float(progress)), (200, 0, 0), (0, 0, 200))
        legs = [part for part in parts if len(part) == 2 and part[0].colour == part[1].colour == (0, 0, 200)]
        assert len(legs) == 2
        for thigh, shin in legs:
            assert np.linalg.norm(thigh.end - thigh.start) == pytest.approx(figure.THIGH)
            assert np.linalg.norm(shin.end - shin.start) == pytest.approx(figure.SHIN)
        lowest = min(float(min(limb.start[1], limb.end[1])) for part in parts for limb in part)
        assert lowest > -0.03


def test_a_jump_leaves_the_ground_twice() -> None:
    flying = [actions.jump(k / 200).lift > 0.1 for k in range(201)]
    assert sum(now and not before for before, now in pairwise(flying)) == 2


MAIN = """
import argparse, sys
from wan_ddp import errors, references
from wan_ddp.references import catalogue

if __name__ == "__main__":
    # first the clips that are drawn at once, without building a world
    catalogue.CLIPS = tuple(sorted(catalogue.CLIPS, key=lambda clip: clip.category == "camera_motion"))
    parser = argparse.ArgumentParser()
    references.add_commands(parser.add_subparsers())
    args = parser.parse_args(sys.argv[1:])
    try:
        sys.exit(args.run(args))
    except errors.UnusableError as error:
        sys.exit(print(error, file=sys.stderr) or errors.EXIT_UNUSABLE)
"""


def make_demo(output: Path, *, force: bool = False, num_processes: int = 1) -> int:
    return make.make(catalogue.DEMO_CLIPS, output, DEMO, num_processes, force=force)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_clips_are_whole_h264_files_of_the_full_size(tmp_path: Path) -> None:
    clip = catalogue.find("ball_rolls_right")
    assert make.make([clip], tmp_path, FULL, 1) == 1
    path = tmp_path / "single_object" / "ref_ball_rolls_right_832x480.mp4"
    found = next(imageio_ffmpeg.read_frames(str(path)))
    assert found["codec"] == "h264"
    assert found["pix_fmt"].startswith("yuv420p")
    assert (found["size"], found["fps"]) == ((832, 480), 15.0)
    num_frames, seconds = imageio_ffmpeg.count_frames_and_secs(str(path))
    assert num_frames == 81
    assert seconds == pytest.approx(5.4, abs=0.05)
    assert len(path.read_bytes()) < 2_000_000


def test_the_demo_has_every_category_and_making_it_again_keeps_whole_files(tmp_path: Path) -> None:
    assert make_demo(tmp_path) == 5
    first = files(tmp_path)
    assert {name.split("/")[0] for name in first} == {
        "camera_motion",
        "single_object",
        "multiple_objects",
        "complex_human_motion",
    }
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.mp4")}
    assert make_demo(tmp_path) == 0
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.mp4")} == times
    assert make_demo(tmp_path, force=True) == 5
    assert files(tmp_path) == first  # the same bytes, and nothing left beside them


def test_damaged_files_are_drawn_again(tmp_path: Path) -> None:
    make_demo(tmp_path)
    whole = files(tmp_path)
    first, second, third, *_ = sorted(tmp_path.rglob("*.mp4"))
    first.write_bytes(first.read_bytes()[:1000])
    second.write_bytes(b"")
    mp4.write(third, frames(catalogue.find("ball_rolls_right"), SMALL), SMALL)  # too short
    assert make_demo(tmp_path) == 3
    assert files(tmp_path) == whole


def test_several_processes_draw_the_same_bytes(tmp_path: Path) -> None:
    make_demo(tmp_path / "one")
    make_demo(tmp_path / "two", num_processes=2)
    assert files(tmp_path / "one") == files(tmp_path / "two")
    assert multiprocessing.active_children() == []


def test_a_failure_half_way_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(clip: object, size: Format) -> object:
        yield np.zeros((size.height, size.width, 3), dtype=np.uint8)
        raise KeyboardInterrupt

    monkeypatch.setattr(make, "frames", half)
    with pytest.raises(KeyboardInterrupt):
        make_demo(tmp_path)
    assert files(tmp_path) == {}
    assert not list(tmp_path.glob(".making-*"))


def test_what_a_killed_run_left_is_removed_but_not_what_another_is_drawing(tmp_path: Path) -> None:
    old, new = tmp_path / ".making-old", tmp_path / ".making-new"
    for folder in (old, new):
        folder.mkdir()
        (folder / "ref_a.mp4.part").write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    make.make([], tmp_path, DEMO, 1)
    assert [path.name for path in tmp_path.iterdir()] == [".making-new"]


def test_a_failing_encoder_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mp4, "ENCODING", (*mp4.ENCODING, "-preset", "nonsense"))
    with pytest.raises(
        MachineError, match=r"cannot write .*ref_.*160x96\.mp4: .*nonsense.* \([\d.]+ MB are free there\)"
    ):
        make_demo(tmp_path)
    assert files(tmp_path) == {}


def test_a_clip_that_ends_early_is_not_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mp4, "ENCODING", (*mp4.ENCODING, "-frames:v", "5"))
    with pytest.raises(MachineError, match=r"ref_.*160x96\.mp4: what ffmpeg wrote is not whole"):
        make_demo(tmp_path)
    assert files(tmp_path) == {}


def test_a_full_disk_is_one_clear_error(tmp_path: Path) -> None:
    script = tmp_path / "main.py"
    script.write_text(MAIN)
    # no file may grow beyond 2 blocks of 1 kB: as with a full disk, ffmpeg's writes fail
    words = f"ulimit -f 2; exec {sys.executable} {script} references make --demo --jobs 1 --output {tmp_path}/out"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(["bash", "-c", words], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert re.search(r"^cannot write .*160x96\.mp4: ", done.stderr, re.MULTILINE)
    assert files(tmp_path / "out") == {}


def test_an_output_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(MachineError, match=r"cannot write references to .*file/references"):
        make_demo(tmp_path / "file" / "references")


def command(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    references.add_commands(parser.add_subparsers())
    return parser.parse_args(["references", *words])


def test_the_command_draws_the_demo_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = command("make", "--demo", "--jobs", "1", "--output", str(tmp_path))
    assert args.run(args) == 0
    assert capsys.readouterr().out == f"{tmp_path}: 5 clips drawn, 0 kept\n"


@pytest.mark.parametrize("jobs", ["0", "-1", "two", "1.5"])
def test_a_number_of_processes_must_be_positive(jobs: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command("make", "--jobs", jobs)
    assert "is not a whole number of 1 or more" in capsys.readouterr().err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_the_drawing_and_leaves_only_whole_clips(tmp_path: Path, number: int, code: int) -> None:
    script, output = tmp_path / "main.py", tmp_path / "out"
    script.write_text(MAIN)
    words = ["references", "make", "--jobs", "2", "--output", str(output)]
    process = subprocess.Popen(
        [sys.executable, str(script), *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not list(output.glob(".making-*/*.part")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, number)  # as a terminal does: the workers and the encoders get it, too
    _, errors = process.communicate(timeout=30)
    assert process.returncode == code, errors
    said = [line for line in errors.splitlines() if not line.startswith("references: ")]
    assert said == ["stopped; the clips drawn so far are whole, the same command draws the rest"]
    assert not list(output.glob(".making-*"))
    assert all(mp4.is_whole(path, FULL) for path in output.rglob("*.mp4"))


def test_importing_the_commands_imports_nothing_heavy() -> None:
    script = "import sys; from wan_ddp import references; print({'numpy', 'PIL', 'imageio_ffmpeg'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@pytest.mark.parametrize("name", ["all.jsonl", "demo.jsonl"])
def test_the_manifests_in_the_repository_are_what_the_code_makes(name: str) -> None:
    kept = (ROOT / "manifests" / name).read_bytes()
    assert kept == manifests.texts()[name].encode(), "run: python -m wan_ddp references manifest"


def test_the_full_manifest_is_the_experiment_in_order() -> None:
    jobs = [json.loads(line) for line in manifests.texts()["all.jsonl"].splitlines()]
    assert Counter(job["category"] for job in jobs) == {
        "camera_motion": 140,
        "single_object": 330,
        "multiple_objects": 130,
        "complex_human_motion": 80,
    }
    assert {tuple(job) for job in jobs} == {("category", "reference", "prompt", "prompt_index", "seed")}
    assert jobs[0]["reference"] == "../references/camera_motion/ref_镜头仰角旋转_832x480.mp4"
    assert [(job["prompt_index"], job["seed"]) for job in jobs[:10]] == [(i, s) for i in range(5) for s in (42, 142)]
    assert len({(job["reference"], job["prompt_index"], job["seed"]) for job in jobs}) == 680


def test_the_demo_is_small_has_all_categories_and_both_seeds() -> None:
    jobs = [json.loads(line) for line in manifests.texts()["demo.jsonl"].splitlines()]
    assert 12 <= len(jobs) <= 16
    assert len({job["category"] for job in jobs}) == 4
    assert {job["seed"] for job in jobs} == {42, 142}
    sizes = {(job["width"], job["height"], job["num_frames"], job["num_inference_steps"]) for job in jobs}
    assert sizes == {(160, 96, 17, 20)}
