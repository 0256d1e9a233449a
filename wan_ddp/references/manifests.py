"""The two manifests over the reference set: the experiment's 680 jobs, and a demo that two CPU cores finish."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from wan_ddp.references import catalogue
from wan_ddp.references.clip import DEMO, FULL, Clip, Format

SEEDS = (42, 142)
DEMO_SAMPLING = {"num_inference_steps": 20, "cfg_scale": 2.0, "sigma_shift": 1.0}
"""The pocket Wan's with v2v: ten seconds of one CPU core. So small a reference shows less through as much noise, and
its noise levels are not shifted. Guidance of 5, the large one's, leaves out objects."""


def texts() -> dict[str, str]:
    """The manifests' texts by file name."""
    demo_settings = {
        "width": DEMO.width,
        "height": DEMO.height,
        "num_frames": DEMO.num_frames,
        **DEMO_SAMPLING,
    }
    return {
        "all.jsonl": _text(_jobs(catalogue.CLIPS, "references", FULL)),
        "demo.jsonl": _text(_jobs(catalogue.DEMO_CLIPS, "references-demo", DEMO), demo_settings),
    }


def write(folder: Path) -> list[Path]:
    """Write the manifests into a folder and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, text in texts().items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
        paths.append(folder / name)
    return paths


def _jobs(clips: tuple[Clip, ...], folder: str, size: Format) -> Iterator[dict[str, object]]:
    """Jobs in the order of category, reference, prompt, seed; the catalogue is in that order already."""
    for clip in clips:
        for index, prompt in enumerate(clip.prompts):
            for seed in SEEDS:
                yield {
                    "category": clip.category,
                    "reference": f"../{folder}/{clip.path(size)}",
                    "prompt": prompt,
                    "prompt_index": index,
                    "seed": seed,
                }


def _text(jobs: Iterator[dict[str, object]], settings: Mapping[str, object] | None = None) -> str:
    return "".join(json.dumps(job | dict(settings or {}), ensure_ascii=False) + "\n" for job in jobs)
