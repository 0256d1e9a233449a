"""What a rank may still do: its own shard first, then what other ranks have not begun, or have lost with their deaths.

Nobody deals the jobs out: every rank claims for itself, and what the claims folder says is true for all of them.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from wan_ddp.claims import Claim, Claims, Look
from wan_ddp.survey import Task

POLL_SECONDS = 1.0

State = Literal["to_do", "made", "given_up"]


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
        self._shards = [{task.key: task for task in shard} for shard in shards]
        self._rank = rank
        self._claims = claims
        self._state_of = state_of
        self._max_attempts = max_attempts
        self._takeover = takeover
        self._not_before: dict[str, float] = {}
        self._unsettled: dict[str, Claim | None] = {}  # claimed, perhaps: an error came before all was known

    def take(self) -> Taken | None:
        """Claim the next task: the first of the own shard, then the last one of the rank with most left.

        None if there is none for now: `is_empty` says whether there ever will be. After an OSError, ask again.
        """
        own = self._shards[self._rank]
        for task in list(own.values()):
            if taken := self._claim(own, task):
                return taken
        return self._take_over()

    def is_empty(self) -> bool:
        """Whether every task in reach is done or given up, so that the rank may leave."""
        return not any(self._in_reach())

    def is_stuck(self, seconds: float) -> bool:
        """Whether all that is left is in the hands of processes that live, but have said nothing for so long."""
        return all(self._claims.silence(key) > seconds for shard in self._in_reach() for key in shard)

    def postpone(self, task: Task, seconds: float) -> None:
        """Put a task that failed behind the others of its shard, and leave it alone for a while."""
        self._not_before[task.key] = time.monotonic() + seconds
        for shard in self._shards:
            if task.key in shard:
                shard[task.key] = shard.pop(task.key)

    def finish(self, task: Task) -> None:
        """Forget a task that is done or given up."""
        for shard in self._shards:
            shard.pop(task.key, None)

    def ahead(self) -> list[Task]:
        """What may be asked for, the most likely first: the own shard, and then the others' if it may take over."""
        own = self._shards[self._rank]
        others = [task for shard in self._in_reach() if shard is not own for task in reversed(shard.values())]
        return [*own.values(), *others]

    def _in_reach(self) -> list[dict[str, Task]]:
        return self._shards if self._takeover else [self._shards[self._rank]]

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
        return Taken(task, claim, taken_over=shard is not self._shards[self._rank])

    def _take_over(self) -> Taken | None:
        look = self._claims.look()
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
            if standing == "given_up" or (standing == "done" and self._state_of(task) != "to_do"):
                del shard[key]
            elif standing != "held" or key in self._unsettled:
                free.append(task)
        return free
