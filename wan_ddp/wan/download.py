"""Fetching a published checkpoint into a folder: only when it is asked for, by one process, before the ranks start."""

import os
from contextlib import suppress
from pathlib import Path

from wan_ddp.errors import ModelError
from wan_ddp.wan.architectures import BY_NAME
from wan_ddp.wan.checkpoint import DIT, TEXT_ENCODER, TOKENIZER, VAE, find_checkpoint

PATTERNS = [f"{DIT}*", f"{TEXT_ENCODER}.*", f"{VAE}.*", f"{TOKENIZER.as_posix()}/*"]


def download(name: str, folder: Path) -> None:
    """Fetch the published checkpoint `name` into `folder`; nothing happens if a usable one is there.

    The files come from ModelScope, or from Hugging Face if DIFFSYNTH_DOWNLOAD_SOURCE (DiffSynth's variable) says so;
    both resume what was cut off.

    Raises:
        ModelError: `name` is not published, the variable has another value, or the download failed.
    """
    published = {known: architecture for known, architecture in BY_NAME.items() if architecture.huggingface}
    if name not in published:
        raise ModelError(f"there is no checkpoint {name} to download; there are {', '.join(published)}")
    with suppress(ModelError):
        find_checkpoint(folder)
        return
    source = os.environ.get("DIFFSYNTH_DOWNLOAD_SOURCE", "modelscope").lower()
    # Each hub's client is imported only where it is used: the pre-flight check stays light.
    if source == "modelscope":
        from modelscope import snapshot_download

        repository = published[name].modelscope
    elif source == "huggingface":
        from huggingface_hub import snapshot_download

        repository = published[name].huggingface
    else:
        raise ModelError(f"DIFFSYNTH_DOWNLOAD_SOURCE is {source}; it must be modelscope or huggingface")
    try:
        snapshot_download(repository, local_dir=str(folder), allow_patterns=PATTERNS)
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ModelError(f"cannot download {repository} from {source} to {folder}: {reason}") from error
