"""Steps that are not computed: what the DiT's blocks added at the last computed step is added again.

It goes through DiffSynth's own `tea_cache`, with a schedule that is known beforehand (`presets.computed_steps`) in the
place of TeaCache's threshold (https://arxiv.org/abs/2411.19108): so the cost of a video is known, and a resumed video
computes the same steps. Timestep embedding and head are still those of the step itself.
"""

from typing import Any

import torch
from diffsynth.diffusion.base_pipeline import PipelineUnit
from diffsynth.pipelines.wan_video import WanVideoPipeline

from wan_ddp.presets import computed_steps
from wan_ddp.wan.units import Outputs, Replacement, unit_named


class StepCache(Replacement):
    """In the place of DiffSynth's unit: gives each side of the guidance a residual to keep.

    `step`, which whoever runs the loop sets before each, counts all steps of the video: a resumed loop begins later.
    """

    def __init__(self, original: PipelineUnit) -> None:
        super().__init__(original)
        self.step = 0
        self._computed: tuple[bool, ...] = ()

    def process(self, pipe: WanVideoPipeline, num_inference_steps: int, **_: Any) -> Outputs:
        self._computed = computed_steps(num_inference_steps)
        return {"tea_cache": _Residual(self)}

    def is_computed(self, step: int) -> bool:
        """Of the steps of this video, counted from 0; so is what comes after the last one, which there is not."""
        return step >= len(self._computed) or self._computed[step]


class _Residual:
    """What DiffSynth calls as a TeaCache, for one side of the guidance. It holds tensors for as long as they are used.

    A loop never begins with a step that is not computed (see `Generator`): no state is saved there.
    """

    def __init__(self, cache: StepCache) -> None:
        self._cache = cache
        self._before: torch.Tensor | None = None
        self._residual: torch.Tensor | None = None

    def check(self, dit: object, x: torch.Tensor, t_mod: torch.Tensor) -> bool:
        """Whether this step is made of the last computed one; `x` goes into the blocks, which do not change it."""
        step = self._cache.step
        if not self._cache.is_computed(step):
            return True
        self._residual = None
        self._before = None if self._cache.is_computed(step + 1) else x
        return False

    def store(self, x: torch.Tensor) -> None:
        """After the blocks of a computed step."""
        if self._before is not None:
            self._residual, self._before = x - self._before, None

    def update(self, x: torch.Tensor) -> torch.Tensor:
        assert self._residual is not None, "the step before a reused one is computed or reused in the same loop"
        return x + self._residual


def install_step_cache(pipe: WanVideoPipeline) -> None:
    """Have the pipeline make every video by the schedule."""
    original = unit_named(pipe, "WanVideoUnit_TeaCache")
    pipe.units = [StepCache(unit) if unit is original else unit for unit in pipe.units]


def step_cache_of(pipe: WanVideoPipeline) -> StepCache | None:
    """The pipeline's, if it has one."""
    return next((unit for unit in pipe.units if isinstance(unit, StepCache)), None)
