"""Asks the machine what it has. Nothing here judges, raises for what is broken, or waits for long, or starts CUDA."""

import json
import math
import os
import re
import shutil
import socket
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from wan_ddp.doctor.ask import Answer, Question, ask, own_program
from wan_ddp.doctor.child import MARK
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
    Scratch,
    Terminal,
    Torch,
)
from wan_ddp.gpu_use import visible_devices
from wan_ddp.settings import ROOT

# Without its persistence mode the driver wakes every GPU up first.
SMI_SECONDS = 20.0
_IMPORT_SECONDS = 180.0  # from a network disk, for the first time
_FFMPEG_SECONDS = 60.0
_FOLDER_SECONDS = 30.0
_TMUX_SECONDS = 5.0
_MPS_SECONDS = 1.0
_SMI_FIELDS = "index,uuid,name,driver_version,memory.total,memory.used,compute_cap,compute_mode,mig.mode.current"
_CGROUPS = Path("/sys/fs/cgroup")
_UNLIMITED_BYTES = 2**60  # version 1 of control groups writes a number near 2^63 for no limit


def look_at_machine(output: Path, num_bytes: float, environ: Mapping[str, str]) -> Machine:
    """All that is asked; `num_bytes` is the size of a video, for which there should be room in `output`."""
    with ask_torch() as asked_torch, ask_smi() as asked_smi, ask_ffmpeg() as asked_ffmpeg:
        folder = look_at_folder(output, num_bytes)
        torch, imports = read_torch(asked_torch.answer())
        return Machine(
            Python(sys.version_info[:3], sys.executable),
            replace(look_at_packages(ROOT / "requirements.txt"), problem=imports),
            torch,
            read_smi(asked_smi.answer(), environ),
            look_at_processor(environ),
            look_at_memory(),
            folder,
            look_at_scratch(environ),
            read_ffmpeg(asked_ffmpeg.answer()),
            look_at_mps(environ),
            look_at_terminal(environ),
        )


def look_at_packages(requirements: Path) -> Packages:
    """What of the requirements is not installed, or of another version; nothing is imported."""
    lacking, unfit = [], []
    for line in _text(requirements).splitlines():
        match = re.match(r"([\w.-]+)(.*)", line.partition("#")[0].strip())
        if not match:
            continue
        try:
            found = version(match[1])
        except PackageNotFoundError:
            lacking.append(match[1])
            continue
        if not fits(found, match[2]):
            unfit.append(f"{match[1]} {found}, not {match[2]}")
    return Packages(tuple(lacking), tuple(unfit))


def fits(found: str, wanted: str) -> bool:
    """Whether a version is in a range such as `>=2.1.12,<2.2`: all that requirements.txt uses."""
    for condition in wanted.split(","):
        bound = _numbers(condition.lstrip("<>="))
        if condition.startswith(">=") and _numbers(found) < bound:
            return False
        if condition.startswith("<") and _numbers(found) >= bound:
            return False
    return True


def _numbers(text: str) -> list[int]:
    """The release of a version: `2.11.0+cu130` is 2, 11, 0."""
    return [int(part) for part in re.match(r"[\d.]*", text)[0].split(".") if part]  # type: ignore[index]


def ask_torch() -> Question:
    return own_program("torch", timeout=_IMPORT_SECONDS)


def read_torch(answer: Answer) -> tuple[Torch, str]:
    """What torch is, and what keeps a worker from being imported, if anything does."""
    facts, problem = _facts(answer)
    torch = Torch(
        str(facts.get("version", "")),
        str(facts.get("cuda", "")),
        str(facts.get("driver_cuda", "")),
        int(facts.get("num_gpus", 0)),
        tuple(facts.get("architectures", ())),
        problem,
    )
    return torch, "" if "worker" in facts else problem or "it did not say why"


def ask_smi(timeout: float = SMI_SECONDS) -> Question:
    return Question("nvidia-smi", f"--query-gpu={_SMI_FIELDS}", "--format=csv,noheader,nounits", timeout=timeout)


def read_smi(answer: Answer, environ: Mapping[str, str]) -> Driver:
    """The driver, and those of its GPUs that CUDA_VISIBLE_DEVICES leaves."""
    if answer.is_missing:
        return Driver(is_missing=True)
    if answer.problem:
        return Driver(problem=answer.problem)
    gpus, driver_version = [], ""
    for line in answer.text.splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        try:
            index, uuid, name, driver_version, total, used, capability, mode, mig = cells
            gpus.append(
                Gpu(
                    int(index),
                    uuid,
                    name,
                    float(total) / 1024,
                    float(used) / 1024,
                    capability if re.fullmatch(r"\d+\.\d+", capability) else "",
                    mode,
                    mig == "Enabled",
                )
            )
        except ValueError:  # such as "No devices were found", or [Unknown Error] for a GPU that fell off the bus
            return Driver(problem=f"nvidia-smi says: {line.strip()[:200]}")
    return Driver(tuple(visible(gpus, visible_devices(environ))), driver_version)


def visible(gpus: list[Gpu], names: list[str] | None) -> list[Gpu]:
    """The GPUs of CUDA_VISIBLE_DEVICES, in its order: by index or UUID, up to the first that there is not."""
    if names is None:
        return gpus
    chosen: list[Gpu] = []
    for name in names:
        found = [gpu for gpu in gpus if name == str(gpu.index) or (len(name) > 4 and gpu.uuid.startswith(name))]
        if len(found) != 1:
            break
        chosen += found
    return chosen


def look_at_processor(environ: Mapping[str, str]) -> Processor:
    return Processor(_num_cores(), environ.get("OMP_NUM_THREADS") or None)


def _num_cores() -> int:
    """The cores that this process may use: by its affinity, and by its control group's share of time."""
    cores = len(os.sched_getaffinity(0))
    for group in _own_groups(Path("/proc/self/cgroup"), _CGROUPS, "cpu"):
        with suppress(OSError, ValueError):
            quota, period = (group / "cpu.max").read_text(encoding="ascii").split()
            cores = min(cores, math.ceil(int(quota) / int(period)))
    return max(cores, 1)


def look_at_memory(
    meminfo: Path = Path("/proc/meminfo"), own: Path = Path("/proc/self/cgroup"), groups: Path = _CGROUPS
) -> HostMemory:
    """The machine's memory, or the control group's if that allows less."""
    fields = dict(re.findall(r"^(\w+): +(\d+) kB", meminfo.read_text(encoding="ascii"), re.MULTILINE))
    total = int(fields["MemTotal"]) / 2**20
    found = HostMemory(total, int(fields.get("MemAvailable") or fields["MemTotal"]) / 2**20)
    for group in _own_groups(own, groups, "memory"):
        limit = _number(group, "memory.max", "memory.limit_in_bytes")
        if limit is None or limit > _UNLIMITED_BYTES:
            continue
        if limit / 2**30 < found.total_gib:
            found = replace(found, total_gib=limit / 2**30, limit="this control group (a container or job)")
        used = _number(group, "memory.current", "memory.usage_in_bytes") or 0
        # What files left in memory goes when it is needed.
        cached = re.search(r"^(?:total_)?inactive_file (\d+)$", _text(group / "memory.stat"), re.MULTILINE)
        free = max(limit - used + int(cached[1] if cached else 0), 0) / 2**30
        found = replace(found, available_gib=min(found.available_gib, free))
    return found


def _own_groups(own: Path, groups: Path, controller: str) -> list[Path]:
    """The control groups that this process is in, from its own to the root: of version 2, and 1's of the controller."""
    found = []
    for line in _text(own).splitlines():
        _, controllers, name = line.split(":", 2)
        if controllers not in ("", controller) and controller not in controllers.split(","):
            continue
        root = groups / controller if controllers else groups
        inner = root / name.lstrip("/")
        found += [each for each in (inner, *inner.parents) if each.is_relative_to(root)]
    return found


def _number(folder: Path, *names: str) -> int | None:
    for name in names:
        with suppress(ValueError):
            return int(_text(folder / name))
    return None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def look_at_folder(path: Path, num_bytes: float, timeout: float = _FOLDER_SECONDS) -> Folder:
    with own_program("folder", str(path), str(int(num_bytes)), timeout=timeout) as question:
        facts, problem = _facts(question.answer())
    return Folder(path, problem) if problem else Folder(path, **facts)


def look_at_scratch(environ: Mapping[str, str]) -> Scratch:
    """The folders for temporary files and caches. The first is asked for as a rank that shares a GPU does."""
    temporary, problem = "", ""
    try:
        temporary = tempfile.gettempdir()
        _try_to_write(Path(temporary))
    except OSError as error:
        problem = f"{temporary or 'no folder for them'}: {error.strerror}"
    home = environ.get("HOME") or "HOME is not set"
    try:
        _try_to_write(Path(home))
    except OSError as error:
        return Scratch(temporary, problem, home, f"{home}: {error.strerror}")
    return Scratch(temporary, problem, home)


def _try_to_write(folder: Path) -> None:
    descriptor, name = tempfile.mkstemp(prefix=".wan-ddp-", dir=folder)
    os.close(descriptor)
    Path(name).unlink()


def ask_ffmpeg() -> Question:
    return own_program("ffmpeg", timeout=_FFMPEG_SECONDS)


def read_ffmpeg(answer: Answer) -> Ffmpeg:
    facts, problem = _facts(answer)
    return Ffmpeg(str(facts.get("path", "")), str(facts.get("version", "")), problem)


def look_at_mps(environ: Mapping[str, str]) -> Mps:
    """Whether the daemon listens at its socket; a container may see that of its host, and not the program."""
    folder = Path(environ.get("CUDA_MPS_PIPE_DIRECTORY") or "/tmp/nvidia-mps")
    return Mps(_is_listened_to(folder / "control"), shutil.which("nvidia-cuda-mps-control") is not None)


def _is_listened_to(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
        client.settimeout(_MPS_SECONDS)
        try:
            client.connect(str(path))
        except OSError:  # there is none, or it is left over from a daemon that has ended
            return False
    return True


def look_at_terminal(environ: Mapping[str, str]) -> Terminal:
    kept_by = {"TMUX": "tmux", "STY": "screen", "SLURM_JOB_ID": "a Slurm job"}
    inside = next((name for variable, name in kept_by.items() if environ.get(variable)), "")
    answer = ask("tmux", "-V", timeout=_TMUX_SECONDS)
    return Terminal("" if answer.problem else answer.text.strip(), inside, sys.stderr.isatty())


def _facts(answer: Answer) -> tuple[dict[str, Any], str]:
    """What the child told until it ended, and what went wrong with it, if anything did."""
    facts: dict[str, Any] = {}
    for line in answer.text.splitlines():
        if line.startswith(MARK):
            with suppress(ValueError):  # cut off
                facts |= json.loads(line.removeprefix(MARK))
    problem = facts.pop("problem", "") or (answer.problem and _in_words(answer))
    return facts, str(problem)


def _in_words(answer: Answer) -> str:
    """How the child failed, without what it told before."""
    said = [line for line in answer.text.splitlines() if line.strip() and not line.startswith(MARK)]
    last = f": {said[-1][-200:]}" if said else ""
    return answer.problem.partition(": ")[0] + last
