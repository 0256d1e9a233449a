"""`python -m wan_ddp report` as a user calls it: where it writes, what it refuses, what an interruption leaves."""

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from experiment import wait_for
from finished_experiment import FinishedExperiment, manifest_lines

from wan_ddp.errors import ManifestError
from wan_ddp.manifest import read_manifest
from wan_ddp.outputs import Outputs

ROOT = Path(__file__).resolve().parent.parent


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "wan_ddp", "report", *map(str, arguments)]


def report(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command(*arguments), cwd=ROOT, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> FinishedExperiment:
    lines = manifest_lines({"pan": 2}, num_prompts=2, seeds=[42])
    return FinishedExperiment(tmp_path_factory.mktemp("command") / "x", lines).write()


def files(folder: Path, *, but: Path | None = None) -> dict[Path, bytes]:
    return {
        path: path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not (but and path.is_relative_to(but))
    }


def test_it_writes_its_own_folder_and_nothing_else_and_a_run_passes_it_by(made: FinishedExperiment) -> None:
    folder = made.output / "report"
    before = files(made.output, but=folder)
    done = report(made.output)
    assert done.returncode == 0
    assert all(line.startswith("report: ") for line in done.stderr.splitlines()), "progress alone"
    assert done.stdout.splitlines() == [str(folder / "index.html")]
    assert files(made.output, but=folder) == before
    first = files(folder)
    Outputs(made.output).sweep()
    assert files(folder) == first
    assert len(list(made.output.rglob("*.mp4"))) == 4, "people count videos so"


def test_a_category_of_its_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "manifest.jsonl"
    path.write_text('{"category": "report", "reference": "a.mp4", "prompt": "a", "prompt_index": 0, "seed": 1}\n')
    with pytest.raises(ManifestError, match=r'category is "report", where the run\'s own files lie'):
        read_manifest(path, {})


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("nowhere", "there is no such folder"),
        ("empty", "no video was made there, and no run was told to"),
        ("taken", "holds something that is no report; give --to another folder"),
        ("locked", "another report is being made there"),
        ("file", "Not a directory"),
    ],
)
def test_what_it_cannot_use_is_said_in_a_line(
    made: FinishedExperiment, tmp_path: Path, what: str, message: str
) -> None:
    output, to = made.output, tmp_path / "to"
    if what == "nowhere":
        output = tmp_path / "nowhere"
    elif what == "empty":
        output = tmp_path
    elif what == "file":
        to.write_text("")
        to = to / "below"
    else:
        to.mkdir()
        (to / ("index.html" if what == "taken" else ".wan-ddp-report")).touch()
    with Path(to / ".wan-ddp-report" if what == "locked" else os.devnull).open() as held:
        if what == "locked":
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        done = report(output, "--to", to)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1


def test_interrupted_it_leaves_the_old_report_and_then_goes_on(tmp_path: Path) -> None:
    lines = manifest_lines({"pan": 8}, num_prompts=1)
    made = FinishedExperiment(tmp_path / "x", lines).write()
    folder = tmp_path / "report"
    folder.mkdir()
    (folder / ".wan-ddp-report").touch()
    (folder / "index.html").write_text("<p>of yesterday")
    (folder / "posters").mkdir()
    (folder / "posters" / "old.jpg").write_text("of the old one")
    with subprocess.Popen(command(made.output, "--to", folder), cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        wait_for(lambda: any(folder.glob("contact-sheets/*/*.png")))
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=120)
    assert process.returncode == 143
    assert said.splitlines()[-1].startswith("stopped; an earlier report is as it was")
    assert (folder / "index.html").read_text() == "<p>of yesterday"
    assert (folder / "posters" / "old.jpg").exists()
    assert not (folder / "videos.csv").exists()
    assert report(made.output, "--to", folder).returncode == 0
    assert "<p>of yesterday" not in (folder / "index.html").read_text("utf-8")
    assert not (folder / "posters" / "old.jpg").exists()


def test_help_needs_none_of_the_libraries() -> None:
    script = "import sys; from wan_ddp.__main__ import main\ntry: main(['report', '--help'])\nexcept SystemExit: pass\n"
    script += "assert not {'torch', 'matplotlib', 'jinja2', 'PIL', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True)
