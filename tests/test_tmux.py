"""`launch.sh --tmux` on a real tmux server of its own, with a stand-in for generate.py."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from checkout import Checkout
from experiment import TIMEOUT, Experiment, living, states, wait_for
from looking import Terminal, status_json
from rich.cells import cell_len

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux (Debian: apt install tmux)")

MAIN = "wan_experiment_main"
HOSTILE = "a b 中文 ' \" $HOME `id` \\ #{pane_id} * ~;"


class Tmux:
    """A server that no user has, in a folder with a short name: a socket's path has at most 107 bytes."""

    def __init__(self, folder: str) -> None:
        self.environ = {"TMUX_TMPDIR": folder, "WAN_TMUX_SOCKET": "tests", "TERM": "xterm", "TMUX": ""}

    def __call__(self, *arguments: str) -> str:
        command = ["tmux", "-L", "tests", *arguments]
        environ = {**os.environ, **self.environ}
        return subprocess.run(command, env=environ, capture_output=True, text=True, errors="replace").stdout

    def sessions(self) -> set[str]:
        return set(self("list-sessions", "-F", "#{session_name}").split())

    def panes(self) -> list[str]:
        """What the panes of the main session show, from the run's downwards."""
        ids = self("list-panes", "-t", f"={MAIN}:", "-F", "#{pane_id}").split()
        return [self("capture-pane", "-p", "-J", "-t", pane) for pane in ids]


@pytest.fixture
def tmux() -> Iterator[Tmux]:
    with tempfile.TemporaryDirectory(prefix="wan") as folder:
        tmux = Tmux(folder)
        yield tmux
        tmux("kill-server")


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Checkout]:
    checkout = Checkout(tmp_path)
    yield checkout
    for pid in checkout.living():
        os.kill(pid, signal.SIGKILL)


def launch(checkout: Checkout, tmux: Tmux, *flags: str, behaviour: str = "", **environ: str) -> str:
    """Start a run in tmux as a script would, and return what that says."""
    result = checkout.launch("--tmux", *flags, behaviour=behaviour, **tmux.environ, **environ)
    assert result.returncode == 0, result.stderr
    return result.stdout


def output_folder(checkout: Checkout, name: str = "results") -> Path:
    """Where logs go; a real check makes it."""
    folder = checkout.work / name
    (folder / "logs").mkdir(parents=True)
    return folder


def test_a_run_in_tmux_gets_the_flags_folder_and_environment_of_its_caller_and_ends_with_its_verdict_shown(
    checkout: Checkout, tmux: Tmux, tmp_path: Path
) -> None:
    output = output_folder(checkout, HOSTILE)
    (tmp_path / "a b").mkdir()
    tmux("-f", "/dev/null", "new-session", "-d", "-s", "mine", "sleep", "600")
    tmux("set-environment", "-g", "WAN_RUN_ID", "of the server")
    tmux("set-option", "-t", "=mine:", "destroy-unattached", "off")
    tmux("set-option", "-g", "destroy-unattached", "on")  # as some users have it
    flags = ["--output", HOSTILE, "--negative-prompt", "two\nlines;"]
    told = {"WAN_NUM_RANKS": "3", "OMP_NUM_THREADS": "7", "TMPDIR": str(tmp_path / "a b"), "HF_TOKEN": "secret"}
    said = launch(checkout, tmux, *flags, behaviour="incomplete", **told)
    assert "whatever becomes of this terminal" in said
    assert f"tmux -L tests attach -t {MAIN}" in said
    rank = checkout.said("rank2")
    assert (rank["argv"], rank["cwd"]) == (flags, str(checkout.work))
    assert (rank["environ"]["WORLD_SIZE"], rank["environ"]["OMP_NUM_THREADS"]) == ("3", "7")
    assert rank["environ"]["WAN_RUN_ID"] != "of the server"
    assert checkout.said("--check")["argv"] == [*flags, "--check"]
    wait_for(lambda: "launch: ended with exit code 1" in tmux.panes()[0])
    wait_for(lambda: tmux.sessions() == {MAIN, "mine"})  # the ranks' sessions go with the run
    assert "waiting for run" in tmux.panes()[1]  # a stand-in leaves nothing to be seen
    wait_for(lambda: tmux("list-panes", "-t", f"={MAIN}:", "-F", "#{pane_dead_status}").split("\n")[0] == "1")
    assert (output / "logs" / "gpu1_process0.log").exists()
    assert list(tmp_path.rglob("wan-ddp-tmux*")) == [], "the environment stays in no file"
    launch(checkout, tmux, *flags, **told | {"WAN_NUM_RANKS": "1"})
    assert tmux.sessions() == {MAIN, "mine", "gpu0_proc0"}, "an ended run makes way for the next one"
    wait_for(lambda: "launch: ended with exit code 0" in tmux.panes()[0])


def test_each_rank_has_a_session_that_follows_its_log_and_a_second_start_changes_nothing(
    checkout: Checkout, tmux: Tmux
) -> None:
    logs = output_folder(checkout) / "logs"
    (logs / "gpu0_process0.log").write_text("of yesterday\n", encoding="utf-8")
    smi = checkout.work / "bin" / "nvidia-smi"
    smi.parent.mkdir()
    smi.write_text("#!/bin/sh\necho 'two GPUs, both busy'\n")
    smi.chmod(0o755)
    path = f"{smi.parent}:{checkout.environ()['PATH']}"
    flags = ["--output", "results"]
    tmux("-f", "/dev/null", "new-session", "-d", "-s", "gpu1_proc0", "sleep", "600")  # a user's own
    result = checkout.launch(
        "--tmux", *flags, behaviour="ranks wait", **tmux.environ | {"PATH": path, "WAN_NUM_RANKS": "4"}
    )
    assert "a tmux session gpu1_proc0 is there already and stays" in result.stderr
    checkout.said("rank3")
    assert tmux.sessions() == {MAIN, "gpu0_proc0", "gpu0_proc1", "gpu1_proc0", "gpu1_proc1"}
    with (logs / "gpu0_process0.log").open("a", encoding="utf-8") as log:
        log.write("ref_镜头: published\n")
    wait_for(lambda: "ref_镜头: published" in tmux("capture-pane", "-p", "-t", "=gpu0_proc0:"))
    assert "of yesterday" in tmux("capture-pane", "-p", "-t", "=gpu0_proc0:")
    wait_for(lambda: "two GPUs, both busy" in tmux.panes()[2])
    before = sorted(checkout.living())
    said = launch(checkout, tmux, "--output", "another")
    assert "goes on in wan_experiment_main; nothing was started" in said
    assert f"attach to it with: tmux -L tests attach -t {MAIN}" in said
    assert sorted(checkout.living()) == before
    assert_attaches(checkout, tmux)
    assert_ends_when_its_session_is_killed(checkout, tmux)


def assert_attaches(checkout: Checkout, tmux: Tmux) -> None:
    """From a terminal, a second start is in the session; when the terminal closes, the run goes on."""
    master, slave = os.openpty()
    command = ["setsid", "--ctty", "bash", str(checkout.here / "launch.sh"), "--tmux"]
    environ = checkout.environ(**tmux.environ)
    process = subprocess.Popen(command, cwd=checkout.work, env=environ, stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    wait_for(lambda: tmux("list-clients", "-F", "#{session_name}").split() == [MAIN])
    os.close(master)
    process.wait(TIMEOUT)
    wait_for(lambda: tmux("list-clients") == "")
    assert MAIN in tmux.sessions()
    assert not (checkout.marks / "rank0-saved").exists()


def assert_ends_when_its_session_is_killed(checkout: Checkout, tmux: Tmux) -> None:
    tmux("kill-session", "-t", MAIN)
    wait_for(lambda: tmux.sessions() == {"gpu1_proc0"})
    wait_for(lambda: [pid for pid in checkout.living() if pid not in tmux_servers(checkout)] == [])
    for rank in range(4):
        assert (checkout.marks / f"rank{rank}-saved").exists()
    assert not (checkout.marks / "--verdict").exists()


def tmux_servers(checkout: Checkout) -> list[int]:
    """A server that a launch started has its environment."""
    return [pid for pid in checkout.living() if Path(f"/proc/{pid}/comm").read_text().startswith("tmux")]


def test_what_is_not_usable_is_said_at_once_and_starts_no_session(checkout: Checkout, tmux: Tmux) -> None:
    for action in ("--dry-run", "--check", "--verdict"):
        result = checkout.launch("--tmux", action, **tmux.environ)
        assert (result.returncode, result.stdout) == (2, "")
        assert result.stderr == f"error: --tmux is for a run; leave it out with {action}\n"
    tools = checkout.work / "tools"
    tools.mkdir()
    for tool in ("bash", "dirname"):
        (tools / tool).symlink_to(str(shutil.which(tool)))
    result = checkout.launch("--tmux", **tmux.environ | {"PATH": str(tools)})
    assert result.returncode == 2
    assert result.stderr.startswith(
        "error: --tmux needs tmux, which is not here; install it (Debian: apt install tmux)"
    )
    (checkout.here / "generate.py").write_text("import sys; print('error: no manifest', file=sys.stderr); sys.exit(2)")
    result = checkout.launch("--tmux", **tmux.environ)
    assert (result.returncode, result.stderr) == (2, "error: no manifest\n")
    assert tmux.sessions() == set()


def test_a_session_of_that_name_that_somebody_else_made_is_left_alone(checkout: Checkout, tmux: Tmux) -> None:
    tmux("-f", "/dev/null", "new-session", "-d", "-s", MAIN, "sleep", "600")
    result = checkout.launch("--tmux", **tmux.environ)
    assert result.returncode == 2
    assert f"there is a tmux session {MAIN} that --tmux did not start; rename or close it" in result.stderr
    assert tmux.sessions() == {MAIN}
    assert list(checkout.marks.iterdir()) == []


def test_a_real_run_in_tmux_is_watched_from_a_terminal_and_ends_clean_with_its_session(
    tmux: Tmux, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bad clip, a quick video, and long ones that outlast the test, on one rank."""
    for name, value in (tmux.environ | {"WAN_NUM_RANKS": "1"}).items():
        monkeypatch.setenv(name, value)
    experiment = Experiment(tmp_path)
    experiment.add("camera_motion", "短", num_frames=4, seeds=[42])
    experiment.add("camera_motion", "pan", seeds=[42])
    experiment.add("single_object", "ball", seeds=range(20), num_inference_steps=1000)
    started = experiment.launch("--tmux")
    assert started.returncode == 0, started.stderr
    wait_for(lambda: any(state["step"] > 10 for state in states(experiment)))
    seen = status_json(experiment.output)
    assert (seen["state"], seen["verified"] + seen["left"]) == ("running", 21)
    assert [video["kind"] for video in seen["failed"]] == ["bad_input"]
    [rank] = seen["ranks"]
    assert (rank["state"], rank["done"], rank["failed"]) == ("alive", seen["verified"], 1)
    assert rank["job"].startswith("single_object/ref_ball_64x64/")
    assert seen["pace"]["basis"] == "this run"
    assert rank["seconds_per_step"] > 0
    assert seen["seconds_left"] > 0
    wait_for(lambda: "single_object/ref_ball_64x64/seed_" in tmux.panes()[1])
    wait_for(lambda: "published" in tmux("capture-pane", "-p", "-t", "=gpu0_proc0:"))
    terminal = Terminal(experiment.output, "--watch", "0.2", columns=120, lines=40)
    terminal.wait_for("single_object/ref_ball_64x64/seed_")
    terminal.resize(60, 12)
    before = len(terminal.pictures())
    wait_for(lambda: len(terminal.pictures()) > before + 2)
    assert max(map(cell_len, terminal.pictures()[-1].split("\n"))) <= 60
    tmux("kill-session", "-t", MAIN)
    assert terminal.end() == 1, "it ends by itself, as the run does"
    assert "\x1b[?1049l" in terminal.raw, "the terminal has its own screen back"
    assert "run the same command again to make the rest" in terminal.said()
    wait_for(lambda: living(experiment) == [])
    wait_for(lambda: tmux.sessions() == set())
    [state] = states(experiment)
    assert (state["phase"], state["error"]) == ("stopped", "")
    assert "error: " not in experiment.log(), "that the terminal has gone is no failure"
    assert list(experiment.output.glob(".claims/*/*.released")), "what was in hand is free"
    assert status_json(experiment.output)["state"] == "ended"
