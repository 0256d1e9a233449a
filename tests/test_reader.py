import os
import resource
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest

import wan_ddp
from wan_ddp.errors import BadInputError, JobError, StorageError
from wan_ddp.reader import ClipRequest, ReferenceReader
from wan_ddp.video import Clip, VideoInfo, read_clip, write_mp4

SETTINGS = {"num_frames": 5, "width": 32, "height": 16, "fps": 15.0}
SETTINGS |= {"sampling": "frames", "short_reference": "refuse"}


def request(path, **changes):
    return ClipRequest(path=str(path), **SETTINGS | changes)


# The child runs what follows, in place of read_clip. The path says what it is about.


def make_clip(path, num_frames, width, height, **_):
    """A clip of the value that the path's stem ends in; the file counts how often it was made."""
    with Path(path).open("a") as log:
        log.write("read\n")
    value = int(Path(path).stem.rpartition("-")[2])
    return Clip(np.full((num_frames, height, width, 3), value, np.uint8), VideoInfo(82, 12.5, 64, 48))


def misbehave(path, **settings):
    clip = make_clip(path, **settings)
    name = Path(path).name
    if name.startswith("crash") or (name.startswith("once") and times_read(path) == 1):
        os.abort()
    if name.startswith("hang"):
        time.sleep(1000)
    return clip


ANSWERS = {
    "garbage": [b"\xff{"],
    "list": [b"[1]"],
    "kind": [b'{"error": "", "kind": "of_its_own"}'],
    "short": [b'{"source": {}}', b"too little"],
    "long": [b'{"source": {}}', bytes(10**6)],
    "source": [b'{"source": {"surprise": 1}}', bytes(5 * 32 * 16 * 3)],
}


def talk_nonsense(path, **settings):
    """Answers in the place of the reader, as a file that takes its decoder over might."""
    fds = [path.name for path in Path("/proc/self/fd").iterdir()]
    for message in ANSWERS.get(Path(path).stem.partition("-")[0], []):
        [socket] = [int(fd) for fd in fds if is_socket(int(fd))]
        Connection(os.dup(socket)).send_bytes(message)
    return make_clip(path, **settings)


def is_socket(descriptor):
    try:
        return stat.S_ISSOCK(os.fstat(descriptor).st_mode)
    except OSError:
        return False


def signal_itself(path, **settings):
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGTERM)
    return make_clip(path, **settings)


def fail(path, **settings):
    make_clip(path, **settings)
    kind = Path(path).stem.partition("-")[0]
    errors = {
        "input": BadInputError("bad: 镜头"),
        "disk": StorageError("slow"),
        "bug": KeyError(3),
        "memory": MemoryError(),
    }
    raise errors[kind]


def check_the_limit(path, **settings):
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if not 0 < limit <= 2**34:
        raise AssertionError(f"the address space is limited to {limit}")
    return make_clip(path, **settings)


def say_what_is_imported(path, **settings):
    heavy = {"torch", "diffsynth"} & set(sys.modules)
    if heavy or os.environ["OMP_NUM_THREADS"] != "1":
        raise AssertionError(f"imported: {heavy}")
    return make_clip(path, **settings)


def times_read(path):
    return Path(path).read_text().count("read") if Path(path).exists() else 0


def wait_until(condition: Callable[[], object]):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it did not happen within 30 s"
        time.sleep(0.01)


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("video") / "镜头.mp4"
    random = np.random.default_rng(0)
    write_mp4(path, random.integers(0, 256, (6, 48, 64, 3), np.uint8), 15)
    return path


def test_a_clip_comes_from_the_child_as_read_clip_gives_it(video):
    with ReferenceReader() as reader:
        clip = reader.read(request(video))
    expected = read_clip(str(video), **SETTINGS)
    assert np.array_equal(clip.frames, expected.frames)
    assert clip.source == expected.source


def test_a_bad_reference_and_a_missing_one_are_bad_input_and_the_next_is_read(video, tmp_path):
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(video.read_bytes()[:-100])
    with ReferenceReader() as reader:
        with pytest.raises(BadInputError, match=r"cut\.mp4: it is damaged or cut off"):
            reader.read(request(cut))
        with pytest.raises(BadInputError, match="No such file"):
            reader.read(request(tmp_path / "none.mp4"))
        assert reader.read(request(video)).frames.any()


def test_the_next_clip_is_read_while_the_caller_does_something_else(tmp_path):
    with ReferenceReader(make_clip) as reader:
        reader.prefetch(request(tmp_path / "clip-7"))
        wait_until(lambda: times_read(tmp_path / "clip-7"))
        assert (reader.read(request(tmp_path / "clip-7")).frames == 7).all()
        assert times_read(tmp_path / "clip-7") == 1


def test_a_clip_asked_for_again_is_not_read_again(tmp_path):
    clips = [request(tmp_path / f"clip-{value}") for value in (1, 2)]
    with ReferenceReader(make_clip) as reader:
        for clip in (clips[0], clips[0], clips[1], clips[0], clips[1]):
            reader.read(clip)
            reader.prefetch(clip)
    assert [times_read(clip.path) for clip in clips] == [1, 1]


def test_no_more_than_two_clips_are_kept(tmp_path):
    clips = [request(tmp_path / f"clip-{value}") for value in (1, 2, 3)]
    with ReferenceReader(make_clip) as reader:
        for clip in (*clips, clips[0]):
            reader.read(clip)
    assert [times_read(clip.path) for clip in clips] == [2, 1, 1]


def test_another_size_of_the_same_reference_is_another_clip(tmp_path):
    with ReferenceReader(make_clip) as reader:
        for width in (32, 48):
            assert reader.read(request(tmp_path / "clip-1", width=width)).frames.shape == (5, 16, width, 3)


def test_clips_may_be_read_in_another_order_than_prefetched(tmp_path):
    with ReferenceReader(make_clip) as reader:
        for value in (1, 2):
            reader.prefetch(request(tmp_path / f"clip-{value}"))
        for value in (2, 1):
            assert (reader.read(request(tmp_path / f"clip-{value}")).frames == value).all()


def test_a_clip_that_crashes_its_decoder_is_bad_input_and_the_next_is_read(tmp_path):
    with ReferenceReader(misbehave) as reader:
        reader.prefetch(request(tmp_path / "crash-1"))
        reader.prefetch(request(tmp_path / "clip-2"))
        for _ in range(2):
            with pytest.raises(BadInputError, match=r"crash-1: it crashes its decoder \(SIGABRT\); use another file"):
                reader.read(request(tmp_path / "crash-1"))
        assert (reader.read(request(tmp_path / "clip-2")).frames == 2).all()
    assert times_read(tmp_path / "crash-1") == 2


@pytest.mark.parametrize("name", ["garbage", "list", "kind", "short", "long", "source"])
def test_a_decoder_that_answers_nonsense_costs_its_own_clip_alone(tmp_path, name):
    path = tmp_path / f"{name}-1"
    with ReferenceReader(talk_nonsense) as reader:
        with pytest.raises(BadInputError, match="it crashes its decoder"):
            reader.read(request(path))
        assert reader.read(request(tmp_path / "good-7")).frames.max() == 7


def test_a_single_crash_is_not_held_against_the_clip(tmp_path):
    with ReferenceReader(misbehave) as reader:
        assert (reader.read(request(tmp_path / "once-3")).frames == 3).all()


def test_a_child_that_was_killed_while_idle_is_replaced(tmp_path):
    with ReferenceReader(make_clip) as reader:
        reader.read(request(tmp_path / "clip-1"))
        os.kill(reader.pid, signal.SIGKILL)
        assert (reader.read(request(tmp_path / "clip-2")).frames == 2).all()


def test_a_clip_that_hangs_its_decoder_is_bad_input_and_the_next_is_read(tmp_path):
    with ReferenceReader(misbehave, timeout_seconds=12) as reader:
        reader.prefetch(request(tmp_path / "hang-1"))
        reader.prefetch(request(tmp_path / "clip-2"))
        wait_until(lambda: times_read(tmp_path / "hang-1"))
        stuck = reader.pid
        with pytest.raises(BadInputError, match="hang-1: it could not be read within 12 s"):
            reader.read(request(tmp_path / "hang-1"))
        assert not is_running(stuck)
        assert (reader.read(request(tmp_path / "clip-2")).frames == 2).all()
    assert times_read(tmp_path / "hang-1") == 1


def test_signals_to_the_whole_group_leave_the_child_at_work(tmp_path):
    with ReferenceReader(signal_itself) as reader:
        assert (reader.read(request(tmp_path / "clip-4")).frames == 4).all()
    assert times_read(tmp_path / "clip-4") == 1


@pytest.mark.parametrize(
    ("name", "kind", "text", "num_reads"),
    [
        ("input-1", BadInputError, "bad: 镜头", 1),
        ("memory-1", BadInputError, "memory-1: it takes too much memory", 1),
        ("disk-1", StorageError, "slow", 2),
        ("bug-1", JobError, "bug-1: KeyError: 3", 2),
    ],
)
def test_errors_come_with_their_kind_and_only_bad_input_stays_so(tmp_path, name, kind, text, num_reads):
    with ReferenceReader(fail) as reader:
        for _ in range(2):
            with pytest.raises(JobError, match=text) as caught:
                reader.read(request(tmp_path / name))
            assert type(caught.value) is kind
    assert times_read(tmp_path / name) == num_reads


def test_the_child_has_limited_memory(tmp_path):
    with ReferenceReader(check_the_limit) as reader:
        assert (reader.read(request(tmp_path / "clip-1")).frames == 1).all()


def test_the_child_imports_nothing_heavy(tmp_path):
    with ReferenceReader(say_what_is_imported) as reader:
        assert (reader.read(request(tmp_path / "clip-1")).frames == 1).all()


def test_closing_ends_the_child_whatever_it_does(tmp_path):
    with ReferenceReader(misbehave) as reader:
        reader.prefetch(request(tmp_path / "hang-1"))
        pid = reader.pid
        assert is_running(pid)
    assert not is_running(pid)


def test_the_child_dies_with_its_parent(tmp_path):
    code = (
        "import sys, time, test_reader\n"
        "reader = test_reader.ReferenceReader(test_reader.misbehave)\n"
        "reader.prefetch(test_reader.request(sys.argv[1]))\n"
        "print(reader.pid, flush=True)\n"
        "time.sleep(1000)\n"
    )
    hanging = tmp_path / "hang-1"
    paths = [str(Path(__file__).parent), str(Path(wan_ddp.__file__).parents[1])]
    with subprocess.Popen(
        [sys.executable, "-c", code, hanging], stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": ":".join(paths)}
    ) as parent:
        assert parent.stdout
        pid = int(parent.stdout.readline())
        wait_until(lambda: times_read(hanging))
        assert is_running(pid)
        parent.kill()
    wait_until(lambda: not is_running(pid))
