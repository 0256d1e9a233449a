"""One process holds the weights for as long as a rank needs them: whoever dies, nothing is left behind or lost."""

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import test_pipeline as pipelines
import torch
from experiment import Experiment, finish, living, wait_for
from held import Few

from wan_ddp.errors import EXIT_WEIGHTS_LOST, JobError, OutOfGpuMemoryError
from wan_ddp.process import is_dead, own_token
from wan_ddp.wan.checkpoint import Checkpoint, find_checkpoint
from wan_ddp.weights_holder import Tie, ask

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.timeout(200)


@pytest.fixture(autouse=True)
def lock_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of this test's own, whose path is longer than the 107 bytes that a socket's may have."""
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))


@pytest.fixture
def weights(tmp_path: Path, checkpoint: Checkpoint) -> Few:
    return Few(checkpoint, "cpu", obstacle=tmp_path / "obstacle")


@pytest.fixture
def ties(weights: Few) -> Iterator[list[Tie]]:
    """Those of two ranks of a GPU, both held."""
    both = [Tie(weights, {}), Tie(weights, {})]
    for tie in both:
        tie.hold()
    yield both
    for tie in both:
        tie.let_go()


def holder_of(weights: Few) -> int:
    with ask(weights, {}) as connection:
        pid: int = connection.recv()
        return pid


def test_the_ranks_of_a_gpu_have_one_holder_which_ends_with_the_last_of_them(ties: list[Tie], weights: Few) -> None:
    holder = holder_of(weights)
    token = own_token(holder)
    assert {holder_of(weights) for _ in range(3)} == {holder}
    ties[0].let_go()
    ties[1].hold()
    assert holder_of(weights) == holder
    ties[1].let_go()
    wait_for(lambda: is_dead(token), 10)
    with pytest.raises(JobError, match="is not there"):
        ask(weights, {})


def test_signals_to_everybody_leave_it_standing(ties: list[Tie], weights: Few) -> None:
    holder = holder_of(weights)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(holder, number)
    assert holder_of(weights) == holder


def test_one_that_was_killed_is_started_again(ties: list[Tie], weights: Few) -> None:
    holder = holder_of(weights)
    with ask(weights, {}) as worker:
        worker.recv()
        os.kill(holder, signal.SIGKILL)
        with pytest.raises((EOFError, ConnectionResetError)):
            worker.recv()
    # It ends a thread after the other, and then a rank that holds what it had starts another.
    wait_for(lambda: any(tie.hold() for tie in ties) or has_weights(weights), 30)
    assert holder_of(weights) != holder


def test_a_failed_start_is_told_to_the_worker_by_its_kind_and_tried_again(weights: Few) -> None:
    weights.obstacle.touch()
    tie = Tie(weights, {})
    tie.hold()
    with pytest.raises(OutOfGpuMemoryError, match="ran out of memory"):
        ask(weights, {})
    weights.obstacle.unlink()
    wait_for(lambda: tie.hold() or has_weights(weights), 30)
    tie.let_go()


def has_weights(weights: Few) -> bool:
    try:
        return bool(holder_of(weights))
    except JobError:
        return False


RANK = """
import sys, tempfile, time
sys.path[:0] = sys.argv[2:]
tempfile.tempdir = sys.argv[1]
from pathlib import Path
from held import Few
from wan_ddp.wan.checkpoint import find_checkpoint
from wan_ddp.weights_holder import Tie, ask, end_with

if __name__ == "__main__":
    weights = Few(find_checkpoint(Path(sys.argv[-1])), "cpu")
    tie = Tie(weights, {})
    tie.hold()
    connection = ask(weights, {})
    print(connection.recv(), flush=True)
    end_with(connection)
    time.sleep(600)
"""


@pytest.fixture
def rank(tmp_path: Path, checkpoint: Checkpoint) -> Iterator["subprocess.Popen[str]"]:
    """A process that holds weights and uses them, and has said whose."""
    folder = checkpoint.dit[0].parent
    command = [sys.executable, "-c", RANK, tempfile.tempdir, str(ROOT), str(ROOT / "tests"), str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def holder_said(rank: "subprocess.Popen[str]") -> int:
    assert rank.stdout
    return int(rank.stdout.readline())


def test_it_does_not_outlive_a_rank_that_is_killed(rank: "subprocess.Popen[str]") -> None:
    token = own_token(holder_said(rank))
    assert not is_dead(token)
    rank.kill()
    wait_for(lambda: is_dead(token), 10)


def test_a_worker_ends_at_once_when_its_weights_are_gone(rank: "subprocess.Popen[str]") -> None:
    os.kill(holder_said(rank), signal.SIGKILL)
    assert rank.wait(10) == EXIT_WEIGHTS_LOST


@pytest.mark.parametrize(("name", "mechanism"), [("tiny", "v2v"), ("tiny-vace", "vace")])
def test_shared_weights_change_no_pixel(tmp_path: Path, name: str, mechanism: pipelines.Mechanism) -> None:
    from wan_ddp.wan.models import attach_models, load_models
    from wan_ddp.wan.pipeline import Generator
    from wan_ddp.wan.prompts import encode_prompts, prompts_of
    from wan_ddp.wan.random_checkpoint import make_checkpoint
    from wan_ddp.wan.shared_weights import PackedWeights

    make_checkpoint(tmp_path / name, name)
    found = find_checkpoint(tmp_path / name)
    job, clip = pipelines.with_mechanism(pipelines.JOB, mechanism), pipelines.make_clip(pipelines.JOB)
    embeddings = encode_prompts(found, prompts_of([job]), device="cpu")
    expected = pipelines.frames_of(Generator.load(found, embeddings, device="cpu"), job, clip)
    packed = PackedWeights(load_models(found, device="cpu"), device="cpu")
    for _ in range(2):  # as often as asked
        ours, theirs = multiprocessing.Pipe()
        giver = threading.Thread(target=packed.give, args=(theirs,))
        giver.start()
        pipe = attach_models(found, ours, device="cpu")
        generator = Generator(pipe, embeddings, device="cpu", tiled=True)
        giver.join()
        np.testing.assert_array_equal(pipelines.frames_of(generator, job, clip), expected)
        with torch.no_grad():  # who writes to them spoils its own copy
            for weight in generator.pipe.dit.parameters():
                weight.zero_()


@pytest.mark.timeout(400)
def test_a_killed_holder_loses_nothing(tmp_path: Path) -> None:
    experiment = Experiment(tmp_path)
    experiment.add("camera_motion", "pan", num_inference_steps=16)
    run = experiment.start("bash", "launch.sh", *experiment.flags("--no-own-weights", "--checkpoint-every", "2"))
    wait_for(lambda: list(experiment.output.glob("*/*/.*.steps")))
    (holder,) = [pid for pid in living(experiment) if "weights_holder" in command_of(pid)]
    os.kill(holder, signal.SIGKILL)
    result = finish(run)
    assert result.returncode == 0, result.stderr
    assert "the process that holds the weights has died" in experiment.log(0) + experiment.log(1)
    assert experiment.report()["verified"] == 2
    assert any(record["resumed_from"] for record in experiment.records())
    wait_for(lambda: living(experiment) == [])


def command_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().decode()
