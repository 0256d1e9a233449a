"""Whether the process that a token names still lives."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from wan_ddp.process import TOKEN_PATTERN, is_dead, own_token


def wait_until(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def test_a_token_has_the_form_that_file_names_are_parsed_by() -> None:
    assert re.fullmatch(TOKEN_PATTERN, own_token())


def test_this_process_lives() -> None:
    assert is_dead(own_token()) is False


def test_a_process_is_dead_once_it_has_ended_even_before_its_parent_has_asked() -> None:
    process = subprocess.Popen(["sleep", "60"])
    token = own_token(process.pid)
    assert token != own_token()
    assert is_dead(token) is False
    process.kill()
    assert wait_until(lambda: is_dead(token) is True)  # a zombie by now
    process.wait()
    assert is_dead(token) is True


def test_another_process_with_the_same_number_is_not_taken_for_it() -> None:
    boot_id, namespace, pid, start_time = own_token().split("-")
    assert is_dead(f"{boot_id}-{namespace}-{pid}-{int(start_time) - 1}") is True


def test_nothing_is_said_of_a_process_of_another_boot_host_or_container() -> None:
    boot_id, namespace, pid, start_time = own_token().split("-")
    assert is_dead(f"{'0' * 8}-{namespace}-{pid}-{start_time}") is None
    assert is_dead(f"{boot_id}-{int(namespace) + 1}-{pid}-{start_time}") is None


def test_a_name_with_brackets_and_spaces_does_not_hide_a_process(tmp_path: Path) -> None:
    awkward = tmp_path / "a) Z 1 (b"
    awkward.symlink_to("/bin/sleep")
    process = subprocess.Popen([awkward, "60"])
    try:
        assert is_dead(own_token(process.pid)) is False
    finally:
        process.kill()
        process.wait()


def test_a_process_dies_with_the_one_that_started_it(tmp_path: Path) -> None:
    child = "from wan_ddp.process import die_with_parent, own_token; import time; die_with_parent(); "
    child += "print(own_token(), flush=True); time.sleep(60)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    process = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    token = process.stdout.readline().strip()
    assert is_dead(token) is False
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert wait_until(lambda: is_dead(token) is True)
    process.stdout.close()
