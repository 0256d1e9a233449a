"""Beside the page lie previews that show what the jobs saw, posters and contact sheets, each made once."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from finished_experiment import FinishedExperiment, manifest_lines
from PIL import Image

from wan_ddp.report import sheet
from wan_ddp.report.contents import read_contents
from wan_ddp.report.pictures import RowPictures, make_pictures, sweep_pictures
from wan_ddp.report.sheet import Strip, Typeface, draw_sheet, readable, typeface
from wan_ddp.video import probe, read_clip

LINES = manifest_lines({"街道": 1, "pan": 1}, num_prompts=2, seeds=[42])


@pytest.fixture
def made(tmp_path: Path) -> FinishedExperiment:
    return FinishedExperiment(tmp_path / "x", LINES).write()


def pictures(made: FinishedExperiment, folder: Path) -> list[RowPictures]:
    rows: list[int] = []
    found = make_pictures(read_contents(made.output), folder, num_threads=2, on_row=lambda: rows.append(1))
    assert len(rows) == len(found)
    return found


def times(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_a_preview_shows_the_reference_as_the_jobs_saw_it(tmp_path: Path) -> None:
    lines = [LINES[0] | {"num_frames": 5, "width": 48, "height": 64}]
    made = FinishedExperiment(tmp_path / "x", lines, flags=["--sampling", "time"]).write()
    [row] = pictures(made, tmp_path / "report")
    assert row.preview
    preview = tmp_path / "report" / row.preview
    info = probe(preview)
    assert (info.num_frames, info.width, info.height, info.fps) == (5, 48, 64, 15)
    asked: dict[str, Any] = {"num_frames": 5, "width": 48, "height": 64, "fps": 15, "short_reference": "refuse"}
    seen = read_clip(made.jobs[0].reference, sampling="time", **asked).frames
    shown = read_clip(str(preview), sampling="frames", **asked).frames
    assert np.abs(seen.astype(int) - shown).mean() < 6


def test_nothing_that_counts_as_a_video_is_left_and_the_rest_is_made_once(
    made: FinishedExperiment, tmp_path: Path
) -> None:
    folder = tmp_path / "report"
    first = pictures(made, folder)
    assert not list(folder.rglob("*.mp4"))
    assert all(row.preview and row.preview_poster and row.sheet and len(row.posters) == 2 for row in first)
    before = times(folder)
    assert pictures(made, folder) == first
    assert times(folder) == before


def test_what_changed_is_made_anew_and_what_nobody_shows_is_removed(made: FinishedExperiment, tmp_path: Path) -> None:
    folder = tmp_path / "report"
    first = pictures(made, folder)
    before = times(folder)
    job = made.jobs[0]
    for suffix in (".mp4", ".json"):
        (made.output / f"{job.id}{suffix}").unlink()
    second = pictures(made, folder)
    assert len(second[0].posters) == 1
    assert second[1] == first[1]
    changed = {name for name, time in times(folder).items() if before.get(name) != time}
    assert changed == {str(first[0].sheet)}
    (folder / "posters" / "of-nobody.jpg").touch()
    sweep_pictures(folder, second)
    assert {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()} == {
        file for row in second for file in row.files
    }


def test_a_reference_that_changed_or_is_gone_says_so_and_an_old_preview_serves_on(
    made: FinishedExperiment, tmp_path: Path
) -> None:
    first = pictures(made, tmp_path / "report")
    reference = Path(made.jobs[0].reference)
    reference.write_bytes(reference.read_bytes() + b"more")
    assert pictures(made, tmp_path / "report") == first
    [changed, whole] = pictures(made, tmp_path / "another")
    assert "changed since" in changed.problem
    assert changed.preview is None
    assert changed.sheet
    assert whole.preview
    reference.unlink()
    assert "No such file" in pictures(made, tmp_path / "a third")[0].problem


def test_videos_that_do_not_decode_and_references_that_nobody_could_read_have_no_picture(tmp_path: Path) -> None:
    made = FinishedExperiment(tmp_path / "x", LINES)
    ids = made.ids()
    made.failures = {ids[0]: ["bad_input"], ids[1]: ["bad_input"]}
    made.write()
    Path(made.jobs[0].reference).write_bytes(b"no video at all")
    broken = made.output / f"{ids[2]}.mp4"
    broken.write_bytes(bytes(broken.stat().st_size))
    unreadable, [_, other] = pictures(made, tmp_path / "report"), made.ids()[2:]
    assert "not a video file" in unreadable[0].problem
    assert len(unreadable[1].posters) == 1, other
    assert unreadable[1].sheet


def test_a_contact_sheet_has_a_row_of_pictures_for_the_reference_and_each_video(
    made: FinishedExperiment, tmp_path: Path
) -> None:
    [row, _] = pictures(made, tmp_path / "report")
    assert row.sheet
    with Image.open(tmp_path / "report" / row.sheet) as image:
        assert image.format == "PNG"
        right = np.asarray(image)[:, -(16 + 8 * 100) :]
    filled = (right.astype(int).max(axis=2) - right.min(axis=2) > 40).mean(axis=1) > 0.3
    starts = np.flatnonzero(filled[1:] & ~filled[:-1])
    assert len(starts) == 3


def test_a_reference_of_thousands_of_videos_has_a_sheet_of_the_first(
    made: FinishedExperiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wan_ddp.report.pictures._MAX_SHEET_VIDEOS", 1)
    [row, _] = pictures(made, tmp_path / "report")
    assert row.sheet
    assert len(row.posters) == 2
    with Image.open(tmp_path / "report" / row.sheet) as image:
        assert image.height < 69 + 3 * 68


def test_labels_never_fail_for_lack_of_a_font(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sheet, "_candidates", lambda: iter([("/no/such/font.ttf", 0)]))
    typeface.cache_clear()
    try:
        face = typeface()
        assert readable("pan 镜头\n\U0001f305 é", face) == "pan \\u955c\\u5934 \\U0001f305 é"
        content = draw_sheet("镜头", "", [Strip(("镜头", "一只猫" * 40), None)], (96, 64), "x")
        assert Image.open(io.BytesIO(content)).format == "PNG"
    finally:
        typeface.cache_clear()


@pytest.mark.parametrize("text", ["a cat walks", "一只猫在走" * 30, "word " * 80, "x" * 500, "", "\u202eمنارة"])
def test_labels_of_any_length_and_script_are_drawn(text: str) -> None:
    content = draw_sheet(text, text, [Strip((text, text), None)], (832, 480), "x")
    assert Image.open(io.BytesIO(content)).width == 16 + 250 + 8 * (192 + 4) + 16


def test_a_system_font_with_chinese_is_used_where_there_is_one() -> None:
    face = typeface()
    if "DejaVu" in face.path:
        pytest.skip("needs a font with Chinese (Debian: apt install fonts-wqy-microhei)")
    assert isinstance(face, Typeface)
    assert readable("镜头仰角旋转", face) == "镜头仰角旋转"
