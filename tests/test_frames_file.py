"""Frames go from process to process whole, and stay when the one that made them is killed."""

import multiprocessing
import os
import signal
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest

from wan_ddp.frames_file import FramesFile


def noise() -> np.ndarray:
    return np.random.default_rng(7).integers(0, 256, (5, 48, 64, 3), np.uint8)


def make_and_die(connection: Connection, sends: bool) -> None:
    made = FramesFile.of(noise())
    connection.send(made)
    if sends:
        made.send(connection)
    os.kill(os.getpid(), signal.SIGKILL)


def received(sends: bool) -> FramesFile:
    """What a process has sent that was killed then."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=make_and_die, args=(theirs, sends))
    process.start()
    theirs.close()
    process.join()
    with ours:
        made: FramesFile = ours.recv()
        return made.receive(ours)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_frames_outlive_the_process_that_made_them() -> None:
    frames = received(sends=True)
    assert frames.open().dtype == np.uint8
    assert np.array_equal(frames.open(), noise())
    frames.close()


def test_a_process_that_dies_before_it_has_handed_them_over_is_heard_of() -> None:
    with pytest.raises(EOFError):
        received(sends=False)


def test_the_frames_are_a_copy_that_nothing_writes_to() -> None:
    before = noise()
    made = FramesFile.of(before)
    before[:] = 0
    frames = made.open()
    made.close()
    assert np.array_equal(frames, noise())
    assert not frames.flags.writeable


def test_frames_that_lie_in_memory_in_another_order_are_the_same_frames() -> None:
    made = FramesFile.of(noise()[::-1, :, ::2])
    assert np.array_equal(made.open(), noise()[::-1, :, ::2])
    made.close()


def test_nothing_stays_open_when_they_are_let_go_of() -> None:
    before = descriptors()
    ours, theirs = multiprocessing.Pipe()
    with ours, theirs:
        FramesFile.of(noise()).send(theirs)
        FramesFile(-1, (5, 48, 64, 3)).receive(ours).close()
    assert descriptors() == before
