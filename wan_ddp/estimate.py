"""What a run will take: GPU time, disk and memory, from measurements where there are any."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from statistics import median
from typing import Any

from wan_ddp.job import Job

# Wan2.1-T2V-14B's DiT (https://huggingface.co/Wan-AI/Wan2.1-T2V-14B/blob/main/config.json). Of its 14 billion weights
# the keys and values of the cross-attention see only the prompt's tokens.
_WEIGHTS_PER_TOKEN, _WIDTH, _NUM_LAYERS = 12.2e9, 5120, 40
# Measured on one H100 80GB at 832x480 x 81 frames, DiffSynth 2.1.12 as it comes: benchmarks/RESULTS.md.
_H100_FLOP_PER_SECOND = 505e12
_OTHER_SECONDS_PER_PIXEL = 10.0 / (832 * 480 * 81)  # encode, decode and save
# A server's processor in float32; two cores reach a tenth of it.
_CPU_FLOP_PER_SECOND = 1e12
_BYTES_PER_PIXEL = 0.1  # H.264 at the quality that is written, ordinary content
_NOISE_BYTES_PER_PIXEL = 0.8  # what random weights make: 26 MB a video

# Two ranks of Wan2.1-T2V-14B, each with weights of its own, keep 69.9 GiB of a GPU busy and 12.7 GB of host memory
# (benchmarks/RESULTS.md). On the GPU, what is neither weights nor CUDA's own grows with the video; how, was not
# measured: it is taken to be in proportion.
GIB_PER_RANK = 69.9 / 2
# What both take with one copy of the weights.
_ONE_COPY_GIB = 36.9
_CUDA_GIB = 1.0
_MEASURED_TOKENS = 21 * 30 * 52
_UNTILED_GIB_PER_TOKEN = 4.0 / _MEASURED_TOKENS
_HOST_GIB_PER_RANK = 12.7e9 / 2 / 2**30
_PROCESSES_GIB = 1.5  # a rank's supervisor, worker and reader around the tiny model, on the CPU
_GIB_PER_WEIGHT = 2 / 2**30  # bfloat16


@dataclass(frozen=True, slots=True)
class ModelSize:
    """What of a checkpoint decides memory and time. The defaults are Wan2.1-T2V-14B's."""

    num_weights: int = 14_288_491_584
    """Of the DiT."""
    width: int = _WIDTH
    num_text_weights: int = 5_680_910_336
    """Of the text encoder, which is gone before the DiT is loaded."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A short video that a pilot made: its job, with the steps that it had, what its parts took, and its size."""

    job: Job
    seconds: dict[str, float]
    """Of read, encode, denoise, decode and save."""
    num_bytes: int


@dataclass(frozen=True, slots=True)
class Samples:
    """What a pilot measured; `start_seconds` is what a rank takes before its first video."""

    videos: tuple[Sample, ...]
    start_seconds: float
    basis: str
    takes_turns: bool = False
    """Whether one rank of a GPU denoises at a time: not on the CPU."""

    def gpu_seconds(self, shards: Sequence[Sequence[Job]]) -> float:
        """The time of a GPU's ranks for their shards."""
        longest = max(map(self.shard_seconds, shards), default=0.0)
        if not self.takes_turns:
            return longest
        in_turn = sum(self.denoise_seconds(job) for shard in shards for job in shard)
        return max(longest, self.start_seconds + in_turn if in_turn else 0.0)

    def shard_seconds(self, shard: Sequence[Job]) -> float:
        """A rank's time for its shard. The videos of one reference, one after another, share its encoding."""
        seconds, reference = 0.0, None
        for job in shard:
            seconds += self.video_seconds(job)
            if job.mechanism != "none" and job.reference != reference:
                seconds += self._scaled(job, "read encode", _num_pixels)
                reference = job.reference
        return self.start_seconds + seconds if shard else 0.0

    def video_seconds(self, job: Job) -> float:
        """From its first step to its record, without the reading and encoding of its reference."""
        return self.denoise_seconds(job) + self._scaled(job, "decode inspect save", _num_pixels)

    def denoise_seconds(self, job: Job) -> float:
        return self._scaled(job, "denoise", _denoise_flop)

    def num_bytes(self, job: Job) -> float:
        return median(sample.num_bytes / _num_pixels(sample.job) for sample in self._near(job)) * _num_pixels(job)

    def _scaled(self, job: Job, parts: str, cost: Callable[[Job], float]) -> float:
        rates = [
            sum(sample.seconds.get(part, 0.0) for part in parts.split()) / cost(sample.job)
            for sample in self._near(job)
        ]
        return median(rates) * cost(job)

    def _near(self, job: Job) -> Sequence[Sample]:
        """The samples of the job's category, or all if it has none."""
        return [sample for sample in self.videos if sample.job.category == job.category] or self.videos


@dataclass(frozen=True, slots=True)
class Estimate:
    """For the jobs that are still to do. `seconds` is the whole run's, with every rank busy to its end."""

    seconds: float
    num_bytes: float
    basis: str
    is_measured: bool = True


def estimate(
    shards: Sequence[Sequence[Job]],
    num_gpus: int,
    made: Sequence[tuple[Job, float]],
    samples: Samples | None = None,
    size: ModelSize | None = None,
) -> Estimate:
    """The time until the GPU with most to do is done.

    `made` are videos of this run with the seconds that each took; without any, the samples of a pilot count, and
    without those what an H100 takes for a model of that size (Wan2.1-T2V-14B).
    """
    kinds = [list(_by_kind(shard).values()) for shard in shards]
    if samples:
        num_bytes = sum(samples.num_bytes(job) for shard in shards for job in shard)
    else:
        num_bytes = sum(number * video_bytes(job) for shard in kinds for job, number in shard)
    if made:
        # Against the H100, because a long video among short ones tells nothing of their time.
        speed = median(seconds / h100_seconds(job) for job, seconds in made)
        seconds_of = [sum(number * speed * h100_seconds(job) for job, number in shard) for shard in kinds]
        busiest = max(seconds_of, default=0.0)
        basis = f"{median(seconds for _, seconds in made):.0f} s a video, the median of those made"
        return Estimate(busiest, num_bytes, basis)
    ranks_per_gpu = -(-len(shards) // num_gpus)
    groups = range(0, len(shards), ranks_per_gpu)
    gpus = [shards[first : first + ranks_per_gpu] for first in groups]
    if samples:
        return Estimate(max(map(samples.gpu_seconds, gpus), default=0.0), num_bytes, samples.basis)
    busiest = max(
        sum(number * h100_seconds(job, size) for shard in kinds[first : first + ranks_per_gpu] for job, number in shard)
        for first in groups
    )
    basis = "Wan2.1-T2V-14B on H100, as DiffSynth comes"
    if size not in (None, ModelSize()):
        basis = f"in proportion to {basis}"
    return Estimate(busiest, num_bytes, basis, is_measured=False)


def _by_kind(jobs: Sequence[Job]) -> dict[Any, tuple[Job, int]]:
    """One job of each kind that takes another time, and how many there are: a million are of a few kinds."""
    kinds: dict[Any, tuple[Job, int]] = {}
    for kind, following in groupby(jobs, _kind):
        job, *others = following
        kinds[kind] = job, kinds.get(kind, (job, 0))[1] + 1 + len(others)
    return kinds


_kind = attrgetter("num_frames", "width", "height", "num_inference_steps", "cfg_scale")


def h100_seconds(job: Job, size: ModelSize | None = None) -> float:
    """One video's time on a whole GPU: two ranks that share one take twice as long each."""
    other = _num_pixels(job) * _OTHER_SECONDS_PER_PIXEL
    return _denoise_flop(job) * _share(size) / _H100_FLOP_PER_SECOND + other


def cpu_step_seconds(job: Job, size: ModelSize) -> float:
    """The least that one step of the video takes without a GPU."""
    return _denoise_flop(job) * _share(size) / job.num_inference_steps / _CPU_FLOP_PER_SECOND


def video_bytes(job: Job, *, noise: bool = False) -> float:
    """The file of a video, before any was made; with `noise`, of one by random weights."""
    return _num_pixels(job) * (_NOISE_BYTES_PER_PIXEL if noise else _BYTES_PER_PIXEL)


def rank_gib(job: Job, size: ModelSize, *, tiled: bool) -> float:
    """The most GPU memory that a rank takes for a video, all of its weights on the GPU, in GiB.

    Measured for Wan2.1-T2V-14B at 832x480 x 81 frames alone; the rest is scaled from there.
    """
    growing = GIB_PER_RANK - _CUDA_GIB - weights_gib(ModelSize())
    share = _num_tokens(job) * size.width / (_MEASURED_TOKENS * _WIDTH)
    denoising = weights_gib(size) + growing * share
    decoding = 0.0 if tiled else _num_tokens(job) * _UNTILED_GIB_PER_TOKEN
    return _CUDA_GIB + max(denoising + decoding, size.num_text_weights * _GIB_PER_WEIGHT)


def one_copy_gib(job: Job, size: ModelSize, num_ranks: int, *, tiled: bool, in_float8: bool) -> float:
    """The most GPU memory that the ranks of a GPU take together, with one copy of the weights, in GiB.

    In float8 the DiT's weights are half as large once they are loaded. The text encoder is gone before.
    """
    weights = weights_gib(size)
    held = weights * (0.54 if in_float8 else 1.0)
    growing = (_ONE_COPY_GIB - weights_gib(ModelSize())) / 2 - _CUDA_GIB
    share = _num_tokens(job) * size.width / (_MEASURED_TOKENS * _WIDTH)
    decoding = 0.0 if tiled else _num_tokens(job) * _UNTILED_GIB_PER_TOKEN
    at_work = held + num_ranks * (_CUDA_GIB + growing * share + decoding)
    return max(at_work, _CUDA_GIB + max(weights, size.num_text_weights * _GIB_PER_WEIGHT))


def weights_gib(size: ModelSize) -> float:
    """The DiT's weights, as a rank holds them."""
    return size.num_weights * _GIB_PER_WEIGHT


def rank_host_gib(size: ModelSize) -> float:
    """The most host memory that a rank on a GPU takes, in GiB: its processes, and weights on their way to the GPU."""
    weights = max(size.num_weights, size.num_text_weights) / ModelSize().num_weights
    return _PROCESSES_GIB + (_HOST_GIB_PER_RANK - _PROCESSES_GIB) * weights


def _share(size: ModelSize | None) -> float:
    return 1.0 if size is None else size.num_weights / ModelSize().num_weights


def _num_tokens(job: Job) -> int:
    return ((job.num_frames - 1) // 4 + 1) * (job.height // 16) * (job.width // 16)


def _num_pixels(job: Job) -> int:
    return job.width * job.height * job.num_frames


def _denoise_flop(job: Job) -> float:
    """Of all the forwards of Wan2.1-T2V-14B's DiT that the video takes."""
    tokens = _num_tokens(job)
    forward = 2 * _WEIGHTS_PER_TOKEN * tokens + 4 * _NUM_LAYERS * _WIDTH * tokens**2
    return job.num_inference_steps * (1 if job.cfg_scale == 1 else 2) * forward
