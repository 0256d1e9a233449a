"""How fast each rank's GPU makes videos: measured by a run, left beside its videos, given to the next by --speeds."""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Annotated, Any

from pydantic import Field, StrictInt, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from wan_ddp.errors import UnusableError
from wan_ddp.files import write_atomically
from wan_ddp.heartbeat import RankState

FILE_NAME = "speeds.json"
_VERSION = 1
# Of a video of the experiment, frames x pixels x steps: what seconds are told for, whatever was made.
_COST_OF_A_VIDEO = 81 * 832 * 480 * 50


@dataclass(frozen=True)
class Speed:
    """One rank's; all but `rank` and `seconds_a_video` is for people. Ranks of one GPU have its mean."""

    rank: Annotated[StrictInt, Field(ge=0)]
    seconds_a_video: Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)]
    """For 81 frames of 832x480 in 50 steps, from its order to its record, beside the GPU's other ranks."""
    num_videos: int = 0
    node: int = 0
    host: str = ""
    gpu: int = 0
    gpu_name: str = ""


_SPEEDS = TypeAdapter(list[Speed])


def measure(states: Sequence[RankState]) -> list[Speed]:
    """What the ranks' states say of their GPUs; nothing of those that made no video."""
    gpus: dict[tuple[int, str, int], list[RankState]] = defaultdict(list)
    for state in states:
        if state.made_cost:
            gpus[state.node, state.host, state.gpu].append(state)
    return [
        Speed(
            rank=state.rank,
            seconds_a_video=round(seconds / cost * _COST_OF_A_VIDEO, 3),
            num_videos=state.num_done,
            node=state.node,
            host=state.host,
            gpu=state.gpu,
            gpu_name=state.gpu_name,
        )
        for ranks in gpus.values()
        for cost, seconds in [(sum(each.made_cost for each in ranks), sum(each.made_seconds for each in ranks))]
        for state in ranks
    ]


def write_speeds(output: Path, states: Sequence[RankState]) -> None:
    """Put the file beside the videos. Raises OSError.

    A run that had work for a few ranks only, the rest of an earlier one, says too little to replace what is there.
    """
    speeds = measure(states)
    if 2 * len(speeds) > len(states):
        content = {"version": _VERSION, "ranks": [asdict(each) for each in sorted(speeds, key=lambda each: each.rank)]}
        write_atomically(output / FILE_NAME, json.dumps(content, ensure_ascii=False, indent=1).encode())


def read_speeds(path: Path | None, world_size: int) -> tuple[float, ...] | None:
    """Seconds a video of every rank, the median for those of whom the file says nothing; None without a file.

    Raises UnusableError.
    """
    if path is None:
        return None
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise UnusableError(f"{path}: cannot be read: {error.strerror}; --speeds takes a run's {FILE_NAME}") from error
    except (ValueError, RecursionError) as error:
        raise UnusableError(f"{path}: not JSON; --speeds takes a run's {FILE_NAME}") from error
    if not isinstance(content, dict) or content.get("version") != _VERSION:
        raise UnusableError(f'{path}: not a file of speeds, which has "version": {_VERSION} and "ranks"')
    try:
        speeds = _SPEEDS.validate_python(content.get("ranks"))
    except ValidationError as error:
        raise UnusableError(f"{path}: {_problem(error)}") from error
    seconds = {each.rank: each.seconds_a_video for each in speeds}
    if len(seconds) < len(speeds):
        ranks = [each.rank for each in speeds]
        raise UnusableError(f"{path}: rank {max(ranks, key=ranks.count)} stands twice; each may stand once")
    known = [seconds[rank] for rank in range(world_size) if rank in seconds]
    if not known:
        raise UnusableError(f"{path}: says nothing of ranks 0 to {world_size - 1}; measure this run's GPUs first")
    return tuple(seconds.get(rank, median(known)) for rank in range(world_size))


def longest_seconds(costs: Sequence[int], seconds_a_video: Sequence[float]) -> float:
    """What the rank takes that is done last, of ranks with jobs of such costs."""
    return max(cost / _COST_OF_A_VIDEO * seconds for cost, seconds in zip(costs, seconds_a_video, strict=True))


def _problem(error: ValidationError) -> str:
    first: Any = error.errors()[0]
    where = ".".join(map(str, ("ranks", *first["loc"])))
    return (
        f"{where}: {first['msg']}; ranks is a list of objects with rank (an integer of 0 or more) and "
        "seconds_a_video (a number above 0)"
    )
