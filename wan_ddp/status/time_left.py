"""How long the rest will take, from what videos have taken so far: values to values."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

Basis = Literal["this run", "earlier videos"]


@dataclass(frozen=True, slots=True)
class Measured:
    """A video that was made: what it took, and what it cost beside others (`Job.cost`, less what saved steps saved)."""

    seconds: float
    cost: float


@dataclass(frozen=True, slots=True)
class Pace:
    """The median of what was measured."""

    seconds_per_video: float
    seconds_per_cost: float
    num_measured: int
    basis: Basis


def pace_of(this_run: Sequence[Measured], earlier: Sequence[Measured]) -> Pace | None:
    """From this run's videos, before the first from earlier ones, None where there is none at all."""
    sources: tuple[tuple[Sequence[Measured], Basis], ...] = ((this_run, "this run"), (earlier, "earlier videos"))
    for measured, basis in sources:
        known = [each for each in measured if each.seconds > 0 and each.cost > 0]
        if known:
            per_video = median(each.seconds for each in known)
            return Pace(per_video, median(each.seconds / each.cost for each in known), len(known), basis)
    return None


def seconds_left(pace: Pace, in_hand: Sequence[float], waiting: Sequence[float]) -> float:
    """Until the last video is made, by one rank for each of `in_hand`: what is left of its video's cost.

    Whoever is free takes the dearest of `waiting`, the costs of what nobody has begun.
    """
    if not in_hand:
        raise ValueError("in_hand is empty; somebody has to make the videos")
    free_at = list(in_hand)
    heapq.heapify(free_at)
    for cost in sorted(waiting, reverse=True):
        heapq.heapreplace(free_at, free_at[0] + cost)
    return max(free_at) * pace.seconds_per_cost
