"""Everything in an output folder is found and told as it stands, and looking changes nothing."""

import json
import os
import shutil
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from finished_experiment import FinishedExperiment, manifest_lines

from wan_ddp.errors import UnusableError
from wan_ddp.motion import Comparison
from wan_ddp.report.contents import Contents, Likeness, Video, read_contents
from wan_ddp.sanity import Sanity

LINES = {"街道": 1, "pan": 2}


def experiment(tmp_path: Path, **changes: Any) -> FinishedExperiment:
    lines = changes.pop("lines", None) or manifest_lines(LINES, num_prompts=2, seeds=[42])
    return FinishedExperiment(tmp_path / "x", lines, **changes)


def states(contents: Contents) -> dict[str, int]:
    return dict(Counter(video.state for video in contents.videos))


def find(contents: Contents, job_id: str) -> Video:
    return next(video for video in contents.videos if video.job.id == job_id)


def edit(output: Path, job_id: str, **changes: Any) -> None:
    path = output / f"{job_id}.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | changes), "utf-8")


def test_a_finished_experiment_has_a_row_for_each_reference_in_the_manifests_order(tmp_path: Path) -> None:
    made = experiment(tmp_path).write()
    contents = read_contents(made.output)
    assert [(row.category, row.name) for row in contents.rows] == [
        ("街道", "镜头仰角旋转 0"),
        ("pan", "镜头仰角旋转 0"),
        ("pan", "sliding door 1"),
    ]
    assert states(contents) == {"done": 6}
    assert not contents.is_running
    assert contents.timeline.ranks == list(range(8))
    assert all(video.made and video.made.seconds["denoise"] > 300 for video in contents.videos)


def test_looking_writes_nothing(tmp_path: Path) -> None:
    made = experiment(tmp_path).write()

    def everything() -> dict[Path, tuple[int, bytes]]:
        files = (path for path in made.output.rglob("*") if path.is_file())
        return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}

    before = everything()
    read_contents(made.output)
    assert everything() == before


def test_what_failed_is_told_with_its_kind_attempts_and_log(tmp_path: Path) -> None:
    made = experiment(tmp_path)
    ids = made.ids()
    made.failures = {ids[0]: ["bad_input"], ids[1]: ["worker_died"] * 3, ids[2]: ["hang"]}
    contents = read_contents(made.write().output)
    assert states(contents) == {"done": 4, "failed": 2}
    assert (find(contents, ids[0]).kind, find(contents, ids[0]).attempts) == ("bad_input", 1)
    assert (find(contents, ids[1]).kind, find(contents, ids[1]).attempts) == ("worker_died", 3)
    assert "Killed" in find(contents, ids[1]).log_tail
    assert find(contents, ids[2]).attempts == 2, "made at the second attempt"


def test_videos_gone_cut_off_or_of_other_settings_are_told_apart(tmp_path: Path) -> None:
    made = experiment(tmp_path).write()
    gone, cut, other, unreadable, *_ = made.ids()
    (made.output / f"{gone}.mp4").unlink()
    (made.output / f"{cut}.mp4").write_bytes(b"cut")
    record = json.loads((made.output / f"{other}.json").read_text("utf-8"))
    edit(made.output, other, inputs=record["inputs"] | {"cfg_scale": 6.0})
    (made.output / f"{unreadable}.json").write_text("{")
    contents = read_contents(made.output)
    assert [find(contents, job_id).state for job_id in (gone, cut, other, unreadable)] == [
        *("corrupt", "corrupt", "changed", "corrupt")
    ]
    assert find(contents, other).can_play
    assert not find(contents, cut).can_play


def test_flags_and_likeness_are_read_and_a_record_with_odd_ones_still_has_its_video(tmp_path: Path) -> None:
    made = experiment(tmp_path).write()
    told, odd, bare, *_ = made.ids()
    sanity = Sanity(("frozen",), 0, 0, 30, 0.1, Comparison(0.5, None, 1.2))
    edit(made.output, told, flags=["constant", "frozen"], sanity=asdict(sanity))
    edit(made.output, odd, sanity="none", rank="three", resumed_from=7)
    contents = read_contents(made.output)
    assert find(contents, told).flags == ["constant", "frozen"]
    assert find(contents, told).motion == Likeness(0.5, None, 1.2)
    assert find(contents, odd).can_play
    assert (find(contents, bare).flags, find(contents, bare).motion) == ([], Likeness())


def test_a_run_that_goes_on_shows_what_is_under_way(tmp_path: Path) -> None:
    made = experiment(tmp_path, until=300.0, start=time.time() - 300.0).write()
    contents = read_contents(made.output)
    assert contents.is_running
    assert states(contents) == {"under way": 6}
    assert "denoise, step" in contents.videos[0].why


def test_a_run_that_was_killed_is_not_running(tmp_path: Path) -> None:
    made = experiment(tmp_path, until=300.0).write()
    for path in made.output.glob("logs/.run-*/rank*.json"):
        old = time.time() - 3600
        os.utime(path, (old, old))
    contents = read_contents(made.output)
    assert not contents.is_running
    assert states(contents) == {"missing": 6}


def test_videos_of_one_reference_but_another_length_are_a_row_of_their_own(tmp_path: Path) -> None:
    lines = manifest_lines({"pan": 1}, num_prompts=2, seeds=[42])
    lines[1]["num_frames"] = 5
    contents = read_contents(experiment(tmp_path, lines=lines).write().output)
    assert [(row.clip.num_frames, row.number, len(row.videos)) for row in contents.rows] == [(9, 1, 1), (5, 2, 1)]


def test_videos_outlive_what_is_known_of_their_runs(tmp_path: Path) -> None:
    made = experiment(tmp_path).write()
    shutil.rmtree(made.output / "logs")
    (made.output / f"{made.ids()[0]}.mp4").unlink()
    contents = read_contents(made.output)
    assert states(contents) == {"corrupt": 1, "done": 5}
    assert contents.videos[1].job.prompt == made.lines[1]["prompt"]


def test_an_earlier_runs_videos_are_shown_and_what_it_never_made_is_not(tmp_path: Path) -> None:
    first = experiment(tmp_path).write()
    lost, *_ = first.ids()
    for suffix in (".mp4", ".json"):
        (first.output / f"{lost}{suffix}").unlink()
    later = FinishedExperiment(tmp_path / "y", manifest_lines({"later": 1}, num_prompts=1, seeds=[1]), run_id="later")
    later.start = first.start + 100_000
    later.write()
    shutil.copytree(later.output, first.output, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.history.jsonl"))
    contents = read_contents(first.output)
    assert states(contents) == {"done": 6}
    assert {video.job.category for video in contents.videos} == {"街道", "pan", "later"}


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnusableError, match="there is no such folder"):
        read_contents(tmp_path / "nowhere")
