"""The checkpoint's card and the pictures to be looked at, from an evaluation's figures."""

# ruff: noqa: E501 - lines of Markdown with values in them

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from training.cases import Case
from training.evaluate import CARD, CURVE_PICTURE, SHEET, curve, read_frames
from training.pictures import sheet
from training.vae import LATENT_STD
from training.write import TRAINED
from wan_ddp.references.pocket_world.scenes import SHARES
from wan_ddp.references.pocket_world.vocabulary import BACKGROUND_NAMES, COLOUR_NAMES, SHAPES
from wan_ddp.wan.checkpoint import find_checkpoint
from wan_ddp.wan.pocket_models import DIT, VAE


def write(folder: Path, output: Path, figures: dict[str, Any], made: Sequence[Case]) -> None:
    """Write the card, the plot of the strengths and the picture of some of the cases that were made into `output`."""
    (output / CARD).write_text(card(folder, figures), encoding="utf-8")
    if any(name.startswith("strength") for name in figures["groups"]):
        _plot(output / CURVE_PICTURE, figures)
    _show(output, figures["checkpoint"], made)


def card(folder: Path, figures: dict[str, Any]) -> str:
    """The card as Markdown."""
    checkpoint = find_checkpoint(folder)
    trained = json.loads((folder / TRAINED).read_text(encoding="utf-8")) if (folder / TRAINED).exists() else {}
    groups, made, by_chance = figures["groups"], figures["reconstruction"], figures["none_all_pairs"]
    text, v2v, none = (groups.get(name, {}) for name in ("text", "v2v", "none"))
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
    stages = "; ".join(
        f"{stage}: {progress['steps']} steps in {progress['seconds'] / 60:.1f} minutes on {progress['device']}"
        for stage, progress in trained.items()
        if progress.get("steps")
    )
    rows = "\n".join(
        f"| {row['strength']:g} | {_say(row.get('path'))} | {_say(row.get('camera'))} | {_say(row.get('colour'))} | "
        f"{_say(row.get('reference_colour'))} | {_say(row.get('background'))} |"
        for row in curve(figures)
    )
    return f"""# Pocket Wan

A Wan2.1 of {checkpoint.num_bytes / 2e6:.1f} million weights ({size:.1f} MB in bfloat16) in the published file layout: the same classes of
DiffSynth-Studio, the same kind of text encoder, DiT and VAE, small numbers. It makes 17 frames of 160x96 of a small
drawn world, on a CPU, and takes a motion from a reference as the large one does. It is for demos and tests.

| part | size |
|---|---|
| DiT | width {DIT["dim"]}, {DIT["num_heads"]} heads of 48, {DIT["num_layers"]} layers, feed-forward {DIT["ffn_dim"]} |
| text encoder | T5, width 128, 2 layers, a token a word |
| VAE | base width {VAE["dim"]}, {VAE["num_res_blocks"]} residual block a level, 16 channels, 8x8x4; latents of standard deviation {LATENT_STD:g} |

## Data

Clips that the project draws itself (`training/`, Apache-2.0 as all of it): camera, one object, two objects and a jointed
figure ({", ".join(f"{share:.0%}" for share in SHARES)}), before the backgrounds {", ".join(BACKGROUND_NAMES)}; objects are
{", ".join(COLOUR_NAMES)}, of the shapes {", ".join(shape.name for shape in SHAPES)}. Captions in English and Chinese, half of
them with words for the motion. Of each clip there is a double that moves alike and looks different, from which v2v is learnt.
No picture, video or text from elsewhere was used.

## Training

{stages}. `training/README.md` has the commands.

## Figures

On clips and prompts of other seeds, {figures["num_videos"]} videos through the project's own pipeline in
{figures["num_inference_steps"]} steps, guidance {figures["cfg_scale"]:g}, sigma_shift {figures["sigma_shift"]:g} with a reference and {figures["sigma_shift_of_noise"]:g} without, on {_device(figures["device"])}. A video took {_say(figures["seconds_a_video"])} s.

| what | figure | asked for |
|---|---|---|
| reconstruction by the VAE, 17 frames, PSNR | {made["psnr"]} dB (last frame {made["psnr_last_frame"]}) | 30 |
| text alone: the asked colour and background | {_say(text.get("both"))} ({_say(text.get("colour"))}, {_say(text.get("background"))}) | 0.85 |
| v2v at 0.75: the object's path beside the reference's | {_say(v2v.get("path"))} | 0.8 |
| v2v at 0.75: the camera's flow | {_say(v2v.get("camera"))} | 0.8 |
| v2v at 0.75: the asked colour | {_say(v2v.get("colour"))} | 0.7 |
| the same prompts without a reference, beside every reference: path, camera | {_say(by_chance["path"])}, {_say(by_chance["camera"])} | 0 |
| the same, beside the video's own reference alone | {_say(none.get("path"))}, {_say(none.get("camera"))} | |

| strength | path | camera | asked colour | reference's colour | asked background |
|---|---|---|---|---|---|
{rows}

![Motion and text over the strength](../../docs/pocket-strength.png)

What presets do to its videos: [docs/presets.md](../../docs/presets.md#what-they-do-to-a-trained-models-videos).

## Limits

It wants little guidance, and with a reference a schedule that is not shifted: `--cfg-scale {figures["cfg_scale"]:g} --sigma-shift {figures["sigma_shift"]:g}`, as the demo's manifest
has it. By a shift of 5 a reference's camera shows through less, by guidance of 5 text alone often leaves out the object; with `--mechanism
none` the shift is to be 5. Below a strength of 0.5 the reference's colours stay.

It knows the words above and no others: what else a prompt says is one unknown word. It knows one size and one length.
References that look otherwise than its clips are reconstructed less well.

Licence: Apache-2.0.
"""


def _device(name: str) -> str:
    return "one core of a CPU" if name == "cpu" else name


def _say(value: Any) -> str:
    return "none" if value is None else f"{value:g}"


def _plot(path: Path, figures: dict[str, Any]) -> None:
    from matplotlib.figure import Figure

    rows = curve(figures)
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot(xlabel="denoising_strength", ylabel="share, or correlation", ylim=(-0.1, 1.05))
    for name, label, style in (
        ("path", "object's path like the reference's", "-o"),
        ("camera", "camera's flow like the reference's", "-s"),
        ("colour", "object's colour as the prompt says", "--o"),
        ("background", "background as the prompt says", "--s"),
    ):
        known = [(row["strength"], row[name]) for row in rows if row.get(name) is not None]
        if known:
            axes.plot(*zip(*known, strict=True), style, label=label)
    axes.axvline(0.75, color="gray", linewidth=0.8)
    axes.legend(loc="lower center")
    figure.savefig(path, dpi=120)


def _show(output: Path, checkpoint: str, made: Sequence[Case], most: int = 20) -> None:
    """Reference and result side by side, and results of text alone below."""
    chosen = []
    for group in ("v2v", "text"):
        for case in [case for case in made if case.group == group][:most]:
            frames, clip = read_frames(output, checkpoint, case), case.clip()
            chosen.append([frames if clip is None else clip, frames])
    if chosen:
        sheet(chosen).save(output / SHEET)
