"""Locks on a GPU: side by side or alone, let go by the kernel when a process dies."""

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from wan_ddp.errors import MachineError
from wan_ddp.gpu_share import GpuShare, machine_lock, share_of
from wan_ddp.process import boot_id


def in_background(action: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=action, daemon=True)
    thread.start()
    return thread


def test_ranks_share_a_gpu_and_nobody_is_asked_to_leave(tmp_path: Path) -> None:
    first, second = GpuShare(tmp_path, "0"), GpuShare(tmp_path, "0")
    first.join()
    second.join()
    assert not first.is_wanted_whole()
    assert not second.is_wanted_whole()


def test_one_that_wants_to_be_alone_waits_for_all_others_and_keeps_new_ones_out(tmp_path: Path) -> None:
    alone, first, second, late = (GpuShare(tmp_path, "0") for _ in range(4))
    first.join()
    second.join()
    waiting = in_background(alone.take_whole)
    while not first.is_wanted_whole():
        time.sleep(0.01)
    first.leave()
    joining = in_background(late.join)
    waiting.join(0.2)
    assert waiting.is_alive(), "the second one is still there"
    second.leave()
    waiting.join(10)
    assert not waiting.is_alive()
    joining.join(0.2)
    assert joining.is_alive(), "nobody joins one that is alone"
    alone.leave()
    joining.join(10)
    assert not joining.is_alive()


def test_who_has_a_share_and_wants_the_whole_gpu_does_not_wait_for_itself(tmp_path: Path) -> None:
    share = GpuShare(tmp_path, "0")
    share.join()
    share.take_whole()
    share.leave()


def test_gpus_are_locked_apart(tmp_path: Path) -> None:
    GpuShare(tmp_path, "0").take_whole()
    GpuShare(tmp_path, "1").take_whole()


def test_a_process_that_is_killed_lets_its_gpu_go(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from wan_ddp.gpu_share import GpuShare; "
    code += "share = GpuShare(Path(sys.argv[1]), '0'); share.take_whole(); print('alone', flush=True); sys.stdin.read()"
    other = subprocess.Popen([sys.executable, "-c", code, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout is not None
    other.stdout.readline()
    share = GpuShare(tmp_path, "0")
    assert share.is_wanted_whole()
    other.kill()
    other.communicate()
    share.take_whole()


@pytest.mark.parametrize(
    ("environ", "file"),
    [({}, "1.gate"), ({"CUDA_VISIBLE_DEVICES": "4,6"}, "6.gate"), ({"CUDA_VISIBLE_DEVICES": ""}, "1.gate")],
)
def test_a_gpu_has_one_name_whatever_a_process_sees(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], file: str
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert share_of("cuda:1", environ) is not None
    assert (tmp_path / f"wan_ddp-{os.getuid()}-{boot_id()}" / file).exists()


def test_there_is_nothing_to_share_on_the_cpu() -> None:
    assert share_of("cpu", {}) is None


def test_lock_files_of_somebody_else_are_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / f"wan_ddp-{os.getuid()}-{boot_id()}").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(MachineError, match="belongs to somebody else"):
        share_of("cuda:0", {})


def test_what_goes_better_one_after_another_waits_for_no_process_that_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    code = f"import tempfile; tempfile.tempdir = {str(tmp_path)!r}; from wan_ddp.gpu_share import machine_lock\n"
    code += "with machine_lock('load'): print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        holder.stdout.readline()
        clock = time.monotonic()
        with machine_lock("load", patience=0.5):
            assert 0.5 < time.monotonic() - clock < 10
        assert "going on beside it" in caplog.text
        release = threading.Timer(0.3, holder.communicate, [b"\n"])
        release.start()
        with machine_lock("load", patience=30):
            assert "held by another" not in caplog.text.partition("going on beside it")[2]
        release.join()
