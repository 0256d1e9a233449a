"""A rank's state is on disk while it lives, and its beat stands still when it does not."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from wan_ddp import heartbeat
from wan_ddp.heartbeat import Heartbeat, RankState, read_history, read_state

STATE = RankState("run", rank=3, gpu=1, process=1, token="0-0-4711-0", num_jobs=10)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 0.02)


def wait_for_beat(path: Path, beat: int) -> RankState:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        state = read_state(path, "run")
        if state and state.beat >= beat:
            return state
        time.sleep(0.005)
    pytest.fail(f"no beat {beat} within 10 s")


@pytest.mark.usefixtures("quick")
def test_the_state_is_on_disk_and_its_beat_goes_on(tmp_path: Path) -> None:
    path = tmp_path / ".rank3.json"
    with Heartbeat(path, STATE) as heart:
        first = wait_for_beat(path, 1)
        heart.update(phase="working", job="a/b/c", step=2, num_steps=50)
        later = wait_for_beat(path, first.beat + 3)
    assert (later.phase, later.job, later.step, later.num_steps) == ("working", "a/b/c", 2, 50)
    assert (later.rank, later.token, later.num_jobs) == (3, "0-0-4711-0", 10)


def test_the_last_word_is_written_at_the_end_even_before_the_first_beat_is_due(tmp_path: Path) -> None:
    path = tmp_path / ".rank3.json"
    with Heartbeat(path, STATE) as heart:
        heart.update(num_done=7)
        assert heart.state.num_done == 7
    state = read_state(path, "run")
    assert state is not None
    assert state.num_done == 7
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.usefixtures("quick")
def test_no_update_is_lost_to_a_beat(tmp_path: Path) -> None:
    with Heartbeat(tmp_path / "state", STATE) as heart:
        for number in range(1, 3000):
            heart.update(num_done=heart.state.num_done + 1)
            assert heart.state.num_done == number


@pytest.mark.usefixtures("quick")
def test_a_folder_that_cannot_be_written_stops_no_rank(tmp_path: Path) -> None:
    with Heartbeat(tmp_path / "none" / "state", STATE) as heart:
        time.sleep(0.1)
        heart.update(num_done=1)
    assert heart.state.num_done == 1
    assert heart.state.beat > 2


def test_the_state_of_another_run_is_none_of_ours(tmp_path: Path) -> None:
    with Heartbeat(tmp_path / "state", STATE):
        pass
    assert read_state(tmp_path / "state", "run") is not None
    assert read_state(tmp_path / "state", "another") is None


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b"\xff", b'{"run_id": "run"}'])
def test_a_state_that_cannot_be_read_is_none(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "state").write_bytes(content)
    assert read_state(tmp_path / "state", "run") is None
    assert read_state(tmp_path, "run") is None


def test_the_beat_of_a_killed_rank_stands_still(tmp_path: Path) -> None:
    path = tmp_path / "state"
    code = (
        "import time; from pathlib import Path; from wan_ddp import heartbeat; heartbeat.BEAT_SECONDS = 0.02\n"
        "from wan_ddp.heartbeat import Heartbeat, RankState\n"
        f"with Heartbeat(Path({str(path)!r}), RankState('run', 0, 0, 0, '0-0-1-0')): time.sleep(60)"
    )
    rank = subprocess.Popen([sys.executable, "-c", code])
    try:
        wait_for_beat(path, 3)
    finally:
        os.kill(rank.pid, signal.SIGKILL)
        rank.wait()
    last = read_state(path, "run")
    time.sleep(0.1)
    assert read_state(path, "run") == last


def test_the_history_has_a_line_for_each_change_of_what_is_done_and_survives_a_cut(tmp_path: Path) -> None:
    history = tmp_path / "logs" / "history.jsonl"
    for run in range(2):
        heart = Heartbeat(tmp_path / "state", STATE, history=history)
        heart.update(phase="working", part="read", job="a/b/猫")
        for step in range(5):
            heart.update(part="denoise", step=step)
        heart.update(num_done=1)
        with history.open("ab") as file:
            file.write(b'{"run_id": "cut o' * (1 - run))
    found = read_history(history)
    did = [(state.phase, state.part, state.num_done) for state in found]
    once = [("working", "read", 0), ("working", "denoise", 0), ("working", "denoise", 1)]
    assert did == once + once[1:]
    assert [state.time for state in found] == sorted(state.time for state in found)
