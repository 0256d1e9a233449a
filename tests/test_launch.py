"""launch.sh itself, and torchrun's agent as it starts it: real processes, with a stand-in for generate.py."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from checkout import Checkout
from experiment import ROOT, TIMEOUT, finish, wait_for


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Checkout]:
    checkout = Checkout(tmp_path)
    yield checkout
    for pid in checkout.living():
        os.kill(pid, signal.SIGKILL)


def test_a_launch_checks_first_then_runs_its_ranks_and_ends_with_the_verdict(checkout: Checkout) -> None:
    stale = {"RANK": "3", "LOCAL_RANK": "3", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "4", "TORCHELASTIC_RUN_ID": "x"}
    result = checkout.launch("--output", "a b", behaviour="incomplete", WAN_NUM_RANKS="3", **stale)
    assert result.returncode == 1, result.stderr
    run = checkout.said("rank0")["environ"]
    assert [checkout.said(f"rank{rank}")["environ"]["RANK"] for rank in range(3)] == ["0", "1", "2"]
    assert run["WORLD_SIZE"] == "3"
    assert checkout.said("--check")["environ"].get("LOCAL_WORLD_SIZE") == "3", "as many as there will be"
    assert "RANK" not in checkout.said("--check")["environ"]
    assert checkout.said("--verdict")["environ"]["WAN_RUN_ID"] == run["WAN_RUN_ID"]
    assert "WAN_RUN_ID" not in checkout.said("--check")["environ"]
    for name, action in (("--check", ["--check"]), ("rank0", []), ("--verdict", ["--verdict"])):
        assert checkout.said(name)["argv"] == ["--output", "a b", *action]
        assert checkout.said(name)["cwd"] == str(checkout.work)
    assert checkout.living() == []


@pytest.mark.parametrize("action", ["--dry-run", "--check", "--verdict"])
def test_an_action_is_handed_to_generate_py_instead_of_a_run(checkout: Checkout, action: str) -> None:
    result = checkout.launch("--output", "o", action, WORLD_SIZE="5", WAN_RUN_ID="mine")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == ("2\n" if action == "--check" else ""), "a script may read what it prints"
    assert [path.name for path in checkout.marks.iterdir()] == [action]
    assert checkout.said(action)["argv"] == ["--output", "o", action]
    assert checkout.said(action)["environ"]["WAN_RUN_ID"] == "mine"
    assert checkout.said("--dry-run")["environ"]["WORLD_SIZE"] == "5" if action == "--dry-run" else True


@pytest.mark.parametrize(
    ("name", "value", "smallest"),
    [
        ("WAN_NUM_RANKS", "0", 1),
        ("WAN_NUM_RANKS", "two", 1),
        ("WAN_NUM_RANKS", "-1", 1),
        ("WAN_NUM_RANKS", "99999999999999999999", 1),
        ("WAN_NUM_RANKS", "x[$(touch marks)]", 1),
        ("WAN_MAX_RESTARTS", "-1", 0),
        ("WAN_MAX_RESTARTS", "3 --nnodes=2", 0),
    ],
)
def test_a_count_that_is_none_is_refused_in_a_line(checkout: Checkout, name: str, value: str, smallest: int) -> None:
    result = checkout.launch(**{name: value})
    assert result.returncode == 2
    must = f"it must be an integer from {smallest} to 9999"
    assert (result.stdout, result.stderr) == ("", f"error: {name} is '{value}' in the environment; {must}\n")
    assert list(checkout.marks.iterdir()) == []
    assert len(list(checkout.work.iterdir())) == 1


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"NNODES": "0"}, "NNODES is '0' in the environment; it must be an integer from 1 to 9999"),
        ({"NNODES": "2"}, "NODE_RANK is '' in the environment; of 2 nodes it must be from 0 to 1, each node's own"),
        ({"NNODES": "2", "NODE_RANK": "2"}, "of 2 nodes it must be from 0 to 1"),
        ({"NNODES": "2", "NODE_RANK": "-1"}, "NODE_RANK is '-1' in the environment; it must be an integer from 0"),
        ({"NNODES": "2", "NODE_RANK": "1"}, "RDZV_ENDPOINT is '' in the environment; it must be HOST or HOST:PORT"),
        ({"NNODES": "2", "NODE_RANK": "1", "RDZV_ENDPOINT": "a b"}, "RDZV_ENDPOINT is 'a b' in the environment"),
        ({"NNODES": "2", "NODE_RANK": "1", "RDZV_ENDPOINT": "a:65536"}, "RDZV_ENDPOINT is 'a:65536'"),
        ({"NNODES": "2", "NODE_RANK": "1", "RDZV_ENDPOINT": "a:b"}, "RDZV_ENDPOINT is 'a:b'"),
        ({"NNODES": "2", "NODE_RANK": "1", "RDZV_ENDPOINT": "a", "RDZV_ID": "a,b"}, "RDZV_ID is 'a,b'"),
        ({"NODE_RANK": "1"}, "NODE_RANK or RDZV_ENDPOINT is set in the environment without NNODES"),
        ({"RDZV_ENDPOINT": "a"}, "set NNODES to the number of nodes, or unset them for this machine alone"),
        ({"WAN_NODES_TIMEOUT": "soon"}, "WAN_NODES_TIMEOUT is 'soon' in the environment"),
    ],
)
def test_nodes_that_cannot_be_are_refused_in_a_line(checkout: Checkout, environ: dict[str, str], says: str) -> None:
    result = checkout.launch(**environ)
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert result.stderr.startswith("error: ")
    assert says in result.stderr
    assert list(checkout.marks.iterdir()) == []


def test_tmux_is_refused_on_several_nodes(checkout: Checkout) -> None:
    result = checkout.launch("--tmux", NNODES="2", NODE_RANK="1", RDZV_ENDPOINT="a")
    assert (result.returncode, result.stderr.partition(";")[0]) == (2, "error: --tmux is for one machine")


def test_a_node_that_meets_no_other_begins_without_them_and_ends_with_the_verdict_of_the_run_agreed_on(
    checkout: Checkout,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    nodes = {"NNODES": "3", "NODE_RANK": "0", "RDZV_ENDPOINT": f"127.0.0.1:{port}", "WAN_NODES_TIMEOUT": "1"}
    result = checkout.launch(behaviour="incomplete", WAN_RUN_ID="an old one", **nodes)
    assert result.returncode == 1, result.stderr
    run_id = checkout.said("rank0")["environ"]["WAN_RUN_ID"]
    assert run_id != "an old one"
    assert f"launch: run {run_id}, node 0: 1 of 3 nodes have met; the others may still come" in result.stdout
    assert checkout.said("--verdict")["environ"]["WAN_RUN_ID"] == run_id
    assert checkout.living() == []


def test_a_node_that_waits_for_the_first_one_ends_when_it_is_told_to(checkout: Checkout) -> None:
    process = checkout.start(NNODES="2", NODE_RANK="1", RDZV_ENDPOINT="127.0.0.1:9")
    assert process.stdout
    while "the nodes meet at 127.0.0.1:9" not in process.stdout.readline():
        pass
    time.sleep(2)
    process.terminate()
    result = finish(process)
    assert result.returncode == 143, result.stderr
    assert "Traceback" not in result.stderr
    assert checkout.living() == []


def test_a_check_that_fails_is_the_end(checkout: Checkout) -> None:
    (checkout.here / "generate.py").write_text("import sys; sys.exit('error: no') if 0 else sys.exit(2)")
    result = checkout.launch(WAN_NUM_RANKS="", WAN_MAX_RESTARTS="")
    assert (result.returncode, result.stderr) == (2, "")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 143), (signal.SIGINT, 130)])
def test_a_signal_during_the_check_ends_it_and_the_launch(
    checkout: Checkout, number: signal.Signals, code: int
) -> None:
    process = checkout.start(behaviour="--check waits")
    checkout.said("--check")
    process.send_signal(number)
    result = finish(process)
    assert result.returncode == code
    assert result.stderr == "launch: stopped; the same command goes on where this run stopped\n"
    assert (checkout.marks / "--check-saved").exists()
    assert checkout.living() == []


def test_a_terminal_that_closes_stops_the_run_as_sigterm_does(checkout: Checkout) -> None:
    master, slave = os.openpty()
    command = ["setsid", "--ctty", "bash", checkout.here / "launch.sh"]
    environ = checkout.environ("ranks wait")
    process = subprocess.Popen(command, cwd=checkout.work, env=environ, stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    checkout.said("rank0"), checkout.said("rank1")
    os.close(master)
    assert process.wait(TIMEOUT) == 143
    assert checkout.living() == []
    assert (checkout.marks / "rank0-saved").exists()
    assert (checkout.marks / "rank1-saved").exists()


def test_a_second_ctrl_c_ends_everything_at_once(checkout: Checkout) -> None:
    process = checkout.start(behaviour="ranks wait, deaf")
    checkout.said("rank0"), checkout.said("rank1")
    process.send_signal(signal.SIGINT)
    checkout.said("rank0-told"), checkout.said("rank1-told")
    second_at = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert finish(process).returncode == 130
    wait_for(lambda: checkout.living() == [])
    assert time.monotonic() - second_at < 10, "the agent would have waited for 30 s"


def test_a_launch_that_is_killed_leaves_no_process_and_its_ranks_save_what_they_are_at(checkout: Checkout) -> None:
    process = checkout.start(behaviour="ranks wait")
    checkout.said("rank0"), checkout.said("rank1")
    process.kill()
    finish(process)
    wait_for(lambda: checkout.living() == [])
    assert (checkout.marks / "rank0-saved").exists()
    assert (checkout.marks / "rank1-saved").exists()


def test_an_agent_that_somebody_stops_ends_the_launch_likewise_and_waits_for_its_ranks(checkout: Checkout) -> None:
    process = checkout.start(behaviour="ranks wait")
    agent = checkout.said("rank0")["parent"]
    checkout.said("rank1")
    for _ in range(8):  # schedulers say it more than once
        with suppress(ProcessLookupError):
            os.kill(agent, signal.SIGTERM)
        time.sleep(0.05)
    result = finish(process)
    assert result.returncode == 143, result.stderr
    assert "Traceback" not in result.stderr
    assert (checkout.marks / "rank0-saved").exists()
    assert (checkout.marks / "rank1-saved").exists()
    assert not (checkout.marks / "--verdict").exists()
    assert checkout.living() == []


def test_what_only_a_rank_finds_unusable_is_told_by_the_launch_too(checkout: Checkout) -> None:
    result = checkout.launch(behaviour="unusable", WAN_MAX_RESTARTS="0")
    assert result.returncode == 2, result.stderr
    assert "torchrun gave up, a rank ended with exit code 2" in result.stderr
    assert not (checkout.marks / "--verdict").exists()


def test_the_demos_references_lie_beside_the_manifest_that_names_them(checkout: Checkout) -> None:
    result = checkout.launch("--demo", "--check")
    assert result.returncode == 0, result.stderr
    assert result.stdout == "2\n"
    assert len(list((checkout.here / "references-demo").rglob("*.mp4"))) == 5
    assert [path.name for path in checkout.work.iterdir()] == ["torch.py"]


def slow_package(folder: Path, name: str) -> Path:
    """A package that never gets imported to its end; it makes the file that is returned when it begins."""
    begun = folder / "begun"
    (folder / name).mkdir()
    (folder / name / "__init__.py").write_text(
        f"import signal\nopen({str(begun)!r}, 'w').close()\nwhile True: signal.pause()"
    )
    return begun


@pytest.mark.parametrize(
    ("command", "imported"),
    [([ROOT / "generate.py"], "pydantic"), (["-m", "wan_ddp.agent", "--nproc_per_node=2", "x.py"], "torch")],
)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 143), (signal.SIGINT, 130)])
def test_a_signal_during_the_imports_leaves_no_traceback(
    tmp_path: Path, command: Sequence[Any], imported: str, number: signal.Signals, code: int
) -> None:
    begun = slow_package(tmp_path, imported)
    environ = os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
    process = subprocess.Popen([sys.executable, *command], cwd=tmp_path, env=environ, stderr=subprocess.PIPE, text=True)
    wait_for(begun.exists)
    process.send_signal(number)
    result = finish(process)
    assert (result.returncode, result.stderr) == (code, "")


def test_a_rank_whose_agent_is_gone_before_it_began_ends_at_once(checkout: Checkout) -> None:
    for run in ("WAN_AGENT_PID", "WAN_LAUNCH_PID"):
        module = "-m wan_ddp.agent" if run == "WAN_LAUNCH_PID" else ROOT / "generate.py --help"
        orphan = f"{sys.executable} {module}"
        environ = {**checkout.environ(), "PYTHONPATH": str(ROOT), "TORCHELASTIC_RUN_ID": "x", run: "1"}
        ended = subprocess.run(orphan.split(), env=environ, capture_output=True, text=True)
        assert (ended.returncode, ended.stdout, ended.stderr) == (143, "", "")


def test_packages_are_looked_for_without_the_working_directory(checkout: Checkout) -> None:
    (checkout.work / "stray_module.py").touch()
    result = checkout.bash("lacking_packages python3 json stray_module")
    assert (result.returncode, result.stdout) == (0, "stray_module\n")


@pytest.mark.parametrize(("flags", "says"), [("", False), ("-S", True)])
def test_the_size_of_torch_is_told_where_torch_is_to_be_installed(checkout: Checkout, flags: str, says: bool) -> None:
    stub = checkout.here / ".venv" / "bin" / "python"
    stub.parent.mkdir(parents=True)
    stub.write_text(
        f'#!/bin/sh\nif [ "$2" = pip ]; then echo "pip $*"; exit 0; fi\nexec {sys.executable} {flags} "$@"\n'
    )
    stub.chmod(0o755)
    result = checkout.bash(f'make_environment "{checkout.here}/requirements.txt" torch no_such_module')
    assert "setup: installing requirements.txt into .venv" in result.stdout
    assert ("3 GB" in result.stdout) == says
    assert (checkout.here / ".venv" / ".installed").read_text().startswith("requirements.txt ")


def test_of_several_at_once_without_an_environment_one_makes_it_and_the_others_find_it(checkout: Checkout) -> None:
    stub = checkout.here / ".venv" / "bin" / "python"
    stub.parent.mkdir(parents=True)
    made = f'echo made >>"{checkout.marks}/pip"; sleep 0.5; touch "{checkout.marks}/made"; echo made'
    lacking = f'[ -e "{checkout.marks}/made" ] || echo no_such_module'
    stub.write_text(f'#!/bin/sh\nif [ "$2" = pip ]; then {made}; else {lacking}; fi\n')
    stub.chmod(0o755)
    make = f'make_environment "{checkout.here}/requirements.txt" no_such_module && [[ -n $python ]]'
    result = checkout.bash(
        f"for each in 1 2 3; do ({make}) & all+=($!); done; for each in ${{all[@]}}; do wait $each || exit; done"
    )
    assert result.returncode == 0, result.stderr
    assert (checkout.marks / "pip").read_text() == "made\n"
    assert (checkout.here / "requirements.txt").read_bytes() == (ROOT / "requirements.txt").read_bytes()
