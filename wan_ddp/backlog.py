"""What a rank may still do: its own shard first, then what other ranks have not begun, or have lost with their deaths.

Nobody deals the jobs out: every rank claims for itself, and what the claims folder says is true for all of them.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from wan_ddp.claims import Claim, Look
from wan_ddp.survey import Task

POLL_SECONDS = 1.0
# Of the videos that others say they have made, a rank makes sure of so many. Rank 0 looks at all of them in the end.
_MAX_CHECKED = 10_000

State = Literal["to_do", "made", "given_up"]


class Claims(Protocol):
    """What a backlog asks of `wan_ddp.claims.Claims`. Each raises OSError."""

    def claim(self, key: str, max_attempts: int) -> Claim | Literal["held", "given_up"]: ...

    def look(self, keys: Iterable[str] | None = None) -> Look: ...

    def silence(self, key: str) -> float: ...


@dataclass(frozen=True, slots=True)
class Taken:
    """A task that is this rank's to do, and the claim that says so."""

    task: Task
    claim: Claim
    taken_over: bool = False
    """From another rank's shard."""


class Backlog:
    """The tasks that are, as far as this rank knows, neither done nor given up."""

    def __init__(
        self,
        shards: Sequence[Sequence[Task]],
        rank: int,
        claims: Claims,
        *,
        state_of: Callable[[Task], State],
        max_attempts: int,
        takeover: bool,
    ) -> None:
        """`state_of` looks at the disk: what has become of a task meanwhile, by the hand of another process."""
        self._own = {task.key: task for task in shards[rank]}
        self._shards = [shard for number, shard in enumerate(shards) if takeover and number != rank]
        # Keys take their time, and others' tasks may be a million, of which few are left when it comes to them.
        self._others: list[dict[str, Task]] | None = None
        self._num_checked = 0
        self._claims = claims
        self._state_of = state_of
        self._max_attempts = max_attempts
        self._not_before: dict[str, float] = {}
        self._unsettled: dict[str, Claim | None] = {}  # claimed, perhaps: an error came before all was known

    def take(self) -> Taken | None:
        """Claim the next task: the first of the own shard, then the last one of the rank with most left.

        None if there is none for now: `is_empty` says whether there ever will be. After an OSError, ask again.
        """
        for task in list(self._own.values()):
            if taken := self._claim(self._own, task):
                return taken
        return self._take_over()

    def is_empty(self) -> bool:
        """Whether every task in reach is done or given up, so that the rank may leave."""
        return self._knows_others() and not any(self._in_reach())

    def is_stuck(self, seconds: float) -> bool:
        """Whether all that is left is in the hands of processes that live, but have said nothing for so long."""
        keys = (key for shard in self._in_reach() for key in shard)
        return self._knows_others() and all(self._claims.silence(key) > seconds for key in keys)

    def postpone(self, task: Task, seconds: float) -> None:
        """Put a task that failed behind the others of its shard, and leave it alone for a while."""
        self._not_before[task.key] = time.monotonic() + seconds
        for shard in self._in_reach():
            if task.key in shard:
                shard[task.key] = shard.pop(task.key)

    def finish(self, task: Task) -> None:
        """Forget a task that is done or given up."""
        for shard in self._in_reach():
            shard.pop(task.key, None)

    def ahead(self) -> Iterator[Task]:
        """What may be asked for, the most likely first: the own shard, and then the others' if it may take over."""
        yield from list(self._own.values())
        for shard in self._shards if self._others is None else [list(tasks.values()) for tasks in self._others]:
            yield from reversed(shard)

    def _knows_others(self) -> bool:
        return self._others is not None or not any(self._shards)

    def _in_reach(self) -> list[dict[str, Task]]:
        return [self._own, *(self._others or ())]

    def _claim(self, shard: dict[str, Task], task: Task) -> Taken | None:
        """Claim a task, unless it is another's, given up, made meanwhile, or to be left alone for now."""
        if time.monotonic() < self._not_before.get(task.key, 0.0):
            return None
        claim = self._unsettled.setdefault(task.key, None) or self._claims.claim(task.key, self._max_attempts)
        if claim == "held" or claim == "given_up":
            del self._unsettled[task.key]
            if claim == "given_up":
                del shard[task.key]
            return None
        self._unsettled[task.key] = claim
        # Looked at only now: nobody else can make it from here on.
        state = self._state_of(task)
        if state != "to_do":
            claim.end("done" if state == "made" else "released")
            del shard[task.key]
        del self._unsettled[task.key]
        if state != "to_do":
            return None
        return Taken(task, claim, taken_over=shard is not self._own)

    def _take_over(self) -> Taken | None:
        look = self._claims.look(None if self._others is None else (key for shard in self._in_reach() for key in shard))
        if self._others is None:
            self._others = [{task.key: task for task in shard} for shard in self._shards]
        free = [(shard, self._free(shard, look)) for shard in self._in_reach()]
        while any(tasks for _, tasks in free):
            shard, tasks = max(free, key=lambda each: len(each[1]))
            if taken := self._claim(shard, tasks.pop()):
                return taken
        return None

    def _free(self, shard: dict[str, Task], look: Look) -> list[Task]:
        """The shard's tasks that nobody is at. Those that are done or given up by now are forgotten."""
        free = []
        for key, task in list(shard.items()):
            standing = look.standing(key, self._max_attempts)
            if standing == "given_up" or (standing == "done" and self._is_settled(task)):
                del shard[key]
            elif standing != "held" or key in self._unsettled:
                free.append(task)
        return free

    def _is_settled(self, task: Task) -> bool:
        """Whether what ended as done is so on the disk."""
        if self._num_checked >= _MAX_CHECKED:
            return True
        is_settled = self._state_of(task) != "to_do"
        self._num_checked += is_settled
        return is_settled
