"""The pocket Wan's models, told to DiffSynth: the published classes at a size that a CPU runs and 25 MB hold."""

from typing import Any

from diffsynth.models.wan_video_vae import VideoVAE_, WanVideoVAE

from wan_ddp.wan.architectures import HASHES, POCKET_T5, POCKET_VAE

# Half of the residual blocks, and more channels where the picture is small: on a CPU the VAE takes as long as the DiT,
# most of it at the full size.
VAE: dict[str, Any] = {"dim": 16, "dim_mult": [1, 2, 4, 6], "num_res_blocks": 1}
LATENT_CHANNELS = 16
TEXT_VOCABULARY = 320

DIT: dict[str, Any] = {
    "dim": 240,
    "ffn_dim": 960,
    "freq_dim": 256,
    "text_dim": 128,
    "in_dim": LATENT_CHANNELS,
    "out_dim": LATENT_CHANNELS,
    "num_heads": 5,  # of 48: a third of a head's size must be even, or DiffSynth's RoPE does not fit
    "num_layers": 6,
    "patch_size": [1, 2, 2],
    "eps": 1e-6,
    "has_image_input": False,
}
TEXT_ENCODER: dict[str, Any] = {
    "vocab": TEXT_VOCABULARY,
    "dim": 128,
    "dim_attn": 128,
    "dim_ffn": 256,
    "num_heads": 4,
    "num_layers": 2,
}
VAE_CLASS = f"{__name__}.PocketWanVideoVAE"


class PocketWanVideoVAE(WanVideoVAE):  # type: ignore[misc]
    """Wan's VAE (z_dim 16, 8x8x4 compression, the same kinds of layers) of base width 16 instead of 96."""

    def __init__(self) -> None:
        super().__init__(z_dim=LATENT_CHANNELS)
        self.model = VideoVAE_(**VAE, z_dim=LATENT_CHANNELS).eval().requires_grad_(False)


CONFIGS: list[dict[str, Any]] = [
    {
        "model_hash": HASHES["pocket"],
        "model_name": "wan_video_dit",
        "model_class": "diffsynth.models.wan_video_dit.WanModel",
        "extra_kwargs": DIT,
    },
    {
        "model_hash": POCKET_T5,
        "model_name": "wan_video_text_encoder",
        "model_class": "diffsynth.models.wan_video_text_encoder.WanTextEncoder",
        "extra_kwargs": TEXT_ENCODER,
    },
    {
        "model_hash": POCKET_VAE,
        "model_name": "wan_video_vae",
        "model_class": VAE_CLASS,
        "state_dict_converter": "diffsynth.utils.state_dict_converters.wan_video_vae.WanVideoVAEStateDictConverter",
    },
]
