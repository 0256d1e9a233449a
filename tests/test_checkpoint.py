"""Checkpoints are found, or refused in one line that says what is wrong, without loading anything."""

import json
import pickle
import shutil
import subprocess
import sys
import types
import zipfile
from pathlib import Path

import pytest
import torch
from diffsynth.configs import MODEL_CONFIGS
from diffsynth.core.loader.file import hash_model_file
from safetensors.torch import load_file

from wan_ddp.errors import ModelError
from wan_ddp.job import Job
from wan_ddp.wan.architectures import ARCHITECTURES, BY_NAME, HASHES, UMT5_XXL, WAN_VAE, architecture_hash
from wan_ddp.wan.checkpoint import (
    DIT,
    INDEX,
    TEXT_ENCODER,
    TOKENIZER,
    VAE,
    check_meant,
    check_mechanisms,
    find_checkpoint,
)
from wan_ddp.wan.download import download
from wan_ddp.wan.headers import read_header
from wan_ddp.wan.random_checkpoint import _split, make_checkpoint, published_shapes

T5_FILE = f"{TEXT_ENCODER}.safetensors"
VAE_FILE = f"{VAE}.pth"
DIT_FILE = f"{DIT}.safetensors"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny checkpoint, and one with it in shards."""
    folder = tmp_path_factory.mktemp("checkpoints")
    make_checkpoint(folder / "tiny", "tiny")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("wan_ddp.wan.random_checkpoint.SHARDS", {"tiny": 3})
        make_checkpoint(folder / "sharded", "tiny")
    return folder


@pytest.fixture
def tiny(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made / "tiny", tmp_path / "tiny")


@pytest.fixture
def sharded(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made / "sharded", tmp_path / "sharded")


def refusal(folder: Path) -> str:
    with pytest.raises(ModelError) as caught:
        find_checkpoint(folder)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)
    return str(caught.value)


def write_header(path: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    """A safetensors file of float32 tensors whose weights are a hole in the file: 57 GB take kilobytes of disk."""
    header, end = {}, 0
    for name, shape in shapes.items():
        start, end = end, end + 4 * torch.Size(shape).numel()
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}
    encoded = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        file.truncate(8 + len(encoded) + end)


def test_the_check_imports_no_torch() -> None:
    modules = "wan_ddp.wan.checkpoint", "wan_ddp.wan.commands", "wan_ddp.wan.download"
    code = f"import sys, {', '.join(modules)}; print({{'torch', 'diffsynth', 'modelscope'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@pytest.mark.parametrize("name", BY_NAME)
def test_the_table_agrees_with_diffsynth(name: str) -> None:
    shapes = published_shapes(HASHES[name])
    assert architecture_hash(shapes) == HASHES[name]
    configs = [config for config in MODEL_CONFIGS if config["model_hash"] == HASHES[name]]
    models = {config["model_name"]: config.get("extra_kwargs", {}) for config in configs}
    assert ("vace" in BY_NAME[name].mechanisms) == ("wan_video_vace" in models)
    assert ("fun_control" in BY_NAME[name].mechanisms) == (models["wan_video_dit"]["in_dim"] == 48)


def test_the_hash_is_diffsynths(made: Path) -> None:
    for file in (DIT_FILE, T5_FILE, VAE_FILE):
        assert architecture_hash(read_header(made / "tiny" / file).shapes) == hash_model_file(str(made / "tiny" / file))


def test_finds_the_tiny_checkpoint(tiny: Path) -> None:
    checkpoint = find_checkpoint(tiny)
    assert (checkpoint.name, checkpoint.mechanisms, checkpoint.random_weights) == ("tiny", {"v2v", "none"}, True)
    assert checkpoint.dit == (tiny / DIT_FILE,)
    assert checkpoint.num_bytes == sum((tiny / name).stat().st_size for name in (DIT_FILE, T5_FILE, VAE_FILE))


def test_finds_shards_in_order_with_and_without_their_index(sharded: Path) -> None:
    checkpoint = find_checkpoint(sharded)
    assert [path.name for path in checkpoint.dit] == [f"{DIT}-0000{i}-of-00003.safetensors" for i in (1, 2, 3)]
    (sharded / INDEX).unlink()
    assert find_checkpoint(sharded) == checkpoint


@pytest.mark.parametrize("name", [name for name, known in BY_NAME.items() if known.huggingface])
def test_recognises_every_published_layout(name: str, tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "published"
    shutil.copytree(tiny / "google", folder / "google")
    num_shards = {"Wan2.1-T2V-14B": 6, "Wan2.1-VACE-14B": 7}.get(name, 1)
    shards = _split(published_shapes(HASHES[name]), num_shards)
    for file, shapes in shards.items():
        write_header(folder / file, shapes)
    write_header(folder / T5_FILE, published_shapes(UMT5_XXL))
    write_header(folder / f"{VAE}.safetensors", published_shapes(WAN_VAE))
    checkpoint = find_checkpoint(folder)
    assert (checkpoint.name, len(checkpoint.dit), checkpoint.random_weights) == (name, num_shards, False)


def test_the_text_encoder_may_be_a_pth_file(tiny: Path) -> None:
    torch.save(load_file(tiny / T5_FILE), tiny / f"{TEXT_ENCODER}.pth")
    (tiny / T5_FILE).unlink()
    assert find_checkpoint(tiny).text_encoder.suffix == ".pth"


def test_names_all_that_is_missing_and_how_to_get_it(sharded: Path) -> None:
    folder = sharded.rename(sharded.with_name("Wan2.1-T2V-1.3B"))
    (folder / f"{DIT}-00002-of-00003.safetensors").unlink()
    (folder / VAE_FILE).unlink()
    (folder / "google/umt5-xxl/tokenizer.json").unlink()
    text = refusal(folder)
    for name in (f"{DIT}-00002-of-00003.safetensors", f"{VAE}.pth", "google/umt5-xxl/tokenizer.json"):
        assert name in text
    assert T5_FILE not in text
    assert f"hf download Wan-AI/Wan2.1-T2V-1.3B --local-dir {folder}" in text
    assert "modelscope download --model Wan-AI/Wan2.1-T2V-1.3B" in text
    assert "--model-dir or WAN_MODEL_DIR" in text


def test_a_broken_tiny_checkpoint_is_to_be_made_again(tiny: Path) -> None:
    (tiny / VAE_FILE).unlink()
    assert refusal(tiny).endswith(f"remove the folder and `python -m wan_ddp checkpoint make --like tiny {tiny}`")


def test_a_missing_shard_is_noticed_without_the_index(sharded: Path) -> None:
    (sharded / INDEX).unlink()
    (sharded / f"{DIT}-00003-of-00003.safetensors").unlink()
    assert f"lacks {DIT}-00003-of-00003.safetensors;" in refusal(sharded)


def test_no_folder_and_an_empty_folder(tmp_path: Path) -> None:
    assert "there is no folder" in refusal(tmp_path / "nothing")
    text = refusal(tmp_path)
    assert f"lacks {DIT}*.safetensors, {TEXT_ENCODER}.pth (or .safetensors)" in text
    assert "Wan-AI/Wan2.1-T2V-14B" in text
    (tmp_path / "model_index.json").touch()
    assert "layout for diffusers" in refusal(tmp_path)


@pytest.mark.parametrize("name", [DIT_FILE, T5_FILE, VAE_FILE, "google/umt5-xxl/tokenizer.json"])
@pytest.mark.parametrize(
    ("content", "why"),
    [(b"", "is empty"), (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git-lfs pointer")],
)
def test_placeholders_are_refused(tiny: Path, name: str, content: bytes, why: str) -> None:
    (tiny / name).write_bytes(content)
    assert f"{name} {why}" in refusal(tiny).replace("is a git", "git")


@pytest.mark.parametrize("name", [DIT_FILE, T5_FILE, VAE_FILE])
@pytest.mark.parametrize("kept", [0.9999, 0.5, 0.0001])
def test_truncated_files_are_refused(tiny: Path, name: str, kept: float) -> None:
    content = (tiny / name).read_bytes()
    (tiny / name).write_bytes(content[: int(kept * len(content))])
    assert f"damaged in {tiny}: {name} " in refusal(tiny)


def test_all_damaged_files_are_named_at_once(tiny: Path) -> None:
    (tiny / DIT_FILE).write_bytes(b"not a safetensors file")
    (tiny / VAE_FILE).write_bytes(b"\x80\x02}q\x00.")
    text = refusal(tiny)
    assert f"{DIT_FILE} is truncated or not a safetensors file; {VAE_FILE} is truncated or not a PyTorch zip" in text


@pytest.mark.parametrize("header", [b"[]", b"{", b'{"a": 1}', b'{"a": {"shape": [1]}}', b"\xff\xfe"])
def test_a_broken_safetensors_header_is_refused(tiny: Path, header: bytes) -> None:
    (tiny / DIT_FILE).write_bytes(len(header).to_bytes(8, "little") + header)
    assert "cannot be read" in refusal(tiny)


class _Hostile:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> object:
        return Path.touch, (self.path,)


def test_a_pth_file_that_runs_code_is_refused_and_not_run(tiny: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tiny / VAE_FILE, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"weight": _Hostile(tmp_path / "ran")}, protocol=2))
    assert "which is not a tensor" in refusal(tiny)
    assert not (tmp_path / "ran").exists()


def test_a_pth_file_of_other_things_is_refused(tiny: Path) -> None:
    torch.save({"model_state": {"weight": torch.zeros(1)}, "step": 3}, tiny / VAE_FILE)
    assert "not a plain dictionary of tensors" in refusal(tiny)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"weight_map": {}}', '{"weight_map": {"a": "../../etc"}}'])
def test_a_bad_index_is_refused(sharded: Path, content: str) -> None:
    (sharded / INDEX).write_text(content)
    assert f"damaged in {sharded}: {INDEX} " in refusal(sharded)


def test_an_index_that_disagrees_with_the_shards_is_refused(sharded: Path) -> None:
    index = json.loads((sharded / INDEX).read_text())
    name = next(iter(index["weight_map"]))
    index["weight_map"][name] = f"{DIT}-00003-of-00003.safetensors"
    (sharded / INDEX).write_text(json.dumps(index))
    assert f"{INDEX} places {name} and 0 more wrongly" in refusal(sharded)
    shutil.copy(sharded / f"{DIT}-00001-of-00003.safetensors", sharded / f"{DIT}-00001-of-00006.safetensors")
    assert "shards of different sets" in refusal(sharded)


def test_a_shard_that_the_index_forgets_is_refused(sharded: Path) -> None:
    index = json.loads((sharded / INDEX).read_text())
    last = f"{DIT}-00003-of-00003.safetensors"
    index["weight_map"] = {name: file for name, file in index["weight_map"].items() if file != last}
    (sharded / INDEX).write_text(json.dumps(index))
    assert f"{INDEX} does not name {last}" in refusal(sharded)


def test_two_models_in_one_folder_are_refused(sharded: Path, made: Path) -> None:
    shutil.copy(made / "tiny" / DIT_FILE, sharded)
    assert "two models" in refusal(sharded)


def test_an_unknown_dit_is_refused_with_the_known_ones(tiny: Path) -> None:
    shutil.copy(tiny / T5_FILE, tiny / DIT_FILE)
    text = refusal(tiny)
    assert "none of those known here: Wan2.1-T2V-14B, " in text
    assert "tiny," not in text


@pytest.mark.parametrize(("name", "what"), [(T5_FILE, "text encoder"), (f"{VAE}.safetensors", "VAE")])
def test_parts_that_do_not_belong_together_are_refused(tiny: Path, name: str, what: str) -> None:
    shutil.copy(tiny / DIT_FILE, tiny / name)
    assert f"the {what} in {tiny} is not the one of tiny" in refusal(tiny)


def test_the_identity_is_of_the_content_not_of_the_place(made: Path, tiny: Path) -> None:
    identity = find_checkpoint(made / "tiny").identity
    assert find_checkpoint(tiny).identity == identity
    (tiny / ".gitattributes").touch()
    assert find_checkpoint(tiny).identity == identity
    content = (tiny / DIT_FILE).read_bytes()
    (tiny / DIT_FILE).write_bytes(content.replace(b"seed 0", b"seed 1", 1))
    assert find_checkpoint(tiny).identity != identity
    assert find_checkpoint(made / "sharded").identity != identity


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"])
@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b'{"version": "1.0", "mod', "is not JSON (Unterminated string"),
        (b"<html>not found</html>", "is not JSON (Expecting value"),
        (b"\xff\xfe\xff\xff", "is not JSON ("),
        (b"[" * 100_000, "is not JSON ("),
        (b"null", "is not a JSON object"),
    ],
)
def test_a_tokenizer_that_does_not_parse_is_refused_before_a_run(
    tiny: Path, name: str, content: bytes, why: str
) -> None:
    found = find_checkpoint(tiny)
    assert check_meant(found, "tiny") is found
    (tiny / TOKENIZER / name).write_bytes(content)
    with pytest.raises(ModelError) as caught:
        check_meant(find_checkpoint(tiny), "tiny")
    assert f"damaged in {tiny}: {TOKENIZER / name} {why}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_stand_in_is_refused_where_another_model_was_asked_for(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        check_meant(find_checkpoint(tiny), "Wan2.1-T2V-14B")
    assert f"{tiny} holds tiny, which makes noise, and Wan2.1-T2V-14B was asked for" in str(caught.value)
    assert str(caught.value).endswith("or ask for --model tiny")
    vace = tmp_path / "vace"
    make_checkpoint(vace, "tiny-vace")
    assert check_meant(find_checkpoint(vace), "tiny-vace").name == "tiny-vace"


def test_mechanisms_that_the_checkpoint_cannot_do_are_refused(tiny: Path) -> None:
    job = {"category": "a", "reference": "r.mp4", "prompt": "p", "prompt_index": 0}
    jobs = [Job(**job, seed=seed, mechanism="vace") for seed in range(3)]
    jobs += [Job(**job, seed=3, mechanism="fun_control"), Job(**job, seed=4, mechanism="none"), Job(**job, seed=5)]
    with pytest.raises(ModelError) as caught:
        check_mechanisms(find_checkpoint(tiny), jobs)
    text = str(caught.value)
    assert "\n" not in text
    assert f"tiny in {tiny} cannot do" in text
    assert "fun_control of 1 job (which Wan2.1-Fun-14B-Control," in text
    assert "vace of 3 jobs (which Wan2.1-VACE-14B," in text
    assert text.endswith("it can do none, v2v")
    check_mechanisms(find_checkpoint(tiny), jobs[4:])


@pytest.mark.parametrize(
    ("source", "module", "repository"),
    [
        (None, "modelscope", "PAI/Wan2.1-Fun-14B-Control"),
        ("HuggingFace", "huggingface_hub", "alibaba-pai/Wan2.1-Fun-14B-Control"),
    ],
)
def test_a_download_asks_the_chosen_hub_for_the_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, source: str | None, module: str, repository: str
) -> None:
    asked = []
    fake = types.SimpleNamespace(snapshot_download=lambda *args, **options: asked.append((args, options)))
    monkeypatch.setitem(sys.modules, module, fake)
    monkeypatch.delenv("DIFFSYNTH_DOWNLOAD_SOURCE", raising=False)
    if source is not None:
        monkeypatch.setenv("DIFFSYNTH_DOWNLOAD_SOURCE", source)
    download("Wan2.1-Fun-14B-Control", tmp_path)
    (((name,), options),) = asked
    assert name == repository
    assert options["local_dir"] == str(tmp_path)
    assert f"{DIT}*" in options["allow_patterns"]


def test_a_download_is_not_begun_in_vain(monkeypatch: pytest.MonkeyPatch, tiny: Path, tmp_path: Path) -> None:
    def fail(*args: object, **options: object) -> None:
        raise ConnectionError("no\nnetwork")

    monkeypatch.delenv("DIFFSYNTH_DOWNLOAD_SOURCE", raising=False)
    monkeypatch.setitem(sys.modules, "modelscope", types.SimpleNamespace(snapshot_download=fail))
    download("Wan2.1-T2V-14B", tiny)
    with pytest.raises(ModelError, match=r"cannot download .* from modelscope to .*: no network"):
        download("Wan2.1-T2V-14B", tmp_path / "new")
    with pytest.raises(ModelError, match="no checkpoint tiny to download"):
        download("tiny", tmp_path / "new")
    monkeypatch.setenv("DIFFSYNTH_DOWNLOAD_SOURCE", "elsewhere")
    with pytest.raises(ModelError, match="must be modelscope or huggingface"):
        download("Wan2.1-T2V-14B", tmp_path / "new")


def test_every_name_is_known_by_one_hash() -> None:
    assert len(BY_NAME) == len(ARCHITECTURES) == len(HASHES)
