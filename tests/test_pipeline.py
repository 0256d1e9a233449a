"""Videos made through the caches are, byte for byte, those of a direct call of DiffSynth's pipeline."""

import dataclasses
import gc
import socket
import weakref
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffsynth.pipelines.wan_video import ModelConfig, WanVideoPipeline
from PIL import Image
from safetensors.torch import load_file

from wan_ddp.errors import GpuError, JobError, OutOfGpuMemoryError, Stopped
from wan_ddp.job import Control, Job, Mechanism
from wan_ddp.wan.checkpoint import TEXT_ENCODER, Checkpoint, find_checkpoint
from wan_ddp.wan.control import control_frames
from wan_ddp.wan.gpu import use_device
from wan_ddp.wan.loading import Offload, dtype_of
from wan_ddp.wan.pipeline import ARGUMENTS, Generator, _to_frames
from wan_ddp.wan.prompts import encode_prompts, prompts_of
from wan_ddp.wan.random_checkpoint import make_checkpoint
from wan_ddp.wan.units import REFERENCES_KEPT

CUDA = pytest.param("cuda:0", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"))
DEVICES = ["cpu", CUDA]
# 4x32 latents: the smallest kind of size that DiffSynth's VAE tiles of 52x30 latents do not cover.
JOB = Job(
    category="a",
    reference="r.mp4",
    prompt="a cat walks 一只猫在走",
    prompt_index=0,
    seed=42,
    width=32,
    height=256,
    num_frames=5,
    num_inference_steps=2,
)
SMALL = dataclasses.replace(JOB, height=32, num_inference_steps=1)
OTHER = dataclasses.replace(JOB, prompt="一艘船在海上航行，" * 60, seed=142, denoising_strength=0.5)
CAN_DO = [
    ("tiny", "v2v"),
    ("tiny", "none"),
    ("tiny-vace", "v2v"),
    ("tiny-vace", "none"),
    ("tiny-vace", "vace"),
    ("tiny-fun-control", "fun_control"),
]

Find = Callable[[str], Checkpoint]
Save = Callable[[], bytes]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Find:
    folder = tmp_path_factory.mktemp("checkpoints")

    def find(name: str) -> Checkpoint:
        make_checkpoint(folder / name, name)
        return find_checkpoint(folder / name)

    return find


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("something asks for the network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture
def clip() -> np.ndarray:
    """Noise on a moving ramp: (5, 256, 32, 3)."""
    return make_clip(JOB)


def make_clip(job: Job, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 60, (job.num_frames, job.height, job.width, 3))
    ramp = np.arange(job.height)[None, :, None, None] * 180 // job.height
    return (noise + ramp + 3 * np.arange(job.num_frames)[:, None, None, None]).astype(np.uint8)


def load(found: Checkpoint, *jobs: Job, device: str = "cpu", **options: Any) -> Generator:
    offload = options.get("offload")
    embeddings = encode_prompts(found, prompts_of(jobs or (JOB, OTHER)), device=device, offload=offload)
    return Generator.load(found, embeddings, device=device, **{"preset": "plain"} | options)


def frames_of(generator: Generator, job: Job, clip: np.ndarray | None, control: Control = "as-is") -> np.ndarray:
    return generator.generate(job, clip, control=control, on_step=lambda *step: None).frames


def plain_pipeline(found: Checkpoint, device: str = "cpu") -> WanVideoPipeline:
    """As DiffSynth's examples load it."""
    files = [[str(path) for path in found.dit], str(found.text_encoder), str(found.vae)]
    return WanVideoPipeline.from_pretrained(
        torch_dtype=dtype_of(device),
        device=device,
        model_configs=[ModelConfig(path=path) for path in files],
        tokenizer_config=ModelConfig(path=str(found.tokenizer)),
    )


def direct(pipe: WanVideoPipeline, job: Job, clip: np.ndarray | None, *, tiled: bool) -> np.ndarray:
    """The frames of a plain call, as DiffSynth's examples make it."""
    arguments: dict[str, Any] = {}
    if job.mechanism != "none":
        assert clip is not None
        arguments[ARGUMENTS[job.mechanism]] = [Image.fromarray(frame) for frame in clip]
    if job.mechanism == "v2v":
        arguments["denoising_strength"] = job.denoising_strength
    images = pipe(
        prompt=job.prompt,
        negative_prompt=job.negative_prompt,
        seed=job.seed,
        width=job.width,
        height=job.height,
        num_frames=job.num_frames,
        cfg_scale=job.cfg_scale,
        num_inference_steps=job.num_inference_steps,
        sigma_shift=job.sigma_shift,
        tiled=tiled,
        **arguments,
    )
    return np.stack([np.asarray(image) for image in images])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_values_become_pixels_as_diffsynth_makes_them(dtype: torch.dtype) -> None:
    video = (torch.rand((1, 3, 5, 64, 64), generator=torch.Generator().manual_seed(0)) * 2.2 - 1.1).to(dtype)
    theirs = WanVideoPipeline(device="cpu", torch_dtype=dtype).vae_output_to_video(video)
    assert np.array_equal(_to_frames(video, SMALL), np.stack([np.asarray(image) for image in theirs]))


def with_mechanism(job: Job, mechanism: Mechanism) -> Job:
    return dataclasses.replace(
        job, mechanism=mechanism, denoising_strength=job.denoising_strength if mechanism == "v2v" else 1.0
    )


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("tiled", [True, False])
@pytest.mark.parametrize(("name", "mechanism"), CAN_DO)
def test_frames_are_those_of_a_direct_call(
    checkpoint: Find, clip: np.ndarray, name: str, mechanism: Mechanism, tiled: bool, device: str
) -> None:
    found = checkpoint(name)
    assert mechanism in found.mechanisms
    generator = load(found, device=device, tiled=tiled)
    first, second = with_mechanism(JOB, mechanism), with_mechanism(OTHER, mechanism)
    given = None if mechanism == "none" else clip
    pipe = plain_pipeline(found, device)
    expected = [direct(pipe, job, given, tiled=tiled) for job in (first, second)]
    assert not np.array_equal(*expected)
    assert expected[0].std() > 10
    for job, frames in ((first, expected[0]), (second, expected[1])):
        np.testing.assert_array_equal(frames_of(generator, job, given), frames)


def test_the_test_size_is_tiled(checkpoint: Find, clip: np.ndarray) -> None:
    tiled, whole = (frames_of(load(checkpoint("tiny"), tiled=tiled), JOB, clip) for tiled in (True, False))
    assert not np.array_equal(tiled, whole)


def test_without_guidance_the_frames_are_the_same_too(checkpoint: Find, clip: np.ndarray) -> None:
    found = checkpoint("tiny")
    job = dataclasses.replace(JOB, cfg_scale=1.0)
    assert prompts_of([job]) == [job.prompt]
    result = load(found, job).generate(job, clip, control="as-is", on_step=lambda *step: None)
    np.testing.assert_array_equal(result.frames, direct(plain_pipeline(found), job, clip, tiled=True))
    assert result.measured["num_forwards"] == 2


@pytest.mark.parametrize(
    ("name", "mechanism"),
    [("tiny", "vace"), ("tiny", "fun_control"), ("tiny-vace", "fun_control")]
    + [("tiny-fun-control", mechanism) for mechanism in ("v2v", "none", "vace")],
)
def test_what_the_table_denies_diffsynth_cannot_do(
    checkpoint: Find, clip: np.ndarray, name: str, mechanism: Mechanism
) -> None:
    assert mechanism not in checkpoint(name).mechanisms
    with pytest.raises((RuntimeError, TypeError, AttributeError)):
        direct(plain_pipeline(checkpoint(name)), with_mechanism(JOB, mechanism), clip, tiled=False)


@pytest.mark.parametrize(("name", "mechanism"), [pair for pair in CAN_DO if pair[1] != "none"])
def test_a_reference_is_encoded_once(
    checkpoint: Find, name: str, mechanism: Mechanism, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = with_mechanism(SMALL, mechanism)
    generator = load(checkpoint(name), job)
    encodings = []
    encode = generator.pipe.vae.encode
    monkeypatch.setattr(generator.pipe.vae, "encode", lambda *args, **kw: encodings.append(1) or encode(*args, **kw))
    per_clip = 2 if mechanism == "vace" else 1
    for seed in (42, 142, 42):
        frames_of(generator, dataclasses.replace(job, seed=seed), make_clip(job))
    assert len(encodings) == per_clip
    for clip_seed in range(1, REFERENCES_KEPT + 1):
        frames_of(generator, job, make_clip(job, clip_seed))
    assert len(encodings) == per_clip * (1 + REFERENCES_KEPT)
    frames_of(generator, job, make_clip(job))
    assert len(encodings) == per_clip * (2 + REFERENCES_KEPT)


def test_what_a_video_took_is_measured(checkpoint: Find, clip: np.ndarray) -> None:
    steps = []
    result = load(checkpoint("tiny")).generate(JOB, clip, control="as-is", on_step=lambda *step: steps.append(step[:2]))
    assert steps == [(0, 2), (1, 2), (2, 2)]
    assert list(result.seconds) == ["encode", "turn", "denoise", "decode"]
    assert all(seconds > 0 for seconds in result.seconds.values())
    # At strength 0.75 and shift 5 the first sigma is 5 * 0.75 / (1 + 4 * 0.75).
    per_forward = round(result.seconds["denoise"] / 4, 4)
    assert result.measured == {"num_forwards": 4, "seconds_per_forward": per_forward, "reference_share": 0.0625}


def test_a_pth_text_encoder_gives_the_same_embeddings(checkpoint: Find, tmp_path: Path) -> None:
    found = checkpoint("tiny")
    pth = tmp_path / f"{TEXT_ENCODER}.pth"
    torch.save(load_file(found.text_encoder), pth)
    expected = encode_prompts(found, [JOB.prompt, OTHER.prompt], device="cpu")
    embeddings = encode_prompts(dataclasses.replace(found, text_encoder=pth), expected, device="cpu")
    assert all(torch.equal(embeddings[prompt], expected[prompt]) for prompt in expected)
    assert [len(embedding) for embedding in expected.values()] == [len(JOB.prompt.encode()) + 1, 512]


def test_one_thread_or_two_make_the_same_frames_but_for_rounding(checkpoint: Find, clip: np.ndarray) -> None:
    generator = load(checkpoint("tiny"))
    alone = frames_of(generator, JOB, clip)
    torch.set_num_threads(2)  # on some processors a sum is made in another order then
    difference = np.abs(frames_of(generator, JOB, clip).astype(int) - alone)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 1e-3


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nmore"), OutOfGpuMemoryError),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), OutOfGpuMemoryError),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), GpuError),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), GpuError),
        (RuntimeError("The size of tensor a must match"), RuntimeError),
        (Stopped(15), Stopped),
    ],
)
def test_errors_get_names_and_leave_the_generator_usable(
    checkpoint: Find, error: BaseException, expected: type[BaseException]
) -> None:
    def fail(step: int, num_steps: int, save: Save) -> None:
        if step == 1:
            raise error

    generator = load(checkpoint("tiny"), SMALL)
    with pytest.raises(expected) as caught:
        generator.generate(SMALL, make_clip(SMALL), control="as-is", on_step=fail)
    assert type(caught.value) is expected
    if isinstance(caught.value, JobError):
        assert SMALL.id in str(caught.value)
        assert "\n" not in str(caught.value)
    fresh = load(checkpoint("tiny"), SMALL)
    clip = make_clip(SMALL)
    np.testing.assert_array_equal(frames_of(generator, SMALL, clip), frames_of(fresh, SMALL, clip))


def test_values_that_are_not_finite_fail_the_job(checkpoint: Find, clip: np.ndarray) -> None:
    generator = load(checkpoint("tiny"))
    generator.pipe.dit.head.head.bias.data.fill_(float("nan"))
    with pytest.raises(JobError, match="not finite"):
        frames_of(generator, JOB, clip)


class Interrupted:
    """Takes a video's state after some steps, and ends the attempt there; `None` lets it come to its end."""

    def __init__(self, after: int | None) -> None:
        self.after = after
        self.steps: list[tuple[int, int]] = []
        self.state = b""

    def __call__(self, step: int, num_steps: int, save: Save) -> None:
        self.steps.append((step, num_steps))
        if step == self.after:
            self.state = save()
            raise Stopped(15)


def finish_in_parts(generators: Iterator[Generator], job: Job, clip: np.ndarray | None, *stops: int) -> np.ndarray:
    """The frames of a job that is interrupted after each of those steps; every attempt has a generator of its own."""
    state, start = None, 0
    for after in stops:
        attempt = Interrupted(after)
        with pytest.raises(Stopped):
            next(generators).generate(job, clip, control="as-is", state=state, on_step=attempt)
        assert attempt.steps == [(step, job.num_inference_steps) for step in range(start, after + 1)]
        state, start = attempt.state, after
    last = Interrupted(None)
    result = next(generators).generate(job, clip, control="as-is", state=state, on_step=last)
    assert last.steps == [(step, job.num_inference_steps) for step in range(start, job.num_inference_steps + 1)]
    assert result.measured["num_forwards"] == 2 * (job.num_inference_steps - start)
    return result.frames


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("name", "mechanism"), CAN_DO)
def test_a_video_that_was_interrupted_is_the_same_to_the_last_byte(
    checkpoint: Find, name: str, mechanism: Mechanism, device: str
) -> None:
    job = with_mechanism(dataclasses.replace(JOB, height=64, num_inference_steps=5), mechanism)
    clip = None if mechanism == "none" else make_clip(job)
    # As after a worker's death: what one has encoded another has not; and as in the worker that was ordered again.
    first, second = (load(checkpoint(name), device=device) for _ in range(2))
    unbroken = frames_of(first, job, clip)
    assert unbroken.std() > 10
    for stops in [(1,), (4,), (5,), (1, 2), (2, 5)]:
        np.testing.assert_array_equal(finish_in_parts(cycle([first, second]), job, clip, *stops), unbroken)
    np.testing.assert_array_equal(frames_of(second, job, clip), unbroken)


def test_what_a_record_says_of_the_reference_does_not_depend_on_an_interruption(checkpoint: Find) -> None:
    generator, attempt = load(checkpoint("tiny")), Interrupted(1)
    clip = make_clip(JOB)
    with pytest.raises(Stopped):
        generator.generate(JOB, clip, control="as-is", on_step=attempt)
    for state in (attempt.state, None):
        result = generator.generate(JOB, clip, control="as-is", state=state, on_step=Interrupted(None))
        assert result.measured["reference_share"] == 0.0625


@pytest.mark.parametrize(
    "changes", [{"num_inference_steps": 3}, {"height": 64}, {"num_frames": 9}], ids=lambda changes: next(iter(changes))
)
def test_a_state_that_does_not_fit_starts_the_video_over(
    checkpoint: Find, changes: dict[str, int], caplog: pytest.LogCaptureFixture
) -> None:
    job = dataclasses.replace(JOB, height=32, num_inference_steps=2)
    generator, attempt = load(checkpoint("tiny")), Interrupted(2)
    other = dataclasses.replace(job, **changes)
    with pytest.raises(Stopped):
        generator.generate(other, make_clip(other), control="as-is", on_step=attempt)
    unbroken = frames_of(generator, job, make_clip(job))
    for state in (attempt.state, b"", b"garbage", attempt.state[:-1]):
        caplog.clear()
        whole = Interrupted(None)
        result = generator.generate(job, make_clip(job), control="as-is", state=state, on_step=whole)
        assert "the saved state is not used, the video starts over" in caplog.text
        assert whole.steps == [(0, 2), (1, 2), (2, 2)]
        np.testing.assert_array_equal(result.frames, unbroken)


def test_a_state_of_values_that_are_not_finite_fails_the_job_at_that_step(checkpoint: Find) -> None:
    generator, attempt = load(checkpoint("tiny"), SMALL), Interrupted(1)
    generator.pipe.dit.head.head.bias.data.fill_(float("nan"))
    with pytest.raises(JobError, match="not finite"):
        generator.generate(SMALL, make_clip(SMALL), control="as-is", on_step=attempt)
    assert (attempt.steps, attempt.state) == ([(0, 1), (1, 1)], b"")


def test_between_videos_no_tensor_of_the_last_one_is_held(checkpoint: Find) -> None:
    generator = load(checkpoint("tiny"), SMALL)
    latents: list[weakref.ref[torch.Tensor]] = []

    def look(step: int, num_steps: int, save: Save) -> None:
        latents.append(weakref.ref(generator._loop.latents))

    generator.generate(SMALL, make_clip(SMALL), control="as-is", on_step=look)
    gc.collect()
    assert [each() for each in latents] == [None, None]


def test_a_clip_of_another_size_is_an_error_of_the_caller(checkpoint: Find, clip: np.ndarray) -> None:
    generator = load(checkpoint("tiny"))
    for wrong in (None, clip[:4], clip.astype(np.float32)):
        with pytest.raises(ValueError, match="of 5 frames, 32x256"):
            frames_of(generator, JOB, wrong)


@pytest.mark.parametrize("device", ["cuda", "cuda:", "cuda:x", "gpu", "mps"])
def test_a_device_is_named_with_its_index(device: str) -> None:
    with pytest.raises(ValueError, match="must be cpu or cuda:<index>"):
        use_device(device)


def test_offload_options_are_diffsynths() -> None:
    assert Offload().model_options("cuda:1") == {}
    assert Offload(cpu=True, vram_limit=20).model_options("cpu") == {}
    whole = Offload(cpu=True).model_options("cuda:1")
    assert [whole[f"{state}_device"] for state in ("offload", "onload", "preparing", "computation")] == [
        "cpu",
        "cuda:1",
        "cuda:1",
        "cuda:1",
    ]
    by_layer = Offload(vram_limit=20).model_options("cuda:1")
    assert (by_layer["onload_device"], by_layer["preparing_device"]) == ("cpu", "cuda:1")
    assert ModelConfig(path="x", **by_layer).vram_config() == by_layer


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(("name", "mechanism"), CAN_DO)
@pytest.mark.parametrize("offload", [Offload(cpu=True), Offload(vram_limit=0.0), Offload(vram_limit=1000.0)])
def test_offload_changes_no_pixel(
    checkpoint: Find, clip: np.ndarray, name: str, mechanism: Mechanism, offload: Offload
) -> None:
    job = with_mechanism(JOB, mechanism)
    given = None if mechanism == "none" else clip
    generator = load(checkpoint(name), device="cuda:0", offload=offload)
    expected = frames_of(load(checkpoint(name), device="cuda:0"), job, given)
    for _ in range(2):
        np.testing.assert_array_equal(frames_of(generator, job, given), expected)


@pytest.mark.parametrize("control", ["gray", "canny"])
def test_what_is_made_of_the_clip_is_what_the_model_gets(checkpoint: Find, control: Control) -> None:
    found = checkpoint("tiny-vace")
    job, clip = with_mechanism(SMALL, "vace"), make_clip(SMALL)
    generator = load(found, job)
    controlled = frames_of(generator, job, clip, control)
    assert not np.array_equal(frames_of(generator, job, clip), controlled)
    expected = direct(plain_pipeline(found), job, control_frames(clip, control), tiled=True)
    np.testing.assert_array_equal(controlled, expected)
    v2v = [frames_of(generator, SMALL, clip, made_of_it) for made_of_it in ("as-is", control)]
    np.testing.assert_array_equal(*v2v)


def squares() -> Iterator[np.ndarray]:
    """A bright square on dark, moving right."""
    for left in (8, 12):
        frame = np.full((48, 64, 3), (20, 40, 30), np.uint8)
        frame[12:36, left : left + 24] = (220, 200, 210)
        yield frame


def test_gray_is_luma_and_canny_is_a_closed_outline() -> None:
    clip = np.stack(list(squares()))
    assert control_frames(clip, "as-is") is clip
    gray = control_frames(clip, "gray")
    assert (gray.shape, gray.dtype) == (clip.shape, np.uint8)
    assert gray[0, 0, 0].tolist() == [33, 33, 33]
    np.testing.assert_array_equal(control_frames(gray, "gray"), gray)
    edges = control_frames(clip, "canny")
    assert (edges.shape, edges.dtype) == (clip.shape, np.uint8)
    assert set(np.unique(edges)) == {0, 255}
    # The outline of a 24x24 square is one pixel wide, and moves with it.
    assert 80 <= np.count_nonzero(edges[0, :, :, 0]) <= 104
    np.testing.assert_array_equal(edges[1, :, 4:], edges[0, :, :-4])
    assert not control_frames(np.full_like(clip, 90), "canny").any()


def test_weak_edges_count_where_they_touch_strong_ones() -> None:
    frame = np.zeros((1, 40, 40, 3), np.uint8)
    frame[:, :, 10:] = 40
    frame[:, :20, 10:] = 80
    edges = control_frames(frame, "canny")[0, :, :, 0]
    assert edges[2:18, 8:12].any(axis=1).all(), "steps of 80 are strong"
    assert edges[22:38, 8:12].any(axis=1).all(), "a step of 40 is weak but goes on from one of 80"
    assert not control_frames(frame[:, 22:], "canny").any(), "alone it stays weak"
