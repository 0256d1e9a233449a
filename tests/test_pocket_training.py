"""The pocket Wan's training: it computes what DiffSynth does, goes on where it stopped, writes what a run loads."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffsynth.models.wan_video_dit import AttentionModule
from diffsynth.pipelines.wan_video import model_fn_wan_video
from safetensors.torch import load_file
from torch.nn import functional

from training import dit, vae, whole
from training.budget import Budget
from training.captions import MAX_TOKENS, tokenize
from training.cases import Case
from training.evaluate import measure_case, of_all_pairs
from training.flow import real_rotary, sigmas_of
from training.state import load_weights, read_progress, save_weights
from training.write import write_checkpoint
from wan_ddp.errors import ModelError
from wan_ddp.job import Job
from wan_ddp.references.pocket_world.drawing import draw, to_bytes
from wan_ddp.references.pocket_world.scenes import SINGLE, draw_scenes
from wan_ddp.settings import ROOT, parse
from wan_ddp.wan.checkpoint import find_checkpoint
from wan_ddp.wan.pipeline import Generator
from wan_ddp.wan.prompts import encode_prompts, prompts_of

VAE = vae.VaeOptions(batch_scale=0.02, width=32, height=32, num_held_out=8)
DIT = dit.DitOptions(batch=2, pool=4, block=4, fresh_every=1, encode_batch=4, width=32, height=32, num_held_out=8)
JOB = Job(
    category="a",
    reference="r.mp4",
    prompt="a red ball on a meadow",
    prompt_index=0,
    seed=1,
    width=32,
    height=32,
    num_frames=17,
    num_inference_steps=1,
)


def steps(count: int, minutes: float = 1.0) -> Budget:
    return Budget(minutes, minutes, max_steps=count)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state after a step of each stage."""
    folder = tmp_path_factory.mktemp("state")
    torch.manual_seed(0)
    vae.train(folder, steps(1), "cpu", VAE)
    dit.train(folder, steps(1), "cpu", DIT)
    return folder


def test_all_frames_at_once_are_what_diffsynth_makes_of_them_piece_by_piece() -> None:
    torch.manual_seed(0)
    made = vae.make_vae()
    for parameter in made.model.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape)
    for num_frames in (1, 9):
        video = torch.randn(1, 3, num_frames, 16, 24)
        with torch.no_grad():
            theirs = made.model.encode(video, made.scale)
            ours = whole.encode(made, video.permute(0, 2, 3, 4, 1))
            torch.testing.assert_close(ours.permute(0, 4, 1, 2, 3), theirs, atol=1e-4, rtol=1e-4)
            pixels = whole.decode(made, ours).permute(0, 4, 1, 2, 3)
            torch.testing.assert_close(pixels, made.model.decode(theirs, made.scale), atol=1e-3, rtol=1e-3)


def test_to_rescale_the_latents_changes_no_pixel() -> None:
    torch.manual_seed(0)
    made = vae.make_vae()
    video = torch.rand(1, 5, 32, 32, 3) * 2 - 1
    with torch.no_grad():
        latents = whole.encode(made, video)
        pixels = whole.decode(made, latents)
        middle, factor = torch.randn(16), torch.rand(16) + 0.5
        vae.rescale(made, middle, factor)
        torch.testing.assert_close(whole.encode(made, video), (latents - middle) * factor, atol=1e-3, rtol=1e-3)
        torch.testing.assert_close(whole.decode(made, whole.encode(made, video)), pixels, atol=1e-3, rtol=1e-3)


def test_the_forward_of_the_training_is_that_of_the_pipeline() -> None:
    torch.manual_seed(0)
    denoiser = dit.make_denoiser()
    torch.nn.init.normal_(denoiser.dit.head.head.weight, std=0.05)
    latents, sigma = torch.randn(1, 16, 3, 4, 6), torch.tensor([0.7])
    tokens = tokenize(["一个红色的球 on a meadow"])
    with torch.no_grad():
        with real_rotary():
            ours = denoiser(latents, sigma, denoiser.encode(tokens))
        for block in denoiser.dit.blocks:
            block.cross_attn.attn = AttentionModule(block.cross_attn.num_heads)
        ids = functional.pad(tokens, (0, 512 - MAX_TOKENS))
        mask = (ids != 0).long()
        context = denoiser.text_encoder(ids, mask) * mask[..., None]
        theirs = model_fn_wan_video(denoiser.dit, latents=latents, timestep=sigma * 1000, context=context)
    assert theirs.std() > 0.1
    torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)


def test_on_the_way_begins_at_the_noised_reference_and_its_velocity_ends_at_the_clip() -> None:
    clean, reference, noise = torch.randn(3, 2, 16, 1, 2, 2)
    first = sigmas_of(20, 0.75, shift=5.0)[0].repeat(2)
    assert first[0] == pytest.approx(0.9375)
    state, velocity = dit.on_the_way(clean, reference, noise, first, first)
    torch.testing.assert_close(state, (1 - first[0]) * reference + first[0] * noise)
    torch.testing.assert_close(state - first[0] * velocity, clean)
    later, same = dit.on_the_way(clean, reference, noise, first / 3, first)
    torch.testing.assert_close(later, state + (first[0] / 3 - first[0]) * velocity)
    torch.testing.assert_close(same, velocity)
    state, velocity = dit.on_the_way(clean, reference, noise, first, torch.ones(2))
    torch.testing.assert_close(state, (1 - first[0]) * clean + first[0] * noise)
    torch.testing.assert_close(velocity, noise - clean)


def test_a_stage_that_was_cut_in_two_comes_to_the_same_weights(tmp_path: Path) -> None:
    ends = []
    for name, cuts in (("whole", (2,)), ("cut", (1, 1))):
        torch.manual_seed(0)
        for count in cuts:
            budget = steps(count, minutes=1e9)
            vae.train(tmp_path / name, budget, "cpu", replace(VAE, warmup_steps=0))
        ends.append({**load_weights(tmp_path / name, "vae"), **read_progress(tmp_path / name, "vae").figures})
    assert ends[0].keys() == ends[1].keys()
    for key, value in ends[0].items():
        torch.testing.assert_close(value, ends[1][key], atol=0, rtol=0)


def test_a_stage_goes_on_without_its_optimiser(trained: Path, tmp_path: Path) -> None:
    for name in ("dit", "dit-average", "vae-final"):
        save_weights(tmp_path, name, load_weights(trained, name))
    (tmp_path / "state.json").write_text((trained / "state.json").read_text())
    before = read_progress(tmp_path, "dit")
    after = dit.train(tmp_path, steps(1), "cpu", DIT)
    assert (before.steps, after.steps) == (1, 2)
    assert after.blocks > before.blocks  # no clip comes twice


def test_no_file_that_travels_is_too_large(trained: Path) -> None:
    files = [path for path in trained.iterdir() if path.suffix != ".pt"]
    assert len([path for path in files if not path.name.startswith(("vae-1", "vae-average"))]) <= 8
    assert max(path.stat().st_size for path in files) < 16_000_000


def test_the_written_checkpoint_is_what_a_run_loads_and_makes_a_video_of(trained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pocket"
    write_checkpoint(trained, folder)
    checkpoint = find_checkpoint(folder)
    assert checkpoint.name == "pocket"
    assert not checkpoint.random_weights
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 25_000_000
    embeddings = encode_prompts(checkpoint, prompts_of([JOB]), device="cpu")
    generator = Generator.load(checkpoint, embeddings, device="cpu")
    clip = np.full((17, 32, 32, 3), 128, np.uint8)
    made = generator.generate(JOB, clip, control="as-is", on_step=lambda *_: None)
    assert made.frames.shape == (17, 32, 32, 3)


def test_without_its_weights_the_pocket_model_says_what_is_missing(tmp_path: Path) -> None:
    settings = parse(["--model", "pocket", "--manifest", "m.jsonl"], {"WAN_MODEL_DIR": "/data/Wan2.1-T2V-14B"})
    assert settings.model_dir == ROOT / "wan_ddp" / "pocket"
    with pytest.raises(ModelError, match=r"trained weights are not there.*training/README.md"):
        find_checkpoint(tmp_path / "pocket")


def test_other_weights_of_the_same_shapes_are_another_checkpoint(trained: Path, tmp_path: Path) -> None:
    write_checkpoint(trained, tmp_path / "one")
    state = tmp_path / "state"
    for name in ("dit-average", "vae-final"):
        weights = load_weights(trained, name)
        save_weights(state, name, {key: value + 1 for key, value in weights.items()})
    (state / "state.json").write_text("{}")
    write_checkpoint(state, tmp_path / "other")
    one, other = (find_checkpoint(tmp_path / name) for name in ("one", "other"))
    assert one.identity != other.identity
    assert one.text_identity != other.text_identity
    assert set(load_file(one.vae)) == set(load_file(other.vae))


def test_a_clip_moves_like_itself_and_backwards_not() -> None:
    scenes = draw_scenes(5, 12)
    [scene, *_] = (scenes[[n]] for n in range(12) if int(scenes.category[n]) == SINGLE)
    case = Case("none-0", "none", JOB, scene, scene)
    clip = to_bytes(draw(scene))[0].numpy()
    assert measure_case(case, clip)["path"] == pytest.approx(1.0)
    assert of_all_pairs([case], [clip]) == {"path": 1.0, "camera": None}
    backwards = of_all_pairs([case, case], [clip, clip[::-1]])["path"]
    assert backwards is not None and backwards < 0.95
