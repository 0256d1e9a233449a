"""What was found against what is needed: each check takes values and gives a row. None of them asks the machine."""

from collections.abc import Sequence

from wan_ddp.doctor.found import (
    Ffmpeg,
    Folder,
    HostMemory,
    Machine,
    Packages,
    Processor,
    Python,
    Reference,
    Scratch,
    Terminal,
)
from wan_ddp.doctor.gpu_checks import check_driver, check_gpu_use, check_gpus, check_torch
from wan_ddp.doctor.needs import Needs
from wan_ddp.doctor.rows import INSTALL, Row, Verdict

# As environment.sh has it.
_OLDEST_PYTHON, _TOO_NEW_PYTHON = (3, 10), (3, 14)
_MAX_SKEW_SECONDS = 30.0
_FILES_PER_VIDEO = 3  # the video, its record, a hidden file of either
_LONG_RUN_SECONDS = 30 * 60.0
# How far the guess at a video's size may be off: by content, and by the noise that a model leaves.
_DISK_MARGIN = 3.0


def check_machine(machine: Machine, needs: Needs) -> list[Row]:
    """Every row about the machine itself."""
    torch, driver = machine.torch, machine.driver
    return [
        check_python(machine.python),
        check_packages(machine.packages),
        check_torch(torch, driver.gpus),
        check_driver(driver, torch, needs),
        check_gpus(driver, torch, needs),
        *check_gpu_use(driver, machine.mps, needs),
        check_host_memory(machine.memory, needs),
        check_processor(machine.processor, needs),
        check_ffmpeg(machine.ffmpeg),
        check_temporary(machine.scratch),
        check_home(machine.scratch),
        check_folder(machine.folder),
        check_disk(machine.folder, needs),
        check_clock(machine.folder),
        check_terminal(machine.terminal, needs),
    ]


def check_python(python: Python) -> Row:
    found = f"{'.'.join(map(str, python.version))} ({python.executable})"
    needed = "3.10 to 3.13"
    if _OLDEST_PYTHON <= python.version[:2] < _TOO_NEW_PYTHON:
        return Row("Python", found, needed)
    return Row(
        "Python",
        found,
        needed,
        "fails",
        "name another one, and launch.sh makes .venv: PYTHON=python3.12 bash launch.sh",
    )


def check_packages(packages: Packages) -> Row:
    needed = "all of requirements.txt"
    if packages.lacking:
        return Row("packages", f"not installed: {', '.join(packages.lacking)}", needed, "fails", INSTALL)
    if packages.problem:
        return Row("packages", f"a worker cannot start: {packages.problem}", needed, "fails", INSTALL)
    if packages.unfit:
        return Row("packages", f"of other versions: {', '.join(packages.unfit)}", needed, "warning", INSTALL)
    return Row("packages", "all there; a worker can import them", needed)


def check_ranks(num_ranks: int, problem: str) -> Row:
    """`problem` is what a run says of the number of ranks, if it refuses it."""
    needed = "as many as the GPUs take"
    if problem:
        return Row("ranks", problem, needed, "fails", "unset WAN_NUM_RANKS")
    return Row("ranks", str(num_ranks), needed)


def check_host_memory(memory: HostMemory, needs: Needs) -> Row:
    name = "host memory"
    found = f"{memory.total_gib:.1f} GiB of {memory.limit}, {memory.available_gib:.1f} available"
    needed = f"{needs.host_gib:.1f} GiB for {needs.num_ranks} rank{'s' * (needs.num_ranks > 1)} while they load"
    fitting = int(memory.total_gib // (needs.host_gib / needs.num_ranks))
    fewer = (
        f"fewer ranks: WAN_NUM_RANKS={fitting}" if fitting else "a machine, or a job of the scheduler, with more memory"
    )
    if needs.host_gib > memory.total_gib:
        return Row(name, found, needed, "fails", fewer)
    if needs.host_gib > memory.available_gib:
        return Row(name, found, needed, "warning", f"see what holds it: ps aux --sort=-rss | head; or {fewer}")
    return Row(name, found, needed)


def check_processor(processor: Processor, needs: Needs) -> Row:
    """Cores and OMP_NUM_THREADS, which torchrun alone sets to 1; but the tiles of the VAE are blended on the CPU."""
    name, cores, ranks = "CPU threads", processor.num_cores, needs.num_ranks
    share = max(1, cores // ranks)
    needed = f"OMP_NUM_THREADS={share} for each of {ranks} ranks, which launch.sh sets where it is not set"
    text = processor.omp_num_threads
    found = f"{cores} cores, OMP_NUM_THREADS " + (f"is {text}" if text else "is not set")
    # A list sets the threads of nested levels.
    first = (text or str(share)).partition(",")[0].strip()
    if not first.isdecimal() or int(first) == 0:
        return Row(name, f"{found}, which is no number of threads", needed, "warning", "unset OMP_NUM_THREADS")
    if int(first) * ranks > 2 * max(cores, ranks):
        return Row(name, f"{found}: {int(first) * ranks} threads in all", needed, "warning", "unset OMP_NUM_THREADS")
    if int(first) == 1 and share > 1:
        found += ": one thread takes a third longer to decode a video"
        return Row(name, found, needed, "warning", "unset OMP_NUM_THREADS")
    if cores < ranks:
        return Row(
            name, f"{found}: ranks wait for each other", needed, "warning", "more cores, or fewer ranks: WAN_NUM_RANKS"
        )
    return Row(name, found, needed)


def check_ffmpeg(ffmpeg: Ffmpeg) -> Row:
    needed = "one of 5.1 or later that writes H.264 and reads it back"
    if ffmpeg.problem:
        remedy = "pip install --force-reinstall imageio-ffmpeg; unset IMAGEIO_FFMPEG_EXE if it names another one"
        return Row("ffmpeg", ffmpeg.problem, needed, "fails", remedy)
    return Row("ffmpeg", f"{ffmpeg.version} ({ffmpeg.path})", needed)


def check_temporary(scratch: Scratch) -> Row:
    """Where ranks that share a GPU keep their locks."""
    needed = "one that can be written"
    if scratch.temporary_problem:
        return Row(
            "temporary files", scratch.temporary_problem, needed, "fails", "export TMPDIR=FOLDER, one of your own"
        )
    return Row("temporary files", scratch.temporary, needed)


def check_home(scratch: Scratch) -> Row:
    needed = "one that can be written: hubs and compilers keep their caches there"
    if scratch.home_problem:
        return Row("home folder", scratch.home_problem, needed, "warning", "export HOME=FOLDER, one of your own")
    return Row("home folder", scratch.home, needed)


def check_folder(folder: Folder) -> Row:
    needed = "a folder that can be made and written"
    if folder.problem:
        return Row(
            "output", folder.problem, needed, "fails", "give --output another folder, or yourself the right to it"
        )
    return Row("output", str(folder.path), needed)


def check_disk(folder: Folder, needs: Needs) -> Row:
    name = "disk"
    if folder.problem:
        return Row(name, "not looked at: the output folder cannot be used", f"{gb(needs.disk_bytes)} GB", "warning")
    found = f"{gb(folder.free_bytes)} GB free"
    needed = f"{gb(needs.disk_bytes)} GB for {needs.num_to_do} videos"
    remedy = f"make room in {folder.path}, or give --output a folder on another disk"
    if not needs.num_to_do:
        return Row(name, found, "none: nothing is left to do")
    if not folder.takes:
        return Row(
            name, f"{found}, but it does not take a file of one video's size", needed, "fails", f"quota -s; {remedy}"
        )
    files = _FILES_PER_VIDEO * needs.num_to_do
    if folder.free_files is not None and folder.free_files < files:
        return Row(
            name, f"{found}, but only {folder.free_files:,} files more", f"{needed}, {files:,} files", "fails", remedy
        )
    if folder.free_bytes < needs.disk_bytes:
        return Row(name, found, needed, "fails", remedy)
    if folder.free_bytes < _DISK_MARGIN * needs.disk_bytes and not needs.is_disk_measured:
        return Row(name, found, f"{needed}, by a guess that content may double", "warning", "--pilot measures it")
    return Row(name, found, needed)


def check_clock(folder: Folder) -> Row:
    name, needed = "clock", f"within {_MAX_SKEW_SECONDS:g} s of the output folder's file server"
    if folder.problem:
        return Row(name, "not looked at: the output folder cannot be used", needed, "warning")
    if abs(folder.skew_seconds) > _MAX_SKEW_SECONDS:
        way = "behind" if folder.skew_seconds > 0 else "ahead of"
        found = f"{abs(folder.skew_seconds):.0f} s {way} it: times in logs and records will not agree"
        return Row(name, found, needed, "warning", "chronyc makestep, or ask whoever keeps the machines")
    return Row(name, f"{abs(folder.skew_seconds):.1f} s apart", needed)


def check_terminal(terminal: Terminal, needs: Needs) -> Row:
    """What keeps the run alive when the connection to the machine drops."""
    name = "tmux"
    needed = "a run that goes on when the connection drops"
    again = "tmux new -s wan"
    without = "nohup bash launch.sh ... >launch.log 2>&1 &"
    if terminal.inside:
        return Row(name, f"inside {terminal.inside}", needed)
    if not terminal.tmux:
        return Row(name, "not installed", needed, "warning", f"apt-get install tmux; or {without}")
    if terminal.is_terminal and needs.seconds > _LONG_RUN_SECONDS:
        return Row(name, f"{terminal.tmux}, not inside it", needed, "warning", f"{again}; or {without}")
    return Row(name, f"{terminal.tmux}, not inside it", f"{needed}, for a long one")


def check_references(references: Sequence[Reference]) -> Row:
    """References read as jobs would, one of each category: one that cannot be read fails its own jobs alone."""
    name, needed = "reading", "references that decode to the frames that jobs need"
    bad = [reference for reference in references if reference.problem]
    if not references:
        return Row(name, "no job to do needs a reference", needed)
    if not bad:
        more = f", and {len(references) - 1} more" if len(references) > 1 else ""
        return Row(name, f"{references[0].path}: {references[0].found}{more}", needed)
    verdict: Verdict = "fails" if len(bad) == len(references) else "warning"
    found = f"{len(bad)} of {len(references)} tried cannot be used"
    return Row(name, found, needed, verdict, bad[0].problem)


def check_time(needs: Needs, duration: str) -> Row:
    """No check: what the run will take, in words, and how that is known."""
    found = f"{needs.num_to_do} of {needs.num_jobs} videos to do"
    if not needs.num_to_do:
        return Row("time", found, "none")
    return Row(
        "time", found, f"{duration} ({needs.basis})" if needs.basis else "not known on a CPU: --pilot measures it"
    )


def gb(num_bytes: float) -> str:
    """In gigabytes, with as many digits as a person reads."""
    number = num_bytes / 1e9
    return f"{number:,.0f}" if number >= 10 else f"{number:.1f}" if number >= 0.1 else f"{number:.3f}"
