"""What doctor finds on this machine when something is really missing, broken, full, read-only or silent."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from experiment import wait_for
from factories import fill
from hypothesis import given
from hypothesis import strategies as st

from wan_ddp.doctor.ask import Question, ask, own_program
from wan_ddp.doctor.found import Gpu, Mps
from wan_ddp.doctor.probe import (
    ask_ffmpeg,
    ask_smi,
    ask_torch,
    fits,
    look_at_folder,
    look_at_memory,
    look_at_mps,
    look_at_packages,
    look_at_processor,
    look_at_scratch,
    look_at_terminal,
    read_ffmpeg,
    read_smi,
    read_torch,
    visible,
)
from wan_ddp.settings import ROOT

# As one H100 says it, and three more like it.
SMI = "".join(
    f"{index}, GPU-d2d2c68{index}-79d6-b199-4304-e27c08892be0, NVIDIA H100 80GB HBM3, 580.159.04, 81559, {used}, 9.0, "
    "Default, Disabled\n"
    for index, used in enumerate([0, 512, 0, 40960])
)
Stand = Callable[[str, str], None]


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stand:
    """Puts a program of a name, a shell script, where it is found first."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def put(name: str, script: str) -> None:
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)

    return put


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Puts a Python module of a name where it is imported from first."""
    folder = tmp_path / "modules"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    return lambda name, text: (folder / f"{name}.py").write_text(text) and None


@pytest.fixture
def read_only(small_disk: Path) -> Iterator[Path]:
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    yield small_disk
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)


def smi(timeout: float = 10.0, **environ: str):  # type: ignore[no-untyped-def]
    with ask_smi(timeout) as question:
        return read_smi(question.answer(), environ)


def test_a_machine_without_nvidia_smi_is_told_from_one_where_it_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert smi().is_missing
    (tmp_path / "nvidia-smi").write_text("no program")
    (tmp_path / "nvidia-smi").chmod(0o755)
    assert smi().problem == "nvidia-smi cannot be started: Exec format error"


def test_nvidia_smi_names_the_gpus_and_what_is_in_use_on_them(stand_in: Stand) -> None:
    stand_in("nvidia-smi", f"printf '{SMI}'")
    found = smi()
    assert (found.version, found.problem, len(found.gpus)) == ("580.159.04", "", 4)
    uuid = "GPU-d2d2c683-79d6-b199-4304-e27c08892be0"
    assert found.gpus[3] == Gpu(3, uuid, "NVIDIA H100 80GB HBM3", 81559 / 1024, 40.0, "9.0", "Default", False)
    assert [gpu.index for gpu in smi(CUDA_VISIBLE_DEVICES="2,GPU-d2d2c680").gpus] == [2, 0]
    assert smi(CUDA_VISIBLE_DEVICES="").gpus == ()


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("echo 'No devices were found'", "nvidia-smi says: No devices were found"),
        ("echo 'NVIDIA-SMI has failed: no driver'; exit 9", "failed (exit status 9): NVIDIA-SMI has failed: no driver"),
        ("echo '0, GPU-1, [Unknown Error], [N/A], [N/A], [N/A], [N/A], [N/A], [N/A]'", "[Unknown Error]"),
        ("kill -SEGV $$", "nvidia-smi failed (SIGSEGV)"),
        ("printf '\\377\\376'", "nvidia-smi says"),
    ],
)
def test_whatever_else_nvidia_smi_says_is_a_problem_with_its_words(stand_in: Stand, script: str, says: str) -> None:
    stand_in("nvidia-smi", script)
    found = smi()
    assert says in found.problem
    assert found.gpus == ()


def test_an_old_card_says_less_and_is_found_all_the_same(stand_in: Stand) -> None:
    stand_in("nvidia-smi", "echo '0, GPU-1, Tesla K80, 470.1, 11441, 0, [N/A], Default, [Not Supported]'")
    (gpu,) = smi().gpus
    assert (gpu.capability, gpu.mig) == ("", False)


def test_a_program_that_hangs_is_killed_with_all_that_it_has_started(stand_in: Stand, tmp_path: Path) -> None:
    stand_in("nvidia-smi", f"sleep 100 & echo $! >{tmp_path}/child; trap '' TERM; wait")
    began = time.monotonic()
    assert smi(timeout=1.0).problem == "nvidia-smi did not answer within 1 s"
    assert time.monotonic() - began < 10
    wait_for(lambda: not is_running(int((tmp_path / "child").read_text())))


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except OSError:
        return False


def test_a_question_that_nobody_waits_for_ends_with_its_block() -> None:
    with Question("sleep", "100", timeout=100) as question:
        pid = question._process.pid  # type: ignore[union-attr]
    assert not is_running(pid)


@given(st.lists(st.integers(0, 4), max_size=5), st.integers(0, 3))
def test_visible_gpus_are_those_named_up_to_the_first_that_there_is_not(indices: list[int], extra: int) -> None:
    gpus = [Gpu(index, f"GPU-{index}abc", "H100", 80, 0) for index in range(4)]
    found = visible(gpus, [str(index) for index in indices] or [""])
    expected = indices[: indices.index(4)] if 4 in indices else indices
    assert [gpu.index for gpu in found] == expected
    assert visible(gpus, None) == gpus
    assert visible(gpus, [f"GPU-{extra}ab"]) == [gpus[extra]]
    assert visible(gpus, ["MIG-1"]) == visible(gpus, ["GPU-"]) == visible(gpus, ["-1"]) == []


def torch():  # type: ignore[no-untyped-def]
    with ask_torch() as question:
        return read_torch(question.answer())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "raise ImportError('libcudnn.so.9: cannot open shared object file')",
            "ImportError: libcudnn.so.9: cannot open",
        ),
        ("import ctypes; ctypes.string_at(0)", "the look at torch failed (SIGSEGV)"),
        ("import os; os._exit(3)", "the look at torch failed (exit status 3)"),
        ("print('{}'); import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("version = 1", "AttributeError"),
    ],
)
def test_a_torch_that_cannot_be_imported_harms_nobody(module: Callable[[str, str], None], text: str, says: str) -> None:
    module("torch", text)
    found, imports = torch()
    assert says in found.problem
    assert (found.version, found.num_gpus, imports) == ("", 0, found.problem)


def test_a_torch_that_works_is_told_beside_a_worker_that_does_not(module: Callable[[str, str], None]) -> None:
    module(
        "torch",
        "from types import SimpleNamespace as N\n__version__ = '2.6.0+cu124'\nversion = N(cuda='12.4')\n"
        "cuda = N(device_count=lambda: 2, get_arch_list=lambda: ['sm_90'])",
    )
    found, imports = torch()
    assert (found.version, found.cuda, found.num_gpus, found.architectures) == ("2.6.0+cu124", "12.4", 2, ("sm_90",))
    assert "Error" in imports


def test_packages_are_looked_for_without_importing_any(tmp_path: Path) -> None:
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("# what a run needs\ntorch>=2.4\nno-such-package>=1\nnumpy>=99,<100\n\npydantic\n")
    found = look_at_packages(requirements)
    assert found.lacking == ("no-such-package",)
    assert len(found.unfit) == 1
    assert found.unfit[0].endswith(", not >=99,<100")


def test_this_environment_has_what_its_requirements_ask_for() -> None:
    found = look_at_packages(ROOT / "requirements.txt")
    assert (found.lacking, found.unfit) == ((), ())


@pytest.mark.parametrize(
    ("found", "wanted", "is_fit"),
    [
        ("2.4.0", ">=2.4", True),
        ("2.11.0+cu130", ">=2.4", True),
        ("2.3.1", ">=2.4", False),
        ("2.1.12", ">=2.1.12,<2.2", True),
        ("2.2.0", ">=2.1.12,<2.2", False),
        ("2.4.0rc1", ">=2.4", True),
        ("1.0", "", True),
    ],
)
def test_versions_are_compared_as_numbers(found: str, wanted: str, is_fit: bool) -> None:
    assert fits(found, wanted) == is_fit


def test_a_folder_that_can_be_written_is_left_as_it_was(tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b"
    found = look_at_folder(deep, 10**6)
    assert (found.problem, found.takes) == ("", True)
    assert found.free_bytes > 10**6
    assert abs(found.skew_seconds) < 5
    assert list(tmp_path.iterdir()) == []
    deep.mkdir(parents=True)
    (deep / "logs").mkdir()
    assert look_at_folder(deep, 10**6).problem == ""
    assert [path.name for path in deep.iterdir()] == ["logs"]


def test_a_read_only_disk_is_said(read_only: Path) -> None:
    assert "cannot be written: Read-only file system" in look_at_folder(read_only / "out", 10**6).problem


def test_a_full_disk_is_said(small_disk: Path) -> None:
    fill(small_disk, 4096)
    assert "No space left on device" in look_at_folder(small_disk, 10**6).problem


def test_a_disk_with_room_for_less_than_a_video_does_not_take_one(small_disk: Path) -> None:
    assert look_at_folder(small_disk, 500_000).takes
    found = look_at_folder(small_disk, 5_000_000)
    assert (found.problem, found.takes) == ("", False)
    assert found.free_bytes <= 2**20


def test_an_output_below_a_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "cannot be written: Not a directory" in look_at_folder(tmp_path / "file" / "out", 1).problem


def test_a_look_that_hangs_as_on_a_lost_file_server_does_not_hang_who_looks(
    tmp_path: Path, module: Callable[[str, str], None]
) -> None:
    module("imageio_ffmpeg", "import time; time.sleep(100)")
    assert look_at_folder(tmp_path, 1, timeout=2).problem == "the look at folder did not answer within 2 s"


def test_a_working_ffmpeg_writes_a_video_and_reads_it_back() -> None:
    with ask_ffmpeg() as question:
        found = read_ffmpeg(question.answer())
    assert found.problem == ""
    assert found.version.startswith("ffmpeg ")
    assert Path(found.path).is_file()


@pytest.mark.parametrize(
    ("script", "says"),
    [("exit 1", "CalledProcessError"), ('[ "$1" = -version ] && echo ffmpeg version 1 || exit 1', "exit status 1")],
)
def test_a_broken_ffmpeg_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, says: str) -> None:
    broken = tmp_path / "ffmpeg"
    broken.write_text(f"#!/bin/sh\n{script}\n")
    broken.chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(broken))
    with ask_ffmpeg() as question:
        assert says in read_ffmpeg(question.answer()).problem


def test_an_ffmpeg_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", "/no/such/ffmpeg")
    with ask_ffmpeg() as question:
        assert "/no/such/ffmpeg" in read_ffmpeg(question.answer()).problem


def test_folders_for_temporary_files_and_caches_that_cannot_be_written_are_said(
    monkeypatch: pytest.MonkeyPatch, read_only: Path
) -> None:
    assert look_at_scratch(os.environ).temporary_problem == ""
    monkeypatch.setattr("tempfile.tempdir", str(read_only))
    found = look_at_scratch({"HOME": str(read_only)})
    assert found.temporary_problem == found.home_problem == f"{read_only}: Read-only file system"
    assert "HOME is not set" in look_at_scratch({}).home_problem


def test_cores_and_threads_are_those_of_this_process() -> None:
    assert 1 <= look_at_processor({}).num_cores <= len(os.sched_getaffinity(0))
    assert look_at_processor({"OMP_NUM_THREADS": "many"}).omp_num_threads == "many"
    assert look_at_processor({"OMP_NUM_THREADS": ""}).omp_num_threads is None


class Groups:
    """A tree of control groups, and a machine of 64 GiB."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "meminfo").write_text("MemTotal:       67108864 kB\nMemFree: 1 kB\nMemAvailable:   62914560 kB\n")

    def write(self, name: str, **files: str) -> None:
        (self.folder / "groups" / name).mkdir(parents=True, exist_ok=True)
        for file, text in files.items():
            (self.folder / "groups" / name / file.replace("__", ".")).write_text(text)

    def look(self, own: str):  # type: ignore[no-untyped-def]
        (self.folder / "own").write_text(own)
        return look_at_memory(self.folder / "meminfo", self.folder / "own", self.folder / "groups")


GIB = 2**30


def test_without_a_limit_the_machines_memory_counts(tmp_path: Path) -> None:
    groups = Groups(tmp_path)
    groups.write("job", memory__max="max\n", memory__current="0\n")
    for own in ("0::/job\n", "0::/../../elsewhere\n", "", "12:memory:/gone\n0::/\n"):
        found = groups.look(own)
        assert (found.total_gib, found.available_gib, found.limit) == (64.0, 60.0, "the machine")


def test_a_control_groups_limit_counts_also_where_an_outer_one_sets_it(tmp_path: Path) -> None:
    groups = Groups(tmp_path)
    groups.write(
        "slurm", memory__max=f"{16 * GIB}", memory__current=f"{10 * GIB}", memory__stat=f"inactive_file {4 * GIB}\n"
    )
    groups.write("slurm/step", memory__max="max", memory__current=f"{GIB}")
    found = groups.look("0::/slurm/step\n")
    assert (found.total_gib, found.available_gib) == (16.0, 10.0)  # 4 GiB of what is used are files, which give way
    assert "control group" in found.limit


def test_the_first_version_of_control_groups_is_read_too(tmp_path: Path) -> None:
    groups = Groups(tmp_path)
    groups.write("memory", memory__limit_in_bytes="9223372036854771712", memory__usage_in_bytes="0")
    groups.write("memory/docker", memory__limit_in_bytes=f"{8 * GIB}", memory__usage_in_bytes=f"{GIB}")
    found = groups.look("3:cpu,cpuacct:/docker\n2:memory:/docker\n")
    assert (found.total_gib, found.available_gib) == (8.0, 7.0)


def test_mps_is_running_where_its_daemon_listens_and_not_where_it_did(tmp_path: Path, stand_in: Stand) -> None:
    environ = {"CUDA_MPS_PIPE_DIRECTORY": str(tmp_path)}
    assert look_at_mps(environ) == Mps(is_running=False, is_installed=False)
    stand_in("nvidia-cuda-mps-control", "exit 1")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as daemon:
        daemon.bind(str(tmp_path / "control"))
        daemon.listen()
        assert look_at_mps(environ) == Mps(is_running=True, is_installed=True)
    assert (tmp_path / "control").exists()
    assert not look_at_mps(environ).is_running


def test_a_path_without_tmux_has_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, stand_in: Stand) -> None:
    stand_in("tmux", "echo tmux 3.4")
    assert (look_at_terminal({}).tmux, look_at_terminal({}).inside) == ("tmux 3.4", "")
    assert look_at_terminal({"TMUX": "/tmp/tmux-0/default,1,0"}).inside == "tmux"
    assert look_at_terminal({"SLURM_JOB_ID": "7"}).inside == "a Slurm job"
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert look_at_terminal({}).tmux == ""


def test_the_process_that_looks_dies_with_what_it_waits_for(tmp_path: Path) -> None:
    """Ctrl-C while a question is open: its program goes, too."""
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\nfrom wan_ddp.signals import Signals\n"
        "from wan_ddp.doctor.ask import ask\nSignals().install()\n"
        f"ask('sh', '-c', 'echo $$ >{tmp_path}/pid; sleep 100', timeout=100)"
    )
    looking = subprocess.Popen([sys.executable, "-c", script, str(ROOT)], stderr=subprocess.DEVNULL)
    wait_for((tmp_path / "pid").exists)
    wait_for(lambda: bool((tmp_path / "pid").read_text()))
    looking.send_signal(signal.SIGTERM)
    looking.wait(30)
    wait_for(lambda: not is_running(int((tmp_path / "pid").read_text())))


def test_an_answer_is_what_was_printed_before_the_time_was_up() -> None:
    answer = ask("sh", "-c", "echo first; sleep 100", timeout=1)
    assert "did not answer within 1 s" in answer.problem
    with own_program("no such question", timeout=60) as question:
        assert "KeyError" in question.answer().text
