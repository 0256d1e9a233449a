"""What was found on a machine: frozen values that `probe` makes and `checks` judges. `problem`: why there is none."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Python:
    version: tuple[int, int, int]
    executable: str


@dataclass(frozen=True, slots=True)
class Packages:
    """Of requirements.txt: those that are not installed, and those of other versions than it asks for."""

    lacking: tuple[str, ...] = ()
    unfit: tuple[str, ...] = ()
    problem: str = ""
    """What happened when a process imported what a worker does."""


@dataclass(frozen=True, slots=True)
class Torch:
    """`cuda` is the version that torch was built with, empty for a build without; `driver_cuda` the newest that the
    driver can, empty without one; `num_gpus` the GPUs that a run sees; `architectures` such as sm_90."""

    version: str = ""
    cuda: str = ""
    driver_cuda: str = ""
    num_gpus: int = 0
    architectures: tuple[str, ...] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Gpu:
    index: int
    uuid: str
    name: str
    total_gib: float
    used_gib: float
    capability: str = ""
    """Such as 9.0."""
    compute_mode: str = "Default"
    mig: bool = False


@dataclass(frozen=True, slots=True)
class Driver:
    """What nvidia-smi says of the GPUs that a run may use; `is_missing` if there is no nvidia-smi."""

    gpus: tuple[Gpu, ...] = ()
    version: str = ""
    problem: str = ""
    is_missing: bool = False


@dataclass(frozen=True, slots=True)
class Processor:
    """The cores that this process may use; `omp_num_threads` as it stands in the environment."""

    num_cores: int
    omp_num_threads: str | None = None


@dataclass(frozen=True, slots=True)
class HostMemory:
    """In GiB; `limit` names what sets the total: the machine, or a control group (a container, a Slurm job)."""

    total_gib: float
    available_gib: float
    limit: str = "the machine"


@dataclass(frozen=True, slots=True)
class Folder:
    """The output folder, written to. `skew_seconds`: how far its file server's clock is ahead of this machine's.

    `takes` is false where so many bytes as one video has could not be written: a quota, where the disk has room.
    """

    path: Path
    problem: str = ""
    free_bytes: int = 0
    free_files: int | None = None
    takes: bool = True
    skew_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Scratch:
    """Folders that libraries write to. The problem of each is why they cannot."""

    temporary: str
    temporary_problem: str = ""
    home: str = ""
    home_problem: str = ""


@dataclass(frozen=True, slots=True)
class Ffmpeg:
    path: str = ""
    version: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Mps:
    """NVIDIA's Multi-Process Service: whether its control daemon answers, and whether it is installed."""

    is_running: bool
    is_installed: bool


@dataclass(frozen=True, slots=True)
class Terminal:
    """`inside` names what keeps a run alive when the connection drops: tmux, screen, a Slurm job."""

    tmux: str = ""
    inside: str = ""
    is_terminal: bool = False


@dataclass(frozen=True, slots=True)
class Reference:
    """One reference, read as a job would."""

    path: str
    found: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Machine:
    python: Python
    packages: Packages
    torch: Torch
    driver: Driver
    processor: Processor
    memory: HostMemory
    folder: Folder
    scratch: Scratch
    ffmpeg: Ffmpeg
    mps: Mps
    terminal: Terminal
