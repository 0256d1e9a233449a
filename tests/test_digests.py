"""Digests of references, read once and again only after a change."""

import hashlib
import os
from pathlib import Path

import pytest

from wan_ddp.digests import ReferenceDigests


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    path = tmp_path / "参考.mp4"
    path.write_bytes(b"frames")
    return path


@pytest.fixture
def remembered(tmp_path: Path) -> Path:
    return tmp_path / ".references.json"


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def change_unnoticed(path: Path, content: bytes) -> None:
    """Other content of the same size and time: only a reader would see it."""
    stat = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_a_digest_is_that_of_the_content(reference: Path, remembered: Path) -> None:
    assert ReferenceDigests(remembered).digest(str(reference)) == digest_of(b"frames")


def test_a_remembered_file_is_not_read_again(reference: Path, remembered: Path) -> None:
    first = ReferenceDigests(remembered)
    first.digest(str(reference))
    first.save()
    change_unnoticed(reference, b"FRAMES")
    assert ReferenceDigests(remembered).digest(str(reference), read=False) == digest_of(b"frames")


@pytest.mark.parametrize("content", [b"other!", b"longer content"])
def test_a_file_of_another_time_or_size_is_read_again(reference: Path, remembered: Path, content: bytes) -> None:
    first = ReferenceDigests(remembered)
    first.digest(str(reference))
    first.save()
    stat = reference.stat()
    reference.write_bytes(content)
    if len(content) != 6:
        os.utime(reference, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    else:
        os.utime(reference, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    again = ReferenceDigests(remembered)
    assert again.digest(str(reference), read=False) is None
    assert again.digest(str(reference)) == digest_of(content)


def test_what_is_not_remembered_stays_unknown_without_reading(reference: Path, remembered: Path) -> None:
    assert ReferenceDigests(remembered).digest(str(reference), read=False) is None


def test_what_is_no_readable_file_has_no_digest(tmp_path: Path, remembered: Path) -> None:
    digests = ReferenceDigests(remembered)
    assert digests.digest(str(tmp_path / "none.mp4")) is None
    assert digests.digest(str(tmp_path)) is None
    assert digests.digest("/dev/null") is None


def test_a_file_that_arrives_later_is_seen(tmp_path: Path, remembered: Path) -> None:
    digests = ReferenceDigests(remembered)
    late = tmp_path / "late.mp4"
    assert digests.digest(str(late)) is None
    late.write_bytes(b"frames")
    assert digests.digest(str(late)) == digest_of(b"frames")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'"text"', b'{"PATH": 1}', b'{"PATH": [6, 0]}'])
def test_a_damaged_memory_only_costs_reading_again(reference: Path, remembered: Path, content: bytes) -> None:
    remembered.write_bytes(content.replace(b"PATH", str(reference).encode()))
    assert ReferenceDigests(remembered).digest(str(reference)) == digest_of(b"frames")
