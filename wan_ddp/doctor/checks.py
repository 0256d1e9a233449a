"""What was found against what is needed: each check takes values and gives a row. None of them asks the machine."""

from collections.abc import Sequence

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
from wan_ddp.doctor.needs import Needs
from wan_ddp.doctor.rows import Row, Verdict
from wan_ddp.estimate import cpu_step_seconds

# As environment.sh has it.
_OLDEST_PYTHON, _TOO_NEW_PYTHON = (3, 10), (3, 14)
_MAX_SKEW_SECONDS = 30.0
_FILES_PER_VIDEO = 3  # the video, its record, a hidden file of either
_LONG_RUN_SECONDS = 30 * 60.0
# How far the guess at a video's size may be off: by content, and by the noise that a model leaves.
_DISK_MARGIN = 3.0
_INSTALL = "pip install -r requirements.txt -c constraints.txt"


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
        return Row("packages", f"not installed: {', '.join(packages.lacking)}", needed, "fails", _INSTALL)
    if packages.problem:
        return Row("packages", f"a worker cannot start: {packages.problem}", needed, "fails", _INSTALL)
    if packages.unfit:
        return Row("packages", f"of other versions: {', '.join(packages.unfit)}", needed, "warning", _INSTALL)
    return Row("packages", "all there; a worker can import them", needed)


def check_torch(torch: Torch, gpus: Sequence[Gpu]) -> Row:
    needed = "one that can be imported" + (", built with CUDA for this GPU" if gpus else "")
    if not torch.version:
        return Row("torch", torch.problem or "it does not say its version", needed, "fails", _INSTALL)
    build = f"CUDA {torch.cuda}" if torch.cuda else "no CUDA"
    found = f"{torch.version}, built with {build}"
    if gpus and not torch.cuda:
        return Row(
            "torch", found, needed, "fails", "pip install --force-reinstall torch torchvision -c constraints.txt"
        )
    strangers = [gpu for gpu in gpus if not _is_supported(gpu.capability, torch.architectures)]
    if strangers:
        known = ", ".join(torch.architectures)
        found = f"{found} for {known}; GPU {strangers[0].index} is of {strangers[0].capability}"
        return Row(
            "torch", found, needed, "fails", "install a torch that knows the GPU: https://pytorch.org/get-started"
        )
    return Row("torch", found, needed)


def _is_supported(capability: str, architectures: Sequence[str]) -> bool:
    """Machine code runs on the same major version and a minor one as high or higher; PTX on anything later."""
    if not capability or not architectures:
        return True
    major, minor = map(int, capability.split("."))
    for architecture in architectures:
        kind, _, number = architecture.rstrip("af").partition("_")
        if not number.isdecimal():
            return True
        built_major, built_minor = int(number[:-1]), int(number[-1])
        if (built_major == major and built_minor <= minor) or (
            kind == "compute" and (built_major, built_minor) <= (major, minor)
        ):
            return True
    return False


def check_driver(driver: Driver, torch: Torch, needs: Needs) -> Row:
    """The NVIDIA driver, against the CUDA of torch: within a major version of CUDA any driver serves."""
    name, needed = "driver", f"one for CUDA {torch.cuda}" if torch.cuda else "one that answers"
    if driver.problem:
        verdict: Verdict = "warning" if torch.num_gpus or needs.is_small else "fails"
        return Row(
            name, driver.problem, needed, verdict, "see `dmesg | grep -i -e nvrm -e xid`; load it anew, or reboot"
        )
    newest = f", for CUDA up to {torch.driver_cuda}" if torch.driver_cuda else ""
    if torch.num_gpus and torch.cuda and torch.driver_cuda and _major(torch.driver_cuda) < _major(torch.cuda):
        index = f"https://download.pytorch.org/whl/cu{torch.driver_cuda.replace('.', '')}"
        remedy = f"a newer driver, or a torch for this one: pip install torch torchvision --index-url {index}"
        return Row(name, f"{driver.version}{newest}", needed, "fails", remedy)
    if driver.is_missing:
        if torch.num_gpus:
            return Row(
                name, f"there is no nvidia-smi{newest}", f"{needed}, and nvidia-smi to see the GPUs' memory", "warning"
            )
        return Row(name, "none: there is no nvidia-smi", "none, without a GPU")
    return Row(name, f"{driver.version}{newest}", needed)


def _major(version: str) -> int:
    return int(version.partition(".")[0])


def check_gpus(driver: Driver, torch: Torch, needs: Needs) -> Row:
    """The GPUs that a run sees. Without any it runs on the CPU, which is fair for the tiny model alone."""
    name, needed = "GPUs", f"one or more for {needs.model}"
    if torch.num_gpus:
        names = list(dict.fromkeys(gpu.name for gpu in driver.gpus)) or ["of a kind that nvidia-smi does not name"]
        return Row(name, f"{torch.num_gpus} x {', '.join(names)}; {needs.num_ranks} ranks on them", needed)
    found, remedy = (
        "none: a run goes to the CPU",
        "a machine with a GPU; does this container get it (docker run --gpus all)?",
    )
    if driver.version and not driver.gpus:
        found, remedy = "none that CUDA_VISIBLE_DEVICES leaves: a run goes to the CPU", "unset CUDA_VISIBLE_DEVICES"
    if driver.gpus:
        found = f"{len(driver.gpus)} x {driver.gpus[0].name}, of which torch sees none"
        remedy = "see the rows of torch and the driver; is CUDA_VISIBLE_DEVICES right, does the container get the GPUs?"
    if needs.is_small:
        return Row(name, found, f"none for {needs.model}, one or more for a real model", "warning")
    step = cpu_step_seconds(needs.largest, needs.size)
    found += f", where a step of {needs.frames} takes {step:.0f} s and more"
    if step > needs.step_timeout:
        needed += f", or a step within --step-timeout ({needs.step_timeout:g} s)"
        return Row(name, found, needed, "fails", remedy)
    return Row(name, found, needed, "warning", remedy)


def check_gpu_use(driver: Driver, mps: Mps, needs: Needs) -> list[Row]:
    """Memory, mode and sharing of the GPUs that nvidia-smi names; nothing where it names none."""
    if not driver.gpus:
        return []
    return [check_gpu_memory(driver.gpus, needs), check_gpu_mode(driver.gpus, mps, needs), check_mps(mps, needs)]


def check_gpu_memory(gpus: Sequence[Gpu], needs: Needs) -> Row:
    name = "GPU memory"
    total = min(gpu.total_gib for gpu in gpus)
    fullest = min(gpus, key=lambda gpu: gpu.total_gib - gpu.used_gib)
    free = fullest.total_gib - fullest.used_gib
    found = f"{total:.1f} GiB a GPU, {free:.1f} free" + (f" on GPU {fullest.index}" if len(gpus) > 1 else "")
    if needs.offload:
        return Row(name, found, "less than the weights: they are kept on the CPU; how much less is not estimated")
    ranks = min(needs.ranks_per_gpu, needs.num_ranks)
    needed = f"{needs.gpu_gib:.1f} GiB for {ranks} rank{'s' * (ranks > 1)} at {needs.frames} ({needs.gib_basis})"
    # What was not measured may be wrong; but where the weights alone do not fit, it is not.
    sure = needs.is_gib_measured or needs.gpu_weights_gib > total
    if needs.gpu_gib > total:
        fitting = int(total // needs.rank_gib)
        remedy = f"--ranks-per-gpu {fitting}" if fitting else "--cpu-offload"
        return Row(name, found, needed, "fails" if sure else "warning", remedy)
    if needs.gpu_gib > free:
        remedy = (
            f"other processes hold {fullest.used_gib:.1f} GiB of GPU {fullest.index}: `nvidia-smi` names them; end "
            "them, or leave the GPU out with CUDA_VISIBLE_DEVICES"
        )
        return Row(name, found, needed, "fails" if sure else "warning", remedy)
    return Row(name, found, needed)


def check_gpu_mode(gpus: Sequence[Gpu], mps: Mps, needs: Needs) -> Row:
    """Whether the GPUs let several processes in."""
    name, needed = "GPU mode", "Default, which lets the ranks of a GPU share it"
    for gpu in gpus:
        found = f"GPU {gpu.index} is in mode {gpu.compute_mode}"
        if gpu.compute_mode == "Prohibited":
            return Row(name, found, needed, "fails", f"nvidia-smi -i {gpu.index} -c DEFAULT")
        if gpu.compute_mode.startswith("Exclusive") and not mps.is_running and needs.num_ranks > 1:
            return Row(
                name, found, needed, "fails", f"nvidia-smi -i {gpu.index} -c DEFAULT, or nvidia-cuda-mps-control -d"
            )
        if gpu.mig:
            found = f"GPU {gpu.index} is cut in parts (MIG), of which a process sees one"
            return Row(
                name,
                found,
                "whole GPUs: what a part has was not looked at",
                "warning",
                f"nvidia-smi -i {gpu.index} -mig 0",
            )
    return Row(name, gpus[0].compute_mode, needed)


def check_mps(mps: Mps, needs: Needs) -> Row:
    """NVIDIA's Multi-Process Service. Without it, two ranks that denoise at once take turns, and lose 10%."""
    name = "MPS"
    found = "running" if mps.is_running else "not running" if mps.is_installed else "not installed"
    if needs.ranks_per_gpu == 1 or needs.num_ranks == 1:
        return Row(name, found, "none, for one rank a GPU")
    needed = f"running: without it {needs.ranks_per_gpu} ranks that share a GPU lose 10% while all denoise"
    if mps.is_running:
        return Row(name, found, needed)
    start = (
        "nvidia-cuda-mps-control -d"
        if mps.is_installed
        else "on the host of this container: nvidia-cuda-mps-control -d"
    )
    return Row(name, found, needed, "warning", f"{start}   (stop it with: echo quit | nvidia-cuda-mps-control)")


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
    needed = "one that writes H.264 and reads it back"
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
