"""`videos.csv` holds one row a video, reads the same in Excel and pandas, and runs nothing."""

import csv
import io
from pathlib import Path

import pandas as pd
import pytest
from finished_experiment import FinishedExperiment, manifest_lines

from wan_ddp.report.contents import read_contents
from wan_ddp.report.table import COLUMNS, write_table

HOSTILE = ['=HYPERLINK("http://x","y")', "+1", "-1 is a number, and this is none", "@sum", "\tx", 'a, b; "c"\nd \'=e']


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> FinishedExperiment:
    lines = manifest_lines({"街道": 2}, num_prompts=3)
    for line, prompt in zip(lines, HOSTILE, strict=False):
        line["prompt"] = prompt
    experiment = FinishedExperiment(tmp_path_factory.mktemp("table") / "x", lines)
    ids = experiment.ids()
    experiment.failures = {ids[7]: ["out_of_memory"]}
    experiment.recorded = {ids[0]: {"sanity": {"flags": ["frozen", "black"], "motion": {"likeness": -0.25}}}}
    return experiment.write()


@pytest.fixture(scope="module")
def table(made: FinishedExperiment) -> bytes:
    return write_table(read_contents(made.output))


def test_pandas_reads_one_row_a_video_with_its_chinese_names(made: FinishedExperiment, table: bytes) -> None:
    frame = pd.read_csv(io.BytesIO(table))
    assert tuple(frame.columns) == COLUMNS
    assert set(frame["id"]) == set(made.ids())
    assert set(frame["category"]) == {"街道"}
    by_id = frame.set_index("id")
    first, failed = by_id.loc[made.ids()[0]], by_id.loc[made.ids()[7]]
    assert (first["state"], first["flags"], first["motion_likeness"]) == ("done", "frozen black", -0.25)
    assert (failed["state"], failed["error_kind"], failed["attempts"]) == ("failed", "out_of_memory", 1)
    assert "CUDA out of memory" in failed["error"]
    assert pd.isna(failed["video"])
    parts = [name for name in frame.columns if name.startswith("seconds_")]
    assert first["seconds"] == pytest.approx(first[parts].sum(), abs=0.01)
    assert (made.output / first["video"]).is_file()
    assert first["num_inference_steps"] == 50


def test_excel_is_told_that_it_is_utf_8(table: bytes) -> None:
    assert table.startswith(b"\xef\xbb\xbf")


def test_no_cell_is_a_formula_and_all_other_text_is_as_it_was(made: FinishedExperiment, table: bytes) -> None:
    rows = {row["id"]: row for row in csv.DictReader(io.StringIO(table.decode("utf-8-sig"), newline=""))}
    prompts = [rows[job_id]["prompt"] for job_id in made.ids()]
    expected = [line["prompt"] for line in made.lines]
    assert prompts == [f"'{text}" if text[0] in "=+-@\t" else text for text in expected]
    assert rows[made.ids()[0]]["motion_likeness"] == "-0.25"


def test_a_name_that_is_no_valid_text_does_not_stop_it(made: FinishedExperiment, tmp_path: Path) -> None:
    contents = read_contents(made.output)
    object.__setattr__(contents.videos[0].job, "reference", "/clips/\udcff.mp4")
    assert write_table(contents).decode("utf-8-sig")
