"""DiffSynth imported without what it takes for other models than ours, which is over a quarter of the time."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, wraps
from typing import Any

import torch
import transformers


@contextmanager
def lean_import() -> Iterator[None]:
    """For a process's first import of DiffSynth, while it has one thread.

    DiffSynth compiles an attention that Wan does without, for which torch imports its compiler: here that waits for the
    attention's first call. What reads speech in transformers, for videos made from sound, is left out.
    """
    torchs: Any = torch
    compile_now, torchs.compile = torchs.compile, _compile_when_called
    transformers.Wav2Vec2Processor = None
    try:
        yield
    finally:
        torchs.compile = compile_now
        del transformers.Wav2Vec2Processor


def _compile_when_called(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    compiled = cache(lambda: torch.compile(function, **options))

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return compiled()(*args, **kwargs)

    return call
