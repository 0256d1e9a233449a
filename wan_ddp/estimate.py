"""What a run will take: GPU time, disk and memory, from measurements where there are any."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from wan_ddp.job import Job

# Wan2.1-T2V-14B's DiT (https://huggingface.co/Wan-AI/Wan2.1-T2V-14B/blob/main/config.json). Of its 14 billion weights
# the keys and values of the cross-attention see only the prompt's tokens.
_WEIGHTS_PER_TOKEN, _WIDTH, _NUM_LAYERS = 12.2e9, 5120, 40
# Measured on one H100 80GB at 832x480 x 81 frames, DiffSynth 2.1.12 as it comes: benchmarks/RESULTS.md.
_H100_FLOP_PER_SECOND = 505e12
_OTHER_SECONDS_PER_PIXEL = 10.0 / (832 * 480 * 81)  # encode, decode and save
GIB_PER_RANK = 33.6
"""The peak of a rank that denoises with weights of its own and no text encoder."""
_BYTES_PER_PIXEL = 0.1  # H.264 at the quality that is written, ordinary content


@dataclass(frozen=True, slots=True)
class Estimate:
    """For the jobs that are still to do. `seconds` is the whole run's, with every rank busy to its end."""

    seconds: float
    num_bytes: float
    basis: str


def estimate(shards: Sequence[Sequence[Job]], num_gpus: int, measured_seconds: Sequence[float]) -> Estimate:
    """The time until the GPU with most to do is done; `measured_seconds` are those of videos made already."""
    num_bytes = sum(job.width * job.height * job.num_frames * _BYTES_PER_PIXEL for shard in shards for job in shard)
    if measured_seconds:
        per_video = median(measured_seconds)
        return Estimate(
            per_video * max(map(len, shards), default=0),
            num_bytes,
            f"{per_video:.0f} s a video, the median of those made",
        )
    ranks_per_gpu = -(-len(shards) // num_gpus)
    gpus = [shards[first : first + ranks_per_gpu] for first in range(0, len(shards), ranks_per_gpu)]
    busiest = max(sum(_h100_seconds(job) for shard in gpu for job in shard) for gpu in gpus)
    return Estimate(busiest, num_bytes, "Wan2.1-T2V-14B on H100, as DiffSynth comes")


def _h100_seconds(job: Job) -> float:
    """One video's time on a whole GPU: two ranks that share one take twice as long each."""
    tokens = ((job.num_frames - 1) // 4 + 1) * (job.height // 16) * (job.width // 16)
    flop = 2 * _WEIGHTS_PER_TOKEN * tokens + 4 * _NUM_LAYERS * _WIDTH * tokens**2
    num_forwards = job.num_inference_steps * (1 if job.cfg_scale == 1 else 2)
    pixels = job.width * job.height * job.num_frames
    return num_forwards * flop / _H100_FLOP_PER_SECOND + pixels * _OTHER_SECONDS_PER_PIXEL
