"""`manifest check`: every reference is read as a run would read it, whatever kind of file it is."""

import contextlib
import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import time
import unicodedata
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from factories import make_job
from manifest_input import Workplace

import wan_ddp
from wan_ddp.manifest_tools import probing
from wan_ddp.manifest_tools.columns import aligned, width
from wan_ddp.manifest_tools.counts import count, irregularities
from wan_ddp.video import read_clip, write_mp4

ROOT = Path(wan_ddp.__file__).parents[1]
WIDTH, HEIGHT = 64, 48


def noise(num_frames, width=WIDTH, height=HEIGHT):
    return np.random.default_rng(0).integers(0, 256, (num_frames, height, width, 3), np.uint8)


def ffmpeg(*arguments):
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *map(str, arguments)], check=True)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """References of every kind, 17 frames at 15 fps where nothing else is said."""
    folder = tmp_path_factory.mktemp("clips")
    write_mp4(folder / "good.mp4", noise(17), 15)
    write_mp4(folder / "短.mp4", noise(9), 15)
    write_mp4(folder / "fast.mp4", noise(40), 30)
    write_mp4(folder / "tall.mp4", noise(17, HEIGHT, WIDTH), 15)
    write_mp4(folder / "black.mp4", np.zeros((17, HEIGHT, WIDTH, 3), np.uint8), 15)
    ffmpeg("-display_rotation", "90", "-i", folder / "good.mp4", "-c", "copy", folder / "turned.mp4")
    write_mp4(folder / "long.mp4", noise(100), 15)
    content = bytearray((folder / "long.mp4").read_bytes())
    (folder / "cut.mp4").write_bytes(content[: len(content) // 2])
    for place in range(len(content) - 13500, len(content) - 2000, 2300):
        for position in range(place, place + 100):
            content[position] ^= 0x5A
    (folder / "late.mp4").write_bytes(content)
    (folder / "text.mp4").write_text("version https://git-lfs.github.com/spec/v1")
    (folder / "empty.mp4").touch()
    os.mkfifo(folder / "pipe.mp4")
    return folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], clips: Path) -> Workplace:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clips").symlink_to(clips)
    return Workplace(tmp_path, capsys)


def manifest(here, *names, prompts=2, seeds=(1, 2), **settings):
    """A manifest over these files in `clips`."""
    base = {"category": "运动", "width": WIDTH, "height": HEIGHT, "num_frames": 17} | settings
    lines = [
        json.dumps(base | {"reference": f"clips/{name}", "prompt": f"p{index}", "prompt_index": index, "seed": seed})
        for name in names
        for index in range(prompts)
        for seed in seeds
    ]
    return str(here.write("m.jsonl", "\n".join(lines)).relative_to(here.folder))


def checked(here, *words):
    here.run("check", *words, "--json", "--jobs", "1")
    found = json.loads(here.out)
    assert found["exit_code"] == here.code
    return {Path(each["reference"]).name: each for each in found["references"]}, found


def test_good_references_are_told_in_one_line_and_measured_for_scripts(here):
    assert here.run("check", manifest(here, "good.mp4")) == 0
    assert here.out.rstrip().endswith("1 of 1 references can be read as their jobs need them")
    assert "fail" not in here.out
    found, everything = checked(here, "m.jsonl")
    assert found["good.mp4"] == {
        "reference": f"{here.folder}/clips/good.mp4",
        "jobs": 4,
        "failing_jobs": 0,
        "num_frames": 17,
        "fps": 15.0,
        "width": WIDTH,
        "height": HEIGHT,
        "seconds": pytest.approx(17 / 15),
        "rotation": 0.0,
        "fails": [],
        "notes": [],
    }
    assert everything["categories"] == {
        "运动": {"references": 1, "prompts": [2, 2], "seeds": [1, 2], "jobs": 4, "expected": None}
    }
    assert f"{here.folder}/clips/tall.mp4" in everything["unused"], "clips beside it that no job uses"


def test_each_bad_reference_says_why_and_how_many_jobs_it_fails(here):
    bad = {
        "短.mp4": "it has 9 of the 17 frames that the job needs",
        "cut.mp4": "it is damaged or cut off",
        "text.mp4": "it is not a video file",
        "empty.mp4": "it is empty",
        "pipe.mp4": "it is a device, pipe or socket",
        "god.mp4": "it is not there; nearest: good.mp4",
    }
    assert here.run("check", manifest(here, *bad, "good.mp4"), "--jobs", "3") == 1
    assert "6 references fail their jobs:" in here.out
    assert "1 of 7 references can be read as their jobs need them; 24 jobs would fail" in here.out
    for name, why in bad.items():
        [row] = [row for row in here.out.splitlines() if row.startswith(f"  clips/{name} ")]
        assert "4 of 4" in row
        assert why in row


def test_what_would_be_done_to_a_reference_is_noted_and_fails_nothing(here):
    found, everything = checked(here, manifest(here, "fast.mp4", "tall.mp4", "black.mp4", "turned.mp4", "late.mp4"))
    assert (here.code, everything["failing_jobs"]) == (0, 0)
    assert found["fast.mp4"]["notes"] == [
        "30 fps for 15: frame for frame, it moves at 0.5 of its speed; --sampling time keeps it"
    ]
    assert found["tall.mp4"]["notes"] == ["another aspect than 64x48: 44% is cropped"]
    assert found["black.mp4"]["notes"] == ["every frame is black"]
    assert found["turned.mp4"]["notes"][1] == "turned by 90 degrees, as players turn it"
    assert (found["turned.mp4"]["width"], found["turned.mp4"]["height"]) == (HEIGHT, WIDTH)
    assert found["late.mp4"]["notes"][0].startswith("behind the frames that its jobs need: it is damaged")
    assert (found["late.mp4"]["num_frames"], found["late.mp4"]["width"]) == (None, WIDTH)


def test_the_runs_own_flags_decide_what_fails(here):
    path = manifest(here, "短.mp4", "fast.mp4")
    assert checked(here, path, "--short-reference", "hold")[1]["failing_jobs"] == 0
    found, _ = checked(here, path, "--sampling", "time")
    assert "it lasts 0.60 s of the 1.13 s that the job needs at 15 fps" in found["短.mp4"]["fails"][0]
    assert found["fast.mp4"]["notes"] == []
    lines = [json.loads(text) for text in Path(path).read_text(encoding="utf-8").splitlines()]
    for line in lines:
        del line["num_frames"]
    here.write("m.jsonl", "\n".join(map(json.dumps, lines)))
    assert here.run("check", "m.jsonl", "--num-frames", "9") == 0


def test_a_reference_that_fails_some_of_its_jobs_is_told_apart(here):
    lines = [json.loads(text) for text in Path(manifest(here, "good.mp4")).read_text(encoding="utf-8").splitlines()]
    lines[0]["num_frames"] = 21
    here.write("m.jsonl", "\n".join(map(json.dumps, lines)))
    assert here.run("check", "m.jsonl") == 1
    assert "1 of 4      17" in here.out
    assert "it has 17 of the 21 frames" in here.out


def test_jobs_without_a_reference_need_it_there_and_no_more(here):
    found, everything = checked(here, manifest(here, "good.mp4", "text.mp4", "none.mp4", mechanism="none"))
    assert {name for name, each in found.items() if each["fails"]} == {"none.mp4"}
    assert found["text.mp4"]["notes"][0].startswith("though its jobs do not look at it: it is not a video")
    assert everything["exit_code"] == 1


def test_a_name_in_another_unicode_form_is_said_to_be_that(here):
    here.clips(f"clips2/{unicodedata.normalize('NFD', 'é')}.mp4")
    (here.folder / "clips2/gone.mp4").symlink_to("nowhere.mp4")
    path = manifest(here, "../clips2/é.mp4", "../clips2/gone.mp4")
    found, _ = checked(here, path)
    assert "the same name in another form of Unicode: rename the file" in found["é.mp4"]["fails"][0]
    assert found["gone.mp4"]["fails"] == ["it is a link to a file that is not there"]


def test_a_manifest_that_cannot_be_used_says_all_that_is_wrong_with_it(here):
    here.write("m.jsonl", '{"category": "a"}\n[]\n')
    assert here.run("check", "m.jsonl") == 2
    assert here.out == ""
    assert "m.jsonl:1: reference is missing" in here.err
    assert "m.jsonl:2: [] is not a job" in here.err
    assert here.run("check", "m.jsonl", "--json") == 2
    found = json.loads(here.out)
    assert len(found["problems"]) == 5
    assert found["exit_code"] == 2
    assert here.run("check", "none.jsonl") == 2


def test_counts_that_are_not_as_expected_end_with_2(here):
    path = manifest(here, "none.mp4")
    assert here.run("check", path, "--expect", "运动=1") == 1
    assert here.run("check", path, "--expect", "运动=14", "单体=3") == 2
    assert "运动: 1 references, and 14 are expected" in here.out
    assert "单体: 0 references, and 3 are expected" in here.out


def test_a_decoder_that_crashes_costs_its_reference_alone(here, monkeypatch):
    killer = here.write(
        "ffmpeg",
        f"""#!/bin/bash
for word in "$@"; do [[ $word == file:* && $(readlink "${{word#file:}}") == *短.mp4 ]] && kill -SEGV $PPID; done
exec {imageio_ffmpeg.get_ffmpeg_exe()} "$@"
""",
    )
    killer.chmod(0o700)
    path = manifest(here, "good.mp4", "短.mp4", "tall.mp4")
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(killer))
    found, everything = checked(here, path)
    assert found["短.mp4"]["fails"] == ["it crashes its decoder (SIGSEGV)"]
    assert everything["failing_jobs"] == 4


def test_a_decoder_that_hangs_is_given_up(here, monkeypatch):
    stuck = here.write("ffmpeg", "#!/bin/sh\nexec sleep 4\n")
    stuck.chmod(0o700)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(stuck))
    monkeypatch.setattr(probing, "_WHOLE_SECONDS", 0.1)
    monkeypatch.setattr(probing, "_TIMEOUT_SECONDS", 0.1)
    found, _ = checked(here, manifest(here, "good.mp4"))
    assert found["good.mp4"]["fails"] == ["it could not be read within 0.1 s"]


def test_ctrl_c_ends_it_at_once_with_130_and_no_traceback(here):
    busy = here.folder / "busy"
    slow = here.write("ffmpeg", f"#!/bin/sh\ntouch '{busy}'\nexec sleep 60\n")
    slow.chmod(0o700)
    path = manifest(here, "good.mp4", "tall.mp4", "fast.mp4")
    command = [sys.executable, "-m", "wan_ddp", "manifest", "check", path, "--jobs", "2"]
    environ = os.environ | {"PYTHONPATH": str(ROOT), "IMAGEIO_FFMPEG_EXE": str(slow)}
    process = subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, start_new_session=True, text=True)
    try:
        deadline = time.monotonic() + 60
        while not busy.exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(timeout=40) == 130
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # what stands for ffmpeg hears no Ctrl-C
    assert process.communicate()[1] == ""


def test_a_terminal_shows_a_bar_and_standard_output_the_report_alone(here):
    path = manifest(here, "good.mp4", "tall.mp4")
    command = [sys.executable, "-m", "wan_ddp", "manifest", "check", path, "--json"]
    terminal, theirs = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=theirs, check=True
    )
    os.close(theirs)
    shown = b""
    try:
        while block := os.read(terminal, 65536):
            shown += block
    except OSError:
        pass  # so a terminal ends
    os.close(terminal)
    assert json.loads(done.stdout)["jobs"] == 8
    assert b"references: 100%" in shown
    assert b"2/2" in shown


def test_a_probe_reads_by_the_call_that_a_run_reads_by():
    assert probing.read_clip is read_clip


def reference(name, prompts, seeds, category="a"):
    """Jobs over one reference: `prompts` by index."""
    return [
        make_job(category=category, reference=f"/r/{name}.mp4", prompt=text, prompt_index=index, seed=seed)
        for index, text in prompts.items()
        for seed in seeds
    ]


TWO = {0: "x", 1: "y"}


@pytest.mark.parametrize(
    ("odd", "told"),
    [
        ({0: "x"}, ["1 prompts, and others of the category have 2"]),
        ({0: "x", 2: "y"}, ["prompt_index goes up to 2, and there is no 1"]),
        ({1: "x", 2: "y"}, ["prompt_index begins at 1"]),
        ({0: "x", 1: "x"}, ["prompts 0, 1 are the same text"]),
        ({0: "x", 10**30: "y"}, [f"prompt_index goes up to {10**30}, and there is no 1"]),
        (TWO, []),
    ],
)
def test_references_unlike_the_others_are_told(odd, told):
    jobs = [*reference("p", TWO, (1, 2)), *reference("q", TWO, (1, 2)), *reference("odd", odd, (1, 2))]
    assert irregularities(jobs) == [f"a/ref_odd_32x16: {what}" for what in told]


def test_seeds_that_differ_and_prompts_that_differ_between_seeds_are_told():
    regular = [*reference("p", TWO, (1, 2)), *reference("q", TWO, (1, 2))]
    assert irregularities([*regular, *reference("odd", TWO, (1,))]) == [
        "a/ref_odd_32x16: seeds 1, and others of the category have 1, 2"
    ]
    other = [*reference("odd", TWO, (1,)), *reference("odd", {0: "x", 1: "other"}, (2,))]
    assert irregularities([*regular, *other]) == ["a/ref_odd_32x16: prompt 1 is another text with another seed"]
    assert irregularities([*regular, *reference("odd", TWO, (1, 2))[:-1]]) == [
        "a/ref_odd_32x16: 3 jobs, and 2 prompts x 2 seeds are 4"
    ]


def test_the_experiment_is_regular_and_counted_by_category():
    from factories import experiment_jobs

    jobs = experiment_jobs()
    assert irregularities(jobs) == []
    assert [
        (each.category, each.num_references, each.num_prompts, each.seeds, each.num_jobs) for each in count(jobs)
    ] == [
        ("camera_motion", 14, (5, 5), (42, 142), 140),
        ("single_object", 33, (5, 5), (42, 142), 330),
        ("multiple_objects", 13, (5, 5), (42, 142), 130),
        ("complex_human_motion", 8, (5, 5), (42, 142), 80),
    ]


def test_columns_stand_below_each_other_whatever_the_script():
    rows = aligned([["name", "n"], ["镜头", "1"], [unicodedata.normalize("NFD", "é"), "22"]])
    assert [width(row) for row in rows] == [8, 8, 8]
