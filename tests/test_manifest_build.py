"""`manifest build`: the layouts that people have become manifests that a run reads, and nothing is lost on the way."""

import json
import os
import subprocess
import sys
import tempfile
import unicodedata
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from manifest_input import Workplace

import wan_ddp
from wan_ddp.manifest import read_manifest
from wan_ddp.manifest_tools import build
from wan_ddp.manifest_tools.layouts import Options, collect

FIVE = [f"提示 {index}" for index in range(5)]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Workplace:
    monkeypatch.chdir(tmp_path)
    return Workplace(tmp_path, capsys)


@pytest.fixture
def data(here: Workplace) -> Workplace:
    """Two categories, three clips, one prompt.json."""
    here.clips("data/camera_motion/镜头推近.mp4", "data/camera_motion/pan.mp4", "data/single_object/fox.mp4")
    here.json("data/prompt.json", {"camera_motion": {"镜头推近": FIVE, "pan": FIVE}, "single_object": {"fox": FIVE}})
    return here


def names(jobs):
    """(category, file, prompt_index, prompt) of each job, once for all its seeds."""
    return list(dict.fromkeys((job.category, Path(job.reference).name, job.prompt_index, job.prompt) for job in jobs))


TWO = [("a", "x.mp4", 0, "one"), ("a", "x.mp4", 1, "two"), ("b", "y.mp4", 0, "three")]


def put_prompt_json(here):
    here.clips("data/a/x.mp4", "data/b/y.mp4")
    here.json("data/prompt.json", {"a": {"x": ["one", "two"]}, "b": {"y": ["three"]}})


def put_prompts_json(here):
    here.clips("data/a/x.mp4", "data/b/y.mp4")
    here.json("data/a/prompts.json", {"x": ["one", "two"]})
    here.json("data/b/prompts.json", {"y": ["three"]})


def put_prompts_txt(here):
    here.clips("data/a/x/x.mp4", "data/b/y/y.mp4")
    here.write("data/a/x/prompts.txt", "one\r\n\r\n  two\r\n")
    here.write("data/b/y/prompts.txt", "three")


def put_csv(here):
    here.clips("data/a/x.mp4", "data/b/y.mp4")
    here.write("data/prompts.csv", "category,reference,prompt\na,x.mp4,one\nb,y,three\na,x,two\n")


def put_jsonl(here):
    here.clips("data/a/x.mp4", "data/b/y.mp4")
    rows = [{"reference": "a/x.mp4", "prompts": ["one", "two"]}, {"reference": "b/y.mp4", "prompt": "three"}]
    here.write("data/prompts.jsonl", "\n".join(map(json.dumps, rows)))


LAYOUTS = {
    "prompt-json": put_prompt_json,
    "prompts-json": put_prompts_json,
    "prompts-txt": put_prompts_txt,
    "csv": put_csv,
    "jsonl": put_jsonl,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_found_by_looking_and_gives_the_same_jobs(here, layout):
    LAYOUTS[layout](here)
    jobs = here.built("data", seeds=("42", "142"))
    assert names(jobs) == TWO
    assert [job.seed for job in jobs] == [42, 142] * 3
    expected = "table" if layout in ("csv", "jsonl") else layout
    assert here.out.startswith(f"layout {expected}: "), "which one it was is said in the first line"


def test_the_experiments_folder_becomes_its_manifest(here):
    counts = {"camera_motion": 14, "single_object": 33, "multiple_objects": 13, "complex_human_motion": 8}
    prompts = {category: {f"动作{n}": FIVE for n in range(number)} for category, number in counts.items()}
    here.clips(*(f"data/{category}/ref_{name}_832x480.mp4" for category in prompts for name in prompts[category]))
    here.json("data/prompt.json", prompts)
    expected = [f"{category}={number}" for category, number in counts.items()]
    jobs = here.built("data", "--expect", *expected, seeds=("42", "142"))
    assert len(jobs) == 680
    assert Counter(job.category for job in jobs) == {category: number * 10 for category, number in counts.items()}
    assert here.out.splitlines()[-4].split() == ["all", "68", "680"]
    assert here.out.rstrip().endswith("next: python -m wan_ddp manifest check my/all.jsonl")


def test_two_layouts_at_once_are_refused_with_what_to_say_and_then_one_is_taken(data):
    data.json("data/single_object/prompts.json", {"fox": ["other"]})
    said = data.refused("data")
    assert (
        "2 layouts at once: prompt-json, by data/prompt.json; prompts-json, by data/single_object/prompts.json" in said
    )
    assert said.rstrip().endswith("say which counts: --layout prompt-json or --layout prompts-json")
    assert len(data.built("data", "--layout", "prompt-json")) == 15
    assert "not used, by --layout prompt-json: data/single_object/prompts.json" in data.out


def test_two_files_of_one_layout_are_refused_and_either_can_be_given(data):
    data.json("data/prompts.json", {"single_object": {"fox": ["other"]}})
    assert "data/prompt.json and data/prompts.json: only one of them can count" in data.refused("data")
    jobs = data.built("data/prompts.json", "--allow-unmatched")
    assert [job.prompt for job in jobs] == ["other"]
    assert "not used: data/prompt.json" in data.out


def test_a_folder_without_prompts_is_told_the_layouts_and_what_might_be_meant(here):
    here.clips("data/a/x.mp4")
    here.json("data/my prompts.json", {"a": {"x": ["one"]}})
    said = here.refused("data")
    assert "1 clips, and no prompts" in said
    assert "if data/my prompts.json holds them, give that file" in said
    assert all(layout in said for layout in ("prompt-json", "prompts-json", "prompts-txt", "table"))
    assert len(here.built("data/my prompts.json")) == 1


@pytest.mark.parametrize("source", ["nothing", "nothing.json", "nothing.csv"])
def test_an_input_that_is_not_there_is_said_so(here, source):
    assert f"error: {source}: cannot be read: No such file or directory" in here.refused(source)


def test_prompts_may_lie_elsewhere_than_the_clips(data):
    (data.folder / "data/prompt.json").rename(data.folder / "p.json")
    assert len(data.built("p.json", "--clips", "data")) == 15
    data.json("prompts/camera_motion/prompts.json", {"pan": FIVE, "镜头推近": FIVE})
    data.json("prompts/single_object/prompts.json", {"fox": FIVE})
    assert len(data.built("prompts", "--clips", "data")) == 15


def test_one_category_alone_is_named_after_its_folder_or_as_told(here):
    here.clips("data/运动/x.mp4")
    here.json("data/运动/prompts.json", {"x": ["one"]})
    assert [job.category for job in here.built("data/运动")] == ["运动"]
    assert [job.category for job in here.built("data/运动", "--category", "motion")] == ["motion"]
    here.json("data/运动/prompts.json", {"camera": {"x": ["one"]}})
    assert [job.category for job in here.built("data/运动")] == ["camera"]
    assert "leave --category out" in here.refused("data/运动", "--category", "motion")


def test_a_name_is_found_with_or_without_its_suffix_and_frame_in_either_unicode_form(here):
    for file, name in [
        ("x.mp4", "x"),
        ("x.mp4", "x.mp4"),
        ("a.b.MOV", "a.b"),
        ("ref_镜头_832x480.mp4", "镜头"),
        ("镜头.webm", "ref_镜头_832x480"),
        (unicodedata.normalize("NFD", "étude_각도.mkv"), unicodedata.normalize("NFC", "étude_각도")),
        (unicodedata.normalize("NFC", "étude.avi"), unicodedata.normalize("NFD", "étude")),
    ]:
        here.clips(f"data/a/{file}")
        here.json("data/prompt.json", {"a": {name: ["one"]}})
        [job] = here.built("data")
        assert Path(job.reference).name == file, "opened by its own bytes"
        (here.folder / f"data/a/{file}").unlink()


def test_a_category_in_the_other_unicode_form_is_the_same_category(here):
    here.clips(f"data/{unicodedata.normalize('NFD', 'é')}/x.mp4")
    here.json("data/prompt.json", {unicodedata.normalize("NFC", "é"): {"x": ["one"]}})
    assert [job.category for job in here.built("data", "--expect", f"{unicodedata.normalize('NFD', 'é')}=1")] == ["é"]


def test_a_whole_name_goes_before_one_without_its_frame(here):
    here.clips("data/a/ref_x_832x480.mp4", "data/a/ref_x_480x832.mp4")
    both = {"ref_x_832x480": ["wide"], "ref_x_480x832": ["tall"]}
    here.json("data/prompt.json", {"a": both})
    assert [(Path(job.reference).stem, job.prompt) for job in here.built("data")] == [
        (name, prompts[0]) for name, prompts in both.items()
    ]
    here.json("data/prompt.json", {"a": {"x": ["either"]}})
    said = here.refused("data", "--allow-unmatched")
    assert '"x" could be data/a/ref_x_480x832.mp4 or data/a/ref_x_832x480.mp4' in said


def test_two_names_for_one_clip_are_refused(here):
    here.clips("data/a/x.mp4")
    here.json("data/prompt.json", {"a": {"x": ["one"], "x.mp4": ["two"]}})
    assert '"x.mp4" and "x" both name data/a/x.mp4' in here.refused("data", "--allow-unmatched")


def test_what_matches_nothing_is_listed_on_both_sides_with_the_nearest_names_and_nothing_is_written(data):
    data.json("data/prompt.json", {"camera_motion": {"镜头推进": FIVE, "Pan": FIVE}, "single_object": {"fox": FIVE}})
    said = data.refused("data")
    assert "clips without prompts: 2\n" in said
    assert "  camera_motion/镜头推近.mp4; nearest: camera_motion/镜头推进\n" in said
    assert "  camera_motion/pan.mp4; nearest: camera_motion/Pan\n" in said
    assert "lists of prompts without a clip: 2\n" in said
    assert "  camera_motion/镜头推进; nearest: camera_motion/镜头推近.mp4\n" in said
    assert "--allow-unmatched" in said
    assert {Path(job.reference).name for job in data.built("data", "--allow-unmatched")} == {"fox.mp4"}
    assert "camera_motion/镜头推近.mp4" in data.out, "what is left out is listed all the same"


def test_the_same_name_in_another_category_is_the_first_that_is_named(here):
    here.clips("data/a/x.mp4", "data/a/y.mp4", "data/b/z.mp4")
    here.json("data/prompt.json", {"a": {"y": ["one"]}, "b": {"z": ["one"], "x": ["one"]}})
    assert "  a/x.mp4; nearest: b/x\n" in here.refused("data")


def test_a_category_on_one_side_only_is_one_line_with_its_number(data):
    (data.folder / "data/camera_motion").rename(data.folder / "data/camera-motion")
    said = data.refused("data")
    assert "clips without prompts: 2\n  camera-motion/: no such category opposite, 2; nearest: camera_motion\n" in said
    assert "a clip: 2\n  camera_motion/: no such category opposite, 2; nearest: camera-motion\n" in said


def test_an_empty_list_of_prompts_is_a_clip_without_prompts(data):
    data.json("data/prompt.json", {"camera_motion": {"镜头推近": [], "pan": FIVE}, "single_object": {"fox": FIVE}})
    said = data.refused("data")
    assert "camera_motion/镜头推近: its list of prompts is empty" in said
    assert "clips without prompts: 1\n" in said
    assert len(data.built("data", "--allow-unmatched")) == 10


@pytest.mark.parametrize(
    "prompts", [["one", ""], ["one", " \n"], ["one", None], ["one", 3], [["one"]], {"a": "one"}, 7]
)
def test_prompts_that_are_blank_or_no_texts_are_refused_whatever_is_allowed(data, prompts):
    data.json("data/prompt.json", {"camera_motion": {"pan": prompts}, "single_object": {"fox": FIVE}})
    assert "data/prompt.json: camera_motion/pan" in data.refused("data", "--allow-unmatched")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b'{"a": {"x": ["one"], "x": ["two"]}}', '"x" stands twice in one object'),
        (b'{"a": {"x": ["one"]}, "a": {"y": ["two"]}}', '"a" stands twice in one object'),
        (b'{"a": {\n"x": ["one"\n}}', "data/prompt.json:3: not JSON"),
        (b"", "data/prompt.json:1: not JSON"),
        (b"[" * 100_000, "nested too deep"),
        (b'"text"', "it holds no object"),
        (b'{"a": ["one"]}', "a holds no clips; with clips in folders it must be {category: {clip: [prompts]}}"),
        ('{"类": {"x": ["一"]}}'.encode("gb18030"), "data/prompt.json:1: not UTF-8; it reads as gb18030"),
        ('{"a": {"x": ["one"]}}'.encode("utf-16"), "data/prompt.json:1: not UTF-8; it reads as utf-16"),
        (b'{"a": {"x": ["\\ud800"]}}', "half of a surrogate pair"),
    ],
)
def test_a_broken_prompt_file_is_refused_with_its_place(here, content, problem):
    here.clips("data/a/x.mp4")
    here.write("data/prompt.json", content)
    assert problem in here.refused("data", "--allow-unmatched")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "gb18030", "utf-16"])
def test_a_prompt_file_is_read_with_a_bom_or_in_the_encoding_that_is_named(here, encoding):
    here.clips("data/类/镜头.mp4")
    here.write("data/prompt.json", '{"类": {"镜头": ["一只猫"]}}'.encode(encoding))
    more = [] if encoding == "utf-8-sig" else ["--encoding", encoding]
    assert [job.prompt for job in here.built("data", *more)] == ["一只猫"]


def test_what_lies_about_in_real_folders_is_passed_over_and_said(data):
    data.clips("data/camera_motion/._pan.mp4", "data/.cache/x.mp4", "data/__MACOSX/camera_motion/pan.mp4")
    data.clips("data/.DS_Store", "data/camera_motion/Thumbs.db", "data/readme.txt")
    assert len(data.built("data")) == 15
    assert "passed over, hidden: 4, such as data/" in data.out
    assert "passed over, neither clips nor prompts: 2, such as data/camera_motion/Thumbs.db" in data.out


@pytest.mark.parametrize("suffix", [".mp4", ".MP4", ".Mov", ".mkv", ".webm", ".avi", ".gif", ".m4v"])
def test_clips_of_every_container_that_is_read_are_clips(here, suffix):
    here.clips(f"data/a/x{suffix}")
    here.json("data/prompt.json", {"a": {"x": ["one"]}})
    assert [Path(job.reference).suffix for job in here.built("data")] == [suffix]


def test_a_video_that_no_job_could_use_is_a_clip_that_stands_alone_with_the_reason(data):
    data.clips("data/camera_motion/old.wmv")
    (data.folder / "data/camera_motion/gone.mp4").symlink_to("nowhere.mp4")
    os.mkfifo(data.folder / "data/camera_motion/pipe.mp4")
    data.clips(os.fsdecode("data/camera_motion/镜.mp4".encode("gbk")))
    said = data.refused("data")
    assert "camera_motion/old.wmv: .wmv is not read; encode it anew: ffmpeg -i OLD" in said
    assert "camera_motion/gone.mp4: it is a link to a file that is not there" in said
    assert "camera_motion/pipe.mp4: it is no file" in said
    assert "its name is not UTF-8, and a manifest is; rename it" in said
    assert len(data.built("data", "--allow-unmatched")) == 15


def test_clips_where_the_layout_has_none_stand_alone(data):
    data.clips("data/loose.mp4", "data/camera_motion/more/deep.mp4")
    said = data.refused("data")
    assert "  loose.mp4: it lies in no category's folder\n" in said
    assert "  camera_motion/more/deep.mp4: it lies deeper than <category>/<clip>" in said


def test_prompt_files_where_no_layout_has_them_stand_alone(data):
    data.json("data/camera_motion/more/prompts.json", {"x": ["one"]})
    assert "data/camera_motion/more/prompts.json: no layout has such a file there" in data.refused("data")


def test_links_are_followed_and_named_as_they_are_and_a_circle_ends(here):
    here.clips("store/0001.mp4")
    (here.folder / "data/a").mkdir(parents=True)
    (here.folder / "data/a/镜头.mp4").symlink_to(here.folder / "store/0001.mp4")
    (here.folder / "data/a/circle").symlink_to(here.folder / "data")
    (here.folder / "data/b").symlink_to(here.folder / "data/a")
    here.json("data/prompt.json", {"a": {"镜头": ["one"]}, "b": {"镜头": ["two"]}})
    jobs = here.built("data")
    assert [(job.category, Path(job.reference).name) for job in jobs] == [("a", "镜头.mp4"), ("b", "镜头.mp4")]


def test_two_clips_whose_videos_would_have_one_name_are_refused(here):
    here.clips("data/a/x.mp4", "data/a/x.mov", "data/a/ref_y_832x480.mp4", "data/a/y.mp4")
    here.json("data/prompt.json", {"a": {"x.mp4": ["1"], "x.mov": ["2"], "ref_y_832x480": ["3"], "y": ["4"]}})
    said = here.refused("data", "--allow-unmatched")
    assert "data/a/x.mp4 and data/a/x.mov: their videos would have one name; rename all but one" in said
    assert "data/a/ref_y_832x480.mp4 and data/a/y.mp4: their videos would have one name" in said


def test_a_folder_a_video_says_what_is_wrong_with_each(here):
    put_prompts_txt(here)
    here.clips("data/a/two/1.mp4", "data/a/two/2.mp4", "data/a/none.mp4", "data/a/bare/x.mp4", "data/a/empty/x.mp4")
    for name in ("two", "none"):
        here.write(f"data/a/{name}/prompts.txt", "one")
    here.write("data/a/empty/prompts.txt", "\n\n")
    said = here.refused("data")
    assert "data/a/two/prompts.txt: 2 clips lie beside it, and one may" in said
    assert "  a/none/prompts.txt: no clip lies beside it; nearest: a/none.mp4\n" in said
    assert "  a/bare/x.mp4: no prompts.txt lies beside it\n" in said
    assert "  a/empty/prompts.txt: it is empty\n" in said


def test_folders_of_videos_without_a_category_take_that_of_their_folder(here):
    here.clips("data/a/x/x.mp4")
    here.write("data/a/x/prompts.txt", "one")
    assert [job.category for job in here.built("data/a")] == ["a"]
    assert [job.category for job in here.built("data/a", "--category", "b")] == ["b"]


def test_clips_that_all_have_one_name_get_links_named_as_their_folders(here):
    for name in ("镜头推近", "pan"):
        here.clips(f"data/a/{name}/video.mp4")
        here.write(f"data/a/{name}/prompts.txt", "one")
    said = here.refused("data")
    assert "their videos would have one name; have links made for them, named as their folders: --links DIR" in said
    for _ in range(2):
        jobs = here.built("data", "--links", "my/links")
        assert [job.id for job in jobs] == [
            "a/ref_pan_832x480/seed_42_prompt_0",
            "a/ref_镜头推近_832x480/seed_42_prompt_0",
        ]
        for job in jobs:
            assert Path(job.reference).resolve().name == "video.mp4"
    (here.folder / "my/links/a/pan.mp4").unlink()
    here.clips("my/links/a/pan.mp4")
    assert "my/links/a/pan.mp4: is there already" in here.refused("data", "--links", "my/links")


def test_links_are_for_folders_of_videos_only(data):
    assert "--links goes with a folder a video; leave it out" in data.refused("data", "--links", "my/links")


@pytest.mark.parametrize(
    ("value", "first", "indices"),
    [
        (["a", "b"], None, [0, 1]),
        ("a", None, [0]),
        ({"1": "a", "2": "b"}, "1", [0, 1]),
        ({"1": "a", "2": "b"}, "0", [1, 2]),
        ({"0": "a", "10": "b", "2": "c"}, "0", [0, 10, 2]),
    ],
)
def test_positions_count_from_0_and_numbers_from_where_it_is_told(here, value, first, indices):
    here.clips("data/a/x.mp4")
    here.json("data/prompt.json", {"a": {"x": value}})
    more = ["--first-prompt-number", first] if first else []
    assert [job.prompt_index for job in here.built("data", *more)] == indices


def test_where_numbers_begin_is_asked_and_never_guessed(here):
    here.clips("data/a/x.mp4")
    for numbers in ({"1": "a", "2": "b"}, {"0": "a", "1": "b"}):
        here.json("data/prompt.json", {"a": {"x": numbers}})
        said = here.refused("data")
        assert "say what the first number is, --first-prompt-number 0 or --first-prompt-number 1" in said
        assert f"a/x: {', '.join(numbers)}; the lowest of all is {min(numbers)}" in said
    assert "number 0 comes before --first-prompt-number 1" in here.refused("data", "--first-prompt-number", "1")
    here.json("data/prompt.json", {"a": {"x": {"1": "a", "01": "b"}}})
    assert "number 1 stands twice for a/x" in here.refused("data", "--first-prompt-number", "1")
    here.json("data/prompt.json", {"a": {"x": ["a", "b"]}})
    assert "these have no numbers; leave it out" in here.refused("data", "--first-prompt-number", "1")


@pytest.mark.parametrize(
    "text", ["1. 一只猫\n2. 两只猫", "1、一只猫\n2、两只猫", "1) 一只猫\n\n2) 两只猫", "1．一只猫\n2．两只猫"]
)
def test_a_list_numbered_by_hand_loses_its_numbers_and_is_asked_about(here, text):
    here.clips("data/a/x/x.mp4")
    here.write("data/a/x/prompts.txt", text)
    assert "--first-prompt-number" in here.refused("data")
    jobs = here.built("data", "--first-prompt-number", "1")
    assert [(job.prompt_index, job.prompt) for job in jobs] == [(0, "一只猫"), (1, "两只猫")]


@pytest.mark.parametrize(
    "text", ["1:1 scale\n2 cats", "1.5 m tall", "3 cats\n2 dogs", "2001: a space odyssey", "1. a\ncat"]
)
def test_prompts_that_happen_to_begin_with_a_number_are_left_alone(here, text):
    here.clips("data/a/x/x.mp4")
    here.write("data/a/x/prompts.txt", text)
    assert [job.prompt for job in here.built("data")] == text.split("\n")


def test_counts_that_are_not_as_expected_are_refused_even_if_unmatched_is_allowed(data):
    said = data.refused("data", "--expect", "camera_motion=14", "--expect", "single_objekt=1", "--allow-unmatched")
    assert "camera_motion: 2 references, and 14 are expected" in said
    assert "single_objekt (is it single_object?): 0 references, and 1 are expected" in said
    assert "single_object:" not in said, "what nothing is expected of is no problem"
    data.built("data", "--expect", "camera_motion=2")
    assert "camera_motion           2        5      1    10         2" in data.out


def test_seeds_are_asked_for_and_each_stands_once(data):
    assert "say which seeds each prompt is made with: --seeds 42 142" in data.refused("data", seeds=())
    assert "--seeds names a seed twice" in data.refused("data", seeds=("1", "1"))
    assert f"seed is {2**63}; it must be an integer from 0 to 2^63 - 1" in data.refused("data", seeds=(str(2**63),))


def test_settings_stand_in_every_line_and_only_those_that_were_given(data):
    flags = ["--width", "640", "--num-frames", "49", "--fps", "24", "--steps", "30", "--mechanism", "none"]
    jobs = data.built("data", *flags)
    assert {(job.width, job.num_frames, job.fps, job.num_inference_steps, job.mechanism) for job in jobs} == {
        (640, 49, 24.0, 30, "none")
    }
    line = json.loads(data.output.read_text(encoding="utf-8").splitlines()[0])
    assert list(line)[:5] == ["category", "reference", "prompt", "prompt_index", "seed"]
    assert set(line) - set(list(line)[:5]) == {"width", "num_frames", "fps", "num_inference_steps", "mechanism"}
    assert "num_frames is 80; it must be 4n+1" in data.refused("data", "--num-frames", "80")


def test_a_complaint_of_the_reader_is_told_of_where_it_comes_from(here):
    here.clips("data/logs/x.mp4")
    here.json("data/prompt.json", {"logs": {"x": FIVE}})
    said = here.refused("data")
    assert said.startswith(
        'error: data/prompt.json: logs/x, prompt 0: category is "logs", where the run\'s own files lie'
    )
    assert said.count("category is") == 1, "once, not for each of its lines"


def test_a_sample_has_so_many_references_of_each_category_with_all_their_prompts_and_seeds(here):
    clips = {"a": [f"x{n}" for n in range(9)], "b": ["y"]}
    here.clips(*(f"data/{category}/{name}.mp4" for category, names_ in clips.items() for name in names_))
    here.json("data/prompt.json", {category: dict.fromkeys(names_, FIVE) for category, names_ in clips.items()})

    def sample(*words):
        jobs = here.built("data", *words, seeds=("1", "2"))
        assert len(jobs) == 10 * len({job.reference for job in jobs})
        return {Path(job.reference).stem for job in jobs}

    three = sample("--sample", "3", "--expect", "a=9", "b=1")
    assert "a sample of 3 references a category, drawn with --sample-seed 0" in here.out
    assert len(three) == 4
    assert sample("--sample", "3") == three
    assert sample("--sample", "2") < three < sample("--sample", "4")
    assert len({frozenset(sample("--sample", "3", "--sample-seed", str(seed))) for seed in range(4)}) > 1
    assert len(sample("--sample", "99")) == 10


def test_what_is_there_is_not_overwritten_unless_told_and_then_whole(data):
    data.built("data")
    before = data.output.read_bytes()
    assert data.run("build", "data", "--output", "my/all.jsonl", "--seeds", "7") == 2
    assert "my/all.jsonl: is there already; name another file, or replace it with --force" in data.err
    assert data.output.read_bytes() == before
    assert data.run("build", "data", "--output", "my/all.jsonl", "--seeds", "7", "--force") == 0
    assert {job.seed for job in read_manifest(data.output, {})} == {7}
    assert [path.name for path in data.output.parent.iterdir()] == ["all.jsonl"]


def test_a_manifest_in_the_folder_that_it_is_about_does_not_become_its_input(data):
    for _ in range(2):
        assert data.run("build", "data", "--output", "data/all.jsonl", "--seeds", "7", "--force") == 0, data.err
    assert data.run("build", "data", "--output", "data/trial.jsonl", "--seeds", "7", "--sample", "1") == 0, data.err


def test_an_output_that_cannot_be_written_is_said_so(data):
    data.write("file", "x")
    assert data.run("build", "data", "--output", "file/all.jsonl", "--seeds", "7") == 2
    assert "file/all.jsonl: cannot be written: " in data.err
    assert data.run("build", "data", "--output", "data", "--seeds", "7") == 2
    assert "data: is a folder; name a file in it" in data.err


@pytest.mark.parametrize(
    ("output", "reference"),
    [
        ("work/data/all.jsonl", "a/x.mp4"),
        ("work/my/all.jsonl", "../data/a/x.mp4"),
        ("work/all.jsonl", "data/a/x.mp4"),
        ("work/my/deep/all.jsonl", None),
        ("other/my/all.jsonl", None),
        ("linked/all.jsonl", None),
    ],
)
def test_references_are_relative_where_they_lie_below_or_beside_the_manifest_and_absolute_elsewhere(
    here, output, reference
):
    here.clips("work/data/a/x.mp4")
    here.json("work/data/prompt.json", {"a": {"x": ["one"]}})
    (here.folder / "far/away").mkdir(parents=True)
    (here.folder / "linked").symlink_to(here.folder / "far/away")
    assert here.run("build", "work/data", "--output", output, "--seeds", "1") == 0, here.err
    [line] = (here.folder / output).read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["reference"] == (reference or str(here.folder / "work/data/a/x.mp4"))
    [job] = read_manifest(here.folder / output, {})
    assert Path(job.reference).samefile(here.folder / "work/data/a/x.mp4")


characters = st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="/\\")
file_names = (
    st.text(characters | st.sampled_from("éé镜头ab"), min_size=1, max_size=8)
    .map(lambda name: unicodedata.normalize("NFC", name.strip(" .")))
    .filter(lambda name: name and not name.startswith("."))
)
prompt_texts = st.text(st.characters(codec="utf-8"), min_size=1).filter(str.strip)
catalogues = st.dictionaries(
    file_names,
    st.dictionaries(file_names, st.lists(prompt_texts, min_size=1, max_size=3), min_size=1, max_size=4),
    min_size=1,
    max_size=3,
)


@settings(max_examples=25)
@given(
    catalogues,
    st.sampled_from(["NFC", "NFD"]),
    st.lists(st.integers(0, 2**63 - 1), unique=True, min_size=1, max_size=2),
)
def test_any_catalogue_comes_back_from_its_manifest_prompt_for_prompt(catalogue, form, seeds):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        for category, lists in catalogue.items():
            (root / "data" / category).mkdir(parents=True)
            for name in lists:
                (root / "data" / category / f"{unicodedata.normalize(form, name)}.mp4").touch()
        (root / "data/prompt.json").write_text(json.dumps(catalogue), encoding="utf-8")
        request = build.Request(output=str(root / "all.jsonl"), seeds=tuple(seeds))
        build.write(build.build(collect(str(root / "data"), Options()), request), request)
        found = {}
        for job in read_manifest(root / "all.jsonl", {}):
            assert Path(job.reference).exists()
            name = unicodedata.normalize("NFC", Path(job.reference).stem)
            found.setdefault(job.seed, {}).setdefault(job.category, {}).setdefault(name, {})[job.prompt_index] = (
                job.prompt
            )
        expected = {
            category: {name: dict(enumerate(prompts)) for name, prompts in lists.items()}
            for category, lists in catalogue.items()
        }
        assert found == dict.fromkeys(seeds, expected)


def test_the_commands_need_no_heavy_library(data):
    root = str(Path(wan_ddp.__file__).parents[1])
    heavy = ["torch", "numpy", "decord", "PIL", "diffsynth"]
    code = (
        "import sys; from wan_ddp.__main__ import main; code = main(sys.argv[1:]); "
        f"print(code, [name for name in {heavy} if name in sys.modules])"
    )
    for words in (["build", "data", "--output", "my/all.jsonl", "--seeds", "1"], ["schema"]):
        command = [sys.executable, "-c", code, "manifest", *words]
        found = subprocess.run(
            command, capture_output=True, text=True, check=True, env=os.environ | {"PYTHONPATH": root}
        )
        assert found.stdout.splitlines()[-1] == "0 []"


@pytest.mark.parametrize("words", [["manifest"], ["manifest", "build"], ["manifest", "check"], ["manifest", "schema"]])
def test_help_teaches_with_examples(words, here):
    with pytest.raises(SystemExit) as ended:
        here.run(*words[1:], "--help")
    assert ended.value.code == 0
    assert len(words) == 1 or "example" in here.capsys.readouterr().out
