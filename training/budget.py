"""Training by the clock: a stage has so many minutes in all, and a command so many of them."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from training.state import Progress

SAVE_SECONDS = 90.0
SHOW_SECONDS = 15.0


@dataclass
class Budget:
    """`minutes`: of this command. `total_minutes`: of the stage, over all commands; the learning rate ends with it."""

    minutes: float
    total_minutes: float
    max_steps: int | None = None
    """Of this command: for tests."""
    begun: float = field(default_factory=time.monotonic)
    first_step: int = 0
    first_seconds: float = 0.0
    warmup_steps: int = 0

    def begin(self, progress: Progress, warmup_steps: int) -> None:
        """`warmup_steps`: none are needed where the optimiser's state was there."""
        self.begun, self.first_step, self.first_seconds = time.monotonic(), progress.steps, progress.seconds
        self.warmup_steps = warmup_steps

    def elapsed(self) -> float:
        return time.monotonic() - self.begun

    def share(self, progress: Progress) -> float:
        """How much of the stage is over, 0 to 1."""
        progress.seconds = self.first_seconds + self.elapsed()
        return min(1.0, progress.seconds / (60 * self.total_minutes))

    def is_over(self, progress: Progress) -> bool:
        if self.max_steps is not None:
            return progress.steps - self.first_step >= self.max_steps
        return self.elapsed() >= 60 * self.minutes or self.share(progress) >= 1

    def learning_rate(self, peak: float, progress: Progress) -> float:
        """Up in a straight line from where this command began, and down along a cosine to nothing."""
        warm = min(1.0, (progress.steps - self.first_step + 1) / max(1, self.warmup_steps))
        return peak * warm * (0.02 + 0.98 * (1 + math.cos(math.pi * self.share(progress))) / 2)


def name_of(device: str) -> str:
    """What a device is called: for the card."""
    return "a CPU" if device == "cpu" else torch.cuda.get_device_name(device)


class Ticker:
    """Says every few seconds how it goes, and when it is time to save."""

    def __init__(self, show: Callable[[str], None] = lambda text: print(text, flush=True)) -> None:
        self._show = show
        self._shown = self._saved = time.monotonic()
        self._steps = 0
        self._losses: dict[str, torch.Tensor] = {}

    def step(self, progress: Progress, losses: dict[str, torch.Tensor], rate: float, what: str) -> None:
        for name, value in losses.items():
            self._losses[name] = self._losses.get(name, torch.zeros_like(value)) + value.detach()
        self._steps += 1
        if (past := time.monotonic() - self._shown) >= SHOW_SECONDS:
            means = {name: float(value) / self._steps for name, value in self._losses.items()}
            if not all(math.isfinite(value) for value in means.values()):
                raise FloatingPointError(f"step {progress.steps}: {means}; go on from the last saved state")
            told = ", ".join(f"{name} {value:.4f}" for name, value in means.items())
            self._show(
                f"{what}: step {progress.steps}, {progress.seconds:.0f} s, {told}, rate {rate:.1e}, "
                f"{1000 * past / self._steps:.0f} ms a step"
            )
            self._shown, self._steps, self._losses = time.monotonic(), 0, {}

    def is_time_to_save(self) -> bool:
        if time.monotonic() - self._saved < SAVE_SECONDS:
            return False
        self._saved = time.monotonic()
        return True
