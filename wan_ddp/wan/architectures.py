"""The checkpoints that can be used, by the hash over their tensors' names and shapes with which DiffSynth tells models.

The hashes of the published checkpoints are those of `diffsynth.configs.MODEL_CONFIGS`, which cannot be imported here
without torch; a test holds this table against it.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from wan_ddp.job import Mechanism

Shape = tuple[int, ...]

UMT5_XXL = "9c8818c2cbea55eca56c7b447df170da"
WAN_VAE = "ccc42284ea13e1ad04693284c7a09be6"
TINY_T5 = "3879f03f24d11444ccc398b7cf184b07"
TINY_VAE = "cb16b9a02ae4539361b6cc6302ce413b"
POCKET_T5 = "aeb2952759293b71cd713b726941af04"
POCKET_VAE = "8b167a2b9d1d0c6ca79254ddaa664ebd"


@dataclass(frozen=True, slots=True)
class Architecture:
    """A kind of checkpoint: what it can do, what belongs to it, and where it is published.

    `huggingface` and `modelscope` are repository names, None where it is not published (the tiny ones).
    """

    name: str
    mechanisms: frozenset[Mechanism]
    huggingface: str | None = None
    modelscope: str | None = None
    text_encoder: str = UMT5_XXL
    vae: str = WAN_VAE


# A VACE checkpoint without a vace_video is the T2V model it was made from; a Fun-Control one takes more channels
# (in_dim 48) than noise or a noised reference alone has.
_T2V: frozenset[Mechanism] = frozenset({"v2v", "none"})
_VACE: frozenset[Mechanism] = frozenset({"v2v", "none", "vace"})
_FUN: frozenset[Mechanism] = frozenset({"fun_control"})


def _wan(name: str, mechanisms: frozenset[Mechanism]) -> Architecture:
    return Architecture(name, mechanisms, f"Wan-AI/{name}", f"Wan-AI/{name}")


def _fun(name: str) -> Architecture:
    return Architecture(name, _FUN, f"alibaba-pai/{name}", f"PAI/{name}")


def _tiny(name: str, mechanisms: frozenset[Mechanism]) -> Architecture:
    return Architecture(name, mechanisms, text_encoder=TINY_T5, vae=TINY_VAE)


ARCHITECTURES: dict[str, Architecture] = {
    "aafcfd9672c3a2456dc46e1cb6e52c70": _wan("Wan2.1-T2V-14B", _T2V),
    "9269f8db9040a9d860eaca435be61814": _wan("Wan2.1-T2V-1.3B", _T2V),
    "7a513e1f257a861512b1afd387a8ecd9": _wan("Wan2.1-VACE-14B", _VACE),
    "a61453409b67cd3246cf0c3bebad47ba": _wan("Wan2.1-VACE-1.3B", _VACE),
    "efa44cddf936c70abd0ea28b6cbe946c": _fun("Wan2.1-Fun-14B-Control"),
    "349723183fc063b2bfc10bb2835cf677": _fun("Wan2.1-Fun-1.3B-Control"),
    "26bde73488a92e64cc20b0a7485b9e5b": _fun("Wan2.1-Fun-V1.1-14B-Control"),
    "70ddad9d3a133785da5ea371aae09504": _fun("Wan2.1-Fun-V1.1-1.3B-Control"),
    "2f3a345569bb65a3efec2a40fb2637d7": _tiny("tiny", _T2V),
    "b2475727fe13b90f4d7e7ae24affb2fe": _tiny("tiny-vace", _VACE),
    "d601356fbeb17b7ca0cc9cc8a15d0ecb": _tiny("tiny-fun-control", _FUN),
    "b4ae2a9a244e0cae2a4b16e7b9a9e54b": Architecture("pocket", _T2V, text_encoder=POCKET_T5, vae=POCKET_VAE),
}
BY_NAME = {architecture.name: architecture for architecture in ARCHITECTURES.values()}
HASHES = {architecture.name: digest for digest, architecture in ARCHITECTURES.items()}


def architecture_hash(shapes: Mapping[str, Shape]) -> str:
    """DiffSynth's hash of a state dict: the MD5 over its sorted names, each alone and with its shape."""
    names = [f"{name}:{'_'.join(map(str, shape))}" for name, shape in shapes.items()]
    return hashlib.md5(",".join(sorted([*names, *shapes])).encode(), usedforsecurity=False).hexdigest()
