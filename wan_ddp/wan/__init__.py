"""Everything that knows DiffSynth and the GPU: checkpoints, their check before a run, and the pipeline.

`checkpoint`, `architectures`, `headers` and `commands` import neither torch nor DiffSynth; the other modules do.
"""
