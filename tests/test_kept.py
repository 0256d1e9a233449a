"""Prompts and references are encoded once for all workers and runs; a file not to be trusted costs time, no pixel."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import test_pipeline as pipelines
import torch
from diffsynth.models.wan_video_vae import WanVideoVAE
from experiment import Experiment

from wan_ddp.wan import prompts as prompts_module
from wan_ddp.wan.checkpoint import Checkpoint, find_checkpoint
from wan_ddp.wan.kept import KeptTensors, key_of
from wan_ddp.wan.pipeline import Generator
from wan_ddp.wan.prompts import KeptPrompts, encode_prompts, obtain_prompts, prompts_of
from wan_ddp.wan.random_checkpoint import make_checkpoint
from wan_ddp.wan.units import KeptLatents, ReferenceLatents

PROMPTS = ["a cat walks 一只猫在走", "一艘船", "a cat walks 一只猫在走"]


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The prompts that the text encoder was asked for, in order."""
    asked: list[str] = []

    def encode(checkpoint: Checkpoint, prompts: list[str], **more: Any) -> dict[str, torch.Tensor]:
        asked.extend(prompts)
        return encode_prompts(checkpoint, prompts, **more)

    monkeypatch.setattr(prompts_module, "encode_prompts", encode)
    return asked


def kept_in(folder: Path, checkpoint: Checkpoint, device: str = "cpu") -> KeptPrompts:
    return KeptPrompts(KeptTensors(folder), checkpoint, device)


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("??/*"))


def same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> bool:
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in found)


def test_a_tensor_comes_back_bit_for_bit(tmp_path: Path) -> None:
    kept, key = KeptTensors(tmp_path / "folder"), key_of("a", "b")
    assert kept.get(key) is None
    for dtype in (torch.bfloat16, torch.float32):
        tensor = torch.randn(3, 5).to(dtype).T
        kept.put(key, {"tensor": tensor})
        found = (kept.get(key) or {})["tensor"]
        assert found is not None
        assert torch.equal(found, tensor)
        assert found.dtype == dtype
    assert len({key_of("a", "b"), key_of("ab"), key_of("a", "b", ""), key_of("b", "a")}) == 4


def test_prompts_are_encoded_once_and_are_the_same_from_the_disk(
    checkpoint: Checkpoint, tmp_path: Path, encoded: list[str]
) -> None:
    kept = kept_in(tmp_path, checkpoint)
    first = obtain_prompts(checkpoint, PROMPTS[:1], kept, device="cpu")
    second = obtain_prompts(checkpoint, PROMPTS, kept, device="cpu")
    third = obtain_prompts(checkpoint, PROMPTS, kept_in(tmp_path, checkpoint), device="cpu")
    assert encoded == PROMPTS[:2]
    expected = encode_prompts(checkpoint, PROMPTS, device="cpu")
    assert same(third, expected)
    assert same(second, expected)
    assert same(first, {PROMPTS[0]: expected[PROMPTS[0]]})
    assert len(files(tmp_path)) == 2


def test_another_encoder_or_another_kind_of_device_is_another_embedding(checkpoint: Checkpoint, tmp_path: Path) -> None:
    obtain_prompts(checkpoint, PROMPTS, kept_in(tmp_path, checkpoint), device="cpu")
    other = dataclasses.replace(checkpoint, text_identity="another")
    assert kept_in(tmp_path, checkpoint).get(PROMPTS[0]) is not None
    assert kept_in(tmp_path, other).get(PROMPTS[0]) is None
    assert kept_in(tmp_path, checkpoint, "cuda:0").get(PROMPTS[0]) is None


def test_the_identity_of_the_encoder_is_that_of_its_own_files(checkpoint: Checkpoint, tmp_path: Path) -> None:
    make_checkpoint(tmp_path / "vace", "tiny-vace")
    vace = find_checkpoint(tmp_path / "vace")
    assert vace.text_identity == checkpoint.text_identity
    assert vace.identity != checkpoint.identity != checkpoint.text_identity
    tokenizer = tmp_path / "vace" / "google" / "umt5-xxl" / "tokenizer_config.json"
    tokenizer.write_bytes(tokenizer.read_bytes() + b"\n")
    assert find_checkpoint(tmp_path / "vace").text_identity != checkpoint.text_identity


def test_a_damaged_file_is_made_anew(checkpoint: Checkpoint, tmp_path: Path, encoded: list[str]) -> None:
    expected = obtain_prompts(checkpoint, PROMPTS, kept_in(tmp_path, checkpoint), device="cpu")
    for content in (b"", files(tmp_path)[0].read_bytes()[:-1], b"\0" * 100):
        files(tmp_path)[0].write_bytes(content)
        encoded.clear()
        found = obtain_prompts(checkpoint, PROMPTS, kept_in(tmp_path, checkpoint), device="cpu")
        assert same(found, expected)
        assert len(encoded) == 1
    KeptTensors(tmp_path).put(files(tmp_path)[0].name, {"embedding": torch.ones(3)})
    assert same(obtain_prompts(checkpoint, PROMPTS, kept_in(tmp_path, checkpoint), device="cpu"), expected)


def test_a_folder_that_cannot_be_written_costs_nothing_but_time(
    checkpoint: Checkpoint, tmp_path: Path, encoded: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "kept").write_text("a file in the place of the folder")
    for _ in range(2):
        found = obtain_prompts(checkpoint, PROMPTS, kept_in(tmp_path / "kept", checkpoint), device="cpu")
        assert found.keys() == set(PROMPTS)
    assert len(encoded) == 4
    assert "cannot be kept" in caplog.text


def test_what_another_encodes_while_the_lock_is_waited_for_is_not_encoded_again(
    checkpoint: Checkpoint, tmp_path: Path, encoded: list[str]
) -> None:
    @contextmanager
    def lock() -> Iterator[None]:
        embeddings = encode_prompts(checkpoint, PROMPTS, device="cpu")
        for prompt, embedding in embeddings.items():
            kept_in(tmp_path, checkpoint).put(prompt, embedding)
        yield

    found = obtain_prompts(checkpoint, PROMPTS, kept_in(tmp_path, checkpoint), lock(), device="cpu")
    assert found.keys() == set(PROMPTS)
    assert encoded == []


@pytest.mark.parametrize(
    ("name", "mechanism"), [("tiny", "v2v"), ("tiny-vace", "vace"), ("tiny-fun-control", "fun_control")]
)
def test_a_reference_is_encoded_once_for_all_workers_and_runs(
    tmp_path: Path, name: str, mechanism: pipelines.Mechanism, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_checkpoint(tmp_path / name, name)
    found = find_checkpoint(tmp_path / name)
    job, clip = pipelines.with_mechanism(pipelines.JOB, mechanism), pipelines.make_clip(pipelines.JOB)
    embeddings = encode_prompts(found, prompts_of([job]), device="cpu")

    def generator(*, tiled: bool = True) -> Generator:
        kept = KeptLatents(KeptTensors(tmp_path / "kept"), found, "cpu", tiled=tiled)
        return Generator.load(found, embeddings, device="cpu", tiled=tiled, latents=ReferenceLatents(kept))

    expected = pipelines.frames_of(generator(), job, clip)
    assert len(files(tmp_path / "kept")) == 1
    assert not np.array_equal(pipelines.frames_of(generator(tiled=False), job, clip), expected)
    assert len(files(tmp_path / "kept")) == 2
    monkeypatch.setattr(WanVideoVAE, "encode", None)  # from here on nothing is encoded
    np.testing.assert_array_equal(pipelines.frames_of(generator(), job, clip), expected)
    with pytest.raises(TypeError):
        pipelines.frames_of(generator(), job, pipelines.make_clip(pipelines.JOB, seed=1))


def test_a_second_run_never_loads_the_text_encoder(tmp_path: Path) -> None:
    experiment = Experiment(tmp_path)
    experiment.add("camera_motion", "pan", seeds=[1, 2])
    flags = ["--model-dir", str(tmp_path / "model")]
    assert experiment.generate(*flags).returncode == 0
    digests = experiment.digests()
    for path in experiment.output.glob("*/*/seed_1_*"):
        path.unlink()
    # Its header stays, so that it is the same checkpoint; loaded, it would give other embeddings.
    encoder = tmp_path / "model" / "models_t5_umt5-xxl-enc-bf16.safetensors"
    content = encoder.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    encoder.write_bytes(content[:start] + bytes(len(content) - start))
    result = experiment.generate(*flags)
    assert result.returncode == 0, result.stderr
    assert experiment.digests() == digests
