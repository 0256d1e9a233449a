"""A whole video by presets beside the same one by DiffSynth as it comes, in one process: seconds, ratio, peak memory.

usage: python -m benchmarks.whole_video CHECKPOINT_FOLDER [--preset fast fast+flash3_fp8] [--steps 50]

Both sides start warm and end with the file. DiffSynth's own call is that of its examples; its time is measured at 4 and
at 12 steps and goes on in a straight line, since 50 would take six minutes. Random weights (`python -m wan_ddp
checkpoint make`) say all of speed. One GPU of 80 GB at the true 14B shapes.
"""

import argparse
import gc
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import cast, get_args

import torch
from diffsynth.utils.data import save_video

from benchmarks.forward import seconds_of
from wan_ddp.job import Job
from wan_ddp.presets import MEANINGS, Attention, Preset, computed_steps
from wan_ddp.video import write_mp4
from wan_ddp.wan.checkpoint import Checkpoint, find_checkpoint
from wan_ddp.wan.loading import Offload, load_pipeline
from wan_ddp.wan.pipeline import Generator
from wan_ddp.wan.prompts import encode_prompts, prompts_of

FEW, MORE = 4, 12
Variant = tuple[Preset, Attention]
FPS = 15


def peak_gib() -> float:
    """Since the last call."""
    if not torch.cuda.is_available():
        return 0.0
    peak = torch.cuda.max_memory_allocated() / 2**30
    torch.cuda.reset_peak_memory_stats()
    return peak


def plain_seconds(found: Checkpoint, job: Job, device: str, folder: Path) -> float:
    """Of the job's video, by DiffSynth's own call."""
    files = [found.dit, (found.text_encoder,), (found.vae,)]
    pipe = load_pipeline(files, found.tokenizer, device=device, offload=Offload())

    def make(num_steps: int) -> None:
        video = pipe(
            prompt=job.prompt,
            negative_prompt=job.negative_prompt,
            seed=job.seed,
            width=job.width,
            height=job.height,
            num_frames=job.num_frames,
            cfg_scale=job.cfg_scale,
            num_inference_steps=num_steps,
        )
        save_video(video, str(folder / "plain.mp4"), fps=FPS)

    make(1)
    peak_gib()
    few, more = (seconds_of(lambda steps=steps: make(steps), 1) for steps in (FEW, MORE))
    step = (more - few) / (MORE - FEW)
    seconds = more + (job.num_inference_steps - MORE) * step
    measured = f"{few:.1f} s at {FEW} steps, {more:.1f} s at {MORE}, {step:.2f} s a step"
    print(f"plain: {measured}", flush=True)
    return seconds


def variant_seconds(found: Checkpoint, job: Job, device: str, variant: Variant, folder: Path) -> float:
    """Of the job's video, by the project's own way with a preset."""
    preset, attention = variant
    embeddings = encode_prompts(found, prompts_of([job]), device=device)
    generator = Generator.load(found, embeddings, device=device, preset=preset, attention=attention)

    def make(wanted: Job) -> None:
        made = generator.generate(wanted, None, control="as-is", on_step=lambda *_: None)
        write_mp4(folder / "made.mp4", made.frames, FPS)

    make(replace(job, num_inference_steps=1))  # compiles
    peak_gib()
    return seconds_of(lambda: make(job), 1)


def parse_variant(text: str) -> Variant:
    """The preset and the attention of what a fingerprint says, such as fast or fast+flash3_fp8."""
    preset, _, attention = text.partition("+")
    preset, attention = cast(Preset, preset), cast(Attention, attention or "auto")
    if preset not in MEANINGS or attention not in get_args(Attention):
        raise argparse.ArgumentTypeError(
            f"{text!r} is none of {', '.join(MEANINGS)}, by itself or with +flash3_fp8, say"
        )
    return preset, attention


def main(arguments: argparse.Namespace) -> None:
    width, height, num_frames = map(int, arguments.size.split("x"))
    job = Job("camera_motion", "none.mp4", "a fox in the snow", 0, 42, mechanism="none", denoising_strength=1.0)
    size = {"width": width, "height": height, "num_frames": num_frames}
    job = replace(job, **size, num_inference_steps=arguments.steps)
    found = find_checkpoint(arguments.checkpoint)
    device = "cuda:0" if torch.cuda.is_available() else "cpu"
    print(f"{torch.cuda.get_device_name() if device != 'cpu' else 'CPU'}, torch {torch.__version__}, {found.name}")
    with tempfile.TemporaryDirectory() as folder:
        plain = plain_seconds(found, job, device, Path(folder))
        print(f"{plain:8.1f} s  plain, peak {peak_gib():.1f} GiB", flush=True)
        for variant in arguments.preset:
            gc.collect()
            torch.cuda.empty_cache()
            seconds = variant_seconds(found, job, device, variant, Path(folder))
            computed = sum(computed_steps(arguments.steps)) if variant[0] == "fast" else arguments.steps
            told = f"{computed} of {arguments.steps} steps computed, peak {peak_gib():.1f} GiB"
            print(f"{seconds:8.1f} s  {'+'.join(variant)}: {plain / seconds:.2f}x faster; {told}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    told = "such as fp8, fast or fast+flash3_fp8 (default: fast)"
    parser.add_argument("--preset", type=parse_variant, nargs="+", default=[("fast", "auto")], help=told)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--size", default="832x480x81", help="WIDTHxHEIGHTxFRAMES (default: %(default)s)")
    main(parser.parse_args())
