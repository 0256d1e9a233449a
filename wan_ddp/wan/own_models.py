"""The project's own models, tiny and pocket, told to DiffSynth as its developer guide asks."""

from diffsynth.configs import MODEL_CONFIGS, VRAM_MANAGEMENT_MODULE_MAPS

from wan_ddp.wan import pocket_models, tiny_models


def register() -> None:
    """A second call changes nothing."""
    known = {config["model_hash"] for config in MODEL_CONFIGS}
    vae_modules = VRAM_MANAGEMENT_MODULE_MAPS["diffsynth.models.wan_video_vae.WanVideoVAE"]
    for models in (tiny_models, pocket_models):
        MODEL_CONFIGS.extend(config for config in models.CONFIGS if config["model_hash"] not in known)
        VRAM_MANAGEMENT_MODULE_MAPS[models.VAE_CLASS] = vae_modules
