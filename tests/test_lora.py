"""A LoRA is fused as DiffSynth does it, is part of what a video is known by, and is refused where it does not fit."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from experiment import Experiment
from safetensors.torch import save_file

from wan_ddp.errors import ModelError, UnusableError
from wan_ddp.job import Conditions
from wan_ddp.preflight import conditions_of
from wan_ddp.settings import Lora, parse
from wan_ddp.wan.checkpoint import Checkpoint
from wan_ddp.wan.loading import Offload, load_pipeline
from wan_ddp.wan.lora import check_lora
from wan_ddp.wan.pipeline import Generator

LAYERS = {"blocks.0.self_attn.q": (96, 96), "blocks.1.ffn.0": (192, 96)}


def lora(path: Path, layers: Mapping[str, tuple[int, int]] = LAYERS, *, seed: int = 0, **more: torch.Tensor) -> Path:
    """A file with a pair of random matrices for each layer, as DiffSynth's and diffusers' trainers write them."""
    generator = torch.Generator().manual_seed(seed)
    tensors = dict(more)
    for index, (layer, (rows, columns)) in enumerate(layers.items()):
        prefix, rest = ("", ".weight") if index % 2 else ("diffusion_model.", ".default.weight")
        tensors[f"{prefix}{layer}.lora_B{rest}"] = torch.randn((rows, 4), generator=generator)
        tensors[f"{prefix}{layer}.lora_A{rest}"] = torch.randn((4, columns), generator=generator)
    save_file(tensors, path)
    return path


def weights(checkpoint: Checkpoint, *loras: tuple[Path, float]) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = Generator.load(checkpoint, {}, device="cpu", loras=loras).pipe.dit.state_dict()
    return found


def test_it_is_fused_as_diffsynth_does_it_and_one_after_another(checkpoint: Checkpoint, tmp_path: Path) -> None:
    first, second = lora(tmp_path / "a.safetensors"), lora(tmp_path / "b.safetensors", seed=1)
    pipe = load_pipeline([checkpoint.dit], None, device="cpu", offload=Offload())
    plain = {name: tensor.clone() for name, tensor in pipe.dit.state_dict().items()}
    pipe.load_lora(pipe.dit, str(first), alpha=0.5)
    pipe.load_lora(pipe.dit, str(second), alpha=1)
    theirs = pipe.dit.state_dict()
    ours = weights(checkpoint, (first, 0.5), (second, 1.0))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    changed = {name for name in ours if not torch.equal(ours[name], plain[name])}
    assert changed == {f"{layer}.weight" for layer in LAYERS}
    nothing = weights(checkpoint, (first, 0.0))
    assert all(torch.equal(nothing[name], plain[name]) for name in plain)


def test_what_fits_is_not_spoken_of(checkpoint: Checkpoint, tmp_path: Path) -> None:
    assert check_lora(lora(tmp_path / "a.safetensors"), checkpoint) == ""
    old = {"blocks.0.self_attn.q.lora_up.weight": torch.ones(96, 4), "blocks.0.self_attn.q.alpha": torch.tensor(4.0)}
    old["blocks.0.self_attn.q.lora_down.weight"] = torch.ones(4, 96)
    save_file(old, tmp_path / "old.safetensors")
    assert check_lora(tmp_path / "old.safetensors", checkpoint) == ""


def test_what_diffsynth_passes_by_is_said(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = lora(tmp_path / "a.safetensors", LAYERS | {"img_emb.proj": (8, 8)}, **{"blocks.0.ffn.0.diff": torch.ones(2)})
    assert check_lora(path, checkpoint) == (
        f"--lora {path}: DiffSynth fuses 4 of its 7 tensors, and has no use for the others"
    )


@pytest.mark.parametrize(
    ("layers", "why"),
    [
        (
            {"unet.down.0": (4, 4)},
            "fits no layer of tiny, the first of 2 tensors is diffusion_model.unet.down",
        ),
        ({}, "fits no layer of tiny; it is of another model, or no LoRA"),
        ({"blocks.0.self_attn.q": (5120, 5120)}, "of 5120 x 5120, which is 96 x 96 in tiny"),
    ],
)
def test_a_lora_of_another_model_is_refused(
    checkpoint: Checkpoint, tmp_path: Path, layers: Mapping[str, tuple[int, int]], why: str
) -> None:
    with pytest.raises(ModelError, match=why) as raised:
        check_lora(lora(tmp_path / "a.safetensors", layers), checkpoint)
    assert "\n" not in str(raised.value)


def test_a_file_that_is_damaged_or_not_there_is_refused(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = lora(tmp_path / "a.safetensors")
    os.truncate(path, path.stat().st_size - 1)
    with pytest.raises(ModelError, match=f"--lora {path} has .* bytes where its header promises"):
        check_lora(path, checkpoint)
    with pytest.raises(ModelError, match=r"none\.safetensors cannot be read: No such file"):
        check_lora(tmp_path / "none.safetensors", checkpoint)


def test_the_flag_takes_a_file_and_how_many_times_it_counts() -> None:
    flags = ["--lora", "a.safetensors", "--lora", "b.safetensors:0.5", "--lora", "C:/d.safetensors", "--lora", "e:-1"]
    expected = (("a.safetensors", 1.0), ("b.safetensors", 0.5), ("C:/d.safetensors", 1.0), ("e", -1.0))
    assert parse(flags, {}).lora == tuple(Lora(Path(path), alpha) for path, alpha in expected)
    assert parse([], {}).lora == ()
    for bad in ("a:nan", "a:inf", "", ":1"):
        with pytest.raises(UnusableError, match="--lora"):
            parse(["--lora", bad], {})


def conditions(folder: Path, *flags: str, read: bool = True) -> Conditions:
    return conditions_of(parse(["--output", str(folder / "out"), *flags], {}), "model", read=read)


def test_its_content_and_its_alpha_tell_videos_apart_and_its_place_does_not(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    first, second = lora(tmp_path / "a.safetensors"), lora(tmp_path / "b.safetensors", seed=1)
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(first.read_bytes())
    found = [conditions(tmp_path, "--lora", text).lora for text in (f"{first}", f"{second}", f"{first}:0.5")]
    assert len(set(found)) == 3
    assert conditions(tmp_path, "--lora", f"{copy}:1.0").lora == found[0]
    both = [
        conditions(tmp_path, "--lora", str(a), "--lora", str(b)).lora for a, b in ((first, second), (second, first))
    ]
    assert both[0] != both[1], "sums in bfloat16 depend on the order"


def test_a_dry_run_knows_a_lora_that_a_run_has_read(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    path = lora(tmp_path / "a.safetensors")
    assert conditions(tmp_path, "--lora", str(path), read=False).lora is None
    read = conditions(tmp_path, "--lora", str(path))
    assert conditions(tmp_path, "--lora", str(path), read=False) == read


def test_a_run_with_a_lora_makes_other_videos_and_says_which_it_used(tmp_path: Path) -> None:
    experiment = Experiment(tmp_path)
    experiment.add("camera_motion", "pan", seeds=[1])
    path = lora(tmp_path / "a.safetensors")

    missing = experiment.generate("--lora", "none.safetensors")
    assert missing.returncode == 2
    assert missing.stderr.splitlines()[-1].startswith("error: --lora none.safetensors cannot be read")
    made = experiment.generate("--lora", f"{path}:0.5")
    assert made.returncode == 0, made.stderr
    record = experiment.records()[0]
    assert record["lora"] == {str(path): 0.5}
    assert record["inputs"]["lora"][0].endswith(" x 0.5")
    changed = experiment.generate()
    assert changed.returncode == 2
    assert "lora was ['" in changed.stderr
