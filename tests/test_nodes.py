"""Several nodes: how they meet, and runs over hosts that lose each other, with real networks between them.

The hosts are namespaces (tests/hosts.py), their ranks the stand-in of the chaos tests, whose waits are shorter.
"""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from experiment import ROOT, wait_for
from hosts import Network, NoHostsError
from torch.distributed.elastic.rendezvous import (
    RendezvousConnectionError,
    RendezvousError,
    RendezvousInfo,
    RendezvousParameters,
)

from wan_ddp import nodes
from wan_ddp.nodes import Nodes
from wan_ddp.video import write_mp4

pytestmark = pytest.mark.timeout(900)

NUM_JOBS = 36
TIMEOUT = 300  # seconds for anything to happen: so many processes on two cores may take theirs to begin


class Cluster:
    """Hosts that share a folder, and launches of one experiment on them."""

    def __init__(self, folder: Path, num_hosts: int) -> None:
        self.folder, self.output, self.journal = folder, folder / "output", folder / "journal"
        self.checkout = folder / "checkout"
        self.checkout.mkdir()
        for name in ("launch.sh", "environment.sh", "tmux.sh", "requirements.txt", "constraints.txt", "wan_ddp"):
            (self.checkout / name).symlink_to(ROOT / name)
        (self.checkout / "generate.py").symlink_to(ROOT / "tests" / "chaos_rank.py")
        clip = folder / "clip.mp4"
        write_mp4(clip, np.random.default_rng(1).integers(0, 256, (5, 32, 32, 3)).astype(np.uint8), 15)
        job = {"category": "pan", "reference": str(clip), "prompt": "a cat walks 一只猫", "seed": 42}
        job |= {"width": 32, "height": 32, "num_frames": 5, "num_inference_steps": 16}
        lines = (json.dumps(job | {"prompt_index": number}) for number in range(NUM_JOBS))
        (folder / "manifest.jsonl").write_text("\n".join(lines))
        self.network = Network(num_hosts)
        self.hosts = self.network.hosts
        self.launches: dict[int, subprocess.Popen[str]] = {}

    def end(self) -> None:
        self.network.end()
        for launch in self.launches.values():
            launch.wait(TIMEOUT)

    def launch(self, number: int, *, num_ranks: int, nodes: int | None, by: Sequence[str] = ()) -> None:
        """Start launch.sh on a host, or the command `by`, as one of several nodes or by itself."""
        environ = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("WAN_", "COV", "TORCHELASTIC")) and name not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")
        }
        environ |= {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "CHAOS_JOURNAL": str(self.journal),
            "CHAOS_LAUNCH": self.hosts[number].name,
            "CHAOS_STEP_SECONDS": "0.05",
            "OMP_NUM_THREADS": "1",
            "WAN_NUM_RANKS": str(num_ranks),
        }
        if nodes:
            environ |= {"NNODES": str(nodes), "NODE_RANK": str(number), "RDZV_ENDPOINT": self.hosts[0].address}
        flags = ["--manifest", str(self.folder / "manifest.jsonl"), "--output", str(self.output), "--model", "tiny"]
        command = [*(by or ("bash", str(self.checkout / "launch.sh"))), *flags, "--barrier-timeout", "8"]
        with self.said(number).open("w") as output:
            launch = self.hosts[number].start(*command, environ=environ, folder=self.folder, output=output)
        self.launches[number] = launch

    def said(self, number: int) -> Path:
        return self.folder / f"{self.hosts[number].name}.txt"

    def exit_code(self, number: int) -> int:
        return self.launches.pop(number).wait(TIMEOUT)

    def kill(self, number: int) -> None:
        self.hosts[number].kill()
        self.launches.pop(number).wait()

    def made_by(self, number: int) -> int:
        """How many videos a host has made."""
        lines = self.journal.read_text().splitlines() if self.journal.exists() else []
        return sum(line.split("\t")[1:4:2] == ["published", self.hosts[number].name] for line in lines)

    def wait_until_each_has_made(self, num_more: int, *numbers: int) -> None:
        goal = {number: self.made_by(number) + num_more for number in numbers}

        def is_so() -> bool:
            for number, launch in self.launches.items():
                assert launch.poll() is None, self.said(number).read_text()
            return all(self.made_by(number) >= goal[number] for number in numbers)

        wait_for(is_so, TIMEOUT)

    def report(self) -> dict[str, Any]:
        report: dict[str, Any] = json.loads((self.output / "report.json").read_text())
        return report

    def tool(self, name: str, *flags: str) -> str:
        command = [sys.executable, "-m", "wan_ddp", name, str(self.output), *flags]
        ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Callable[[int], Cluster]]:
    made: list[Cluster] = []

    def make(num_hosts: int) -> Cluster:
        try:
            made.append(Cluster(tmp_path, num_hosts))
        except (NoHostsError, FileNotFoundError) as error:
            pytest.skip(f"needs root, and unshare, nsenter and ip, to make hosts of namespaces: {error}")
        return made[-1]

    yield make
    for each in made:
        each.end()


def test_nodes_of_different_sizes_share_a_run_and_lose_nothing_with_the_link_between_them(
    cluster: Callable[[int], Cluster],
) -> None:
    both = cluster(2)
    both.launch(0, num_ranks=2, nodes=2)
    both.launch(1, num_ranks=1, nodes=2)
    both.wait_until_each_has_made(1, 0, 1)
    both.network.pull(both.hosts[1])
    both.wait_until_each_has_made(2, 0, 1)
    both.network.plug(both.hosts[1])
    both.wait_until_each_has_made(2, 0, 1)
    both.network.pull(both.hosts[1])  # and never again
    assert [both.exit_code(0), both.exit_code(1)] == [0, 0], both.said(0).read_text() + both.said(1).read_text()
    report = both.report()
    assert (report["complete"], report["verified"], report["silent_ranks"]) == (True, NUM_JOBS, [])
    ranks = [(rank["rank"], rank["host"], rank["gpu"], rank["process"]) for rank in report["ranks"]]
    assert ranks == [(0, "host0", 0, 0), (1, "host0", 0, 1), (2, "host1", 0, 0)]
    logs = sorted((both.output / "logs").rglob("*.log"))
    names = ["node0/gpu0_process0.log", "node0/gpu0_process1.log", "node1/gpu0_process0.log"]
    assert [str(log.relative_to(both.output / "logs")) for log in logs] == names
    assert [log.read_text().count(f"run {report['run_id']}: rank") for log in logs] == [1, 1, 1], "none began anew"
    assert both.made_by(0) + both.made_by(1) == NUM_JOBS, "none was made twice"
    seen = json.loads(both.tool("status", "--json"))["ranks"]
    assert [(rank["rank"], rank["host"], rank["state"]) for rank in seen] == [
        (0, "host0", "over"),
        (1, "host0", "over"),
        (2, "host1", "over"),
    ]
    both.tool("report")


def test_a_node_that_is_lost_costs_what_it_had_in_hand_and_without_rank_0_a_run_anywhere_gives_the_verdict(
    cluster: Callable[[int], Cluster],
) -> None:
    three = cluster(3)
    for number in range(3):
        three.launch(number, num_ranks=1, nodes=3)
    three.wait_until_each_has_made(1, 0, 1, 2)
    three.kill(2)
    three.wait_until_each_has_made(2, 0, 1)
    three.kill(0)  # and with it the store
    assert three.exit_code(1) == 1
    said = three.said(1).read_text()
    assert "node 0 is not to be reached any more; this node goes on by itself" in said
    assert "ended without a verdict; rank 0 was stopped or lost; the same command goes on" in said
    assert len(list(three.output.glob("*/*/*.mp4"))) == NUM_JOBS
    assert not (three.output / "report.json").exists()
    three.launch(1, num_ranks=1, nodes=None)
    assert three.exit_code(1) == 0, three.said(1).read_text()
    assert three.report()["complete"]


def test_torchrun_by_itself_makes_one_run_of_two_nodes(cluster: Callable[[int], Cluster]) -> None:
    both = cluster(2)
    torchrun = [
        "torchrun",
        "--nnodes=2",
        "--rdzv-backend=c10d",
        f"--rdzv-endpoint={both.hosts[0].address}",
        "--rdzv-id=7",
    ]
    for number in range(2):
        by = [*torchrun, "--nproc_per_node=1", str(both.checkout / "generate.py")]
        both.launch(number, num_ranks=1, nodes=None, by=by)
    assert [both.exit_code(0), both.exit_code(1)] == [0, 0], both.said(0).read_text() + both.said(1).read_text()
    report = both.report()
    assert (report["complete"], report["verified"]) == (True, NUM_JOBS)
    assert sorted(rank["host"] for rank in report["ranks"]) == ["host0", "host1"]
    assert both.made_by(0) and both.made_by(1) and both.made_by(0) + both.made_by(1) == NUM_JOBS


def node(endpoint: str, rank: int, *, num_nodes: int = 2, timeout: int = 60) -> Nodes:
    config = {"node_rank": rank, "last_call_timeout": timeout}
    return nodes._create(RendezvousParameters(nodes.BACKEND, endpoint, "test", 1, num_nodes, **config))


class Meeting(threading.Thread):
    """A node that meets the others, in a thread, as an agent's process would."""

    def __init__(self, endpoint: str, rank: int, **more: int) -> None:
        super().__init__(daemon=True)
        self.make: Callable[[], Nodes] = lambda: node(endpoint, rank, **more)
        self.node: Nodes | None = None
        self.again()

    def run(self) -> None:
        try:
            self.node = self.node or self.make()
            self.info = self.node.next_rendezvous()
        except RendezvousError as error:
            self.error = error

    def again(self) -> None:
        self.info: RendezvousInfo | None = None
        self.error: RendezvousError | None = None
        threading.Thread.__init__(self, daemon=True)
        self.start()


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> str:
    for name in ("WAN_RUN_ID", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE"):
        monkeypatch.setenv(name, "")
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


def test_nodes_are_numbered_as_they_are_told_and_one_that_comes_late_is_met_too(endpoint: str) -> None:
    last = Meeting(endpoint, 2, num_nodes=3, timeout=2)
    first = Meeting(endpoint, 0, num_nodes=3, timeout=2)
    first.join(TIMEOUT), last.join(TIMEOUT)
    assert first.info and last.info and first.node and last.node
    assert [(met.info.rank, met.info.world_size) for met in (first, last) if met.info] == [(0, 2), (1, 2)]
    run_id = os.environ["WAN_RUN_ID"]
    assert run_id
    late = Meeting(endpoint, 1, num_nodes=3, timeout=2)
    wait_for(lambda: first.node and first.node.num_nodes_waiting() and last.node and last.node.num_nodes_waiting())
    first.again(), last.again()
    for each in (first, last, late):
        each.join(TIMEOUT)
    found = [(met.info.rank, met.info.world_size) for met in (first, late, last) if met.info]
    assert found == [(0, 3), (1, 3), (2, 3)]
    assert os.environ["WAN_RUN_ID"] == run_id, "it is still the same run"
    for each in (first, last, late):
        assert each.node and each.node.shutdown()


def test_two_nodes_of_one_number_are_refused(endpoint: str) -> None:
    meetings = [Meeting(endpoint, rank, num_nodes=3) for rank in (0, 1, 1)]
    for each in meetings:
        each.join(TIMEOUT)
        assert "several nodes have one NODE_RANK" in str(each.error)
        assert each.node and each.node.shutdown()


def test_a_first_node_that_never_answers_is_waited_for_no_longer_than_told(
    endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nodes, "_PATIENCE_SECONDS", 0)
    started = time.monotonic()
    with pytest.raises(RendezvousConnectionError, match=r"no answer for 0 s: .*refused"):
        node(endpoint, 1)
    assert time.monotonic() - started < 10
