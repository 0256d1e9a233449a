"""The tiny checkpoints' models, told to DiffSynth: the same classes as the real ones, with small numbers.

Only the VAE needs a class of its own, because DiffSynth's takes nothing but `z_dim`.
"""

from typing import Any

from diffsynth.models.wan_video_vae import VideoVAE_, WanVideoVAE

from wan_ddp.wan.architectures import HASHES, TINY_T5, TINY_VAE

WIDTH = 96
TEXT_WIDTH = 64
VAE_WIDTH = 8
TEXT_VOCABULARY = 384

_CLASSES = "diffsynth.models"
_CONVERTERS = "diffsynth.utils.state_dict_converters"
VAE_CLASS = f"{__name__}.TinyWanVideoVAE"

_DIT = {
    "dim": WIDTH,
    "ffn_dim": 2 * WIDTH,
    "freq_dim": 256,
    "text_dim": TEXT_WIDTH,
    "in_dim": 16,
    "out_dim": 16,
    "num_heads": 4,
    "num_layers": 2,
    "patch_size": [1, 2, 2],
    "eps": 1e-6,
    "has_image_input": False,
}
_VACE = {"vace_layers": (0, 1), "vace_in_dim": 96, "dim": WIDTH, "num_heads": 4, "ffn_dim": 2 * WIDTH}
_T5 = {"vocab": TEXT_VOCABULARY, "dim": TEXT_WIDTH, "dim_attn": 64, "dim_ffn": 128, "num_heads": 4, "num_layers": 2}


class TinyWanVideoVAE(WanVideoVAE):  # type: ignore[misc]
    """Wan's VAE (z_dim 16, 8x8x4 compression, the same layers and key names) of base width 8 instead of 96."""

    def __init__(self) -> None:
        super().__init__(z_dim=16)
        self.model = VideoVAE_(dim=VAE_WIDTH, z_dim=16).eval().requires_grad_(False)


def _dit(name: str, **changes: Any) -> dict[str, Any]:
    return {
        "model_hash": HASHES[name],
        "model_name": "wan_video_dit",
        "model_class": f"{_CLASSES}.wan_video_dit.WanModel",
        "extra_kwargs": _DIT | changes,
    }


CONFIGS: list[dict[str, Any]] = [
    _dit("tiny"),
    _dit("tiny-vace") | {"state_dict_converter": f"{_CONVERTERS}.wan_video_dit.WanVideoDiTStateDictConverter"},
    {
        "model_hash": HASHES["tiny-vace"],
        "model_name": "wan_video_vace",
        "model_class": f"{_CLASSES}.wan_video_vace.VaceWanModel",
        "extra_kwargs": _VACE,
        "state_dict_converter": f"{_CONVERTERS}.wan_video_vace.VaceWanModelDictConverter",
    },
    _dit("tiny-fun-control", in_dim=48, has_image_input=True),
    {
        "model_hash": TINY_T5,
        "model_name": "wan_video_text_encoder",
        "model_class": f"{_CLASSES}.wan_video_text_encoder.WanTextEncoder",
        "extra_kwargs": _T5,
    },
    {
        "model_hash": TINY_VAE,
        "model_name": "wan_video_vae",
        "model_class": VAE_CLASS,
        "state_dict_converter": f"{_CONVERTERS}.wan_video_vae.WanVideoVAEStateDictConverter",
    },
]
