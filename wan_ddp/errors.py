"""What can go wrong, one class for each thing that a caller handles, and the exit codes of the commands."""

from typing import ClassVar, Literal

EXIT_COMPLETE = 0
EXIT_INCOMPLETE = 1
EXIT_UNUSABLE = 2
# A worker's, when the process that holds its weights dies: EX_TEMPFAIL of sysexits.h.
EXIT_WEIGHTS_LOST = 75

FailureKind = Literal["bad_input", "out_of_memory", "io", "worker_died", "hang", "gpu", "error"]


class WanDdpError(Exception):
    """The base of every error that this project raises on purpose; its text is one clear line for a person."""


class UnusableError(WanDdpError):
    """The command, manifest, model or machine cannot be used: said before any GPU work, exit code 2."""


class ManifestError(UnusableError):
    """A manifest with problems. `problems` holds one `file:line: what is wrong; what is allowed` each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class ModelError(UnusableError):
    """Model files are missing or damaged, or the checkpoint cannot do what the jobs ask of it."""


class MachineError(UnusableError):
    """This machine cannot run the command: too few GPUs for the ranks, a disk that is full or read-only."""


class JobError(WanDdpError):
    """One job failed; the others go on. `kind` is what `report.json` says of it."""

    kind: ClassVar[FailureKind] = "error"


class BadInputError(JobError):
    """What the job was given cannot be used (an unreadable reference, say); trying again would not help."""

    kind: ClassVar[FailureKind] = "bad_input"


class StorageError(JobError):
    """The output could not be written: a full disk, a read-only folder, something in the way."""

    kind: ClassVar[FailureKind] = "io"


class DiskFullError(StorageError):
    """The output could not be written because there is no room for it, on the disk or in a quota."""


class SupersededError(WanDdpError):
    """Another process has taken the job over: what this one makes of it is not wanted any more."""


class OutOfGpuMemoryError(JobError):
    """The GPU had not enough memory for the job."""

    kind: ClassVar[FailureKind] = "out_of_memory"


class GpuError(JobError):
    """CUDA reported an error that this process will not recover from."""

    kind: ClassVar[FailureKind] = "gpu"


class Stopped(BaseException):
    """SIGTERM or SIGINT arrived. Not an Exception: no job's error handling may swallow it."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"stopped by signal {signal_number}")
        self.signal_number = signal_number

    @property
    def exit_code(self) -> int:
        return 128 + self.signal_number
