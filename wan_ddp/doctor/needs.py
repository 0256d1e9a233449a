"""What a plan needs of the machine, in figures: measured by a pilot where there was one, else estimated."""

from dataclasses import dataclass

from wan_ddp.estimate import ModelSize, one_copy_gib, rank_gib, rank_host_gib, weights_gib
from wan_ddp.job import Job

MEASURED_JOB = Job("any", "any", "any", 0, 0)
_SMALL_WEIGHTS = 100_000_000
# The saved steps of a video under way, and what is half written.
_BYTES_PER_RANK = 16 * 2**20


@dataclass(frozen=True, slots=True)
class Needs:
    """For the jobs that are to do, on this machine. `largest` is the job of the most frames x pixels of them."""

    model: str
    num_ranks: int
    ranks_per_gpu: int
    on_gpu: bool
    size: ModelSize = ModelSize()  # noqa: RUF009 - it is frozen
    largest: Job = MEASURED_JOB
    num_to_do: int = 0
    num_jobs: int = 0
    video_bytes: float = 0.0
    """Of all videos to do; `is_disk_measured` if a pilot made some."""
    is_disk_measured: bool = False
    seconds: float = 0.0
    basis: str = ""
    tiled: bool = True
    offload: bool = False
    one_copy: bool = False
    """Whether the ranks of a GPU share their weights, which are in float8 where `in_float8`."""
    in_float8: bool = False
    step_timeout: float = 900.0
    measured_gib: float | None = None
    """Of GPU memory, with all ranks of a GPU at work, by a pilot."""

    @property
    def is_small(self) -> bool:
        """Whether the model is one that a CPU can do: one of the project's own."""
        return self.size.num_weights < _SMALL_WEIGHTS

    @property
    def ranks_on_gpu(self) -> int:
        return min(self.ranks_per_gpu, self.num_ranks)

    @property
    def rank_gib(self) -> float:
        return rank_gib(self.largest, self.size, tiled=self.tiled)

    @property
    def gpu_gib(self) -> float:
        """Of each GPU's memory, with its ranks at work."""
        return self._gib_of(self.ranks_on_gpu) if self.measured_gib is None else self.measured_gib

    def num_fitting(self, total_gib: float) -> int:
        """How many ranks a GPU of that much memory takes, of those that are asked for."""
        return max((ranks for ranks in range(1, self.ranks_on_gpu + 1) if self._gib_of(ranks) <= total_gib), default=0)

    def _gib_of(self, num_ranks: int) -> float:
        if self.one_copy:
            return one_copy_gib(self.largest, self.size, num_ranks, tiled=self.tiled, in_float8=self.in_float8)
        return num_ranks * self.rank_gib

    @property
    def gpu_weights_gib(self) -> float:
        """What of it are weights."""
        return (1 if self.one_copy else self.ranks_on_gpu) * weights_gib(self.size)

    @property
    def is_gib_measured(self) -> bool:
        """Whether the figure was measured: with this model at this size, or by a pilot."""
        as_measured = rank_gib(MEASURED_JOB, ModelSize(), tiled=True)
        return self.measured_gib is not None or (self.size == ModelSize() and self.rank_gib <= as_measured)

    @property
    def gib_basis(self) -> str:
        if self.measured_gib is not None:
            return "measured by the pilot"
        return "measured" if self.is_gib_measured else "in proportion to Wan2.1-T2V-14B at 832x480 x 81 frames"

    @property
    def frames(self) -> str:
        return f"{self.largest.width}x{self.largest.height} x {self.largest.num_frames} frames"

    @property
    def host_gib(self) -> float:
        """Of host memory, for all ranks of this machine."""
        rank = rank_host_gib(self.size)
        if not self.on_gpu:
            rank += self.rank_gib
        elif self.offload:
            rank += weights_gib(self.size)
        return self.num_ranks * rank

    @property
    def disk_bytes(self) -> float:
        return self.video_bytes + self.num_ranks * _BYTES_PER_RANK if self.num_to_do else 0.0
