"""How long a run takes beside the least that it could: the real plan and the real take-over, on simulated GPUs.

Every rank has its own `Backlog`, over shards from `plan`, and asks it for the next task whenever the simulated clock
says that it is free: what is planned, claimed, taken over, tried again and given up is decided by the code of a run.
Small scenarios claim on disk, with `Claims`. Large ones keep the same generations in memory, where `attempts.decide`
and `claims.Look` judge them: two million links for each of them would measure the disk and not the plan.

usage: python -m benchmarks.simulate [small | all | one scenario's number]
"""

import heapq
import platform
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any
from unittest import mock

from wan_ddp import owners
from wan_ddp.attempts import End, Generations, decide
from wan_ddp.backlog import POLL_SECONDS, Backlog, State
from wan_ddp.claims import Claims, Look, claim_key
from wan_ddp.job import Job
from wan_ddp.manifest import read_manifest
from wan_ddp.owners import HOST_LOST_SECONDS
from wan_ddp.plan import plan
from wan_ddp.process import own_token

EXPERIMENT = Path(__file__).resolve().parent.parent / "manifests" / "all.jsonl"
# Of a rank that has half of an H100: 332 s of forwards and 10 s of the rest, two ranks in turns. And what it takes
# beside its videos: its worker's start, and a reference that the one before it did not have.
SECONDS_A_VIDEO = 684.0
START_SECONDS = 35.0
REFERENCE_SECONDS = 4.0
NOISE = 0.02
KEPT_STEPS = 5  # a video goes on from the last fifth that was saved
MAX_ATTEMPTS = 3


@dataclass(frozen=True)
class Scenario:
    name: str
    num_ranks: int = 8
    num_jobs: int = 0
    """0: the experiment's manifest."""
    slow: Mapping[int, float] = field(default_factory=dict)
    """Rank -> how many times as long it takes."""
    is_told: bool = True
    """Whether --speeds tells the plan who is slow."""
    takeover: bool = True
    by_category: bool = False
    """One category for each GPU of two ranks, as it was before there was a plan."""
    deaths: Mapping[int, float] = field(default_factory=dict)
    """Rank -> the share of the undisturbed ideal time after which it is gone: with its host, or on disk its process."""
    worker_deaths: float = 0.0
    """Of all attempts, how many kill their worker."""
    stalls: Mapping[int, tuple[float, float]] = field(default_factory=dict)
    """Rank -> from which share of that time on it is how many times slower, as nobody knew."""
    on_disk: bool = False
    uneven: bool = False
    """Jobs of 10 to 100 steps and 17 to 161 frames."""


@dataclass
class Result:
    makespan: float
    ideal: float
    num_made: int
    num_taken_over: int
    num_lost: int
    num_given_up: int

    @property
    def over_ideal(self) -> float:
        return self.makespan / self.ideal


@dataclass(frozen=True, eq=False, slots=True)
class SimulatedTask:
    """As much of a task as a backlog looks at."""

    job: Job
    key: str


class Store:
    """Claims in memory: what their folder would say, and who is known to be dead."""

    def __init__(self) -> None:
        self.generations: dict[str, Generations] = {}
        self.held: dict[str, int] = {}

    def end(self, key: str, how: End) -> None:
        found = self.generations[key]
        self.generations[key] = Generations(found.last, done=how == "done", ends=(*found.ends, how))
        self.held.pop(key, None)

    def bury(self, rank: int) -> None:
        for key in [key for key, owner in self.held.items() if owner == rank]:
            self.end(key, "lost")


@dataclass
class StoredClaim:
    store: Store
    key: str
    decision: str
    history: tuple[End, ...]

    def end(self, how: End) -> None:
        self.store.end(self.key, how)


class StoredClaims:
    """`Claims` over a store."""

    def __init__(self, store: Store, rank: int) -> None:
        self._store, self._rank = store, rank

    def claim(self, key: str, max_attempts: int) -> Any:
        found = self._store.generations.get(key, Generations())
        if found.standing:
            return "held"
        if (decision := decide(found.ends, max_attempts)) == "give_up":
            return "given_up"
        self._store.generations[key] = Generations(found.last + 1, standing=True, ends=found.ends)
        self._store.held[key] = self._rank
        return StoredClaim(self._store, key, decision, found.ends)

    def look(self, keys: Iterable[str] | None = None) -> Look:
        return Look(self._store.generations, self._store.held)  # type: ignore[arg-type]  # asked for keys alone

    def silence(self, key: str) -> float:
        return 0.0


class Simulation:
    """One run of a scenario: a heap of moments at which a rank is free, has ended a video, or dies."""

    def __init__(self, scenario: Scenario, folder: Path, stack: ExitStack) -> None:
        self.scenario = scenario
        self._random = random.Random(42)
        jobs = read_manifest(EXPERIMENT, {}) if not scenario.num_jobs else _many_jobs(scenario)
        tasks = {id(job): SimulatedTask(job, claim_key(job.id, "")) for job in jobs}
        seconds = [SECONDS_A_VIDEO * scenario.slow.get(rank, 1.0) for rank in range(scenario.num_ranks)]
        self._seconds_a_cost = [each / Job("", "", "", 0, 0).cost for each in seconds]
        cost = sum(job.cost for job in jobs)
        self._span = cost / sum(1 / each for each in self._seconds_a_cost)  # the ideal time if all goes well
        self.ideal = self._ideal(cost)
        shards = _by_category(jobs) if scenario.by_category else plan(
            jobs, scenario.num_ranks, seconds if scenario.is_told else None
        )  # fmt: skip
        # What is done leaves the shards, for all ranks: each would drop it from its own list of them at its first look
        # at others, and a thousand lists of a million are more than fits in memory.
        self._shards = [{tasks[id(job)].key: tasks[id(job)] for job in shard} for shard in shards]
        self._shard_of = {key: shard for shard in self._shards for key in shard}
        self._left = {task.key: KEPT_STEPS for task in tasks.values()}  # fifths of each video
        self._done: set[str] = set()
        self._given_up: set[str] = set()
        self._references = [""] * scenario.num_ranks
        self._in_hands: dict[int, Any] = {}
        self._dead: set[int] = set()
        self._idle: set[int] = set()
        self._moments: list[tuple[float, int, str, int]] = []
        self._num_lost = self._num_taken_over = self._num_moments = 0
        self._last_end = 0.0
        self._store = None if scenario.on_disk else Store()
        self._mortals: dict[int, subprocess.Popen[bytes]] = {}
        self._backlogs = [self._backlog(rank, folder, stack) for rank in range(scenario.num_ranks)]

    def run(self) -> Result:
        for rank in range(self.scenario.num_ranks):
            self._at(START_SECONDS, "free", rank)
        for rank, share in self.scenario.deaths.items():
            self._at(share * self._span, "death", rank)
        while self._moments and len(self._done) + len(self._given_up) < len(self._left):
            now, _, what, rank = heapq.heappop(self._moments)
            if rank not in self._dead or what == "buried":
                getattr(self, f"_{what}")(now, rank)
        return Result(
            self._last_end, self.ideal, len(self._done), self._num_taken_over, self._num_lost, len(self._given_up)
        )

    def _backlog(self, rank: int, folder: Path, stack: ExitStack) -> Backlog:
        claims: Any = StoredClaims(self._store, rank) if self._store else self._claims(rank, folder, stack)
        return Backlog(
            [shard.values() for shard in self._shards],  # type: ignore[misc]
            rank,
            claims,
            state_of=self._state_of,
            max_attempts=MAX_ATTEMPTS,
            takeover=self.scenario.takeover,
        )

    def _claims(self, rank: int, folder: Path, stack: ExitStack) -> Claims:
        """Real claims; those of a rank that is to die are owned by a process of its own, which can."""
        if rank not in self.scenario.deaths:
            return stack.enter_context(Claims(folder, run_id="simulation", rank=rank))
        self._mortals[rank] = subprocess.Popen(["sleep", "infinity"])
        stack.callback(self._mortals[rank].kill)
        with mock.patch.object(owners, "own_token", lambda: own_token(self._mortals[rank].pid)):
            claims = Claims(folder, run_id="simulation", rank=rank)
        claims.open()
        return claims

    def _state_of(self, task: Any) -> State:
        return "made" if task.key in self._done else "given_up" if task.key in self._given_up else "to_do"

    def _at(self, when: float, what: str, rank: int) -> None:
        self._num_moments += 1
        heapq.heappush(self._moments, (when, self._num_moments, what, rank))

    def _free(self, now: float, rank: int) -> None:
        taken = self._backlogs[rank].take()
        if taken is None:
            if not self._backlogs[rank].is_empty():
                self._idle.add(rank)
            return
        self._num_taken_over += taken.taken_over
        seconds = self._seconds(now, rank, taken.task.job) * self._left[taken.task.key] / KEPT_STEPS
        if taken.task.job.reference != self._references[rank]:
            self._references[rank] = taken.task.job.reference
            seconds += REFERENCE_SECONDS
        is_fatal = self._random.random() < self.scenario.worker_deaths
        share = self._random.random() if is_fatal else 1.0
        self._in_hands[rank] = taken, now, seconds, is_fatal
        self._at(now + seconds * share, "end", rank)

    def _end(self, now: float, rank: int) -> None:
        taken, since, seconds, is_fatal = self._in_hands.pop(rank)
        if is_fatal:
            self._keep(taken.task, (now - since) / seconds)
            taken.claim.end("worker_died")
            self._num_lost += 1
            if decide((*taken.claim.history, "worker_died"), MAX_ATTEMPTS) == "give_up":
                self._given_up.add(taken.task.key)
                self._backlogs[rank].finish(taken.task)
            else:
                self._backlogs[rank].postpone(taken.task, 0.0)
                self._wake(now)
            self._at(now + START_SECONDS, "free", rank)
            return
        taken.claim.end("done")
        self._backlogs[rank].finish(taken.task)
        self._done.add(taken.task.key)
        del self._shard_of[taken.task.key][taken.task.key]
        self._last_end = now
        self._at(now, "free", rank)

    def _death(self, now: float, rank: int) -> None:
        self._dead.add(rank)
        self._num_lost += 1
        if rank in self._in_hands:
            taken, since, seconds, _ = self._in_hands.pop(rank)
            self._keep(taken.task, (now - since) / seconds)
        if rank in self._mortals:
            self._mortals[rank].kill()
            self._mortals[rank].wait()
        self._at(now + (HOST_LOST_SECONDS if self._store else 0.0), "buried", rank)

    def _buried(self, now: float, rank: int) -> None:
        if self._store:
            self._store.bury(rank)
        self._wake(now)

    def _wake(self, now: float) -> None:
        for rank in sorted(self._idle):
            self._at(now + POLL_SECONDS, "free", rank)
        self._idle.clear()

    def _keep(self, task: Any, share: float) -> None:
        left = self._left[task.key]
        self._left[task.key] = left - int(left * share)

    def _seconds(self, now: float, rank: int, job: Job) -> float:
        since, times = self.scenario.stalls.get(rank, (9.0, 1.0))
        stalled = times if now >= since * self._span else 1.0
        return job.cost * self._seconds_a_cost[rank] * stalled * max(0.5, self._random.gauss(1.0, NOISE))

    def _ideal(self, cost: int) -> float:
        """When all would be done if videos were sand: every rank busy at its speed for as long as it lives."""
        scenario = self.scenario
        low, high = 0.0, cost * max(self._seconds_a_cost)
        for _ in range(60):
            middle = (low + high) / 2
            made = 0.0
            for rank, seconds in enumerate(self._seconds_a_cost):
                lives = min(middle, scenario.deaths.get(rank, 9.0) * self._span)
                stalls, times = scenario.stalls.get(rank, (9.0, 1.0))
                stalls *= self._span
                made += (min(lives, stalls) + max(0.0, lives - stalls) / times) / seconds
            low, high = (middle, high) if made < cost else (low, middle)
        return high


def simulate(scenario: Scenario) -> Result:
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        return Simulation(scenario, Path(folder, ".claims"), stack).run()


def _many_jobs(scenario: Scenario) -> list[Job]:
    """Four categories as the experiment has them, ten jobs a reference."""
    draw = random.Random(7)
    ends = list(accumulate((14, 33, 13, 8)))
    return [
        Job(
            f"category{next(index for index, end in enumerate(ends) if number * 68 // scenario.num_jobs < end)}",
            f"/references/{number // 10}.mp4",
            "prompt",
            number % 5,
            number % 10 // 5,
            num_frames=draw.choice((17, 49, 81, 161)) if scenario.uneven else 81,
            num_inference_steps=draw.choice((10, 30, 50, 100)) if scenario.uneven else 50,
        )
        for number in range(scenario.num_jobs)
    ]


def _by_category(jobs: Sequence[Job]) -> list[list[Job]]:
    categories = list(dict.fromkeys(job.category for job in jobs))
    return [[job for job in jobs if job.category == category][half::2] for category in categories for half in range(2)]


HALF = {0: 2.0, 1: 2.0}
EXPERIMENT_SCENARIOS = (
    Scenario("a category a GPU, no take-over", by_category=True, takeover=False, on_disk=True),
    Scenario("the plan", on_disk=True),
    Scenario("one GPU at half speed, told by --speeds", slow=HALF, on_disk=True),
)
SMALL = (
    *EXPERIMENT_SCENARIOS,
    Scenario("a category a GPU, with take-over", by_category=True, on_disk=True),
    Scenario("one GPU at half speed, not told", slow=HALF, is_told=False, on_disk=True),
    Scenario("one GPU at half speed, told, no take-over", slow=HALF, takeover=False, on_disk=True),
    Scenario("one GPU at half speed, not told, no take-over", slow=HALF, is_told=False, takeover=False, on_disk=True),
    Scenario("the plan, no take-over", takeover=False, on_disk=True),
    Scenario("1 in 50 attempts kills its worker", worker_deaths=0.02, on_disk=True),
    Scenario("two ranks die in the middle", deaths={2: 0.5, 3: 0.5}, on_disk=True),
    Scenario("two ranks die with a tenth to go", deaths={2: 0.9, 3: 0.9}, on_disk=True),
    Scenario("a GPU falls to a tenth of its speed half-way", stalls={4: (0.5, 10.0), 5: (0.5, 10.0)}, on_disk=True),
    Scenario("10,000 jobs of unequal cost", 10, 10_000, uneven=True, on_disk=True),
)
_HUNDRED = dict.fromkeys(range(10), 2.0)
_THOUSAND = {rank: 1.0 + (rank % 5) / 4 for rank in range(1000)}
LARGE = (
    Scenario("equal", 10, 100_000),
    Scenario("a tenth at half speed, told; 1 in 100 attempts dies", 100, 10_000, slow=_HUNDRED, worker_deaths=0.01),
    Scenario("a tenth at half speed, not told", 100, 10_000, slow=_HUNDRED, is_told=False),
    Scenario("unequal cost, a tenth dies on the way", 100, 100_000, uneven=True, deaths={r: r / 10 for r in range(10)}),
    Scenario("five speeds, told; 1 in 1000 attempts dies", 1000, 100_000, slow=_THOUSAND, worker_deaths=0.001),
    Scenario("five speeds, not told", 1000, 100_000, slow=_THOUSAND, is_told=False),
    Scenario(
        "a tenth dies on the way, 10 stall",
        1000,
        100_000,
        deaths={r: r / 100 for r in range(1, 100)},
        stalls=dict.fromkeys(range(500, 510), (0.5, 10.0)),
    ),
    Scenario("ten jobs a rank", 1000, 10_000),
    Scenario("equal", 100, 1_000_000),
    Scenario("five speeds, told; 1 in 1000 attempts dies", 1000, 1_000_000, slow=_THOUSAND, worker_deaths=0.001),
)


def main(which: str) -> None:
    every = [*SMALL, *LARGE]
    chosen = every if which == "all" else SMALL if which == "small" else [every[int(which)]]
    print(
        "| scenario | ranks | jobs | claims | hours | over the ideal | taken over | lost | given up | s to simulate |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for scenario in chosen:
        started = time.monotonic()
        result = simulate(scenario)
        jobs = result.num_made + result.num_given_up
        where = "disk" if scenario.on_disk else "memory"
        print(
            f"| {scenario.name} | {scenario.num_ranks} | {jobs:,} | {where} | {result.makespan / 3600:.2f} "
            f"| {result.over_ideal:.3f} | {result.num_taken_over} | {result.num_lost} | {result.num_given_up} "
            f"| {time.monotonic() - started:.0f} |",
            flush=True,
        )
    print(f"{platform.machine()}, Python {platform.python_version()}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "small")
