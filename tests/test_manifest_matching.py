"""Names are brought together without losing one, and the nearest are those that a person would look at first."""

import unicodedata
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wan_ddp.manifest_tools.matching import Clip, Collected, match
from wan_ddp.manifest_tools.names import bare, nearest, nfc, shown
from wan_ddp.manifest_tools.prompts import Prompt, PromptList, number, parse_lines

categories = st.sampled_from(["a", "b"])
stems = st.sampled_from(
    ["x", "y", "镜头", "镜投", "ref_x_832x480", "ref_x_16x16", "é", unicodedata.normalize("NFD", "é")]
)
suffixes = st.sampled_from([".mp4", ".MP4", ".mov"])


@st.composite
def clip_sets(draw):
    names = draw(st.sets(st.tuples(categories, stems, suffixes), max_size=8))
    return [
        Clip(category, f"{stem}{suffix}", f"/{category}/{stem}{suffix}") for category, stem, suffix in sorted(names)
    ]


@st.composite
def list_sets(draw):
    names = draw(st.sets(st.tuples(categories, stems, st.sampled_from(["", ".mp4"])), max_size=8))
    return [
        PromptList(category, f"{stem}{suffix}", f"{category}/{stem}{suffix}", (Prompt("a prompt", "here"),))
        for category, stem, suffix in sorted(names)
    ]


@settings(max_examples=100)
@given(clip_sets(), list_sets())
def test_every_clip_and_every_list_is_matched_or_told(clips, lists):
    found = match(clips, lists, Collected())
    alone = Counter()
    for each in found.unmatched:
        alone[each.kind] += each.count
    matched = {entry.clip for entry in found.entries}
    assert len(matched) == len(found.entries), "no clip twice"
    in_problems = [each for each in lists if any(problem.startswith(f"{each.where}: ") for problem in found.problems)]
    assert len(found.entries) + alone["prompts"] + len(in_problems) == len(lists)
    doubtful = [clip for clip in clips if clip not in matched and any(shown(clip.path) in p for p in found.problems)]
    assert len(matched) + alone["clip"] + len(doubtful) >= len(clips)
    for entry in found.entries:
        assert entry.clip.category == entry.prompts.category
        names = {nfc(entry.clip.name), nfc(entry.clip.name.rpartition(".")[0])}
        assert nfc(entry.prompts.name) in names or bare(entry.prompts.name) in {bare(name) for name in names}


@pytest.mark.parametrize(
    ("name", "others", "found"),
    [
        ("镜头推进", ["镜头推近", "球", "镜头拉近"], ("镜头推近", "镜头拉近")),
        ("Pan_Left", ["pan_left", "pan_right"], ("pan_left", "pan_right")),
        ("ｐａｎ", ["pan", "tilt"], ("pan",)),
        ("pan", ["ref_pan_832x480.mp4", "tilt.mp4"], ("ref_pan_832x480.mp4",)),
        ("旋转", ["旋钮"], ("旋钮",)),
        ("x", ["镜头"], ()),
        ("x", [], ()),
    ],
)
def test_the_nearest_names_come_first(name, others, found):
    assert nearest(name, others) == found


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("镜头 1.mp4", "镜头 1.mp4"),
        ("pan ", '"pan "'),
        ("a\nb", '"a\\nb"'),
        ("\x1b[31mred", '"\\u001b[31mred"'),
        ("", '""'),
        ("\udce9.mp4", '"\\udce9.mp4"'),
    ],
)
def test_a_name_is_shown_on_one_line_and_no_terminal_obeys_it(name, line):
    assert shown(name) == line
    shown(name).encode()


def test_a_path_is_shown_from_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert shown(f"{tmp_path}/data/x.mp4") == "data/x.mp4"
    assert shown(str(tmp_path)) == "."
    assert shown(f"{tmp_path.parent}/x.mp4") == f"{tmp_path.parent}/x.mp4"


numbers = st.lists(st.integers(0, 9), unique=True, min_size=1, max_size=5)


@given(numbers, st.sampled_from([0, 1]))
def test_a_number_less_the_first_is_the_index_or_is_refused(given_numbers, first):
    prompts = tuple(Prompt("a prompt", f"line {each}", each) for each in given_numbers)
    problems: list[str] = []
    [indices] = number([PromptList("a", "x", "here", prompts)], first, problems)
    assert indices == [each - first for each in given_numbers]
    assert bool(problems) == (min(given_numbers) < first)


@given(st.lists(st.sampled_from(["a cat", "1. a cat", "1:1 scale", " ", "", "2、猫", "9) dogs", "1.5 m"]), max_size=5))
def test_every_line_that_is_not_blank_is_a_prompt(lines):
    problems: list[str] = []
    prompts = parse_lines(lines, "prompts.txt", problems)
    written = [line.strip() for line in lines if line.strip()]
    assert [prompt.text for prompt in prompts if prompt.number is None] in (written, [])
    assert len(prompts) == len(written)
    assert not problems
