"""Category-balanced, deterministic shards: which rank makes which videos, decided by the jobs and the world size alone.

In every category the jobs stand reference by reference and are cut into one consecutive piece a rank. Where jobs cost
the same, pieces differ by at most one job, and of all such cuts the one that splits the fewest references is taken:
each (rank, reference) pair costs a decode and an encode. Larger pieces go to the ranks with the least to do so far, so
the totals balance too.
"""

from collections import defaultdict
from collections.abc import Sequence
from itertools import accumulate, pairwise

from wan_ddp.job import Job


def plan(jobs: Sequence[Job], world_size: int) -> list[list[Job]]:
    """One list of jobs a rank. Disjoint, covering, the jobs of one reference one after another."""
    if world_size < 1:
        raise ValueError(f"world_size is {world_size}; it must be 1 or more")
    shards: list[list[Job]] = [[] for _ in range(world_size)]
    loads = [0] * world_size
    for category in _by_category(jobs):
        pieces = _pieces(category, world_size)
        costs = [sum(job.cost for job in piece) for piece in pieces]
        heaviest_first = sorted(range(world_size), key=lambda piece: -costs[piece])
        least_loaded_first = sorted(range(world_size), key=lambda rank: loads[rank])
        for rank, piece in zip(least_loaded_first, heaviest_first, strict=True):
            shards[rank] += pieces[piece]
            loads[rank] += costs[piece]
    return shards


def num_references(jobs: Sequence[Job]) -> int:
    """How many references a rank with these jobs has to read."""
    return len({job.reference for job in jobs})


def _by_category(jobs: Sequence[Job]) -> list[list[Job]]:
    """The jobs of each category, each reference's together, all in the order of first appearance."""
    categories: dict[str, dict[str, list[Job]]] = defaultdict(lambda: defaultdict(list))
    for job in jobs:
        categories[job.category][job.reference].append(job)
    return [[job for group in references.values() for job in group] for references in categories.values()]


def _pieces(jobs: list[Job], num_pieces: int) -> list[list[Job]]:
    equal = len({job.cost for job in jobs}) == 1
    cuts = _equal_cuts(jobs, num_pieces) if equal else _weighted_cuts(jobs, num_pieces)
    return [jobs[start:end] for start, end in pairwise([0, *cuts, len(jobs)])]


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
    ends = [0, *accumulate(job.cost for job in jobs)]
    cuts, cut = [], 0
    for k in range(1, num_pieces):
        share = ends[-1] * k / num_pieces
        while cut < len(jobs) and abs(ends[cut + 1] - share) <= abs(ends[cut] - share):
            cut += 1
        cuts.append(cut)
    return cuts
