"""A saved state comes back whole or not at all, and never costs more than the steps that it would have saved."""

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from factories import fill

from wan_ddp.steps import Header, KeptSteps, SavedSteps, discard_steps, fingerprint_of, load_steps, save_steps

FINGERPRINT = "f" * 64
SAVED = SavedSteps(Header(FINGERPRINT, 20, 50, (5, 10)), bytes(range(256)) * 40 + b"\n\n")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".seed_42_prompt_0.steps"


def resealed(header: bytes, state: bytes = b"state") -> bytes:
    """A file's content with this header and the right digest."""
    import hashlib

    rest = header + b"\n" + state
    return b"wan-ddp-steps-1 " + hashlib.sha256(rest).hexdigest().encode() + b"\n" + rest


def test_a_state_comes_back_as_it_was_and_nothing_else_is_left(path: Path) -> None:
    save_steps(path, replace(SAVED, state=b"an earlier one, and longer than the later one" * 1000))
    save_steps(path, SAVED)
    assert load_steps(path, FINGERPRINT) == SAVED
    assert fingerprint_of(path) == FINGERPRINT
    assert list(path.parent.iterdir()) == [path]


def test_without_a_file_there_is_no_state_and_nothing_to_say(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert load_steps(path, FINGERPRINT) is None
    assert fingerprint_of(path) is None
    assert caplog.text == ""


def test_a_file_cut_off_anywhere_or_with_any_byte_changed_is_not_used(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save_steps(path, replace(SAVED, state=b"latents"))
    whole = path.read_bytes()
    damaged = [whole[:length] for length in range(len(whole))]
    damaged += [whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in range(len(whole))]
    for content in [*damaged, whole + b"\0", b"\0" * len(whole)]:
        path.write_bytes(content)
        caplog.clear()
        assert load_steps(path, FINGERPRINT) is None
        assert f"{path} is damaged, the video starts over" in caplog.text


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"[]",
        b"null",
        b"[" * 60_000,
        b'{"fingerprint": "F", "step": 1, "num_steps": 2}',
        b'{"fingerprint": "F", "step": 1, "num_steps": 2, "resumed_from": 5}',
        b'{"fingerprint": "F", "step": 1, "num_steps": 2, "resumed_from": ["1"]}',
        b'{"fingerprint": "F", "step": 1, "num_steps": 2, "resumed_from": [], "more": 1}',
        b'{"fingerprint": 1, "step": 1, "num_steps": 2, "resumed_from": []}',
        b'{"fingerprint": "F", "step": true, "num_steps": 2, "resumed_from": []}',
        b'{"fingerprint": "F", "step": 1.0, "num_steps": 2, "resumed_from": []}',
        b'{"fingerprint": "F", "step": 3, "num_steps": 2, "resumed_from": []}',
        b'{"fingerprint": "F", "step": 0, "num_steps": 2, "resumed_from": []}',
    ],
)
def test_a_header_that_makes_no_sense_is_not_used_though_its_digest_is_right(
    path: Path, header: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_bytes(resealed(header.replace(b'"F"', b'"' + FINGERPRINT.encode() + b'"')))
    assert load_steps(path, FINGERPRINT) is None
    assert "is damaged, the video starts over" in caplog.text
    assert fingerprint_of(path) is None


def test_the_state_of_other_settings_is_not_used(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save_steps(path, SAVED)
    with caplog.at_level(logging.INFO):
        assert load_steps(path, "e" * 64) is None
    assert f"{path} is of other settings, the video starts over" in caplog.text


def as_link(path: Path) -> None:
    save_steps(path.with_name("elsewhere"), SAVED)
    path.symlink_to("elsewhere")


def as_endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def as_large(path: Path) -> None:
    path.touch()
    os.truncate(path, 2**40)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("put", [os.mkfifo, Path.mkdir, as_link, as_endless, as_large])
def test_what_is_no_file_of_a_state_is_neither_followed_nor_waited_for(
    path: Path, put: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    put(path)
    assert load_steps(path, FINGERPRINT) is None
    assert f"{path} cannot be read, the video starts over" in caplog.text
    assert fingerprint_of(path) is None


def steps_of(path: Path, every: int = 10) -> KeptSteps:
    return KeptSteps(path, FINGERPRINT, every)


def run_steps(kept: KeptSteps, first: int, last: int, num_steps: int = 50) -> list[int]:
    """Make the steps of an attempt; returns those that were saved."""
    saved: list[int] = []
    for step in range(first, last + 1):
        if step == first:
            kept.begin(step)
        if kept.is_due(step, num_steps):
            saved.append(step)
            kept.keep(step, num_steps, lambda step=step: f"state {step}".encode())
    return saved


def test_every_so_many_steps_are_saved_and_the_last(path: Path) -> None:
    assert run_steps(steps_of(path), 0, 50) == [10, 20, 30, 40, 50]
    assert run_steps(steps_of(path, every=1), 40, 50) == [41, 42, 43, 44, 45, 46, 47, 48, 49, 50]
    discard_steps(path)
    assert run_steps(steps_of(path, every=60), 0, 50) == [50]


def test_where_not_every_step_has_a_state_the_next_one_that_has_is_saved(path: Path) -> None:
    kept, saved = steps_of(path), []
    kept.begin(4)
    for step in (4, 7, 10, 13, 19, 22, 25, 28, 48, 50):
        if kept.is_due(step, 50):
            saved.append(step)
            kept.keep(step, 50, lambda: b"state")
    assert saved == [10, 22, 48, 50]


def test_a_state_that_could_not_be_saved_is_not_tried_again_at_every_step(path: Path) -> None:
    path.mkdir()
    assert run_steps(steps_of(path), 0, 35) == [10, 20, 30]


def test_an_attempt_goes_on_with_what_was_saved_and_says_where_it_did(path: Path) -> None:
    first = steps_of(path)
    assert (first.state, first.resumed_from) == (None, ())
    run_steps(first, 0, 15)
    second = steps_of(path)
    assert second.state == b"state 10"
    assert run_steps(second, 10, 39) == [20, 30]
    assert second.resumed_from == (10,)
    third = steps_of(path)
    third.begin(30)
    assert (third.state, third.resumed_from) == (None, (10, 30))


def test_a_state_that_the_generator_could_not_use_does_not_count(path: Path) -> None:
    run_steps(steps_of(path), 0, 15)
    kept = steps_of(path)
    assert run_steps(kept, 0, 12) == [10]
    assert kept.resumed_from == ()


def test_what_lies_on_the_disk_already_is_not_new(path: Path) -> None:
    kept = steps_of(path)
    kept.begin(0)
    assert not kept.is_new(0)
    assert kept.is_new(13)
    kept.keep(13, 50, lambda: b"")
    assert not kept.is_new(13)
    resumed = steps_of(path)
    resumed.begin(13)
    assert not resumed.is_new(13)


def test_a_full_disk_costs_the_saving_only_and_keeps_the_state_before(
    small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = small_disk / ".a.steps"
    kept = steps_of(path)
    kept.begin(0)
    kept.keep(10, 50, lambda: b"ten")
    fill(small_disk, 4096)
    kept.keep(20, 50, lambda: bytes(65536))
    assert "step 20 of 50 could not be saved, the video goes on: No space left on device" in caplog.text
    assert kept.is_new(20)
    assert steps_of(path).state == b"ten"
    assert sorted(each.name for each in small_disk.iterdir()) == [".a.steps", "filler"]


def test_a_folder_that_has_gone_costs_the_saving_only(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    KeptSteps(path / "gone" / ".a.steps", FINGERPRINT, 1).keep(1, 2, lambda: b"")
    assert "step 1 of 2 could not be saved" in caplog.text


def test_what_the_generator_raises_is_passed_on_and_nothing_is_saved(path: Path) -> None:
    def fail() -> bytes:
        raise RuntimeError("not finite")

    with pytest.raises(RuntimeError, match="not finite"):
        steps_of(path).keep(1, 2, fail)
    assert not path.exists()


def test_a_plan_does_not_pay_for_it() -> None:
    seen = "print([name for name in ('numpy', 'torch', 'safetensors') if name in sys.modules])"
    command = [sys.executable, "-c", f"import sys, wan_ddp.steps, wan_ddp.outputs; {seen}"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[]\n"
