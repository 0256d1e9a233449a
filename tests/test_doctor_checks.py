"""What doctor says of machines that lack something, each told as a value: one row is not well, and says what to do."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from factories import make_job
from hypothesis import given
from hypothesis import strategies as st

from wan_ddp.doctor.checks import check_disk, check_machine, check_ranks, check_references, check_time
from wan_ddp.doctor.found import (
    Driver,
    Ffmpeg,
    Folder,
    Gpu,
    HostMemory,
    Machine,
    Mps,
    Packages,
    Processor,
    Python,
    Reference,
    Scratch,
    Terminal,
    Torch,
)
from wan_ddp.doctor.gpu_checks import check_gpu_memory, check_torch
from wan_ddp.doctor.needs import MEASURED_JOB, Needs
from wan_ddp.doctor.rows import Row, Verdict, conclusion, exit_code, in_short, table
from wan_ddp.estimate import ModelSize

TINY = ModelSize(343_648, 96, 107_072)
GPUS = tuple(Gpu(index, f"GPU-{index}", "NVIDIA H100 80GB HBM3", 79.6, 0.0, "9.0") for index in range(4))
MACHINE = Machine(
    Python((3, 12, 3), "/opt/venv/bin/python"),
    Packages(),
    Torch("2.11.0+cu130", "13.0", "13.0", 4, ("sm_80", "sm_90", "sm_100")),
    Driver(GPUS, "580.159.04"),
    Processor(64),
    HostMemory(512.0, 500.0),
    Folder(Path("/data/results"), free_bytes=900 * 10**9, free_files=10**9),
    Scratch("/tmp", home="/root"),
    Ffmpeg("/opt/ffmpeg", "ffmpeg 7.0"),
    Mps(is_running=True, is_installed=True),
    Terminal("tmux 3.4", "tmux", is_terminal=True),
)
NEEDS = Needs(
    "Wan2.1-T2V-14B",
    num_ranks=8,
    ranks_per_gpu=2,
    on_gpu=True,
    num_to_do=680,
    num_jobs=680,
    video_bytes=2.2e9,
    seconds=17 * 3600.0,
    basis="Wan2.1-T2V-14B on H100",
)
NO_GPU = {"torch": replace(MACHINE.torch, num_gpus=0, driver_cuda=""), "driver": Driver(is_missing=True)}
ON_CPU = replace(NEEDS, num_ranks=2, on_gpu=False)


def unwell(machine: Machine, needs: Needs = NEEDS) -> list[Row]:
    return [row for row in check_machine(machine, needs) if row.verdict != "ok"]


def gpus(**changes: Any) -> Driver:
    """The four, one of them changed."""
    return Driver((*GPUS[:3], replace(GPUS[3], **changes)), "580.159.04")


def test_a_machine_that_has_everything_gets_no_complaint() -> None:
    rows = check_machine(MACHINE, NEEDS)
    assert {row.verdict for row in rows} == {"ok"}
    assert exit_code(rows) == 0
    assert in_short(rows) == []
    assert table(rows, 120).endswith("\na run would work")


@pytest.mark.parametrize(
    ("lacks", "name", "verdict", "says", "remedy"),
    [
        ({"python": Python((3, 9, 2), "/usr/bin/python3")}, "Python", "fails", "3.9.2", "PYTHON=python3.12"),
        ({"python": Python((3, 14, 0), "/usr/bin/python3")}, "Python", "fails", "3.14.0", "PYTHON=python3.12"),
        ({"packages": Packages(lacking=("decord2",))}, "packages", "fails", "not installed: decord2", "pip install"),
        ({"packages": Packages(problem="ImportError: x")}, "packages", "fails", "cannot start: ImportError", "pip"),
        ({"packages": Packages(unfit=("torch 2.3",))}, "packages", "warning", "other versions: torch 2.3", "pip"),
        ({"torch": replace(MACHINE.torch, cuda="")}, "torch", "fails", "built with no CUDA", "--force-reinstall torch"),
        ({"driver": gpus(capability="13.0")}, "torch", "fails", "GPU 3 is of 13.0", "https://pytorch.org"),
        ({"torch": replace(MACHINE.torch, driver_cuda="12.4")}, "driver", "fails", "CUDA up to 12.4", "whl/cu124"),
        ({"driver": Driver(problem="nvidia-smi did not answer within 20 s")}, "driver", "warning", "20 s", "dmesg"),
        ({"driver": Driver(is_missing=True)}, "driver", "warning", "there is no nvidia-smi", ""),
        ({"driver": gpus(total_gib=44.9)}, "GPU memory", "fails", "44.9 GiB a GPU", "--ranks-per-gpu 1"),
        ({"driver": gpus(total_gib=23.6)}, "GPU memory", "fails", "23.6 GiB a GPU", "--cpu-offload"),
        ({"driver": gpus(used_gib=30.0)}, "GPU memory", "fails", "49.6 free on GPU 3", "30.0 GiB of GPU 3"),
        ({"driver": gpus(compute_mode="Prohibited")}, "GPU mode", "fails", "GPU 3 is in mode Prohibited", "-i 3 -c"),
        ({"driver": gpus(mig=True)}, "GPU mode", "warning", "GPU 3 is cut in parts", "nvidia-smi -i 3 -mig 0"),
        ({"mps": Mps(is_running=False, is_installed=True)}, "MPS", "warning", "not running", "nvidia-cuda-mps"),
        ({"mps": Mps(is_running=False, is_installed=False)}, "MPS", "warning", "not installed", "on the host"),
        ({"memory": HostMemory(32.0, 31.0, "this control group")}, "host memory", "fails", "of this control group",
         "WAN_NUM_RANKS=5"),
        ({"memory": HostMemory(512.0, 20.0)}, "host memory", "warning", "20.0 available", "ps aux"),
        ({"processor": Processor(64, "100000")}, "CPU threads", "warning", "800000 threads", "unset OMP_NUM_THREADS"),
        ({"processor": Processor(64, "many")}, "CPU threads", "warning", "no number", "unset OMP_NUM_THREADS"),
        ({"processor": Processor(64, "1")}, "CPU threads", "warning", "one thread", "unset OMP_NUM_THREADS"),
        ({"processor": Processor(4)}, "CPU threads", "warning", "ranks wait", "more cores"),
        ({"ffmpeg": Ffmpeg(problem="it is not there")}, "ffmpeg", "fails", "it is not there", "IMAGEIO_FFMPEG_EXE"),
        ({"scratch": Scratch("/tmp", "/tmp: full")}, "temporary files", "fails", "/tmp: full", "export TMPDIR"),
        ({"scratch": Scratch("/tmp", "", "/", "/: Read-only")}, "home folder", "warning", "Read-only", "export HOME"),
        ({"folder": replace(MACHINE.folder, free_bytes=10**9)}, "disk", "fails", "1.0 GB free", "make room"),
        ({"folder": replace(MACHINE.folder, free_bytes=4 * 10**9)}, "disk", "warning", "4.0 GB free", "--pilot"),
        ({"folder": replace(MACHINE.folder, free_files=100)}, "disk", "fails", "only 100 files", "make room"),
        ({"folder": replace(MACHINE.folder, takes=False)}, "disk", "fails", "does not take a file", "quota"),
        ({"folder": replace(MACHINE.folder, skew_seconds=3600.0)}, "clock", "warning", "3600 s behind", "chronyc"),
        ({"folder": replace(MACHINE.folder, skew_seconds=-60.0)}, "clock", "warning", "60 s ahead of", "chronyc"),
        ({"terminal": Terminal("", "", is_terminal=True)}, "tmux", "warning", "not installed", "apt-get install tmux"),
        ({"terminal": Terminal("tmux 3.4", "", is_terminal=True)}, "tmux", "warning", "not inside", "tmux new -s wan"),
    ],
)  # fmt: skip
def test_what_a_machine_lacks_is_the_one_row_that_is_not_well(
    lacks: dict[str, Any], name: str, verdict: Verdict, says: str, remedy: str
) -> None:
    (row,) = unwell(replace(MACHINE, **lacks))
    assert (row.name, row.verdict) == (name, verdict)
    assert says in row.found
    assert remedy in row.remedy
    assert bool(row.remedy) == bool(remedy)
    assert "\n" not in "".join([row.found, row.needed, row.remedy])
    assert exit_code([row]) == (2 if verdict == "fails" else 0)


def test_a_broken_torch_fails_and_with_it_the_sight_of_the_gpus() -> None:
    broken = replace(MACHINE, torch=Torch(problem="it crashed (SIGSEGV)"))
    assert [(row.name, row.verdict) for row in unwell(broken, ON_CPU)] == [("torch", "fails"), ("GPUs", "fails")]
    assert unwell(broken)[0].found == "it crashed (SIGSEGV)"


def test_an_output_folder_that_cannot_be_used_leaves_its_disk_and_clock_unknown() -> None:
    folder = Folder(Path("/data"), "cannot be written: Read-only file system")
    assert [(row.name, row.verdict) for row in unwell(replace(MACHINE, folder=folder))] == [
        ("output", "fails"),
        ("disk", "warning"),
        ("clock", "warning"),
    ]


def test_a_gpu_for_one_process_takes_two_ranks_only_under_mps() -> None:
    exclusive, mps = gpus(compute_mode="Exclusive_Process"), Mps(is_running=False, is_installed=True)
    assert unwell(replace(MACHINE, driver=exclusive)) == []
    (row, _) = unwell(replace(MACHINE, driver=exclusive, mps=mps))
    assert (row.name, row.verdict) == ("GPU mode", "fails")
    alone = replace(NEEDS, ranks_per_gpu=1, num_ranks=1)
    assert unwell(replace(MACHINE, driver=exclusive, mps=mps), alone) == []


def test_the_14b_model_on_a_cpu_fails_because_its_steps_would_be_taken_for_a_hang() -> None:
    """1.68 PFLOP a forward, two of them a step, and a processor that does a thousandth of it in a second."""
    (row,) = unwell(replace(MACHINE, **NO_GPU), ON_CPU)
    assert (row.name, row.verdict) == ("GPUs", "fails")
    assert "a step of 832x480 x 81 frames takes 3357 s" in row.found
    assert "--step-timeout (900 s)" in row.needed


def test_a_step_that_a_cpu_ends_in_time_is_a_warning_with_its_seconds() -> None:
    small = replace(ON_CPU, size=ModelSize(1_418_996_800, 1536), largest=replace(MEASURED_JOB, num_frames=5))
    patient = replace(ON_CPU, step_timeout=7200.0)
    for needs in (small, patient):
        (row,) = unwell(replace(MACHINE, **NO_GPU), needs)
        assert (row.name, row.verdict) == ("GPUs", "warning")
        assert "s and more" in row.found


def test_the_tiny_model_on_a_cpu_is_a_warning() -> None:
    (row,) = unwell(replace(MACHINE, **NO_GPU), replace(ON_CPU, model="tiny", size=TINY))
    assert (row.name, row.verdict) == ("GPUs", "warning")


@pytest.mark.parametrize(
    ("driver", "says"),
    [
        (Driver(GPUS, "580"), "4 x NVIDIA H100 80GB HBM3, of which torch sees none"),
        (Driver((), "580"), "none that CUDA_VISIBLE_DEVICES leaves"),
    ],
)
def test_gpus_that_are_there_and_are_not_seen_are_told_from_none(driver: Driver, says: str) -> None:
    rows = unwell(replace(MACHINE, driver=driver, torch=replace(MACHINE.torch, num_gpus=0)), ON_CPU)
    assert [row.found for row in rows if row.name == "GPUs" and says in row.found]


def test_a_driver_that_does_not_answer_fails_a_run_that_needs_a_gpu() -> None:
    silent = Driver(problem="nvidia-smi did not answer within 20 s")
    broken = replace(MACHINE, driver=silent, torch=replace(MACHINE.torch, num_gpus=0))
    assert ("driver", "fails") in [(row.name, row.verdict) for row in unwell(broken, ON_CPU)]
    tiny = replace(ON_CPU, model="tiny", size=TINY)
    assert {row.verdict for row in unwell(broken, tiny)} == {"warning"}


@pytest.mark.parametrize(
    ("capability", "architectures", "is_known"),
    [
        ("9.0", ["sm_80", "sm_90"], True),
        ("8.6", ["sm_80"], True),
        ("8.0", ["sm_86"], False),
        ("9.0", ["sm_80"], False),
        ("9.0", ["sm_80", "compute_80"], True),
        ("12.0", ["sm_120"], True),
        ("9.0", ["sm_90a"], True),
        ("9.0", ["gfx942"], True),
        ("", ["sm_80"], True),
        ("9.0", [], True),
    ],
)
def test_machine_code_runs_on_its_own_major_version_and_ptx_on_what_comes_later(
    capability: str, architectures: Sequence[str], is_known: bool
) -> None:
    torch = replace(MACHINE.torch, architectures=tuple(architectures))
    assert (check_torch(torch, [replace(GPUS[0], capability=capability)]).verdict == "ok") == is_known


def test_cuda_within_one_major_version_is_a_matter_of_no_complaint() -> None:
    assert unwell(replace(MACHINE, torch=replace(MACHINE.torch, cuda="12.8", driver_cuda="12.4"))) == []


def test_gpu_memory_that_was_not_measured_only_warns_unless_the_weights_alone_are_too_many() -> None:
    larger = replace(NEEDS, largest=replace(MEASURED_JOB, width=1280, height=720))
    row = check_gpu_memory(GPUS, larger)
    assert (row.verdict, row.remedy) == ("warning", "--ranks-per-gpu 1")
    assert "in proportion to Wan2.1-T2V-14B at 832x480 x 81 frames" in row.needed
    assert check_gpu_memory([replace(GPUS[0], total_gib=40.0)], larger).verdict == "fails"


def test_a_smaller_video_needs_no_more_than_the_measured_one() -> None:
    smaller = replace(NEEDS, largest=make_job())
    assert smaller.gpu_gib < NEEDS.gpu_gib
    assert check_gpu_memory(GPUS, smaller).verdict == "ok"


def test_a_pilots_memory_stands_in_for_the_estimate() -> None:
    row = check_gpu_memory(GPUS, replace(NEEDS, measured_gib=79.9))
    assert row.verdict == "fails"
    assert row.needed.startswith("79.9 GiB")
    assert "measured by the pilot" in row.needed


def test_offloaded_weights_ask_for_host_memory_instead_of_the_gpus() -> None:
    offload = replace(NEEDS, offload=True)
    assert check_gpu_memory([replace(GPUS[0], total_gib=23.6)], offload).verdict == "ok"
    assert offload.host_gib > NEEDS.host_gib + 8 * 26


def test_a_cpu_holds_what_a_gpu_would() -> None:
    assert ON_CPU.host_gib == pytest.approx(2 * ON_CPU.rank_gib + NEEDS.host_gib / 4)


def test_nothing_to_do_needs_no_disk() -> None:
    full = replace(MACHINE.folder, free_bytes=0, free_files=0)
    assert check_disk(full, replace(NEEDS, num_to_do=0, video_bytes=0.0)).verdict == "ok"


def test_disk_that_a_pilot_measured_is_not_guessed_at() -> None:
    folder = replace(MACHINE.folder, free_bytes=4 * 10**9)
    assert check_disk(folder, replace(NEEDS, is_disk_measured=True)).verdict == "ok"


def test_ranks_that_a_run_refuses_fail() -> None:
    assert check_ranks(8, "").verdict == "ok"
    assert check_ranks(9, "9 ranks are too many").verdict == "fails"


def test_one_bad_reference_is_a_warning_and_nothing_but_bad_ones_fail() -> None:
    good, bad = Reference("a.mp4", "832x480"), Reference("b.mp4", problem="b.mp4: it is empty")
    assert check_references([]).verdict == "ok"
    assert check_references([good, good]).verdict == "ok"
    warned, failed = check_references([good, bad]), check_references([bad])
    assert (warned.verdict, warned.remedy) == ("warning", "b.mp4: it is empty")
    assert failed.verdict == "fails"


def test_a_time_that_nobody_measured_on_a_cpu_is_not_told() -> None:
    assert check_time(NEEDS, "17 h 00 min").needed == "17 h 00 min (Wan2.1-T2V-14B on H100)"
    assert "--pilot" in check_time(replace(NEEDS, basis=""), "0 s").needed
    assert check_time(replace(NEEDS, num_to_do=0), "0 s").needed == "none"


def test_a_short_run_needs_no_tmux_around_it() -> None:
    outside = replace(MACHINE, terminal=Terminal("tmux 3.4", "", is_terminal=True))
    assert unwell(outside, replace(NEEDS, seconds=60.0)) == []
    assert unwell(replace(MACHINE, terminal=Terminal("tmux 3.4"))) == []  # no terminal that could be lost


def test_the_conclusion_names_what_fails_and_counts_what_does_not() -> None:
    rows = [Row("a", "", "", "fails"), Row("b", "", "", "warning"), Row("c", "", "", "warning"), Row("d", "", "")]
    assert conclusion(rows) == "a run would fail: a, 2 warnings"
    assert conclusion(rows[1:2]) == "a run would work, 1 warning"


@given(
    st.lists(
        st.builds(
            Row,
            st.text("ab 镜", min_size=1, max_size=9).filter(str.strip),
            st.text("ab 头/", max_size=200),
            st.text("ab /", max_size=200),
            st.sampled_from(["ok", "warning", "fails"]),
            st.text("ab /", max_size=300),
        ),
        min_size=1,
        max_size=5,
    ),
    st.integers(20, 300),
)
def test_a_table_of_any_width_holds_every_word_and_each_remedy_on_one_line(rows: list[Row], width: int) -> None:
    lines = table(rows, width).splitlines()
    for row in rows:
        assert all(any(word in line for line in lines) for word in (row.found + " " + row.needed).split())
        if row.remedy:
            assert any(line.endswith(f"-> {row.remedy}") for line in lines)


def test_a_path_is_not_broken_so_that_it_can_be_copied() -> None:
    path = "/data/" + "long/" * 40 + "镜头 x.mp4"
    text = table([Row("model", f"there is no {path}", "files")], 80)
    assert path.split()[0] in text
