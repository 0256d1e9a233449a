"""Files under their final names are whole, and hidden names say whose they are."""

import errno
import hashlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wan_ddp.files import parse_temporary, read_or_none, sha256, sync, temporary, write_atomically
from wan_ddp.process import own_token


def test_written_content_is_read_back_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_atomically(path, b"one")
    write_atomically(path, b"two")
    assert read_or_none(path) == b"two"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_does_not_exist_reads_as_none_and_one_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    assert read_or_none(tmp_path / "a") is None
    with pytest.raises(IsADirectoryError):
        read_or_none(tmp_path)


def test_a_write_that_fails_leaves_what_was_there_and_no_hidden_file(tmp_path: Path) -> None:
    folder = tmp_path / "a.json"
    folder.mkdir()
    with pytest.raises(OSError, match="directory"):
        write_atomically(folder, b"content")
    assert list(tmp_path.iterdir()) == [folder]


def test_a_write_into_no_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "none" / "a", b"")


def test_a_reader_never_sees_a_part(tmp_path: Path) -> None:
    path = tmp_path / "a"
    contents = [letter * 300_000 for letter in (b"a", b"b")]
    write_atomically(path, contents[0])
    ended = threading.Event()

    def write_on() -> None:
        number = 0
        while not ended.is_set():
            number += 1
            write_atomically(path, contents[number % 2])

    writer = threading.Thread(target=write_on)
    writer.start()
    try:
        seen = {path.read_bytes() for _ in range(100)}
    finally:
        ended.set()
        writer.join()
    assert seen <= set(contents)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_an_error_with_its_number(tmp_path: Path) -> None:
    # The hidden name leads to a device that is always full.
    path = tmp_path / "a"
    temporary(path).symlink_to("/dev/full")
    with pytest.raises(OSError) as caught:
        write_atomically(path, b"content")
    assert caught.value.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []


file_names = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=60).filter(
    lambda name: name not in (".", "..")
)


@given(file_names)
def test_a_hidden_name_says_what_it_will_be_and_who_writes_it(name: str) -> None:
    hidden = temporary(Path("/folder") / name)
    assert hidden.parent == Path("/folder")
    assert hidden.name.startswith(".")
    assert not hidden.name.endswith(".mp4")
    assert parse_temporary(hidden.name) == (name, own_token())


@pytest.mark.parametrize(
    "name", ["a.mp4", ".a.mp4", ".a.mp4.tmp", ".references.json", ".a.failed.json", "a.1-2-3-4.tmp"]
)
def test_other_names_are_no_hidden_ones(name: str) -> None:
    assert parse_temporary(name) is None


def test_two_processes_write_one_file_under_two_hidden_names(tmp_path: Path) -> None:
    code = (
        f"from pathlib import Path; from wan_ddp.files import temporary; print(temporary(Path({str(tmp_path)!r}, 'a')))"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert Path(other).parent == tmp_path
    assert Path(other) != temporary(tmp_path / "a")


@given(st.binary(max_size=10_000), st.integers(1, 300))
def test_the_digest_is_that_of_the_content(tmp_path_factory: pytest.TempPathFactory, part: bytes, times: int) -> None:
    path = tmp_path_factory.getbasetemp() / "digested"
    path.write_bytes(part * times)
    assert sha256(path) == hashlib.sha256(part * times).hexdigest()


def test_syncing_takes_files_and_folders_and_leaves_no_descriptor_open(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    sync(tmp_path / "a")
    sync(tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
    with pytest.raises(FileNotFoundError):
        sync(tmp_path / "b")
