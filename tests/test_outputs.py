"""A final name only ever holds a whole video, its record comes last, and nothing that was there before is lost."""

import errno
import hashlib
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from factories import fill, make_job

from wan_ddp.errors import DiskFullError, JobError, MachineError, StorageError, SupersededError
from wan_ddp.job import Conditions, Job, fingerprint, fingerprint_inputs
from wan_ddp.outputs import Outputs
from wan_ddp.process import own_token
from wan_ddp.steps import Header, SavedSteps, save_steps
from wan_ddp.verdict import Failure, VideoFile
from wan_ddp.video import Frames, probe

JOB = make_job()
OTHER_HOST = "00000000-1-1-1"


def inputs_of(job: Job) -> dict[str, Any]:
    return fingerprint_inputs(job, Conditions(model="m"), "digest")


def frames_of(job: Job, seed: int = 0) -> Frames:
    shape = (job.num_frames, job.height, job.width, 3)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def describe(job: Job) -> Callable[[VideoFile], Mapping[str, Any]]:
    inputs = inputs_of(job)
    return lambda video: {"fingerprint": fingerprint(inputs), "inputs": inputs, "video": asdict(video), "gpu": "无"}


def publish(outputs: Outputs, job: Job = JOB, seed: int = 0) -> VideoFile:
    outputs.prepare(job)
    return outputs.publish(job, frames_of(job, seed), describe(job))


def state(outputs: Outputs, job: Job = JOB, *, full: bool = False) -> str:
    return outputs.inspect(job, inputs_of(job), full=full).state


def files(outputs: Outputs) -> dict[str, str]:
    """Every file below the output folder, hidden ones too, with the digest of its content."""
    return {
        str(path.relative_to(outputs.root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(outputs.root.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def outputs(tmp_path: Path) -> Outputs:
    return Outputs(tmp_path / "out")


@pytest.fixture
def dead() -> str:
    """The token of a process that has ended."""
    process = subprocess.Popen(["sleep", "600"])
    token = own_token(process.pid)
    process.kill()
    process.wait()
    return token


@pytest.fixture
def living() -> Iterator[str]:
    """The token of another process that goes on."""
    process = subprocess.Popen(["sleep", "600"])
    yield own_token(process.pid)
    process.kill()
    process.wait()


# Publishing


def test_a_published_video_lies_under_its_name_beside_its_record_and_nothing_else(outputs: Outputs) -> None:
    published = publish(outputs)
    assert sorted(files(outputs)) == [f"{JOB.id}.json", f"{JOB.id}.mp4"]
    info = probe(outputs.video(JOB))
    assert (info.num_frames, info.width, info.height, info.fps) == (5, 32, 16, 15.0)
    assert asdict(published) == {
        "num_bytes": outputs.video(JOB).stat().st_size,
        "sha256": files(outputs)[f"{JOB.id}.mp4"],
        "num_frames": 5,
        "fps": 15.0,
        "width": 32,
        "height": 16,
    }
    record = json.loads(outputs.record(JOB).read_text(encoding="utf-8"))
    assert record == json.loads(json.dumps(describe(JOB)(published)))
    assert state(outputs) == state(outputs, full=True) == "verified"


def test_while_a_video_is_written_no_name_ends_in_mp4_or_json(outputs: Outputs) -> None:
    seen: list[str] = []

    def look(video: VideoFile) -> Mapping[str, Any]:
        seen.extend(files(outputs))
        return describe(JOB)(video)

    outputs.prepare(JOB)
    outputs.publish(JOB, frames_of(JOB), look)
    assert len(seen) == 1
    assert Path(seen[0]).name.startswith(".")
    assert not seen[0].endswith((".mp4", ".json"))


@pytest.mark.parametrize("changes", [{"num_frames": 9}, {"width": 48}, {"height": 32}])
def test_a_video_that_is_not_what_the_job_asked_for_is_not_published(outputs: Outputs, changes: dict[str, int]) -> None:
    publish(outputs)
    before = files(outputs)
    with pytest.raises(
        JobError, match=r"the written video has \(.*\) frames, width and height at .* asked for"
    ) as caught:
        outputs.publish(JOB, frames_of(replace(JOB, **changes)), describe(JOB))
    assert caught.value.kind == "error", "the disk is not at fault: trying again would not help"
    assert files(outputs) == before


def test_a_record_that_cannot_be_made_publishes_nothing(outputs: Outputs) -> None:
    def fail(_: VideoFile) -> Mapping[str, Any]:
        raise RuntimeError("boom")

    outputs.prepare(JOB)
    with pytest.raises(RuntimeError, match="boom"):
        outputs.publish(JOB, frames_of(JOB), fail)
    assert files(outputs) == {}


def test_a_video_made_anew_takes_the_place_of_a_recorded_one(outputs: Outputs) -> None:
    publish(outputs)
    second = publish(outputs, seed=1)
    assert files(outputs)[f"{JOB.id}.mp4"] == second.sha256
    assert len(files(outputs)) == 2
    assert state(outputs, full=True) == "verified"


def test_a_video_that_no_record_speaks_of_is_kept_aside(outputs: Outputs, caplog: pytest.LogCaptureFixture) -> None:
    outputs.prepare(JOB)
    outputs.video(JOB).write_bytes(b"made by hand")
    with caplog.at_level(logging.WARNING):
        publish(outputs)
    (aside,) = outputs.video(JOB).parent.glob(".*.unrecorded")
    assert aside.read_bytes() == b"made by hand"
    assert aside.name in caplog.text
    assert state(outputs, full=True) == "verified"
    outputs.sweep()
    assert aside.exists()


def test_the_same_video_without_a_record_is_only_given_one(outputs: Outputs) -> None:
    publish(outputs)
    before = files(outputs)
    outputs.record(JOB).unlink()
    publish(outputs)
    assert files(outputs) == before


def test_videos_of_one_job_made_twice_are_the_same_bytes(outputs: Outputs, tmp_path: Path) -> None:
    assert publish(outputs) == publish(Outputs(tmp_path / "again"))


def test_a_video_that_may_not_be_put_in_place_changes_nothing(outputs: Outputs) -> None:
    publish(outputs)
    save_steps(outputs.steps(JOB), state_of(JOB))
    before = files(outputs)
    asked = []

    def stands() -> bool:
        asked.append(len(files(outputs)) - len(before))
        return False

    with pytest.raises(SupersededError, match=f"{JOB.id}: another process has taken it over"):
        outputs.publish(JOB, frames_of(JOB, seed=1), describe(JOB), stands)
    assert files(outputs) == before
    assert asked == [2], "it is asked once, when the video and its record are written"


def test_whether_a_video_may_be_put_in_place_that_cannot_be_seen_is_trouble_of_the_disk(outputs: Outputs) -> None:
    def stands() -> bool:
        raise OSError(errno.ESTALE, "Stale file handle", "claims")

    outputs.prepare(JOB)
    with pytest.raises(StorageError, match="claims: Stale file handle; nothing was published"):
        outputs.publish(JOB, frames_of(JOB), describe(JOB), stands)
    assert files(outputs) == {}


# The state of a video under way


def state_of(job: Job, fingerprint_of_it: str = "") -> SavedSteps:
    return SavedSteps(Header(fingerprint_of_it or fingerprint(inputs_of(job)), 10, 50), b"latents")


def test_a_published_video_needs_its_state_no_more_and_others_keep_theirs(outputs: Outputs) -> None:
    other = make_job(seed=7)
    outputs.prepare(JOB)
    for job in (JOB, other):
        save_steps(outputs.steps(job), state_of(job))
    publish(outputs)
    assert sorted(files(outputs)) == sorted(
        [f"{JOB.id}.json", f"{JOB.id}.mp4", str(outputs.steps(other).relative_to(outputs.root))]
    )


def test_a_state_that_cannot_be_removed_leaves_the_video_published(outputs: Outputs) -> None:
    outputs.steps(JOB).mkdir(parents=True)
    publish(outputs)
    assert state(outputs, full=True) == "verified"


def test_a_sweep_removes_the_state_of_a_video_that_is_there(outputs: Outputs) -> None:
    publish(outputs)
    before = files(outputs)
    save_steps(outputs.steps(JOB), state_of(JOB))
    outputs.sweep()
    assert files(outputs) == before


def test_a_sweep_leaves_the_state_of_a_video_that_is_not_there_or_of_other_settings(outputs: Outputs) -> None:
    outputs.prepare(JOB)
    save_steps(outputs.steps(JOB), state_of(JOB))
    outputs.sweep()
    assert outputs.steps(JOB).exists()
    publish(outputs)
    save_steps(outputs.steps(JOB), state_of(JOB, "f" * 64))  # it is made anew with other settings
    outputs.sweep()
    assert outputs.steps(JOB).exists()
    save_steps(outputs.steps(JOB), state_of(JOB))
    with outputs.video(JOB).open("r+b") as file:  # it is made anew because it was damaged
        file.truncate(100)
    outputs.sweep()
    assert outputs.steps(JOB).exists()
    outputs.video(JOB).unlink()
    outputs.sweep()
    assert outputs.steps(JOB).exists()


def test_a_sweep_leaves_what_only_looks_like_a_state(outputs: Outputs) -> None:
    publish(outputs)
    for content in (b"", b"notes", b"a\n[]\n"):
        outputs.steps(JOB).write_bytes(content)
        outputs.sweep()
        assert outputs.steps(JOB).read_bytes() == content


# Failures


def test_a_failure_is_seen_until_the_video_is_there(outputs: Outputs) -> None:
    failure = Failure(fingerprint(inputs_of(JOB)), "磁盘 full", "io", 1, "run")
    outputs.record_failure(JOB, failure)
    assert outputs.inspect(JOB, inputs_of(JOB)).failure == failure
    publish(outputs)
    assert state(outputs) == "verified"
    assert sorted(files(outputs)) == [f"{JOB.id}.json", f"{JOB.id}.mp4"]


# Looking


def test_full_verification_finds_a_single_flipped_byte(outputs: Outputs) -> None:
    publish(outputs)
    content = bytearray(outputs.video(JOB).read_bytes())
    content[len(content) // 2] ^= 1
    outputs.video(JOB).write_bytes(content)
    assert state(outputs) == "verified"  # its size is as recorded
    finding = outputs.inspect(JOB, inputs_of(JOB), full=True)
    assert (finding.state, finding.why) == ("corrupt", "its content is not what its record says (SHA-256)")


def test_full_verification_decodes(outputs: Outputs) -> None:
    """A record that agrees with the bytes does not make a video of them."""
    publish(outputs)
    record = json.loads(outputs.record(JOB).read_bytes())

    def write_record(**changes: Any) -> str:
        outputs.record(JOB).write_text(json.dumps(record | {"video": record["video"] | changes}))
        finding = outputs.inspect(JOB, inputs_of(JOB), full=True)
        assert finding.state == "corrupt"
        return finding.why

    assert write_record(num_frames=6) == "5 of its 6 frames decode"
    half = outputs.video(JOB).read_bytes()[: record["video"]["num_bytes"] // 2]
    outputs.video(JOB).write_bytes(half)
    why = write_record(num_bytes=len(half), sha256=hashlib.sha256(half).hexdigest())
    assert why.startswith("it does not decode: ")


def test_a_video_that_was_cut_short_or_removed_is_corrupt(outputs: Outputs) -> None:
    publish(outputs)
    with outputs.video(JOB).open("r+b") as file:
        file.truncate(100)
    assert state(outputs) == "corrupt"
    outputs.video(JOB).unlink()
    assert state(outputs) == state(outputs, full=True) == "corrupt"


def test_looking_at_a_folder_that_does_not_exist_makes_none(outputs: Outputs) -> None:
    assert state(outputs) == "missing"
    outputs.sweep()
    assert not outputs.root.exists()


# Something in the way


@pytest.mark.parametrize("what", [Outputs.video, Outputs.record])
def test_a_folder_where_a_file_belongs_is_named_and_stays(
    outputs: Outputs, what: Callable[[Outputs, Job], Path]
) -> None:
    in_the_way = what(outputs, JOB)
    (in_the_way / "mine").mkdir(parents=True)
    with pytest.raises(StorageError, match="a folder lies where the file belongs; move it away") as caught:
        outputs.prepare(JOB)
    assert str(in_the_way) in str(caught.value)
    with pytest.raises(StorageError):
        outputs.publish(JOB, frames_of(JOB), describe(JOB))
    assert (in_the_way / "mine").is_dir()
    assert state(outputs) != "verified"
    assert not any(Path(name).name.startswith(".") for name in files(outputs))


def test_a_file_where_a_folder_belongs_is_named_and_stays(outputs: Outputs) -> None:
    outputs.root.mkdir()
    (outputs.root / JOB.category).write_text("mine")
    with pytest.raises(StorageError, match=f"{outputs.root / JOB.category}"):
        outputs.prepare(JOB)
    assert state(outputs) != "verified"
    assert (outputs.root / JOB.category).read_text() == "mine"


@pytest.mark.parametrize("what", [Outputs.video, Outputs.record, Outputs.failure])
def test_a_link_that_leads_to_itself_is_told_and_replaced(
    outputs: Outputs, what: Callable[[Outputs, Job], Path]
) -> None:
    publish(outputs)
    what(outputs, JOB).unlink(missing_ok=True)
    what(outputs, JOB).symlink_to(what(outputs, JOB))
    finding = outputs.inspect(JOB, inputs_of(JOB))
    assert finding.state == "corrupt"
    assert str(what(outputs, JOB)) in finding.why
    assert "symbolic links" in finding.why
    publish(outputs)
    assert state(outputs, full=True) == "verified"


@pytest.mark.parametrize("depth", [1, 2])
def test_nothing_is_written_or_removed_where_a_link_leads_out_of_the_folder(
    outputs: Outputs, tmp_path: Path, depth: int, caplog: pytest.LogCaptureFixture
) -> None:
    elsewhere = tmp_path / "elsewhere"
    inputs = inputs_of(JOB)
    link = outputs.root.joinpath(*Path(JOB.id).parts[:depth])
    inside = elsewhere / outputs.video(JOB).parent.relative_to(link)
    inside.mkdir(parents=True)
    (inside / outputs.steps(JOB).name).touch()
    link.parent.mkdir(parents=True)
    link.symlink_to(elsewhere)
    before = sorted(elsewhere.rglob("*"))
    with pytest.raises(JobError, match="a symbolic link leads out of the output folder"):
        outputs.prepare(JOB)
    outputs.discard_steps(JOB)
    outputs.record_failure(JOB, Failure(fingerprint(inputs), "error", "error", 1, "run"))
    assert "a symbolic link leads out of the output folder" in caplog.text
    assert sorted(elsewhere.rglob("*")) == before
    finding = outputs.inspect(JOB, inputs)
    assert finding.state == "corrupt"
    assert "leads out" in finding.why


def test_a_link_that_stays_in_the_output_folder_is_followed(outputs: Outputs) -> None:
    (outputs.root / "there").mkdir(parents=True)
    (outputs.root / JOB.category).symlink_to("there")
    outputs.prepare(JOB)
    assert state(outputs) == "missing"


def test_an_output_folder_is_made_and_holds_nothing_but_its_logs_after_the_check(outputs: Outputs) -> None:
    outputs.check_usable()
    outputs.check_usable()
    assert [str(path.relative_to(outputs.root)) for path in outputs.root.rglob("*")] == ["logs"]


def test_logs_that_lead_elsewhere_are_refused(outputs: Outputs, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    outputs.root.mkdir(exist_ok=True)
    (outputs.root / "logs").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(MachineError, match="logs: a symbolic link, which is not followed"):
        outputs.check_usable()


def test_an_output_folder_that_is_a_file_is_not_usable(outputs: Outputs) -> None:
    outputs.root.write_text("mine")
    with pytest.raises(MachineError, match=f"{outputs.root}: cannot be written: .*; give --output a folder"):
        outputs.check_usable()
    assert outputs.root.read_text() == "mine"


# Disks that are full or read-only


# The video takes 565 KiB: what is left runs out at its start, in its middle, near its end, and in its record.
@pytest.mark.parametrize(
    "num_bytes_left", [0, 4096, 65536, 560 * 1024, 568 * 1024], ids=lambda left: f"{left} bytes left"
)
def test_a_full_disk_is_said_and_costs_nothing_that_was_there(small_disk: Path, num_bytes_left: int) -> None:
    outputs = Outputs(small_disk / "out")
    publish(outputs)
    large = make_job(seed=1, width=256, height=256, num_frames=9)
    outputs.prepare(large)
    before = files(outputs)
    fill(small_disk, num_bytes_left)
    with pytest.raises(DiskFullError, match=r"[Nn]o space left on device"):
        outputs.publish(large, frames_of(large), describe(large))
    assert files(outputs) == before
    (small_disk / "filler").unlink()
    publish(outputs, large)
    assert state(outputs, large, full=True) == state(outputs, full=True) == "verified"


def test_a_full_disk_is_not_usable(small_disk: Path) -> None:
    fill(small_disk, 4096)
    with pytest.raises(MachineError, match="cannot be written: No space left on device; give --output a folder"):
        Outputs(small_disk / "out").check_usable()


def test_a_failure_on_a_full_disk_is_logged(small_disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    fill(small_disk, 0)
    with caplog.at_level(logging.ERROR):
        Outputs(small_disk / "out").record_failure(JOB, Failure("f", "boom", "io", 1, "run"))
    assert "the failure could not be written down: No space left on device" in caplog.text


def test_a_read_only_folder_is_said_and_its_videos_can_be_looked_at(small_disk: Path, dead: str) -> None:
    outputs = Outputs(small_disk / "out")
    publish(outputs)
    outputs.video(JOB).with_name(f".left.mp4.{dead}.tmp").touch()
    before = files(outputs)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(MachineError, match="cannot be written: Read-only file system; give --output a folder"):
        outputs.check_usable()
    with pytest.raises(StorageError, match="Read-only file system"):
        outputs.prepare(make_job(category="another"))
    with pytest.raises(StorageError, match="Read-only file system"):
        outputs.publish(JOB, frames_of(JOB, seed=1), describe(JOB))
    outputs.sweep()
    assert state(outputs, full=True) == "verified"
    assert files(outputs) == before


# What processes leave when they are killed

KILLED_AT_RENAME = """\
import os, signal, sys
from pathlib import Path
import test_outputs
from wan_ddp.outputs import Outputs

renames_left = int(sys.argv[2])

def hook(event, _):
    global renames_left
    if event == "os.rename":
        renames_left -= 1
        if renames_left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

outputs = Outputs(Path(sys.argv[1]))
outputs.prepare(test_outputs.JOB)
sys.addaudithook(hook)
test_outputs.publish(outputs, seed=int(sys.argv[3]))
"""


def publish_and_die(outputs: Outputs, num_renames: int, seed: int = 0) -> None:
    """Publish in another process, which is killed when it is about to rename once more."""
    command = [sys.executable, "-c", KILLED_AT_RENAME, outputs.root, str(num_renames), str(seed)]
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run(command, env=environ).returncode == -signal.SIGKILL


def test_killed_between_the_encode_and_the_rename_nothing_is_published_and_nothing_left(outputs: Outputs) -> None:
    publish_and_die(outputs, num_renames=0)
    assert state(outputs) == "missing"
    left = [Path(name).name for name in files(outputs)]
    assert len(left) == 2
    assert all(name.startswith(".") and not name.endswith((".mp4", ".json")) for name in left)
    outputs.sweep()
    assert files(outputs) == {}
    publish(outputs)
    assert state(outputs, full=True) == "verified"


def test_killed_between_the_rename_and_the_record_the_commit_is_completed(outputs: Outputs, tmp_path: Path) -> None:
    publish_and_die(outputs, num_renames=1)
    assert outputs.video(JOB).exists()
    assert not outputs.record(JOB).exists()
    assert state(outputs) == "missing"
    outputs.sweep()
    assert state(outputs, full=True) == "verified"
    whole = Outputs(tmp_path / "whole")
    publish(whole)
    assert files(outputs) == files(whole)


def test_killed_before_its_rename_a_second_making_leaves_the_first(outputs: Outputs) -> None:
    publish(outputs)
    before = files(outputs)
    publish_and_die(outputs, num_renames=0, seed=1)
    assert state(outputs, full=True) == "verified"
    outputs.sweep()
    assert files(outputs) == before


def test_killed_between_the_two_of_a_second_making_nothing_passes_for_done_that_is_not(outputs: Outputs) -> None:
    publish(outputs)
    publish_and_die(outputs, num_renames=1, seed=1)
    outputs.sweep()
    found = state(outputs, full=True)
    recorded = json.loads(outputs.record(JOB).read_bytes())["video"]["sha256"]
    assert found == "verified"
    assert recorded == files(outputs)[f"{JOB.id}.mp4"]
    assert len(files(outputs)) == 2


def left_over(outputs: Outputs, final: Path, token: str, content: bytes = b"part") -> Path:
    final.parent.mkdir(parents=True, exist_ok=True)
    path = final.with_name(f".{final.name}.{token}.tmp")
    path.write_bytes(content)
    return path


def test_the_left_overs_of_the_dead_are_removed_wherever_they_lie(outputs: Outputs, dead: str) -> None:
    publish(outputs)
    before = files(outputs)
    for final in (outputs.video(JOB), outputs.record(JOB), outputs.root / "report.json", outputs.root / "a" / "b.txt"):
        left_over(outputs, final, dead)
    outputs.sweep()
    assert files(outputs) == before


def test_the_living_keep_what_they_are_writing(outputs: Outputs, living: str) -> None:
    kept = [left_over(outputs, outputs.video(JOB), living), left_over(outputs, outputs.record(JOB), own_token())]
    outputs.sweep()
    assert all(path.exists() for path in kept)


def test_what_another_host_is_writing_is_kept_until_it_is_old(outputs: Outputs) -> None:
    path = left_over(outputs, outputs.video(JOB), OTHER_HOST)
    outputs.sweep()
    assert path.exists()
    now = path.stat().st_mtime
    os.utime(path, (now, now - 14 * 60))
    outputs.sweep()
    assert path.exists()
    os.utime(path, (now, now - 16 * 60))
    outputs.sweep()
    assert files(outputs) == {}


@pytest.mark.parametrize(
    "name",
    ["notes.txt", ".hidden", ".references.json", ".a.failed.json", ".a.mp4.unrecorded", "clip.mp4", ".a.mp4.tmp"],
)
def test_a_sweep_leaves_every_other_file(outputs: Outputs, name: str) -> None:
    outputs.root.mkdir()
    (outputs.root / name).write_text("mine")
    outputs.sweep()
    assert (outputs.root / name).read_text() == "mine"


def test_a_waiting_record_is_not_given_to_a_video_that_it_does_not_fit(outputs: Outputs, dead: str) -> None:
    publish(outputs)
    record = outputs.record(JOB).read_bytes()
    outputs.record(JOB).unlink()
    video = outputs.video(JOB).read_bytes()
    for other in (video + b"\0", video[:-1] + bytes([video[-1] ^ 1])):
        outputs.video(JOB).write_bytes(other)
        left_over(outputs, outputs.record(JOB), dead, record)
        outputs.sweep()
        assert state(outputs) == "missing"
        assert list(files(outputs)) == [f"{JOB.id}.mp4"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"video": 1}', b'{"video": {"num_bytes": 1}}', b"\xff"])
def test_a_waiting_record_that_makes_no_sense_is_removed(outputs: Outputs, dead: str, content: bytes) -> None:
    publish(outputs)
    outputs.record(JOB).unlink()
    left_over(outputs, outputs.record(JOB), dead, content)
    outputs.sweep()
    assert list(files(outputs)) == [f"{JOB.id}.mp4"]


def test_a_left_over_that_cannot_be_removed_stops_no_sweep(
    outputs: Outputs, dead: str, caplog: pytest.LogCaptureFixture
) -> None:
    publish(outputs)
    in_the_way = outputs.root / "a"
    folder = in_the_way.with_name(f".a.{dead}.tmp")
    folder.mkdir()  # a folder by that name is nobody's left-over
    later = left_over(outputs, outputs.root / "z", dead)
    outputs.sweep()
    assert folder.is_dir()
    assert not later.exists()
    assert state(outputs) == "verified"
