"""Chaos: launches of many small videos whose processes are killed, stopped and starved at random, until all are there.

What is done to them is drawn from a seed and written to `faults.jsonl`: the same seed draws the same faults. What comes
of it is judged from the disk alone, and from the journal of what tests/chaos_rank.py made.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from chaos_journal import Innocence, Journal, wrongs

from wan_ddp.video import write_mp4

ROOT = Path(__file__).resolve().parent.parent
SIZE = {"width": 32, "height": 32, "num_frames": 5}
PATIENCE = 120.0  # seconds for anything to happen at all
KEPT_HIDDEN = {".claims", ".references.json", ".records.index", ".encoded"}
CHARGED_FOR_DEATHS = {"died", "worker_died", "hang"}
# With a worker goes the attempt that it is at. With its supervisor go two more: of videos made, and not yet published.
ATTEMPTS_IN_HAND = {"worker": 1, "supervisor": 3}
NEVER = {"error", "bad_input", "out_of_memory", "gpu"}


@dataclass(frozen=True, slots=True)
class Scale:
    """How much chaos, and over what."""

    seed: int
    num_kills: int
    num_jobs: int
    num_steps: int = 16
    checkpoint_every: int = 5
    world_sizes: Sequence[int] = (2, 3)
    faults_a_round: tuple[int, int] = (25, 40)
    mean_pause: float = 0.2
    """Seconds between two faults."""
    step_seconds: float = 0.02
    decode_seconds: float = 0.05
    disk_bytes: int = 64 << 20


@dataclass(frozen=True, slots=True)
class Fault:
    """`action` on the `rank`-th of the processes called `target`; `working`: while it is at a video."""

    pause: float
    action: str
    target: str
    rank: int = 0
    seconds: float = 0.0
    working: bool = True
    delay: float = 0.0
    """Seconds from when there is such a process: else it would be met at its beginning, each time."""


# Of a hundred faults in the middle of a round. Sudden ends are drawn more often than what a scheduler does.
MIDDLE = {
    ("kill", "worker"): 68,
    ("kill", "supervisor"): 9,
    ("kill", "agent"): 3,
    ("term", "worker"): 3,
    ("int", "supervisor"): 1,
    ("term", "supervisor"): 1,
    ("stop", "worker"): 6,
    ("stop", "supervisor"): 4,
    ("fill", "disk"): 2,
    ("damage", "video"): 3,
}
ENDS = {
    ("kill", "agent"): 5,
    ("term", "agent"): 1,
    ("int", "agent"): 1,
    ("kill", "launch"): 1,
    ("term", "launch"): 2,
    ("int", "launch"): 2,
    ("wait", ""): 4,
}
SIGNALS = {"kill": signal.SIGKILL, "term": signal.SIGTERM, "int": signal.SIGINT, "stop": signal.SIGSTOP}


@dataclass(frozen=True, slots=True)
class Process:
    pid: int
    parent: int
    role: str
    who: str
    launch: str


@dataclass
class Result:
    """What was done, and what came of it; `problems` is empty if nothing was lost, damaged or done twice."""

    seed: int
    problems: list[str] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    launches: Counter[str] = field(default_factory=Counter)
    exit_codes: Counter[int] = field(default_factory=Counter)
    num_videos: int = 0
    num_published: int = 0
    repeated: dict[str, int] = field(default_factory=dict)
    """Steps made again for each killed worker."""
    seconds: float = 0.0

    @property
    def num_kills(self) -> int:
        return sum(number for name, number in self.done.items() if name.startswith("kill "))


class Launch:
    """One launch: the agent with its ranks, or launch.sh around it."""

    def __init__(self, chaos: "Chaos", *, via: str, ranks: int, host: str, decode_seconds: float, flags: list[str]):
        chaos.num_launches += 1
        self.name, self.via, self.ranks, self.chaos = f"{chaos.folder}#{chaos.num_launches}", via, ranks, chaos
        self.run_id = f"chaos-{chaos.num_launches}"
        self.environ = chaos.environ | {
            "CHAOS_LAUNCH": self.name,
            "CHAOS_HOST": host,
            "CHAOS_DECODE_SECONDS": str(decode_seconds),
            "WAN_NUM_RANKS": str(ranks),
            "WAN_MAX_RESTARTS": "100",
        }
        self.flags = chaos.flags + flags
        if via == "agent":
            self.environ["WAN_RUN_ID"] = self.run_id
            agent = [sys.executable, "-m", "wan_ddp.agent", "--nnodes=1", f"--nproc_per_node={ranks}"]
            agent += ["--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0", "--max-restarts=100"]
            command = [*agent, str(ROOT / "tests" / "chaos_rank.py"), *self.flags]
        else:
            command = ["bash", str(chaos.checkout / "launch.sh"), *self.flags]
        self.output = chaos.folder / f"launch-{chaos.num_launches}.txt"
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                command, cwd=chaos.folder, env=self.environ, stdout=output, stderr=output, start_new_session=True
            )
        self.fallible = 0
        """How many supervisors were made to end: so often may its ranks start anew."""
        self.told: int | None = None
        """The exit code that it was asked for."""

    def is_over(self) -> bool:
        return self.process.poll() is not None

    def exit_code(self) -> int:
        """As launch.sh gives it: of a verdict unless there can be none."""
        code = self.process.wait()
        if self.via == "launch.sh" or code in (2, 130, 143):
            return code
        verdict = [sys.executable, str(ROOT / "tests" / "chaos_rank.py"), *self.flags, "--verdict"]
        return subprocess.run(verdict, env=self.environ, cwd=self.chaos.folder, capture_output=True).returncode


class Chaos:
    """The experiment, and what happens to it. `folder` is empty; the output folder in it becomes a small disk."""

    def __init__(self, folder: Path, scale: Scale, say: Callable[[str], None] = lambda _: None) -> None:
        self.folder, self.scale, self.say = folder, scale, say
        self.result = Result(scale.seed)
        self.num_launches = 0
        self.output = folder / "output"
        self.checkout = folder / "checkout"
        self.journal = Journal(folder / "journal")
        self.manifest = folder / "manifest.jsonl"
        self.flags = ["--manifest", str(self.manifest), "--output", str(self.output), "--model", "tiny"]
        self.flags += ["--checkpoint-every", str(scale.checkpoint_every), "--max-attempts", "99999"]
        self.flags += ["--step-timeout", "30", "--barrier-timeout", "30", "--io-patience", "30", "--grace", "20"]
        self.environ = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("WAN_", "COV", "TORCHELASTIC")) and name not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")
        } | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "CHAOS_JOURNAL": str(folder / "journal"),
            "CHAOS_STEP_SECONDS": str(scale.step_seconds),
        }
        self.innocence = Innocence()
        self.num_deaths = 0
        """How many attempts may at most be charged for."""
        self.has_small_disk = False
        self.is_enough = False
        """Set from outside: no more faults, but the judgement of what there was."""
        self._due: list[tuple[float, Callable[[], None]]] = []
        self._faults_log = folder / "faults.jsonl"
        self._expected: dict[str, str] = {}
        self._launches: list[Launch] = []

    def run(self) -> Result:
        """Rounds of faults until there were enough kills, then one launch in peace, and the judgement."""
        began = time.monotonic()
        self._prepare()
        with self._small_disk():
            number = 0
            while not self._has_enough() and not self.result.problems:
                number += 1
                self._round(number)
                self.say(f"round {number}: {self.result.num_kills} kills, {len(self._there())} videos there")
            if not self.result.problems:
                self._lost_host()
            self._last_launch()
        self.result.seconds = time.monotonic() - began
        return self.result

    def _has_enough(self) -> bool:
        return self.is_enough or self.result.num_kills >= self.scale.num_kills

    # What there is to make, and how it should come out.

    def _prepare(self) -> None:
        self.checkout.mkdir()
        for name in ("launch.sh", "environment.sh", "tmux.sh", "requirements.txt", "constraints.txt", "wan_ddp"):
            (self.checkout / name).symlink_to(ROOT / name)
        (self.checkout / "generate.py").symlink_to(ROOT / "tests" / "chaos_rank.py")
        lines = []
        for number in range(self.scale.num_jobs):
            category, clip = ("pan", "ball", "街道")[number % 3], number % 7
            path = self.folder / f"clip{clip}.mp4"
            if not path.exists():
                noise = np.random.default_rng(clip).integers(0, 256, (5, 32, 32, 3)).astype(np.uint8)
                write_mp4(path, noise, 15)
            job = {"category": category, "reference": str(path), "prompt": f"a cat walks {number}", "seed": number}
            lines.append(job | SIZE | {"prompt_index": number, "num_inference_steps": self.scale.num_steps})
        self.manifest.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        reference = self.folder / "undisturbed"
        flags = ["--output", str(reference)]
        quick = self.environ | {"CHAOS_STEP_SECONDS": "0", "CHAOS_JOURNAL": os.devnull, "WAN_NUM_RANKS": "2"}
        command = ["bash", str(self.checkout / "launch.sh"), *self.flags, *flags]
        ran = subprocess.run(command, env=quick, cwd=self.folder, capture_output=True, text=True)
        assert ran.returncode == 0, f"undisturbed, and yet it ended with {ran.returncode}:\n{ran.stderr}"
        self._expected = {job: digest for job, (digest, _) in _videos(reference).items()}
        self.result.num_videos = len(self._expected)
        assert len(self._expected) == self.scale.num_jobs, "each has a video"

    @contextmanager
    def _small_disk(self) -> Iterator[None]:
        """A small file system for the outputs; without the right to mount one, disks are not filled."""
        self.output.mkdir()
        size = f"size={self.scale.disk_bytes}"
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", self.output], capture_output=True)
        self.has_small_disk = mounted.returncode == 0
        try:
            yield
        finally:
            self._end_all()
            if self.has_small_disk:
                subprocess.run(["umount", "-l", self.output], check=False)

    # One round.

    def _round(self, number: int) -> None:
        draw = random.Random(f"{self.scale.seed}:{number}")
        self._damage_some(draw)
        kind = draw.choices(["agent", "launch.sh", "two"], [6, 2, 2])[0]
        ranks = draw.choice(self.scale.world_sizes)
        faults = _draw_faults(draw, self.scale, self.has_small_disk)
        self._note(round=number, kind=kind, ranks=ranks)
        self.result.launches[kind] += 1
        if kind == "two":
            launches = [self._launch(via="agent", ranks=size) for size in (ranks - ranks // 2, max(1, ranks // 2))]
        else:
            launches = [self._launch(via=kind, ranks=ranks)]
        for fault in faults:
            if self._has_enough() or all(launch.is_over() for launch in launches):
                break
            self._wait(fault.pause)
            self._apply(fault, launches, draw)
        self._finish(launches)

    def _launch(
        self, *, via: str, ranks: int, host: str = "", decode: float = 0.0, flags: Sequence[str] = ()
    ) -> Launch:
        seconds = decode or self.scale.decode_seconds
        launch = Launch(self, via=via, ranks=ranks, host=host, decode_seconds=seconds, flags=list(flags))
        self._launches.append(launch)
        return launch

    def _apply(self, fault: Fault, launches: list[Launch], draw: random.Random) -> None:
        if fault.target == "disk":
            self._fill(fault.seconds)
        elif fault.target == "video":
            self._damage(draw, during_a_run=True)
        elif fault.action != "wait" and self._find(fault, launches):
            if fault.working:
                self._wait(fault.delay)
            if target := self._find(fault, launches):
                self._strike(fault, target)

    def _find(self, fault: Fault, launches: list[Launch]) -> Process | None:
        """The process that the fault is for, once there is one."""
        end = time.monotonic() + 15
        names = {launch.name for launch in launches}
        while time.monotonic() < end and not all(launch.is_over() for launch in launches):
            living = self._living()
            targets = [each for each in living if each.role == fault.target and each.launch in names]
            if fault.target == "worker" and fault.working:
                at_work = self.journal.at_work()
                targets = [each for each in targets if each.who in at_work]
            if targets:
                return sorted(targets, key=lambda each: each.pid)[fault.rank % len(targets)]
            if fault.target == "launch":
                return None  # this round has no launch.sh
            self._wait(0.03)
        return None

    def _strike(self, fault: Fault, target: Process) -> None:
        launch = next(each for each in self._launches if each.name == target.launch)
        below = _below(target.pid, self._living())
        if not _is_same(target):
            return
        if fault.action == "kill" and target.role != "launch":
            self.innocence.killed |= {each.who for each in below if each.role == "worker"}
        if target.role == "supervisor" and fault.action != "stop":
            launch.fallible += 1
        if target.role in ("agent", "launch") and fault.action in ("term", "int"):
            launch.told = 143 if fault.action == "term" else 130
        if fault.action != "stop":
            self.num_deaths += sum(ATTEMPTS_IN_HAND.get(each.role, 0) for each in below)
        self._note(fault=f"{fault.action} {target.role}", who=target.who, launch=target.launch.rpartition("#")[2])
        with suppress(ProcessLookupError):
            os.kill(target.pid, SIGNALS[fault.action])
            self.result.done[f"{fault.action} {target.role}"] += 1
        if fault.action == "stop":
            self._later(fault.seconds, lambda: _continue(target))

    def _finish(self, launches: list[Launch]) -> None:
        """Wait for the launches' ends, and look at what is true after each of them."""
        end, num_events = time.monotonic() + PATIENCE, 0
        while not all(launch.is_over() for launch in launches):
            if len(self.journal.read()) > num_events:
                end, num_events = time.monotonic() + PATIENCE, len(self.journal.events)
            if time.monotonic() > end:
                self._problem(f"{[launch.run_id for launch in launches]} never ended: {self._living()}")
                break
            self._wait(0.05)
        while self._due:
            self._wait(0.05)
        end = time.monotonic() + 40
        while living := self._living():
            if time.monotonic() > end:
                self._problem(f"left alive: {living}")
                self._end_all()
            self._wait(0.05)
        for launch in launches:
            self._check_end(launch)
        self._check_journal()

    # What is done to files.

    def _fill(self, seconds: float) -> None:
        """Take all the room there is, for a while."""
        filler = self.output / "filler"
        self._note(fault="fill disk", seconds=seconds)
        self.innocence.full.append((time.time() - 0.5, float("inf")))
        for launch in self._launches:
            launch.fallible += 100  # a rank that starts now finds a disk that cannot be used
        with filler.open("wb", buffering=0) as file, suppress(OSError):
            while file.write(b"\0" * 65536):
                pass
        self.result.done["fill disk"] += 1

        def free() -> None:
            filler.unlink(missing_ok=True)
            self.innocence.full[-1] = (self.innocence.full[-1][0], time.time() + 1.0)

        self._later(seconds, free)

    def _damage_some(self, draw: random.Random) -> None:
        """Between two launches: some of what is there, more of it the less is left to do."""
        there = len(self._there())
        left = self.scale.num_jobs - there
        for _ in range(draw.randrange(3) if left > self.scale.num_jobs // 2 else there // 2):
            self._damage(draw)
        if draw.random() < 0.2:
            (self.output / ".records.index").write_bytes(draw.randbytes(300))

    def _damage(self, draw: random.Random, *, during_a_run: bool = False) -> None:
        """Truncate or remove a video, its record or the state of one under way.

        During a run, only while several are still to be made: what is done to a video after rank 0 has seen it there is
        no concern of that run's verdict.
        """
        if during_a_run and self.scale.num_jobs - len(self._there()) < 4:
            return
        kinds = ["truncate video", "remove video"]
        kinds += [] if during_a_run else ["truncate record", "remove record", "truncate steps", "flip steps"]
        kind = draw.choice(kinds)
        steps = sorted(self.output.glob("*/*/.*.steps"))
        there = sorted(self._there())
        if not (steps if kind.endswith("steps") else there):
            return
        if kind.endswith("steps"):
            path = draw.choice(steps)
            job = str(path.relative_to(self.output).with_name(path.name[1 : -len(".steps")]))
        else:
            job = draw.choice(there)
            path = self.output / f"{job}.{'json' if kind.endswith('record') else 'mp4'}"
        self._note(fault=kind, job=job)
        self._journal_damage(job)
        size = path.stat().st_size
        if kind.startswith("remove"):
            path.unlink()
        elif kind.startswith("truncate") or size == 0:  # it may have been truncated before
            os.truncate(path, draw.randrange(size or 1))
        else:
            _flip(path, draw.randrange(size))
        self.result.done[kind] += 1

    # Two hosts.

    def _lost_host(self) -> None:
        """A host falls silent with a video all but published; another takes it over; then the first one comes back."""
        draw = random.Random(f"{self.scale.seed}:hosts")
        while self.scale.num_jobs - len(self._there()) < 8:
            self._damage(draw)
        launches = [self._launch(via="agent", ranks=1, host=host, decode=0.6) for host in ("1", "2")]
        self._note(round="hosts")
        frozen, job = self._freeze(launches[1])
        if frozen:
            self.innocence.lost |= {launch.name for launch in launches}
            end = time.monotonic() + PATIENCE
            while not self.journal.is_published(job) and not launches[0].is_over() and time.monotonic() < end:
                self._wait(0.05)
            if not self.journal.is_published(job):
                self._problem(f"{job}: nobody took it over from a host that was silent")
            for process in frozen:
                _continue(process)
            self.result.done["lost host"] += 1
        else:
            self._problem("the second host never came to the end of a video")
        self._finish(launches)

    def _freeze(self, launch: Launch) -> tuple[list[Process], str]:
        """Stop a launch's supervisor and worker where all steps of a video are made; returns them and the video."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and not launch.is_over():
            at_work = [each for each in self.journal.at_work().values() if each.launch == launch.name]
            if at_work and (last := max(at_work, key=lambda each: each.time)).step == self.scale.num_steps:
                living = [each for each in self._living() if each.launch == launch.name]
                frozen = [each for each in living if each.role in ("supervisor", "worker")]
                for process in frozen:
                    os.kill(process.pid, signal.SIGSTOP)
                if not self.journal.is_published(last.job):
                    return frozen, last.job
                for process in frozen:
                    _continue(process)
            self._wait(0.02)
        return [], ""

    # The end, and what must be true.

    def _last_launch(self) -> None:
        draw = random.Random(f"{self.scale.seed}:last")
        if there := sorted(self._there()):
            self._flip_video(draw.choice(there))
        flags = ["--verify", "full", "--retry-failed"]
        launch = self._launch(via="launch.sh", ranks=2, flags=flags)
        self._finish([launch])
        code = launch.process.returncode
        if code != 0:
            self._problem(f"undisturbed, and it ends with {code}: {launch.output.read_text()}")
        self._check_disk()

    def _flip_video(self, job: str) -> None:
        """A byte of a video changes and its size does not: only --verify full sees that."""
        self._note(fault="flip video", job=job)
        self._journal_damage(job)
        path = self.output / f"{job}.mp4"
        _flip(path, path.stat().st_size // 2)
        self.result.done["flip video"] += 1

    def _journal_damage(self, job: str) -> None:
        """Before it is done: the job may be made anew from here on."""
        line = "\t".join([f"{time.time():.3f}", "damaged", "chaos", "", job, "0"])
        with (self.folder / "journal").open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")

    def _check_end(self, launch: Launch) -> None:
        code = launch.exit_code()
        self.result.exit_codes[code] += 1
        missing = set(self._expected) - set(self._there())
        if code == 0 and missing:
            self._problem(f"{launch.run_id} ended with 0, and {len(missing)} videos are missing: {sorted(missing)[:3]}")
        if launch.told and code not in (launch.told, 0, 1):
            self._problem(f"{launch.run_id} was to end with {launch.told}, and ended with {code}")
        restarts = self._restarts(launch)
        if restarts > launch.fallible:
            self._problem(f"{launch.run_id}: {restarts} restarts for {launch.fallible} lost supervisors")

    def _restarts(self, launch: Launch) -> int:
        """How often the launch's ranks were started again, as their logs say."""
        if launch.via == "launch.sh":
            said = launch.output.read_text().partition("launch: run ")[2]
            run_id = said.partition(",")[0] or "none"
        else:
            run_id = launch.run_id
        highest = 0
        for path in self.output.glob("logs/*.log"):
            for line in path.read_text(errors="replace").splitlines():
                if f"run {run_id}: rank " in line:
                    highest = max(highest, int(line.rpartition("restart ")[2]))
        return highest

    def _check_journal(self) -> None:
        events = self.journal.read()
        problems, repeated = wrongs(events, self.innocence, self.scale.checkpoint_every)
        self.result.repeated = repeated
        self.result.num_published = sum(each.event == "published" for each in events)
        for problem in problems:
            self._problem(problem)
        ends = Counter(path.name.split(".")[2] for path in self.output.glob(".claims/[0-9a-f][0-9a-f]/*.*.*"))
        for end in NEVER & ends.keys():
            self._problem(f"{ends[end]} attempts ended in {end}")
        if (charged := sum(ends[end] for end in CHARGED_FOR_DEATHS)) > self.num_deaths:
            self._problem(f"{charged} attempts were charged for {self.num_deaths} deaths")
        if ends["io"] and not self.innocence.full:
            self._problem(f"{ends['io']} attempts failed with a disk that had room")

    def _check_disk(self) -> None:
        """Every video is there with the bytes of an undisturbed run, and beside them nothing that does not belong."""
        found = _videos(self.output)
        for job, digest in self._expected.items():
            if job not in found:
                self._problem(f"lost: {job}")
            elif found[job] != (digest, digest):
                self._problem(f"corrupt: {job}: {found[job]} is not {digest}")
        hidden = [
            path
            for path in self.output.rglob(".*")
            if path.relative_to(self.output).parts[0] not in KEPT_HIDDEN and path.suffix != ".unrecorded"
        ]
        for path in hidden:
            if not any(part.startswith((".run-", ".manifests")) for part in path.parts):
                self._problem(f"left behind: {path.relative_to(self.output)}")
        report = json.loads((self.output / "report.json").read_text())
        if not report["complete"] or report["verified"] != self.scale.num_jobs:
            self._problem(f"the report says {report['verified']} of {report['expected']}")

    # Processes and small things.

    def _there(self) -> dict[str, str]:
        """The videos that have their bytes, by job."""
        return {job: digest for job, (digest, said) in _videos(self.output).items() if digest == said}

    def _living(self) -> list[Process]:
        return list(_processes(f"CHAOS_LAUNCH={self.folder}#".encode()))

    def _end_all(self) -> None:
        for process in self._living():
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)

    def _wait(self, seconds: float) -> None:
        """Let time pass, and do what is due meanwhile."""
        end = time.monotonic() + seconds
        while True:
            now = time.monotonic()
            for due in [each for each in self._due if each[0] <= now]:
                self._due.remove(due)
                due[1]()
            if now >= end:
                return
            time.sleep(min(0.02, end - now))

    def _later(self, seconds: float, action: Callable[[], None]) -> None:
        self._due.append((time.monotonic() + seconds, action))

    def _note(self, **what: Any) -> None:
        with self._faults_log.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"time": round(time.time(), 3), "seed": self.scale.seed} | what) + "\n")

    def _problem(self, text: str) -> None:
        if text not in self.result.problems:
            self.result.problems.append(text)
            self._note(problem=text)


def _draw_faults(draw: random.Random, scale: Scale, has_small_disk: bool) -> list[Fault]:
    """A round's faults: many in its middle, and perhaps one that ends it."""
    middle = [each for each in MIDDLE if has_small_disk or each[1] != "disk"]
    kinds = draw.choices(middle, [MIDDLE[each] for each in middle], k=draw.randint(*scale.faults_a_round))
    kinds += draw.choices(list(ENDS), list(ENDS.values()))
    return [
        Fault(
            pause=draw.expovariate(1 / scale.mean_pause),
            action=action,
            target=target,
            rank=draw.randrange(8),
            seconds=draw.uniform(0.2, 2.0),
            working=draw.random() < 0.8,
            delay=draw.uniform(0.0, 1.0),
        )
        for action, target in kinds
    ]


def _videos(output: Path) -> dict[str, tuple[str, str]]:
    """Of each job whose record can be read: the digest of the video, and the one that the record says."""
    found = {}
    for path in output.glob("*/*/seed_*.json"):
        with suppress(OSError, ValueError):
            said = json.loads(path.read_bytes())["video"]["sha256"]
            is_digest = sha256(path.with_suffix(".mp4").read_bytes()).hexdigest()
            found[str(path.relative_to(output).with_suffix(""))] = (is_digest, said)
    return found


def _flip(path: Path, position: int) -> None:
    with path.open("r+b") as file:
        file.seek(position)
        byte = file.read(1)
        file.seek(position)
        file.write(bytes([byte[0] ^ 0xFF]))


def _processes(mark: bytes) -> Iterator[Process]:
    """The living processes that have the mark in their environment, with what each of them is in its launch."""
    found: dict[int, tuple[int, str, str, str]] = {}
    for path in Path("/proc").iterdir():
        if path.name.isdecimal():
            with suppress(OSError):
                environ = (path / "environ").read_bytes()
                if mark in environ:
                    launch = next(each for each in environ.split(b"\0") if each.startswith(mark))
                    fields = (path / "stat").read_text().rpartition(")")[2].split()
                    command = (path / "cmdline").read_bytes().decode(errors="replace")
                    if fields[0] not in "ZX":
                        name = launch.decode().partition("=")[2]
                        found[int(path.name)] = (int(fields[1]), f"{path.name}:{fields[19]}", name, command)
    roles: dict[int, str] = {}
    for pid, (parent, _, _, command) in found.items():
        if "spawn_main" in command:
            roles[pid] = "worker"
        elif "wan_ddp.agent" in command and "--nproc_per_node" in command:
            roles[pid] = "agent" if "wan_ddp.agent" not in found.get(parent, (0, "", "", ""))[3] else "other"
        elif "launch.sh" in command and parent not in found:
            roles[pid] = "launch"
        elif "TORCHELASTIC" in command or ("chaos_rank.py" in command or "/generate.py" in command):
            is_rank = "wan_ddp.agent" in found.get(parent, (0, "", "", ""))[3]
            roles[pid] = "supervisor" if is_rank else "other"
        else:
            roles[pid] = "other"
    for pid, (parent, who, name, _) in found.items():
        yield Process(pid, parent, roles[pid], who, name)


def _below(pid: int, living: Sequence[Process]) -> list[Process]:
    """The process and all that it has started."""
    own = [each for each in living if each.pid == pid]
    return own + [each for child in living if child.parent == pid for each in _below(child.pid, living)]


def _is_same(process: Process) -> bool:
    try:
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    return process.who == f"{process.pid}:{fields[19]}"


def _continue(process: Process) -> None:
    if _is_same(process):
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGCONT)
