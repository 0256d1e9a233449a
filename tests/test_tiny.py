"""Checkpoints of random weights: the same files every time, all of them or none, in the real ones' layout."""

import argparse
import json
from pathlib import Path

import pytest
import torch
from diffsynth.models.wan_video_text_encoder import HuggingfaceTokenizer
from safetensors.torch import load_file

from wan_ddp.errors import MachineError, UnusableError
from wan_ddp.job import NEGATIVE_PROMPT
from wan_ddp.wan.architectures import BY_NAME, HASHES
from wan_ddp.wan.byte_tokenizer import write_byte_tokenizer
from wan_ddp.wan.checkpoint import INDEX, TEXT_ENCODER, VAE, find_checkpoint
from wan_ddp.wan.commands import add_commands
from wan_ddp.wan.random_checkpoint import BLOCK_ITEMS, _pieces, _scale, _split, make_checkpoint, published_shapes
from wan_ddp.wan.tiny_models import TEXT_VOCABULARY

TINY = [name for name in BY_NAME if name.startswith("tiny")]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", TINY)
def test_a_tiny_checkpoint_is_a_usable_one_and_small(tmp_path: Path, name: str) -> None:
    make_checkpoint(tmp_path / name, name)
    checkpoint = find_checkpoint(tmp_path / name)
    assert (checkpoint.name, checkpoint.random_weights) == (name, True)
    assert checkpoint.num_bytes < 10e6


def test_a_rank_that_is_not_the_first_keeps_what_the_first_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "models" / "tiny"

    def overtaken(name: str, partial: Path) -> None:
        monkeypatch.undo()
        make_checkpoint(folder, name)
        write_byte_tokenizer(partial / "google")

    monkeypatch.setattr("wan_ddp.wan.random_checkpoint._write_all", overtaken)
    make_checkpoint(folder, "tiny")
    assert list(folder.parent.iterdir()) == [folder]
    assert find_checkpoint(folder).name == "tiny"


def test_the_same_bytes_every_time(tmp_path: Path) -> None:
    for name in ("one", "two"):
        make_checkpoint(tmp_path / name, "tiny")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_a_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match="No space left"):
        make_checkpoint(tmp_path / "tiny", "tiny")
    assert not list(tmp_path.iterdir())


def test_values_are_scaled_finite_and_not_repeated(tmp_path: Path) -> None:
    make_checkpoint(tmp_path / "tiny", "tiny")
    weights = load_file(find_checkpoint(tmp_path / "tiny").dit[0])
    matrix = weights["blocks.1.ffn.0.weight"].float()
    assert matrix.std() == pytest.approx(96**-0.5, rel=0.02)
    assert torch.equal(weights["blocks.0.norm3.weight"], torch.ones(96, dtype=torch.bfloat16))
    assert not torch.equal(weights["blocks.0.ffn.0.weight"], weights["blocks.1.ffn.0.weight"])
    vae = torch.load(tmp_path / "tiny" / f"{VAE}.pth", weights_only=True)
    assert {tensor.dtype for tensor in vae.values()} == {torch.float32}


def test_a_tensor_larger_than_the_block_is_written_whole() -> None:
    shape = (3, BLOCK_ITEMS)
    pieces = list(_pieces("blocks.0.ffn.0.weight", shape))
    assert sum(len(piece) for piece in pieces) == 3 * BLOCK_ITEMS
    assert _scale("blocks.0.ffn.0.weight", shape) == pytest.approx(BLOCK_ITEMS**-0.5)


def test_the_14b_layout_is_the_published_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = published_shapes(HASHES["Wan2.1-T2V-14B"])
    files = _split(shapes, 6)
    assert list(files) == [f"diffusion_pytorch_model-0000{number}-of-00006.safetensors" for number in range(1, 7)]
    assert {name: shape for file in files.values() for name, shape in file.items()} == shapes
    sizes = [sum(torch.Size(shape).numel() for shape in file.values()) for file in files.values()]
    assert sum(sizes) == 14_288_491_584
    assert max(sizes) < 1.1 * min(sizes)
    monkeypatch.setattr("wan_ddp.wan.random_checkpoint.SHARDS", {"tiny": 6})
    make_checkpoint(tmp_path / "tiny", "tiny")
    index = json.loads((tmp_path / "tiny" / INDEX).read_text())
    dit = find_checkpoint(tmp_path / "tiny").dit
    assert set(index["weight_map"].values()) == {path.name for path in dit}
    assert index["metadata"]["total_size"] == sum(t.nbytes for path in dit for t in load_file(path).values())


def test_the_tokenizer_covers_every_language_as_diffsynth_uses_it(tmp_path: Path) -> None:
    write_byte_tokenizer(tmp_path / "google" / "umt5-xxl")
    tokenizer = HuggingfaceTokenizer(str(tmp_path / "google" / "umt5-xxl"), seq_len=512, clean="whitespace")
    texts = ["a cat,  walking", NEGATIVE_PROMPT, "一只猫" * 400, "émoji 🐈 и кот", ""]
    ids, mask = tokenizer(texts, return_mask=True, add_special_tokens=True)
    assert ids.shape == mask.shape == (len(texts), 512)
    assert ids.max() < TEXT_VOCABULARY
    lengths = mask.sum(dim=1).tolist()
    assert lengths[0] == len("a cat, walking") + 1
    assert lengths[2] == 512
    assert lengths[4] == 1
    decoded = tokenizer.tokenizer.batch_decode(ids, skip_special_tokens=True)
    assert decoded[1] == NEGATIVE_PROMPT.replace("，", ",")
    assert decoded[3] == texts[3]


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    add_commands(parser.add_subparsers())
    args = parser.parse_args(["checkpoint", "make", *arguments])
    code = args.run(args)
    assert isinstance(code, int)
    return code


def test_the_command_makes_a_checkpoint(tmp_path: Path) -> None:
    assert run("--like", "tiny-vace", str(tmp_path / "made")) == 0
    assert find_checkpoint(tmp_path / "made").name == "tiny-vace"
    assert (tmp_path / "made" / f"{TEXT_ENCODER}.safetensors").exists()
    with pytest.raises(UnusableError, match="exists already"):
        run("--like", "tiny", str(tmp_path / "made"))
    (tmp_path / "file").touch()
    with pytest.raises(MachineError, match="cannot write a checkpoint"):
        run("--like", "tiny", str(tmp_path / "file" / "below"))
