"""Tables of clips and prompts: CSV as Excel and people write it, JSON Lines, and every way to name a clip."""

import json
import unicodedata
from pathlib import Path

import pytest
from manifest_input import Workplace

HEADER = "category,reference,prompt"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Workplace:
    monkeypatch.chdir(tmp_path)
    place = Workplace(tmp_path, capsys)
    place.clips("data/运动/镜头.mp4", "data/运动/ref_pan_832x480.mov")
    return place


def rows(jobs):
    return [(job.category, Path(job.reference).name, job.prompt_index, job.prompt) for job in jobs]


EXPECTED = [("运动", "镜头.mp4", 0, "一只猫, 在跑"), ("运动", "ref_pan_832x480.mov", 0, "b")]


@pytest.mark.parametrize(
    "content",
    [
        'category,reference,prompt\n运动,镜头,"一只猫, 在跑"\n运动,pan,b\n'.encode(),
        '\ufeffcategory,reference,prompt\r\n运动,镜头,"一只猫, 在跑"\r\n运动,pan,b'.encode(),
        "category;reference;prompt\n运动;镜头;一只猫, 在跑\n运动;pan;b\n".encode(),
        "sep=;\ncategory;reference;prompt\n运动;镜头;一只猫, 在跑\n运动;pan;b\n".encode(),
        "category\treference\tprompt\n运动\t镜头\t一只猫, 在跑\n运动\tpan\tb\n".encode(),
        'Category, Reference ,PROMPT,\n\n运动,镜头,"一只猫, 在跑",,\n , ,\n运动,pan, b ,\n'.encode(),
        'category,reference,prompt\n运动,镜头,"一只猫, 在跑"\n运动,pan,b\n'.replace("\n", "\r").encode(),
    ],
    ids=["plain", "BOM, CRLF", "semicolons", "sep=", "tabs", "blank cells and rows", "CR"],
)
def test_a_csv_file_is_read_as_programs_and_people_write_it(here, content):
    here.write("data/t.csv", content)
    assert rows(here.built("data/t.csv")) == EXPECTED


def test_a_csv_file_in_another_encoding_is_read_where_it_is_named(here):
    text = '类别,视频,提示词\n运动,镜头,"一只猫, 在跑"\n运动,pan,b\n'
    here.write("提示.csv", text.encode("gb18030"))
    words = ["提示.csv", "--clips", "data"]
    assert "it reads as gb18030: save it as UTF-8, or give --encoding gb18030" in here.refused(*words)
    words += ["--encoding", "gb18030"]
    assert "has no column reference, the clip's path or name; it has 类别, 视频, 提示词" in here.refused(*words)
    words += ["--columns", "category=类别", "reference=视频", "prompt=提示词"]
    assert rows(here.built(*words)) == EXPECTED
    assert "类别 as category, 视频 as reference, 提示词 as prompt" in here.out


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (
            f"{HEADER}\n运动,镜头,一只猫, 在跑\n",
            "t.csv:2: 4 cells, and the first row names 3 columns; a prompt that holds",
        ),
        (f'{HEADER}\n运动,镜头,"a\nb" c\n', "t.csv:3: not CSV"),
        (f'{HEADER}\n运动,镜头,"a\n', "not CSV: unexpected end of data"),
        (f"{HEADER}\n", "t.csv: no rows in it"),
        ("", "t.csv: no rows in it"),
        ("category,,reference,prompt\n运动,,镜头,a\n", "t.csv:1: column 2 has no name"),
        ("reference,prompt,prompt\n运动,镜头,a\n", "t.csv:1: the column prompt stands twice"),
        ("reference,prompt,Prompt\n运动/镜头,a,b\n", "the columns prompt and Prompt are the same field"),
        ("reference,prompt_1,prompt-01\n运动/镜头,a,b\n", "the columns prompt_1 and prompt-01 are the same field"),
        ("reference,text\n运动/镜头,a\n", "has no column prompt, prompts, or prompt_1, prompt_2 and so on"),
        (f"{HEADER}\n运动,镜头,\n", "t.csv:2: has no prompt; write one, or take the row out"),
        (f"{HEADER}\n运动,,a\n", "t.csv:2: names no clip"),
        (f"{HEADER},seed\n运动,镜头,a,1\n运动,镜头,b,\n", "t.csv:3: has no seed; say which seeds"),
        (f"{HEADER},seed\n运动,镜头,a,x\n", 't.csv:2: seed is "x"; it must be an integer from 0'),
        (f"{HEADER},seed,width\n运动,镜头,a,1,7\n", "t.csv:2: width is 7; it must be a multiple of 16"),
        (
            f"{HEADER},seed,prompt_index\n运动,镜头,a,1,x\n",
            "t.csv:2: the prompt's number is 'x'; it must be an integer",
        ),
    ],
)
def test_a_bad_table_is_refused_with_its_row(here, content, problem):
    here.write("data/t.csv", content)
    assert problem in here.refused("data/t.csv", "--allow-unmatched", seeds=())


def test_a_cell_may_hold_lines_and_the_rows_after_it_are_counted_right(here):
    here.write("data/t.csv", f'{HEADER}\n运动,镜头,"a\n\nb"\n运动,pan,\n')
    assert "data/t.csv:5: has no prompt" in here.refused("data/t.csv")


@pytest.mark.parametrize(
    "reference",
    [
        "运动/镜头.mp4",
        "运动/镜头",
        "./运动/../运动/镜头.mp4",
        "运动\\镜头.mp4",
        "镜头.mp4",
        "镜头",
        "ref_镜头_480x832.mp4",
        "{folder}/data/运动/镜头.mp4",
        "{folder}/data/运动/镜头",
    ],
)
@pytest.mark.parametrize("category", ["运动", None, "other"])
def test_a_clip_may_be_named_in_any_way_that_leaves_no_doubt(here, reference, category):
    row = {"reference": reference.format(folder=here.folder), "prompt": "a"} | (
        {"category": category} if category else {}
    )
    here.write("data/t.jsonl", json.dumps(row))
    if category == "other" and "运动" not in reference:
        assert "there is no such file" in here.refused("data/t.jsonl")
    else:
        jobs = here.built("data/t.jsonl", "--allow-unmatched")
        assert rows(jobs) == [(category or "运动", "镜头.mp4", 0, "a")]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_clip_is_found_in_either_unicode_form_of_its_path(here, form):
    other = "NFD" if form == "NFC" else "NFC"
    here.clips(f"é/{unicodedata.normalize(form, 'café/étude.mp4')}")
    for reference in ("café/étude.mp4", "café/étude", f"{here.folder}/é/café/étude.mp4"):
        here.write("é/t.jsonl", json.dumps({"reference": unicodedata.normalize(other, reference), "prompt": "a"}))
        [job] = here.built("é/t.jsonl")
        assert job.reference.endswith(unicodedata.normalize(form, "café/étude.mp4"))


def test_a_folder_of_the_same_name_is_no_clip_and_a_file_of_another_kind_neither(here):
    here.write("data/运动/镜头/notes.txt", "x")
    here.write("data/运动/list.txt", "x")
    here.write("data/t.csv", f"{HEADER}\n运动,镜头,a\n运动,pan,b\n运动,list.txt,c\n")
    assert "data/运动/list.txt: it is no clip by its name, which are .3g2, .3gp, .avi" in here.refused("data/t.csv")
    assert [row[1] for row in rows(here.built("data/t.csv", "--allow-unmatched"))] == [
        "镜头.mp4",
        "ref_pan_832x480.mov",
    ]


def test_a_name_that_is_in_two_categories_needs_its_category(here):
    here.clips("data/b/镜头.mp4")
    here.write("data/t.csv", "reference,prompt\n镜头,a\n")
    said = here.refused("data/t.csv", "--allow-unmatched")
    assert "data/t.csv:2: 镜头 could be data/b/镜头.mp4 or data/运动/镜头.mp4" in said


def test_references_that_are_no_file_and_clips_that_no_row_names_are_listed_with_the_nearest(here):
    here.write("data/t.csv", f"{HEADER}\n运动,镜投,a\n运动,镜投,b\n运动,pan,c\n运动,zzz,d\n")
    said = here.refused("data/t.csv")
    assert "clips without prompts: 1\n  data/运动/镜头.mp4: no row names it\n" in said
    assert "data/t.csv:2 and 1 rows more: 镜投: there is no such file; nearest: data/运动/镜头.mp4\n" in said
    assert "data/t.csv:5: zzz: there is no such file\n" in said
    assert rows(here.built("data/t.csv", "--allow-unmatched")) == [("运动", "ref_pan_832x480.mov", 0, "c")]


@pytest.mark.parametrize("words", [["data"], ["data/t.csv"], ["data/t.csv", "--clips", "data"]])
def test_a_category_without_any_row_is_not_passed_over(here, words):
    here.clips("data/b/x.mp4", "data/b/y.wmv")
    here.write("data/t.csv", f"{HEADER}\n运动,镜头,a\n运动,pan,b\n")
    said = here.refused(*words)
    assert "  data/b/x.mp4: no row names it\n" in said
    assert "  data/b/y.wmv: .wmv is not read" in said


def test_prompts_count_by_the_order_of_a_clips_rows_wherever_they_stand(here):
    here.write("data/t.csv", f"{HEADER}\n运动,镜头,a\n运动,pan,b\n运动,镜头,c\n")
    assert [row[2:] for row in rows(here.built("data/t.csv"))] == [(0, "a"), (1, "c"), (0, "b")]


@pytest.mark.parametrize("column", ["prompt_index", "prompt_number"])
@pytest.mark.parametrize("first", [0, 1])
def test_numbered_rows_are_asked_where_they_begin_and_may_stand_in_any_order(here, column, first):
    table = f"{HEADER},{column}\n运动,镜头,b,2\n运动,镜头,a,1\n"
    here.write("data/t.csv", table)
    assert "--first-prompt-number" in here.refused("data/t.csv", "--allow-unmatched")
    jobs = here.built("data/t.csv", "--allow-unmatched", "--first-prompt-number", str(first))
    assert {job.prompt_index: job.prompt for job in jobs} == {1 - first: "a", 2 - first: "b"}
    here.write("data/t.csv", table + "运动,镜头,c,2\n")
    said = here.refused("data/t.csv", "--allow-unmatched", "--first-prompt-number", str(first))
    assert "data/t.csv:2: number 2 stands twice for 运动/镜头.mp4" in said
    assert "data/t.csv:4: number 2 stands twice for 运动/镜头.mp4" in said
    here.write("data/t.csv", table + "运动,镜头,c,\n")
    assert "data/t.csv:4: it has no number" in here.refused(
        "data/t.csv", "--allow-unmatched", "--first-prompt-number", str(first)
    )


def test_prompts_side_by_side_are_numbered_by_their_columns(here):
    here.write("data/t.csv", "reference,prompt_1,Prompt 2,prompt3\n运动/镜头,a,b,c\n运动/pan,a,,c\n")
    assert "--first-prompt-number" in here.refused("data/t.csv")
    jobs = here.built("data/t.csv", "--first-prompt-number", "1")
    assert [row[1:] for row in rows(jobs)] == [
        ("镜头.mp4", 0, "a"),
        ("镜头.mp4", 1, "b"),
        ("镜头.mp4", 2, "c"),
        ("ref_pan_832x480.mov", 0, "a"),
        ("ref_pan_832x480.mov", 2, "c"),
    ]
    assert "unlike the others: 运动/ref_pan_832x480: " in here.out


def test_a_row_may_have_its_own_seed_and_settings(here):
    here.write(
        "data/t.csv",
        f"{HEADER},seed,width,cfg_scale,note\n运动,镜头,a,1,640,4.5,x\n运动,镜头,a,2,,,\n运动,镜头,b,1,,,\n运动,镜头,b,2,,,\n",
    )
    jobs = here.built("data/t.csv", "--allow-unmatched", "--cfg-scale", "3", seeds=())
    assert [(job.prompt_index, job.prompt, job.seed, job.width, job.cfg_scale, job.note) for job in jobs] == [
        (0, "a", 1, 640, 4.5, "x"),
        (0, "a", 2, 832, 3.0, None),
        (1, "b", 1, 832, 3.0, None),
        (1, "b", 2, 832, 3.0, None),
    ]
    assert "the table has a column of seeds; leave --seeds out" in here.refused("data/t.csv", "--allow-unmatched")


def test_a_manifest_may_be_the_input_of_another(here):
    jobs = [
        {"category": "运动", "reference": "运动/镜头.mp4", "prompt": "a", "prompt_index": 3, "seed": 7, "width": 640},
        {"category": "运动", "reference": "运动/ref_pan_832x480.mov", "prompt": "b", "prompt_index": 0, "seed": 7},
    ]
    here.write("data/old.jsonl", "\n".join(map(json.dumps, jobs)))
    [first, second] = here.built("data/old.jsonl", "--first-prompt-number", "0", seeds=())
    assert (first.prompt_index, first.seed, first.width) == (3, 7, 640)
    assert (second.prompt_index, second.seed, second.width) == (0, 7, 832)


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ([1], "t.jsonl:1: it is no object"),
        ({"reference": 7, "prompt": "a"}, "t.jsonl:1: names no clip"),
        ({"reference": "运动/镜头", "category": 7, "prompt": "a"}, "t.jsonl:1: category is 7; it must be text"),
        ({"reference": "运动/镜头", "prompt": 7}, "t.jsonl:1: its prompts are a number"),
        ({"reference": "运动/镜头", "prompt": " "}, "t.jsonl:1, prompt 0: it is blank"),
        ({"reference": "运动/镜头", "prompts": ["a"], "prompt": "b"}, "prompts in columns of more than one kind"),
        ({"reference": "运动/镜头", "prompts": ["a"], "prompt_index": 0}, "a prompt's number and several prompts"),
        ({"reference": "运动/镜头", "prompt": "a", "prompt_index": 0, "prompt_number": 1}, "leave one column out"),
        ({"reference": "运动/镜头", "prompt": "a", "prompt_index": True}, "the prompt's number is True"),
    ],
)
def test_a_bad_row_of_json_is_refused_with_its_line(here, row, problem):
    here.write("data/t.jsonl", json.dumps(row))
    assert problem in here.refused("data/t.jsonl", "--allow-unmatched")


def test_broken_json_lines_are_refused_with_the_line(here):
    here.write("data/t.jsonl", '{"reference": "运动/镜头", "prompt": "a"}\n\n{"reference": \n')
    assert "data/t.jsonl:3: not JSON" in here.refused("data/t.jsonl")
    here.write("data/t.jsonl", '\n{"reference": "运动/镜头", "reference": "a"}')
    assert 'data/t.jsonl:2: "reference" stands twice' in here.refused("data/t.jsonl")


def test_a_json_list_of_rows_is_a_table_too(here):
    here.json("data/t.json", [{"reference": "运动/镜头", "prompts": {"1": "a", "2": "b"}}])
    jobs = here.built("data/t.json", "--allow-unmatched", "--first-prompt-number", "1")
    assert [row[2:] for row in rows(jobs)] == [(0, "a"), (1, "b")]


def test_columns_that_are_not_used_are_named_and_a_wrong_name_for_one_is_refused(here):
    here.write("data/t.csv", "reference,prompt,作者\n运动/镜头,a,王\n运动/pan,b,李\n")
    here.built("data/t.csv")
    assert "columns that are not used: 作者" in here.out
    assert "has no column 视频; it has reference, prompt, 作者" in here.refused(
        "data/t.csv", "--columns", "reference=视频"
    )
    assert "there is no field sead" in here.refused("data/t.csv", "--columns", "sead=作者")


def test_the_category_is_told_by_a_column_or_once_or_by_the_folder(here):
    here.write("data/t.csv", "reference,prompt\n运动/镜头,a\n运动/pan,b\n")
    assert {job.category for job in here.built("data/t.csv")} == {"运动"}
    assert "a clip's category is its folder" in here.out
    assert {job.category for job in here.built("data/t.csv", "--category", "motion")} == {"motion"}
    here.write("data/t.csv", f"{HEADER}\nx,运动/镜头,a\ny,运动/pan,b\n")
    assert [job.category for job in here.built("data/t.csv")] == ["x", "y"]
    assert "leave --category out" in here.refused("data/t.csv", "--category", "motion")
