"""Category-balanced, deterministic shards: which rank makes which videos, decided by the jobs and the world size alone.

In every category the jobs stand reference by reference and are cut into one consecutive piece a rank. Where jobs cost
the same, pieces differ by at most one job, and of all such cuts the one that splits the fewest references is taken:
each (rank, reference) pair costs a decode and an encode. Larger pieces go to the ranks with the least to do so far, so
the totals balance too.

Where ranks are known to be of different speed, each one's share of every category is in proportion to its own, rounded
down or up to whole jobs: the one more goes to those who would be done with it first.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import accumulate, groupby, pairwise
from operator import attrgetter

from wan_ddp.job import Job


def plan(jobs: Sequence[Job], world_size: int, seconds: Sequence[float] | None = None) -> list[list[Job]]:
    """One list of jobs a rank. Disjoint, covering, the jobs of one reference one after another.

    `seconds` is what each rank takes for one and the same video; None: they are all as fast.
    """
    if world_size < 1:
        raise ValueError(f"world_size is {world_size}; it must be 1 or more")
    if seconds is not None and len(set(seconds)) > 1:
        assert len(seconds) == world_size, "a speed for each rank"
        return _plan_by_speed(jobs, seconds)
    shards: list[list[Job]] = [[] for _ in range(world_size)]
    loads = [0] * world_size
    for category in _by_category(jobs):
        cost = _common_cost(category)
        cuts = _weighted_cuts(category, world_size) if cost is None else _equal_cuts(category, world_size)
        pieces = [category[start:end] for start, end in pairwise([0, *cuts, len(category)])]
        costs = [len(piece) * cost if cost is not None else sum(job.cost for job in piece) for piece in pieces]
        heaviest_first = sorted(range(world_size), key=lambda piece: -costs[piece])
        least_loaded_first = sorted(range(world_size), key=lambda rank: loads[rank])
        for rank, piece in zip(least_loaded_first, heaviest_first, strict=True):
            shards[rank] += pieces[piece]
            loads[rank] += costs[piece]
    return shards


def _plan_by_speed(jobs: Sequence[Job], seconds: Sequence[float]) -> list[list[Job]]:
    shards: list[list[Job]] = [[] for _ in seconds]
    loads = [0] * len(seconds)
    speeds = [min(seconds) / each for each in seconds]
    for category in _by_category(jobs):
        if (cost := _common_cost(category)) is not None:
            ends = list(accumulate(_counts(len(category), speeds, loads, cost)))
        else:
            # Each cut makes up for what rounding gave the ranks before it too much or too little of so far.
            cost_by_speed = (sum(loads) + sum(job.cost for job in category)) / sum(speeds)
            so_far = zip(accumulate(speeds), accumulate(loads), strict=True)
            shares = [cost_by_speed * speed - load for speed, load in so_far]
            ends = [*_cuts_at(category, shares[:-1]), len(category)]
        for rank, (start, end) in enumerate(pairwise([0, *ends])):
            shards[rank] += category[start:end]
            loads[rank] += sum(job.cost for job in category[start:end])
    return shards


def _counts(num_jobs: int, speeds: Sequence[float], loads: Sequence[int], cost: int) -> list[int]:
    """How many of so many jobs of one cost each rank gets, after what it has: its share, rounded down or up."""
    shares = [num_jobs * speed / sum(speeds) for speed in speeds]
    counts = [int(share) for share in shares]
    done_with_one_more = [
        (load + (count + 1) * cost) / speed for load, count, speed in zip(loads, counts, speeds, strict=True)
    ]
    for rank in sorted(range(len(speeds)), key=done_with_one_more.__getitem__)[: num_jobs - sum(counts)]:
        counts[rank] += 1
    return counts


def num_references(jobs: Iterable[Job]) -> int:
    """How many references a rank with these jobs has to read."""
    return len({job.reference for job in jobs})


def _by_category(jobs: Sequence[Job]) -> list[list[Job]]:
    """The jobs of each category, each reference's together, all in the order of first appearance."""
    categories: dict[str, dict[str, list[Job]]] = defaultdict(lambda: defaultdict(list))
    for (category, reference), following in groupby(jobs, _place):
        categories[category][reference] += following
    return [[job for group in references.values() for job in group] for references in categories.values()]


def _common_cost(jobs: Sequence[Job]) -> int | None:
    """What each of the jobs costs, if that is the same for all."""
    examples = dict(zip(map(_size, jobs), jobs, strict=True))  # a million jobs are of a few sizes
    costs = {job.cost for job in examples.values()}
    return costs.pop() if len(costs) == 1 else None


_place = attrgetter("category", "reference")
# What `Job.cost` goes by.
_size = attrgetter("num_frames", "width", "height", "num_inference_steps")


def _equal_cuts(jobs: list[Job], num_pieces: int) -> list[int]:
    """The inner cuts of pieces that differ by at most one job, as many as possible between two references.

    The first k pieces, j of them the longer sort, end at k * size + j; over (k, j) a path with the most cuts that
    split no reference is found by dynamic programming.
    """
    size, num_longer = divmod(len(jobs), num_pieces)
    clean = [True, *(left.reference != right.reference for left, right in pairwise(jobs)), True]
    best = [0]  # best[j]: the most clean cuts so far with j longer pieces; unreachable entries are left out
    came_from_longer: list[list[bool]] = []
    for k in range(1, num_pieces):
        # A longer piece is a step from j - 1 to j. The last num_pieces - k pieces must be able to take the rest.
        steps = [
            (best[j] if j < len(best) else -1, best[j - 1] if j > 0 else -1) for j in range(min(k, num_longer) + 1)
        ]
        came_from_longer.append([longer > shorter for shorter, longer in steps])
        best = [max(step) + clean[k * size + j] for j, step in enumerate(steps)]
    cuts = []
    # The last piece is longer or not, whichever leaves the better path.
    j = max((j for j in (num_longer - 1, num_longer) if 0 <= j < len(best)), key=lambda j: best[j])
    for k in range(num_pieces - 1, 0, -1):
        cuts.append(k * size + j)
        j -= came_from_longer[k - 1][j]
    return cuts[::-1]


def _weighted_cuts(jobs: list[Job], num_pieces: int) -> list[int]:
    """The inner cuts nearest to equal shares of the cost: no piece is off by more than its dearest job."""
    cost = sum(job.cost for job in jobs)
    return _cuts_at(jobs, [cost * k / num_pieces for k in range(1, num_pieces)])


def _cuts_at(jobs: list[Job], shares: Sequence[float]) -> list[int]:
    """The cuts before which the jobs' cost is nearest to each of the shares; those ascend."""
    ends = [0, *accumulate(job.cost for job in jobs)]
    cuts, cut = [], 0
    for share in shares:
        while cut < len(jobs) and abs(ends[cut + 1] - share) <= abs(ends[cut] - share):
            cut += 1
        cuts.append(cut)
    return cuts
