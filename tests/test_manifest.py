"""JSON Lines to jobs: everything bad is named with its line, everything allowed is read, nothing else happens."""

import json
import os
import tempfile
import unicodedata
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from wan_ddp.errors import ManifestError
from wan_ddp.job import JOB_FIELDS, NEGATIVE_PROMPT, Job
from wan_ddp.manifest import ALLOWED, check_defaults, job_line, read_manifest

REQUIRED = {"category": "a", "reference": "r.mp4", "prompt": "p", "prompt_index": 0, "seed": 42}


def line(**changes: Any) -> str:
    return json.dumps(REQUIRED | changes, ensure_ascii=False)


def without(name: str) -> str:
    return json.dumps({key: value for key, value in REQUIRED.items() if key != name})


def with_raw(field: str) -> str:
    """A good line with one more field, written as it stands."""
    return f"{line()[:-1]}, {field}}}"


class Manifests:
    """One manifest file, rewritten for every question."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "a.jsonl"

    def read(self, content: str | bytes, **defaults: Any) -> list[Job]:
        self.path.write_bytes(content.encode() if isinstance(content, str) else content)
        return read_manifest(self.path, defaults)

    def problems(self, content: str | bytes, **defaults: Any) -> list[str]:
        """What is wrong with the content, without the file's name in front."""
        with pytest.raises(ManifestError) as caught:
            self.read(content, **defaults)
        assert str(caught.value) == "\n".join(caught.value.problems)
        assert all("\n" not in problem for problem in caught.value.problems)
        return [problem.removeprefix(f"{self.path}:") for problem in caught.value.problems]


@pytest.fixture(scope="module")
def manifests(tmp_path_factory: pytest.TempPathFactory) -> Manifests:
    return Manifests(tmp_path_factory.mktemp("manifests"))


STRENGTH = "it must be above 0 and below 1, with v2v only"
CATEGORY = "it must be a file name: not empty, not . or .., no / or \\ or control character, at most 200 bytes"
TAKEN = (
    "logs",
    "report",
    "report.json",
    "missing.jsonl",
    ".claims",
    ".references.json",
    ".records.index",
    ".write-check",
)
SIZE = "it must be a multiple of 16, from 16 to 4096"
FRAMES = "it must be 4n+1 from 5 to 1001, such as 77 or 81"
FPS = "it must be a number above 0, at most 240"
STEPS = "it must be an integer from 1 to 1000"
SEED = "it must be an integer from 0 to 2^63 - 1"
INDEX = "it must be an integer of 0 or more"
CFG = "it must be a number from 0 to 100"
SHIFT = "it must be a number above 0, at most 100"
MECHANISM = "it must be one of v2v, none, vace, fun_control"
ONE_OBJECT = "a line holds one JSON object"
ALL_FIELDS = f"allowed are {', '.join(JOB_FIELDS)}"

BAD_LINES = [
    # not an object
    ("[1, 2]", f"[1, 2] is not a job; {ONE_OBJECT}"),
    ("[]", f"[] is not a job; {ONE_OBJECT}"),
    ("17", f"17 is not a job; {ONE_OBJECT}"),
    ("4.5", f"4.5 is not a job; {ONE_OBJECT}"),
    ("true", f"true is not a job; {ONE_OBJECT}"),
    ("null", f"null is not a job; {ONE_OBJECT}"),
    ('"text"', f'"text" is not a job; {ONE_OBJECT}'),
    ("{", f"not JSON: Expecting property name enclosed in double quotes at column 2; {ONE_OBJECT}"),
    ("category: a", f"not JSON: Expecting value at column 1; {ONE_OBJECT}"),
    (line()[:-1], f"not JSON: Expecting ',' delimiter at column {len(line())}; {ONE_OBJECT}"),
    (line() + line(), f"not JSON: Extra data at column {len(line()) + 1}; {ONE_OBJECT}"),
    (line() + ",", f"not JSON: Extra data at column {len(line()) + 1}; {ONE_OBJECT}"),
    ("# a comment", f"not JSON: Expecting value at column 1; {ONE_OBJECT}"),
    (with_raw('"note": "\t"'), f"not JSON: Invalid control character at at column {len(line()) + 11}; {ONE_OBJECT}"),
    ("[" * 100_000, "nested too deep; a line holds one flat JSON object"),
    (with_raw('"note": ' + '{"a":' * 100_000), "nested too deep; a line holds one flat JSON object"),
    # fields that are missing, unknown or there twice
    *((without(name), f"{name} is missing; it must be {ALLOWED[name]}") for name in REQUIRED),
    (line(sead=1), f'unknown field "sead" (did you mean seed?); {ALL_FIELDS}'),
    (line(Seed=1), f'unknown field "Seed" (did you mean seed?); {ALL_FIELDS}'),
    (line(zzz=None), f'unknown field "zzz"; {ALL_FIELDS}'),
    (line(id="x"), f'unknown field "id"; {ALL_FIELDS}'),
    (line(**{"": 1}), f'unknown field ""; {ALL_FIELDS}'),
    (line(种子=1), f'unknown field "种子"; {ALL_FIELDS}'),
    (with_raw('"seed": 43'), '"seed" stands twice; each field may stand once'),
    (with_raw('"s\\u0065ed": 43'), '"seed" stands twice; each field may stand once'),
    (with_raw('"note": 1, "note": 1'), '"note" stands twice; each field may stand once'),
    # values of another type
    (line(prompt_index=True), f"prompt_index is true; {INDEX}"),
    (line(seed=False), f"seed is false; {SEED}"),
    (line(width=True), f"width is true; {SIZE}"),
    (line(cfg_scale=True), f"cfg_scale is true; {CFG}"),
    (line(fps=True), f"fps is true; {FPS}"),
    (line(seed="42"), f'seed is "42"; {SEED}'),
    (line(fps="15"), f'fps is "15"; {FPS}'),
    (line(num_frames="81"), f'num_frames is "81"; {FRAMES}'),
    (line(seed=4.5), f"seed is 4.5; {SEED}"),
    (line(prompt_index=4.5), f"prompt_index is 4.5; {INDEX}"),
    (line(prompt_index=0.0), f"prompt_index is 0.0; {INDEX}"),
    (line(width=832.0), f"width is 832.0; {SIZE}"),
    (line(seed=None), f"seed is null; {SEED}"),
    (line(width=None), f"width is null; {SIZE}"),
    (line(negative_prompt=None), "negative_prompt is null; it must be text"),
    (line(negative_prompt=["a"]), 'negative_prompt is ["a"]; it must be text'),
    (line(category=1), f"category is 1; {CATEGORY}"),
    (line(reference={"path": "x"}), 'reference is {"path": "x"}; it must be a path, not empty'),
    (line(prompt=["a", "b"]), 'prompt is ["a", "b"]; it must be text that is not blank'),
    # numbers that are none
    (with_raw('"cfg_scale": NaN'), "NaN is not JSON; numbers must be finite"),
    (with_raw('"cfg_scale": Infinity'), "Infinity is not JSON; numbers must be finite"),
    (with_raw('"note": -Infinity'), "-Infinity is not JSON; numbers must be finite"),
    (with_raw('"cfg_scale": 1e999'), "1e999 is too large; numbers must be finite"),
    (with_raw('"note": [-1e999]'), "-1e999 is too large; numbers must be finite"),
    (with_raw('"width": ' + "9" * 5000), "Exceeds the limit (4300 digits) for integer string conversion"),
    (line(seed=10**100), f"seed is 1{'0' * 76}...; {SEED}"),
    # text that is none
    (with_raw('"negative_prompt": "\\ud800"'), '"negative_prompt" holds a lone surrogate; text must be valid Unicode'),
    (with_raw('"note": ["\\udc00 \\ud800"]'), '"note" holds a lone surrogate; text must be valid Unicode'),
    (with_raw('"note": {"\\ud800": 1}'), '"note" holds a lone surrogate; text must be valid Unicode'),
    (with_raw('"\\ud800": 1'), '"\\ud800" holds a lone surrogate; text must be valid Unicode'),
    # the fields' own limits
    (line(category=""), f'category is ""; {CATEGORY}'),
    (line(category="."), f'category is "."; {CATEGORY}'),
    (line(category=".."), f'category is ".."; {CATEGORY}'),
    (line(category="../x"), f'category is "../x"; {CATEGORY}'),
    (line(category="/x"), f'category is "/x"; {CATEGORY}'),
    (line(category="a\\b"), f'category is "a\\\\b"; {CATEGORY}'),
    (line(category="a\0"), f'category is "a\\u0000"; {CATEGORY}'),
    (line(category="a\nb"), f'category is "a\\nb"; {CATEGORY}'),
    (line(category="a\x7f"), f'category is "a\\u007f"; {CATEGORY}'),
    (line(category="a\x85"), f'category is "a\\u0085"; {CATEGORY}'),
    (line(category="c" * 201), f'category is "{"c" * 76}...; {CATEGORY}'),
    (line(category="类" * 67), f'category is "{"类" * 67}"; {CATEGORY}'),
    (line(reference=""), 'reference is ""; it must be a path, not empty'),
    (line(reference="a\0b"), "it must be a path, not empty"),
    (line(prompt=""), 'prompt is ""; it must be text that is not blank'),
    (line(prompt=" \t\n\u3000"), "it must be text that is not blank"),
    (line(prompt_index=-1), f"prompt_index is -1; {INDEX}"),
    (line(seed=-1), f"seed is -1; {SEED}"),
    (line(seed=2**63), f"seed is {2**63}; {SEED}"),
    (line(mechanism="V2V"), f'mechanism is "V2V"; {MECHANISM}'),
    (line(mechanism=None), f"mechanism is null; {MECHANISM}"),
    (line(mechanism=[]), f"mechanism is []; {MECHANISM}"),
    (line(width=0), f"width is 0; {SIZE}"),
    (line(width=8), f"width is 8; {SIZE}"),
    (line(width=831), f"width is 831; {SIZE}"),
    (line(height=-16), f"height is -16; {SIZE}"),
    (line(height=4112), f"height is 4112; {SIZE}"),
    (line(num_frames=1), f"num_frames is 1; {FRAMES}"),
    (line(num_frames=80), f"num_frames is 80; {FRAMES}"),
    (line(num_frames=82), f"num_frames is 82; {FRAMES}"),
    (line(num_frames=1005), f"num_frames is 1005; {FRAMES}"),
    (line(num_frames=-3), f"num_frames is -3; {FRAMES}"),
    (line(fps=0), f"fps is 0; {FPS}"),
    (line(fps=0.0000001), "fps is 1e-07, too slow for an MP4; it must be 1e-06 or more"),
    (line(category="logs"), 'category is "logs", where the run\'s own files lie; it must be another name'),
    (line(category=".claims"), 'category is ".claims", where the run\'s own files lie; it must be another name'),
    (line(fps=240.5), f"fps is 240.5; {FPS}"),
    (line(num_inference_steps=0), f"num_inference_steps is 0; {STEPS}"),
    (line(num_inference_steps=1001), f"num_inference_steps is 1001; {STEPS}"),
    (line(cfg_scale=-0.5), f"cfg_scale is -0.5; {CFG}"),
    (line(cfg_scale=100.5), f"cfg_scale is 100.5; {CFG}"),
    (line(sigma_shift=0), f"sigma_shift is 0; {SHIFT}"),
    (line(sigma_shift=101), f"sigma_shift is 101; {SHIFT}"),
    (line(denoising_strength=0), f"denoising_strength is 0; {STRENGTH}"),
    (line(denoising_strength=-0.1), f"denoising_strength is -0.1; {STRENGTH}"),
    (line(denoising_strength=1.5), f"denoising_strength is 1.5; {STRENGTH}"),
    (line(denoising_strength=1), f"denoising_strength is 1.0, which ignores the reference; {STRENGTH}"),
    (line(denoising_strength=1.0), f"denoising_strength is 1.0, which ignores the reference; {STRENGTH}"),
    *(
        (
            line(mechanism=mechanism, denoising_strength=strength),
            f'denoising_strength goes with mechanism v2v only, and mechanism is "{mechanism}"; leave it out',
        )
        for mechanism in ("none", "vace", "fun_control")
        for strength in (0.75, 1.0)
    ),
    # output names that file systems do not take
    (line(reference="r" * 250), f"its output's name \"ref_{'r' * 72}... has 262 bytes; it may have 200"),
    (line(prompt_index=10**190), "bytes; it may have 200"),
]


@pytest.mark.parametrize(("bad", "problem"), BAD_LINES, ids=[f"{text:.60}" for text, _ in BAD_LINES])
def test_a_bad_line_is_refused_with_its_number_what_is_wrong_and_what_is_allowed(
    manifests: Manifests, bad: str, problem: str
) -> None:
    [found] = manifests.problems(f"{line()}\n\n{bad}\n{line(seed=7)}\n")
    assert found.startswith("3: ")
    assert problem in found
    assert len(found) < 600


def test_every_problem_of_a_file_is_told_in_one_go(manifests: Manifests) -> None:
    everywhere = "\n".join([line(), *(bad for bad, _ in BAD_LINES)])
    problems = manifests.problems(everywhere)
    assert [int(problem.split(":")[0]) for problem in problems] == list(range(2, len(BAD_LINES) + 2))


def test_every_problem_of_a_line_is_told_in_one_go(manifests: Manifests) -> None:
    problems = manifests.problems(line(seed=-1, width=7, mechanism="none", denoising_strength=0.5, sead=1))
    assert len(problems) == 4
    for name in ("seed is -1", "width is 7", "denoising_strength goes with", 'unknown field "sead"'):
        assert sum(name in problem for problem in problems) == 1


def test_every_field_that_may_be_missing_has_a_default_and_only_the_five_must_be_there(manifests: Manifests) -> None:
    [job] = manifests.read(line())
    assert asdict(job) == {
        "category": "a",
        "reference": f"{manifests.path.parent}/r.mp4",
        "prompt": "p",
        "prompt_index": 0,
        "seed": 42,
        "negative_prompt": NEGATIVE_PROMPT,
        "mechanism": "v2v",
        "denoising_strength": 0.75,
        "width": 832,
        "height": 480,
        "num_frames": 81,
        "fps": 15.0,
        "num_inference_steps": 50,
        "cfg_scale": 5.0,
        "sigma_shift": 5.0,
        "note": None,
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"category": "c" * 200},
        {"category": "..."},
        {"category": " "},
        {"category": "运动 镜头"},
        {"prompt": " x "},
        {"prompt_index": 10**20},
        {"seed": 0},
        {"seed": 2**63 - 1},
        {"negative_prompt": ""},
        {"denoising_strength": 1e-9},
        {"denoising_strength": 0.999999},
        {"mechanism": "v2v", "denoising_strength": 0.5},
        {"width": 16, "height": 4096},
        {"num_frames": 5},
        {"num_frames": 1001},
        {"fps": 240},
        {"fps": 23.976},
        {"fps": 0.000001},
        {"num_inference_steps": 1},
        {"num_inference_steps": 1000},
        {"cfg_scale": 0},
        {"cfg_scale": 100},
        {"sigma_shift": 0.001},
        {"sigma_shift": 100},
    ],
)
def test_what_is_allowed_at_the_edges_is_taken_as_it_stands(manifests: Manifests, changes: dict[str, Any]) -> None:
    [job] = manifests.read(line(**changes))
    assert {name: getattr(job, name) for name in changes} == changes


@pytest.mark.parametrize(
    "content",
    [
        f"{line()}\n{line(seed=1)}\n".encode(),
        f"{line()}\n{line(seed=1)}".encode(),
        f"\ufeff{line()}\n{line(seed=1)}\n".encode(),
        f"{line()}\r\n{line(seed=1)}\r\n".encode(),
        f"\r\n \t\r\n\n{line()}\n\n\n{line(seed=1)}\n \n\n".encode(),
        f"  {line()}\t\r\n {line(seed=1)} ".encode(),
    ],
    ids=["as usual", "no final newline", "BOM", "CRLF", "blank lines", "spaces"],
)
def test_how_editors_write_a_file_makes_no_difference(manifests: Manifests, content: bytes) -> None:
    assert [job.seed for job in manifests.read(content)] == [42, 1]


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c"])
def test_only_a_newline_ends_a_line(manifests: Manifests, separator: str) -> None:
    text = f"one{separator}two"
    written = json.dumps(text, ensure_ascii=ord(separator) < 32)[1:-1]
    [job] = manifests.read(line(prompt="TEXT").replace("TEXT", written))
    assert job.prompt == text


def test_lines_are_counted_as_an_editor_counts_them(manifests: Manifests) -> None:
    first = line(prompt="a\u2028b")
    [problem] = manifests.problems(f"\ufeff{first}\r\n\r\n   \r\n{{\r\n")
    assert problem.startswith("4: ")


@pytest.mark.parametrize("content", [b"", b"\n", b" \t\r\n\r\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"])
def test_a_manifest_without_jobs_is_refused(manifests: Manifests, content: bytes) -> None:
    [problem] = manifests.problems(content)
    assert problem == " no jobs in it; a manifest has one JSON object a line, see manifests/README.md"


def test_a_manifest_that_is_not_utf_8_is_refused_at_its_first_bad_byte(manifests: Manifests) -> None:
    good = line().encode() + b"\n"
    for bad in (b"\xff", '{"category": "类"}'.encode("gb18030"), b"\xed\xa0\x80", line().encode("utf-16")):
        [problem] = manifests.problems(good * 2 + bad)
        assert problem == "3: not UTF-8; save the manifest as UTF-8"


def test_a_manifest_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "none.jsonl", "No such file or directory"), (tmp_path, "Is a directory")):
        with pytest.raises(ManifestError) as caught:
            read_manifest(path, {})
        assert caught.value.problems == [f"{path}: cannot be read: {reason}; give a JSON Lines file"]


def test_a_manifest_that_is_no_file_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(ManifestError) as caught:
            read_manifest(path, {})
        assert caught.value.problems == [f"{path}: is a pipe, socket or device; give a JSON Lines file"]


def test_a_category_takes_no_name_that_the_output_folder_needs(manifests: Manifests) -> None:
    problems = manifests.problems("\n".join(line(category=name) for name in TAKEN))
    assert [problem.partition(" is ")[2].partition(",")[0] for problem in problems] == [f'"{name}"' for name in TAKEN]
    for name in ("Logs", "logs2", "reports", "claims", ".hidden"):
        assert manifests.read(line(category=name))


@pytest.mark.parametrize(
    "second",
    [
        line(),
        line(prompt="another"),
        line(reference="./elsewhere/../r.mov"),
        line(reference="ref_r_832x480.mp4"),
        line(fps=24, num_frames=5),
    ],
)
def test_two_jobs_with_one_output_are_refused_naming_both_lines(manifests: Manifests, second: str) -> None:
    [problem] = manifests.problems(f"{line(seed=1)}\n{line()}\n\n{second}\n")
    assert problem == (
        "4: same output a/ref_r_832x480/seed_42_prompt_0.mp4 as line 2; every job needs its own category, "
        "reference name, seed and prompt_index"
    )


@pytest.mark.parametrize("field", ["category", "reference"])
@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_names_that_look_the_same_are_one_output(manifests: Manifests, field: str, forms: tuple[str, str]) -> None:
    lines = [line(**{field: unicodedata.normalize(form, "étude_각도")}) for form in forms]
    [problem] = manifests.problems("\n".join(lines))
    assert problem.startswith("2: same output ")
    assert problem.endswith(" as line 1; every job needs its own category, reference name, seed and prompt_index")


@pytest.mark.parametrize(
    "changes", [{"seed": 43}, {"prompt_index": 1}, {"category": "b"}, {"reference": "s.mp4"}, {"width": 16}]
)
def test_jobs_with_outputs_of_their_own_stand_side_by_side(manifests: Manifests, changes: dict[str, Any]) -> None:
    first, second = manifests.read(f"{line()}\n{line(**changes)}\n")
    assert first.id != second.id


def test_a_reference_is_opened_by_the_bytes_it_was_written_with(manifests: Manifests) -> None:
    for form in ("NFC", "NFD"):
        name = unicodedata.normalize(form, "étude.mp4")
        [job] = manifests.read(line(reference=name))
        assert job.reference == f"{manifests.path.parent}/{name}"


def test_references_are_relative_to_the_manifest_and_absolute_ones_stay(
    manifests: Manifests, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifests.path.write_text(f"{line(reference='../references/镜头.mp4')}\n{line(reference='/data/r.mp4')}\n")
    monkeypatch.chdir(tmp_path)
    for path in (manifests.path, Path(os.path.relpath(manifests.path))):
        relative, absolute = read_manifest(path, {})
        assert relative.reference == f"{manifests.path.parent.parent}/references/镜头.mp4"
        assert absolute.reference == "/data/r.mp4"


def test_a_line_overrides_the_settings_of_the_run(manifests: Manifests) -> None:
    defaults = {"width": 640, "fps": 24.0, "mechanism": "vace", "negative_prompt": ""}
    plain, own = manifests.read(f"{line(seed=1)}\n{line(width=320, mechanism='v2v')}\n", **defaults)
    assert (plain.width, plain.fps, plain.mechanism, plain.negative_prompt) == (640, 24.0, "vace", "")
    assert (own.width, own.fps, own.mechanism, own.negative_prompt) == (320, 24.0, "v2v", "")


@pytest.mark.parametrize(
    ("defaults", "fields", "strength"),
    [
        ({}, {}, 0.75),
        ({"denoising_strength": 0.5}, {}, 0.5),
        ({"denoising_strength": 0.5}, {"denoising_strength": 0.25}, 0.25),
        ({}, {"mechanism": "none"}, 1.0),
        ({}, {"mechanism": "vace"}, 1.0),
        ({}, {"mechanism": "fun_control"}, 1.0),
        ({"denoising_strength": 0.5}, {"mechanism": "none"}, 1.0),
        ({"mechanism": "vace"}, {}, 1.0),
        ({"mechanism": "vace"}, {"mechanism": "v2v"}, 0.75),
        ({"mechanism": "vace"}, {"mechanism": "v2v", "denoising_strength": 0.5}, 0.5),
    ],
)
def test_strength_is_asked_of_v2v_alone_and_is_full_for_the_others(
    manifests: Manifests, defaults: dict[str, Any], fields: dict[str, Any], strength: float
) -> None:
    [job] = manifests.read(line(**fields), **defaults)
    assert job.denoising_strength == strength


def test_a_strength_on_a_line_is_refused_where_the_run_asks_for_another_mechanism(manifests: Manifests) -> None:
    [problem] = manifests.problems(line(denoising_strength=0.5), mechanism="fun_control")
    assert problem.startswith("1: denoising_strength goes with mechanism v2v only")


@pytest.mark.parametrize("note", [None, 0, "text", ["a", {"b": 1.5}], {"error": "disk full"}, "\u2028"])
def test_a_note_of_any_kind_is_kept_and_changes_nothing(manifests: Manifests, note: Any) -> None:
    [job] = manifests.read(line(note=note))
    assert [job] == manifests.read(line())
    assert job.note == note


def test_a_line_without_a_note_is_written_without_one(manifests: Manifests) -> None:
    [job] = manifests.read(line())
    assert "note" not in json.loads(job_line(job))


def test_a_note_as_deep_as_can_be_read_can_be_written(manifests: Manifests) -> None:
    [job] = manifests.read(with_raw('"note": ' + "[" * 500 + "]" * 500))
    assert json.loads(job_line(job))["note"] == job.note


def test_the_order_of_the_jobs_is_that_of_the_lines(manifests: Manifests) -> None:
    seeds = [5, 3, 9, 1]
    assert [job.seed for job in manifests.read("\n".join(line(seed=seed) for seed in seeds))] == seeds


def test_good_defaults_have_no_problem_and_bad_ones_are_all_named() -> None:
    assert check_defaults({}) == []
    assert check_defaults({"width": 640, "mechanism": "vace"}) == []
    assert check_defaults({"width": 641, "fps": float("nan"), "denoising_strength": 1.0}) == [
        f"denoising_strength is 1.0, which ignores the reference; {STRENGTH}",
        f"width is 641; {SIZE}",
        f"fps is NaN; {FPS}",
    ]


names = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc"], exclude_characters="/\\"), min_size=1, max_size=15
)
file_names = names.map(lambda name: unicodedata.normalize("NFC", name)).filter(lambda name: name not in (".", ".."))
texts = st.text(st.characters(codec="utf-8"))
sizes = st.integers(1, 256).map(lambda number: number * 16)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda children: st.lists(children, max_size=3) | st.dictionaries(texts, children, max_size=3),
    max_leaves=5,
)


@st.composite
def jobs(draw: st.DrawFn) -> Job:
    """Any job that the format can say."""
    mechanism = draw(st.sampled_from(["v2v", "none", "vace", "fun_control"]))
    strength = st.floats(0, 1, exclude_min=True, exclude_max=True) if mechanism == "v2v" else st.just(1.0)
    return Job(
        category=draw(file_names.filter(lambda name: name not in TAKEN)),
        reference=os.path.normpath("/".join(["", *draw(st.lists(file_names, min_size=1, max_size=3))])),
        prompt=draw(texts.filter(str.strip)),
        prompt_index=draw(st.integers(0, 10**30)),
        seed=draw(st.integers(0, 2**63 - 1)),
        negative_prompt=draw(texts),
        mechanism=mechanism,
        denoising_strength=draw(strength),
        width=draw(sizes),
        height=draw(sizes),
        num_frames=draw(st.integers(1, 250)) * 4 + 1,
        fps=draw(st.floats(1e-6, 240)),
        num_inference_steps=draw(st.integers(1, 1000)),
        cfg_scale=draw(st.floats(0, 100)),
        sigma_shift=draw(st.floats(0, 100, exclude_min=True)),
        note=draw(json_values),
    )


more = settings(max_examples=150)


@more
@given(st.lists(jobs(), min_size=1, max_size=3, unique_by=lambda job: job.id))
def test_any_job_written_as_a_line_is_read_back_under_any_settings(manifests: Manifests, written: list[Job]) -> None:
    content = "\n".join(map(job_line, written))
    assert manifests.read(content) == written
    assert [job.note for job in manifests.read(content)] == [job.note for job in written]
    assert manifests.read(content, width=16, fps=1.0, negative_prompt="other", cfg_scale=3.0) == written
    assert manifests.read(content, mechanism="vace") == written


values = ['"a"', '""', '"v2v"', '"\\ud800"', "16", "81", "-1", "1e999", "NaN", "true", "null"]
marks = ["{", "}", "[", "]", ":", ",", "\n", "\r", " ", "\ufeff", "\u2028", "\0"]
fragments = st.sampled_from([*(f'"{name}"' for name in JOB_FIELDS), *values, *marks, line()])
hostile = (
    st.binary()
    | texts.map(str.encode)
    | st.lists(fragments).map(lambda parts: "".join(parts).encode())
    | st.dictionaries(st.sampled_from(JOB_FIELDS) | texts, json_values).map(lambda d: json.dumps(d).encode())
    | st.fixed_dictionaries({}, optional=dict.fromkeys(JOB_FIELDS, json_values)).map(
        lambda changes: json.dumps(REQUIRED | changes).encode()
    )
)


@more
@given(st.lists(hostile, max_size=4).map(b"\n".join))
@example(b"\r" * 3)
@example(line(reference="..").encode())
@example(line(reference="/").encode())
@example(line(reference="a\nb").encode())
def test_any_bytes_give_jobs_or_problems_that_each_say_where(manifests: Manifests, content: bytes) -> None:
    manifests.path.write_bytes(content)
    num_lines = content.count(b"\n") + 1
    try:
        found = read_manifest(manifests.path, {})
    except ManifestError as error:
        assert error.problems
        for problem in error.problems:
            where, _, what = problem.removeprefix(f"{manifests.path}:").partition(": ")
            assert problem.startswith(f"{manifests.path}:")
            assert what or "no jobs in it" in where
            assert "no jobs in it" in problem or 1 <= int(where) <= num_lines
    else:
        assert found
        assert len({job.id for job in found}) == len(found)
        assert all(
            len(part.encode()) <= 200 and part not in ("", ".", "..") for job in found for part in job.id.split("/")
        )
        assert all(len(job.id.split("/")) == 3 and Path(job.reference).is_absolute() for job in found)
        assert manifests.read("\n".join(map(job_line, found))) == found


own_values: dict[str, st.SearchStrategy[str]] = {
    "reference": st.sampled_from(
        ['"r.mp4"', '""', '"a\\u0000.mp4"', '"a\\u00e9.mp4"', "5", "null", f'"{"long" * 60}.mp4"']
    ),
    "prompt": st.sampled_from(['"p"', '"a: \\"b\\": c"', '""', '" \\u3000"', '"\\ud800"', "[]", "true", '"x" ']),
    "prompt_index": st.sampled_from(["0", "1", "-1", "true", "1.0", '"1"', "1e400", str(2**63), "9" * 5000]),
    "seed": st.sampled_from(["42", "0", "-1", "false", "4.5", "NaN", str(2**63 - 1), str(2**63)]),
    "note": st.sampled_from(["null", '{"category": 1}', '"x"']),
    "fps": st.sampled_from(["15", "15.0", "true", "0", "-0.0"]),
    "more": st.sampled_from(["1", '{"a": 1}']),
}


@settings(max_examples=300)
@given(
    st.lists(
        st.sampled_from(sorted(own_values)).flatmap(lambda name: st.tuples(st.just(name), own_values[name])), max_size=3
    ),
    st.sampled_from(["", ",", " {}", "}"]),
)
def test_a_line_is_read_as_if_it_stood_alone_whatever_stands_before_it(
    changes: list[tuple[str, str]], more: str
) -> None:
    """Lines like one before are read in less time: by rules that must come to the same."""
    good = [(name, json.dumps(value)) for name, value in REQUIRED.items()]
    names = {name for name, _ in changes}
    parts = [each for each in good if each[0] not in names] + changes
    text = "{" + ", ".join(f'"{name}": {value}' for name, value in parts) + "}" + more
    before = [
        line(seed=7, prompt_index=9),
        line(seed=8, prompt_index=9, fps=15),
        line(seed=9, prompt_index=9, fps=15.0),
    ]
    with tempfile.TemporaryDirectory() as folder:
        manifests = Manifests(Path(folder))

        def outcome(content: str) -> list[Any]:
            try:
                return [asdict(job) for job in manifests.read(content)][-1:]
            except ManifestError as error:
                return [problem.split(":", 2)[2] for problem in error.problems]

        assert repr(outcome("\n".join([*before, text]))) == repr(outcome(text))


raw_texts = st.sampled_from(["r.mp4", "../b.mp4", "", " ", "\u3000", '", "prompt": "', "a\tb", "a\x7fb"]) | st.text(
    st.sampled_from('ab/."\\u0:,{} \x00\n\u2028é'), max_size=8
)


@settings(max_examples=300)
@given(
    category=st.sampled_from(["a", "b", 'a", "note": "x', "a\\u0062", "logs"]),
    reference=raw_texts | st.just("long" * 60),
    prompt=raw_texts,
    tail=st.sampled_from(
        [
            '0, "seed": 42}',
            '0, "seed": 42} ',
            '0, "seed": 42, "n\\u006fte": "x"}',
            '0, "seed": 42, "reference": "other.mp4"}',
            '0, "seed": 42, "width": 16, "negative_prompt": "x", "mechanism": "none"}',
            '1.0, "seed": 42}',
            '0, "seed": 4e400}',
            '0, "seed": 42',
        ]
    ),
    escape=st.booleans(),
)
def test_a_line_between_what_stood_around_others_before_is_read_as_if_it_stood_alone(
    category: str, reference: str, prompt: str, tail: str, escape: bool
) -> None:
    """Two references and two prompts between one head and one tail, as JSON has them or as they should not be."""

    def between(reference: str, prompt: str) -> str:
        reference, prompt = (json.dumps(text)[1:-1] if escape else text for text in (reference, prompt))
        text = f'{{"category": "{category}", "reference": "{reference}", "prompt": "{prompt}", "prompt_index": {tail}'
        return text.replace("\n", "")

    with tempfile.TemporaryDirectory() as folder:
        manifests = Manifests(Path(folder))

        def outcome(*lines: str) -> list[Any]:
            try:
                return [asdict(job) for job in manifests.read("\n".join(lines))][-1:]
            except ManifestError as error:
                where = f"{manifests.path}:{len(lines)}: "
                return [problem.removeprefix(where) for problem in error.problems if problem.startswith(where)]

        before = between("first.mp4", "first"), between("second.mp4", "first"), between("third.mp4", "second")
        text = between(reference, prompt)
        if not text.strip(" \t\r"):
            return
        alone = outcome(text)
        together = outcome(*before, text)
        good_before = not [problem for line in before for problem in outcome(line) if isinstance(problem, str)]
        assert repr(together) == repr(alone) or (not good_before and not together and isinstance(alone[0], dict))


def test_only_the_first_line_of_one_output_is_taken_whether_it_was_read_whole_or_like_others(
    manifests: Manifests,
) -> None:
    lines = [line(reference=f"{number}.mp4", prompt=prompt) for number in range(4) for prompt in ("p", "q")]
    problems = manifests.problems("\n".join(lines))
    assert [problem.partition(";")[0] for problem in problems] == [
        f"{number}: same output a/ref_{(number - 2) // 2}_832x480/seed_42_prompt_0.mp4 as line {number - 1}"
        for number in (2, 4, 6, 8)
    ]


def test_a_line_that_is_not_utf_8_is_named_far_into_a_file(manifests: Manifests) -> None:
    good = "".join(f"{line(seed=seed, prompt='p' * 200)}\n" for seed in range(9000)).encode()
    assert len(good) > 2**21
    assert manifests.problems(good + b'{"category": "\xff"}\n') == ["9001: not UTF-8; save the manifest as UTF-8"]
    assert len(manifests.read(good)) == 9000
