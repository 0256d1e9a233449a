"""Work done by a copy of the process has the outcome of work done here, whatever becomes of the copy."""

import os
import signal
import time
from pathlib import Path

import pytest

from wan_ddp.beside import beside


def test_a_copy_of_this_process_does_the_work_meanwhile_and_ends() -> None:
    facts = {"held": [os.getpid()]}
    with beside(lambda: (os.getpid(), facts)) as result:
        facts["held"].append(0)  # the copy has its own
        pid, seen = result()
    assert pid != os.getpid()
    assert seen == {"held": [os.getpid()]}
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_what_goes_wrong_in_the_copy_is_told_as_if_it_were_done_here(capfd: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise ValueError(f"in {os.getpid()}")

    with beside(fail) as result, pytest.raises(ValueError, match=f"in {os.getpid()}"):
        result()
    assert capfd.readouterr().err == ""


def test_a_copy_that_is_killed_or_cannot_be_made_is_made_up_for(monkeypatch: pytest.MonkeyPatch) -> None:
    here = os.getpid()

    def die_elsewhere() -> int:
        if os.getpid() != here:
            os.kill(os.getpid(), signal.SIGKILL)
        return os.getpid()

    with beside(die_elsewhere) as result:
        assert result() == here

    def refuse() -> int:
        raise BlockingIOError("no more processes")

    monkeypatch.setattr(os, "fork", refuse)
    with beside(os.getpid) as result:
        assert result() == here


def test_a_copy_whose_result_nobody_wants_is_ended(tmp_path: Path) -> None:
    started = tmp_path / "pid"

    def work() -> None:
        started.write_text(str(os.getpid()))
        time.sleep(600)

    with pytest.raises(KeyboardInterrupt), beside(work):
        while not (started.exists() and started.read_text()):
            time.sleep(0.001)
        raise KeyboardInterrupt
    with pytest.raises(ProcessLookupError):
        os.kill(int(started.read_text()), 0)
