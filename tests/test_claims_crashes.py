"""Claims under any order of doings by several owners, each of which may end, or be overtaken, between two system calls.

The files are real, the owners are not processes: who of them lives, and on which host, is what the machine says. What
must hold is read from the folder's names, by rules of its own.
"""

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from wan_ddp import claims as claims_module
from wan_ddp import folders, owners
from wan_ddp.attempts import decide, num_charged
from wan_ddp.claims import Claim, Claims

NFS = os.environ.get("WAN_TEST_NFS")  # a folder on NFS, to run these tests there as well
KEYS = ["ab0" + "0" * 29, "ab0" + "1" * 29, "cd" + "0" * 30]
CHARGED = ["out_of_memory", "hang", "gpu", "io", "worker_died", "bad_input", "error"]
SYSTEM_CALLS = {"open", "link", "unlink", "utime", "mkdir", "stat", "fstat", "read", "listdir"}
MANY = 1000


class Crash(BaseException):
    """The process has ended here."""


class Interrupting:
    """`os` as the modules under test see it: something happens before or after its n-th system call."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.left = 0
        self.after = False
        self.happen: Callable[[], None] = lambda: None
        self.ended = False

    def arm(self, number: int, after: bool, happen: Callable[[], None]) -> None:
        self.left, self.after, self.happen = number, after, happen

    def crash(self) -> None:
        self.ended = True
        raise Crash

    def __getattr__(self, name: str) -> object:
        return partial(self._call, name) if name in SYSTEM_CALLS else getattr(os, name)

    def _call(self, name: str, *arguments: object, **options: object) -> object:
        if self.ended:
            raise Crash  # the code on the way out runs here, but not in a process that has ended
        self.left -= 1
        if self.left != 0:
            return getattr(os, name)(*arguments, **options)
        if not self.after:
            self.happen()
            return getattr(os, name)(*arguments, **options)
        result = getattr(os, name)(*arguments, **options)
        try:
            self.happen()
        except Crash:
            if name == "open":
                os.close(result)
            raise
        return result


@dataclass
class Actor:
    token: str
    host: str
    claims: Claims = field(init=False)
    alive: bool = True
    was_silent: bool = False
    held: list[Claim] = field(default_factory=list)


actors = st.integers(0, 20)
keys = st.sampled_from(KEYS)
moments = st.tuples(st.integers(1, 25), st.booleans())
crashes = st.none() | moments


class ClaimsMachine(RuleBasedStateMachine):
    def __init__(self, base: str | None) -> None:
        super().__init__()
        self.base = Path(tempfile.mkdtemp(dir=base))
        self.folder = self.base / ".claims"
        self.actors: list[Actor] = []
        self.current: Actor | None = None
        self.seen: set[str] = set()
        self.said: set[str] = set()  # ends that owners recorded, and were told so
        self.tried: set[str] = set()  # and those that they may have recorded before they ended
        self.os = Interrupting()
        self.patch = pytest.MonkeyPatch()
        for module in (claims_module, owners, folders):
            self.patch.setattr(module, "os", self.os)
        self.patch.setattr(owners, "own_token", lambda: self.current.token)
        self.patch.setattr(owners, "gethostname", lambda: self.current.host)
        self.patch.setattr(owners, "is_dead", self.is_dead)

    def teardown(self) -> None:
        self.patch.undo()
        shutil.rmtree(self.base)

    def is_dead(self, token: str) -> bool | None:
        actor = self.actor_of(token)
        return None if actor.host != self.current.host else not actor.alive

    def actor_of(self, token: str) -> Actor:
        return next(actor for actor in self.actors if actor.token == token)

    def act(self, actor: Actor, do: Callable[[], object], crash: tuple[int, bool] | None = None) -> object:
        """What `do` returns, done by the actor; Crash if it ended instead."""
        before, self.current = self.current, actor
        if crash:
            self.os.arm(*crash, self.os.crash)
        try:
            return do()
        except Crash:
            actor.alive = False
            return Crash
        finally:
            self.current = before
            if before is None or crash:
                self.os.reset()

    def living(self, index: int) -> Actor:
        alive = [actor for actor in self.actors if actor.alive]
        return alive[index % len(alive)] if alive else self.start(index % 2, None)

    def start(self, host: int, crash: tuple[int, bool] | None) -> Actor:
        actor = Actor(f"{host:08x}-1-{len(self.actors)}-1", f"host{host}")
        self.actors.append(actor)

        def begin() -> None:
            actor.claims = Claims(self.folder, run_id="run", rank=0)
            actor.claims.open()

        self.act(actor, begin, crash)
        return actor if actor.alive else self.start(host, None)

    # What is on disk, read by other rules than those of the code under test.

    def generations(self, key: str) -> dict[int, set[str]]:
        found: dict[int, set[str]] = {}
        for path in self.folder.glob(f"{key[:3]}/{key}.*"):
            number, _, word = path.name.removeprefix(f"{key}.").partition(".")
            found.setdefault(int(number), set()).add(word)
        return found

    def maker(self, key: str, generation: int) -> Actor:
        return self.actor_of(json.loads((self.folder / key[:3] / f"{key}.{generation}").read_bytes())["token"])

    @staticmethod
    def is_charged(words: set[str]) -> bool:
        return "done" not in words and bool(
            words & set(CHARGED) or ("died" in words and not words & {"released", "done"})
        )

    def charged(self, key: str) -> int:
        found = self.generations(key)
        start = max((number for number, words in found.items() if words & {"done", "granted"}), default=0)
        ended = {number: words for number, words in found.items() if words - {"", "granted"}}
        return sum(self.is_charged(words) for number, words in ended.items() if number > start)

    # What owners do.

    @initialize(hosts=st.lists(st.integers(0, 1), min_size=2, max_size=3))
    def begin(self, hosts: list[int]) -> None:
        for host in hosts:
            self.start(host, None)

    @rule(host=st.integers(0, 1), crash=crashes)
    def start_owner(self, host: int, crash: tuple[int, bool] | None) -> None:
        self.start(host, crash)

    def do_claim(self, actor: Actor, key: str, max_attempts: int, crash: tuple[int, bool] | None) -> None:
        got = self.act(actor, lambda: actor.claims.claim(key, max_attempts), crash)
        if isinstance(got, Claim):
            assert decide(got.history, max_attempts) == got.decision
            assert self.maker(key, got.generation) is actor
            assert all(claim.name != got.name for other in self.actors for claim in other.held)
            actor.held.append(got)

    @rule(index=actors, key=keys, max_attempts=st.integers(1, 4), crash=crashes)
    def claim(self, index: int, key: str, max_attempts: int, crash: tuple[int, bool] | None) -> None:
        self.do_claim(self.living(index), key, max_attempts, crash)

    @rule(index=actors, other=actors, key=keys, moment=moments, what=st.sampled_from(["claim", "end", "grant", "kill"]))
    def claim_while_another_does_something(
        self, index: int, other: int, key: str, moment: tuple[int, bool], what: str
    ) -> None:
        first, second = self.living(index), self.living(other)
        if first is second:
            return

        def meanwhile() -> None:
            if what == "kill":
                second.alive = False
            elif what == "grant":
                self.act(second, lambda: second.claims.grant(key, max(self.generations(key), default=0)))
            elif what == "end" and second.held:
                self.do_end(second, second.held[-1], "hang", None)
            else:
                self.do_claim(second, key, 3, None)

        self.os.arm(*moment, meanwhile)
        self.do_claim(first, key, 3, None)

    def do_end(self, actor: Actor, claim: Claim, how: str, crash: tuple[int, bool] | None) -> None:
        self.tried.add(f"{claim.name}.{how}")
        if self.act(actor, lambda: claim.end(how), crash) is not Crash:
            self.said.add(f"{claim.name}.{how}")

    @rule(index=actors, at=actors, how=st.sampled_from(["done", "released", *CHARGED]), crash=crashes)
    def end(self, index: int, at: int, how: str, crash: tuple[int, bool] | None) -> None:
        holders = [actor for actor in self.actors if actor.alive and actor.held]
        if holders:
            actor = holders[index % len(holders)]
            self.do_end(actor, actor.held[at % len(actor.held)], how, crash)

    @rule(index=actors, key=keys, generation=st.integers(0, 6), crash=crashes)
    def grant(self, index: int, key: str, generation: int, crash: tuple[int, bool] | None) -> None:
        actor = self.living(index)
        had = "granted" in self.generations(key).get(generation, set())
        before = self.charged(key)
        self.act(actor, lambda: actor.claims.grant(key, generation), crash)
        if had:
            assert self.charged(key) >= before  # granting again takes nothing away
        words = self.generations(key).get(generation, set())
        if actor.alive and words - {"", "granted"}:
            assert "granted" in words

    @rule(index=actors, crash=crashes, error=st.sampled_from([None, KeyboardInterrupt(), RuntimeError()]))
    def leave(self, index: int, crash: tuple[int, bool] | None, error: BaseException | None) -> None:
        actor = self.living(index)
        self.tried |= {f"{claim.name}.released" for claim in actor.held}
        self.act(actor, lambda: actor.claims.__exit__(type(error), error, None), crash)
        if actor.alive and not isinstance(error, RuntimeError):
            for claim in actor.held:
                assert self.generations(claim.key)[claim.generation] != {""}
        actor.alive = False

    @rule(index=actors)
    def kill(self, index: int) -> None:
        self.living(index).alive = False

    def silence(self, actor: Actor) -> None:
        actor.was_silent = True
        for path in self.folder.glob("*/*"):
            if path.exists() and json.loads(path.read_bytes() or b"{}").get("token") == actor.token:
                os.utime(path, (time.time() - 400,) * 2)

    @rule(index=actors)
    def fall_silent(self, index: int) -> None:
        """As a machine does that is cut off from the network: its processes go on."""
        self.silence(self.living(index))

    @rule(index=actors, crash=crashes)
    def beat(self, index: int, crash: tuple[int, bool] | None) -> None:
        actor = self.living(index)
        self.act(actor, lambda: actor.claims.beat(), crash)

    @rule(index=actors, crash=crashes)
    def sweep(self, index: int, crash: tuple[int, bool] | None) -> None:
        actor = self.living(index)
        self.act(actor, lambda: actor.claims.sweep(), crash)

    @rule(index=actors, max_attempts=st.integers(1, 4))
    def look(self, index: int, max_attempts: int) -> None:
        actor = self.living(index)
        before = self.names()
        look = self.act(actor, lambda: actor.claims.look())
        assert self.names() == before  # looking leaves no trace
        for key in KEYS:
            standing = look.standing(key, max_attempts)
            found = self.generations(key)
            last = max(found, default=0)
            assert look.latest(key) == last
            words = found.get(last, {"none"}) - {"granted"}
            assert (standing == "done") == ("done" in words)
            if words == {""}:
                maker = self.maker(key, last)
                if maker.alive and not maker.was_silent:
                    assert standing == "held"
                elif not maker.alive and maker.host == actor.host:
                    assert standing == "free"
            elif standing == "given_up":
                history = self.act(actor, partial(actor.claims.history, key))
                assert decide(history, max_attempts) == "give_up"

    @precondition(lambda self: any(not actor.alive for actor in self.actors))
    @rule(host=st.integers(0, 1))
    def take_over_from_the_dead(self, host: int) -> None:
        """Whoever comes later finds every job free that no living owner holds."""
        for actor in self.actors:
            if not actor.alive:
                self.silence(actor)
        newcomer = self.start(host, None)
        for key in KEYS:
            found = self.generations(key)
            last = max(found, default=0)
            stands = found.get(last) == {""}
            holder = self.maker(key, last) if stands else None
            got = self.act(newcomer, partial(newcomer.claims.claim, key, MANY))
            if got == "held":
                assert holder is not None
                assert holder.alive
            elif got == "given_up":
                history = self.act(newcomer, partial(newcomer.claims.history, key))
                assert decide(history, MANY) == "give_up"
            else:
                assert got.generation == last + 1
                newcomer.held.append(got)

    # What always holds.

    def names(self) -> set[str]:
        return {path.name for path in self.folder.glob("???/*")}

    @invariant()
    def nothing_is_ever_forgotten(self) -> None:
        names = self.names()
        assert self.seen <= names
        assert self.said <= names
        self.seen = names

    @invariant()
    def generations_are_unbroken_and_each_ended_before_the_next_began(self) -> None:
        for key in KEYS:
            found = self.generations(key)
            assert sorted(found) == list(range(1, len(found) + 1))
            for number, words in found.items():
                assert "" in words
                assert number == len(found) or words - {"", "granted"}

    @invariant()
    def at_most_one_living_owner_holds_a_job(self) -> None:
        for key in KEYS:
            holders = [
                claim
                for actor in self.actors
                for claim in actor.held
                if actor.alive and claim.key == key and not self.has_ended_it(claim) and claim.stands()
            ]
            assert len(holders) <= 1

    def has_ended_it(self, claim: Claim) -> bool:
        return any(name.startswith(f"{claim.name}.") for name in self.tried)

    @invariant()
    def nobody_takes_from_the_living(self) -> None:
        for actor in self.actors:
            if actor.alive and not actor.was_silent:
                for claim in actor.held:
                    words = self.generations(claim.key)[claim.generation]
                    assert not words & {"died", "lost"}
                    assert self.has_ended_it(claim) or claim.stands()

    @invariant()
    def what_was_said_of_an_end_is_charged_or_free_as_it_was_said(self) -> None:
        for key in KEYS:
            for number, words in self.generations(key).items():
                recorded = {word for word in words if f"{key}.{number}.{word}" in self.tried}
                if recorded == {"released"} or "done" in recorded:
                    assert not self.is_charged(words)
                if recorded & set(CHARGED) and "done" not in recorded:
                    assert self.is_charged(words)
                if "died" in words:
                    assert not self.maker(key, number).alive
                if "lost" in words:
                    maker = self.maker(key, number)
                    assert maker.was_silent or not maker.alive
                assert words - {"", "granted", "died", "lost"} <= recorded | {"released"}

    @invariant()
    def attempts_are_counted_as_the_names_say(self) -> None:
        reader = next((actor for actor in self.actors if actor.alive), None)
        if reader:
            for key in KEYS:
                history = self.act(reader, partial(reader.claims.history, key))
                assert num_charged(history) == self.charged(key)


@pytest.mark.parametrize("base", [None, *([NFS] if NFS else [])], ids=["tmp", "nfs"][: 2 if NFS else 1])
def test_nothing_is_forgotten_or_held_twice_wherever_owners_end(base: str | None) -> None:
    num_examples = int(os.environ.get("WAN_TEST_EXAMPLES", "150"))
    run_state_machine_as_test(
        lambda: ClaimsMachine(base),
        settings=settings(
            max_examples=num_examples,
            stateful_step_count=30,
            suppress_health_check=list(HealthCheck),
            deadline=None,
        ),
    )
