"""Measures a written checkpoint through the project's own loader and pipeline, on a CPU or a GPU.

Each case's result is a line of `cases.jsonl` in the output folder, and those that are there are not made again: so an
evaluation may be cut off, and go on. `figures.json` and `card.md` follow from the lines; `curve.png` and `sheet.png`
are to be looked at.
"""

import json
import time
from collections.abc import Sequence
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from training import measure, whole
from training.cases import CURVE, Case, cases
from training.flow import shift_of
from wan_ddp.miniature import shrink
from wan_ddp.motion import compare, motion_of
from wan_ddp.references.manifests import DEMO_SAMPLING
from wan_ddp.references.pocket_world.drawing import draw, to_bytes
from wan_ddp.references.pocket_world.scenes import CAMERA, FIGURE, Scenes, draw_scenes
from wan_ddp.wan.checkpoint import find_checkpoint
from wan_ddp.wan.loading import Offload, load_pipeline
from wan_ddp.wan.pipeline import Generator
from wan_ddp.wan.prompts import encode_prompts, prompts_of

LINES, FIGURES, CARD, CURVE_PICTURE, SHEET = "cases.jsonl", "figures.json", "card.md", "curve.png", "sheet.png"
RECONSTRUCTION_SEED = 4
NUM_RECONSTRUCTED = 32


def evaluate(folder: Path, output: Path, device: str, workers: int, share: float, cfg_scale: float) -> dict[str, Any]:
    """Make and measure what is not measured yet, and write the figures, the pictures and the card into `output`."""
    output.mkdir(parents=True, exist_ok=True)
    identity = find_checkpoint(folder).identity
    wanted = cases(share, cfg_scale)
    known = _read_lines(output, identity)
    left = [case.name for case in wanted if case.digest not in known]
    print(f"{len(wanted)} videos, {len(left)} of them to make", flush=True)
    told = [(folder, output, device, share, cfg_scale, left[n::workers], identity) for n in range(workers)]
    if workers == 1:
        _work(*told[0])
    else:
        with get_context("spawn").Pool(workers) as pool:
            pool.starmap(_work, told)
    results = _read_lines(output, identity)
    figures = summarise([results[case.digest] for case in wanted])
    baseline = [case for case in wanted if case.group == "none"]
    figures["none_all_pairs"] = of_all_pairs(baseline, [read_frames(output, identity, case) for case in baseline])
    figures["reconstruction"] = reconstruction(folder, device, max(4, round(share * NUM_RECONSTRUCTED)))
    figures |= {"checkpoint": identity, "num_videos": len(wanted), **DEMO_SAMPLING, "cfg_scale": cfg_scale}
    figures["sigma_shift_of_noise"] = shift_of(has_reference=False)
    (output / FIGURES).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(figures, indent=2))
    from training import card

    card.write(folder, output, figures, wanted)
    return figures


def measure_case(case: Case, frames: NDArray[np.uint8]) -> dict[str, Any]:
    """What a case's video shows beside what it is to show."""
    seen = measure.seen_in(frames)
    asked = case.asked
    colours: list[int] = seen["colours"]
    wanted = int(asked.colour[0, 0])
    has_colour = bool(asked.num_objects[0]) or int(asked.category[0]) == FIGURE
    result: dict[str, Any] = {
        "background": seen["background"] == int(asked.background[0]),
        "colour": wanted in colours[: max(1, int(asked.num_objects[0]))] if has_colour else None,
    }
    if case.reference is None:
        return result
    reference = case.reference
    drawn = to_bytes(draw(reference))[0].numpy()
    if has_colour:
        result["reference_colour"] = bool(colours) and colours[0] == int(reference.colour[0, 0])
        if int(reference.category[0]) != CAMERA:
            result["path"] = measure.likeness(_path_of(seen), _path_drawn(reference, drawn))
    motions = compare(*(motion_of(shrink(video)) for video in (frames, drawn)))
    result["likeness"] = motions.likeness
    if int(reference.category[0]) == CAMERA:
        result["camera"] = motions.camera_likeness
    return result


def _path_of(seen: dict[str, Any]) -> measure.Path | None:
    """Of the object that most pixels show."""
    return measure.path_of(seen["masks"], seen["colours"][0]) if seen["colours"] else None


def _path_drawn(reference: Scenes, drawn: NDArray[np.uint8]) -> measure.Path | None:
    masks = measure.colour_masks(drawn, int(reference.background[0]))
    return measure.path_of(masks, int(reference.colour[0, 0]))


def of_all_pairs(baseline: Sequence[Case], videos: Sequence[NDArray[np.uint8]]) -> dict[str, float | None]:
    """How like videos that were made without a reference are to each of the references, on average.

    Beside their own references alone, a few pairs, a model's favourite motions look like a likeness or its opposite.
    """
    paths: list[list[Any]] = [[], []]
    cameras: list[list[Any]] = [[], []]
    for case, video in zip(baseline, videos, strict=True):
        assert case.reference is not None
        drawn = to_bytes(draw(case.reference))[0].numpy()
        if int(case.reference.category[0]) == CAMERA:
            for held, frames in zip(cameras, (video, drawn), strict=True):
                held.append(motion_of(shrink(frames)))
        else:
            paths[0].append(_path_of(measure.seen_in(video)))
            paths[1].append(_path_drawn(case.reference, drawn))
    return {
        "path": _mean([measure.likeness(found, known) for found, known in product(*paths)]),
        "camera": _mean([compare(found, known).camera_likeness for found, known in product(*cameras)]),
    }


def summarise(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means by group of cases."""
    groups: dict[str, dict[str, Any]] = {}
    for group in dict.fromkeys(result["group"] for result in results):
        held = [result["measured"] for result in results if result["group"] == group]
        names = dict.fromkeys(name for measured in held for name in measured)
        groups[group] = {"num_videos": len(held)} | {name: _mean([m.get(name) for m in held]) for name in names}
        if group == "text":
            groups[group]["both"] = _mean([m["background"] and m["colour"] is not False for m in held])
    # Of a CPU its own time: how many videos are made beside one another is no matter of the model.
    on_cpu = bool(results) and results[0]["device"] == "cpu"
    seconds = [result["cpu_seconds" if on_cpu else "seconds"] for result in results]
    return {"groups": groups, "seconds_a_video": _mean(seconds), "device": results[0]["device"] if results else None}


@torch.no_grad()
def reconstruction(folder: Path, device: str, count: int) -> dict[str, float]:
    """PSNR in dB of clips through the checkpoint's VAE: over all frames, and the least of any frame's mean."""
    pipe = load_pipeline([(find_checkpoint(folder).vae,)], None, device=device, offload=Offload())
    errors = []
    for start in range(0, count, 4):
        video = to_bytes(draw(draw_scenes(RECONSTRUCTION_SEED + start, 4), device)).float() / 127.5 - 1
        made = whole.decode(pipe.vae, whole.encode(pipe.vae, video.to(pipe.torch_dtype))).float()
        made = ((made + 1) * 127.5).clamp(0, 255).to(torch.uint8).float() / 127.5 - 1
        errors.append((((made - video) / 2) ** 2).mean(dim=(2, 3, 4)).cpu())
    by_frame = torch.cat(errors).clamp_min(1e-9)
    psnr = -10 * torch.log10(by_frame.mean(dim=1))
    last = -10 * torch.log10(by_frame[:, -1])
    return {
        "psnr": round(float(psnr.mean()), 2),
        "psnr_worst_clip": round(float(psnr.min()), 2),
        "psnr_last_frame": round(float(last.mean()), 2),
        "num_clips": len(psnr),
    }


def _work(
    folder: Path, output: Path, device: str, share: float, cfg_scale: float, names: list[str], identity: str
) -> None:
    """Make and measure the cases of these names, a line each."""
    if not names:
        return
    if device == "cpu":
        torch.set_num_threads(1)
    held = {case.name: case for case in cases(share, cfg_scale)}
    checkpoint = find_checkpoint(folder)
    embeddings = encode_prompts(checkpoint, prompts_of([held[name].job for name in names]), device=device)
    generator = Generator.load(checkpoint, embeddings, device=device)
    (output / "frames").mkdir(exist_ok=True)
    for name in names:
        case, begun, cpu = held[name], time.perf_counter(), time.process_time()
        made = generator.generate(case.job, case.clip(), control="as-is", on_step=lambda *_: None)
        seconds, cpu_seconds = time.perf_counter() - begun, time.process_time() - cpu
        line = {
            "name": name,
            "digest": case.digest,
            "group": case.group,
            "checkpoint": identity,
            "prompt": case.job.prompt,
            "device": "cpu" if device == "cpu" else torch.cuda.get_device_name(device),
            "seconds": round(seconds, 3),
            "cpu_seconds": round(cpu_seconds, 3),
            "measured": measure_case(case, made.frames),
        }
        np.savez_compressed(_frames_file(output, identity, case), frames=made.frames)
        with (output / LINES).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


def _frames_file(output: Path, checkpoint: str, case: Case) -> Path:
    return output / "frames" / f"{case.name}-{case.digest}-{checkpoint[:16]}.npz"


def read_frames(output: Path, checkpoint: str, case: Case) -> NDArray[np.uint8]:
    """A case's video, which the checkpoint of that identity has made."""
    frames: NDArray[np.uint8] = np.load(_frames_file(output, checkpoint, case))["frames"]
    return frames


def _read_lines(output: Path, identity: str) -> dict[str, dict[str, Any]]:
    path = output / LINES
    if not path.exists():
        return {}
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return {line["digest"]: line for line in lines if line["checkpoint"] == identity and "digest" in line}


def _mean(values: Sequence[Any]) -> float | None:
    known = [float(value) for value in values if value is not None]
    return round(sum(known) / len(known), 3) if known else None


def curve(figures: dict[str, Any]) -> list[dict[str, Any]]:
    """Motion and text over the strength."""
    groups = figures["groups"]
    return [{"strength": s} | groups[f"strength {s:g}"] for s in CURVE if f"strength {s:g}" in groups]
