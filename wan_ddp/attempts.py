"""What a job's generations say: who has it, how often it was tried, and whether it may be tried again.

Each attempt at a job is a generation, numbered from 1; the highest one owns the job. How it ended is marked beside it.
"""

from dataclasses import dataclass
from typing import Literal

End = Literal["released", "failed", "given_up", "published"]
"""How an attempt ends: free of charge (preemption, a full disk); charged, and anybody may try again; charged, and
nobody may; or with the video in its place, which forgives every attempt before it."""

Life = Literal["alive", "dead", "lost"]
"""An owner's: dead is a process that ended while its host went on, lost one that fell silent with its host."""

State = Literal["fresh", "held", "open", "given_up", "published"]
"""A job's: never claimed; in the hands of a living owner; begun, and anybody may go on; and two that need no one.
Whether a published video is still there, only its record says."""

GRANTED = "granted"
"""The start of the mark of a grant: what stands up to its generation is forgiven."""


@dataclass(frozen=True, slots=True)
class Generation:
    """One attempt. `owner` is its process's token, None where its file does not say."""

    number: int
    owner: str | None
    life: Life
    marks: frozenset[str]

    @property
    def is_over(self) -> bool:
        return bool(self.marks) or self.life != "alive"

    @property
    def is_charged(self) -> bool:
        """A process that dies may have died of the job; a host that is lost has not, and a release is free."""
        if self.marks:
            return not self.marks & {"released", "published"}
        return self.life != "lost"


@dataclass(frozen=True, slots=True)
class History:
    """A job's generations in order, and its grants (generation -> marks)."""

    generations: tuple[Generation, ...] = ()
    grants: tuple[tuple[int, str], ...] = ()

    @property
    def last(self) -> Generation | None:
        return self.generations[-1] if self.generations else None

    @property
    def holder(self) -> Generation | None:
        """The living owner's generation."""
        return None if self.last is None or self.last.is_over else self.last

    @property
    def attempts(self) -> int:
        """How often the job was tried, the running attempt included, since it was last granted or published."""
        return sum(each.is_charged for each in self._unforgiven())

    def state(self, max_attempts: int) -> State:
        if self.last is None:
            return "fresh"
        if self.holder:
            return "held"
        if "published" in self.last.marks:
            return "published"
        if self.attempts >= max_attempts or any("given_up" in each.marks for each in self._unforgiven()):
            return "given_up"
        return "open"

    def _unforgiven(self) -> list[Generation]:
        published = (each.number for each in self.generations if "published" in each.marks)
        forgiven = max([0, *published, *(number for number, _ in self.grants)])
        return [each for each in self.generations if each.number > forgiven]
