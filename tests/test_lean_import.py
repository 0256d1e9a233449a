"""A worker imports DiffSynth without what Wan does without, and what waits works when it is called."""

import subprocess
import sys

import torch

from wan_ddp.wan.lean_import import lean_import


def test_a_worker_imports_neither_torchs_code_generator_nor_what_reads_speech() -> None:
    code = """
import sys
import torch
compile_before = torch.compile
from wan_ddp.worker_process import import_parts
import_parts()
import transformers
assert torch.compile is compile_before
assert "Wav2Vec2Processor" not in vars(transformers)
wanted, not_wanted = "diffsynth.pipelines.wan_video", {"torch._inductor.compile_fx", "transformers.processing_utils"}
print(*{wanted, *not_wanted} & sys.modules.keys())
"""
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.split() == ["diffsynth.pipelines.wan_video"]


def test_a_function_compiled_meanwhile_is_compiled_once_when_it_is_called() -> None:
    graphs = []

    def backend(graph: torch.fx.GraphModule, _: object) -> torch.fx.GraphModule:
        graphs.append(graph)
        return graph

    def double(x: torch.Tensor) -> torch.Tensor:
        return x * 2

    with lean_import():
        compiled = torch.compile(double, backend=backend)
    assert compiled(torch.ones(2)).tolist() == [2.0, 2.0]
    assert compiled(torch.zeros(2)).tolist() == [0.0, 0.0]
    assert len(graphs) == 1
