"""Who holds a claim, and whether that process still lives: a small file for each owner, which its claims are links to.

Touching the file is the owner's heartbeat, seen through every claim that it made, as they all are one file.
"""

import errno
import json
import os
import re
import threading
import time
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from socket import gethostname
from stat import S_ISREG
from typing import Literal

from wan_ddp.errors import MachineError
from wan_ddp.folders import create, list_names, open_folder, remove
from wan_ddp.process import TOKEN_PATTERN, is_dead, own_token

HOST_LOST_SECONDS = 300.0  # an owner on another host that has not touched its file for so long is lost
_SWEEP_SECONDS = 86400.0  # a host silent for a day does not come back to touch its file
_MAX_BYTES = 4096  # of an owner's file; the rest of a longer one is none of ours
_FOLDER = "owners"
_NAME = re.compile(rf"({TOKEN_PATTERN})\.\d+(\.link)?")
# O_NONBLOCK: a pipe in the place of a file answers at once. Opening, unlike stat, asks an NFS server and no cache.
_TO_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

Fate = Literal["alive", "died", "lost"]


class Owner:
    """This process as an owner of claims in the folder `root`. Its methods may be called from several threads."""

    def __init__(self, root: Path, *, run_id: str, rank: int) -> None:
        self._root = root
        self._token = own_token()
        self._about = {"token": self._token, "host": gethostname(), "rank": rank, "run_id": run_id}
        self._names: list[str] = []  # its files in the order that they were made; claims are links to the last
        self._inodes: set[tuple[int, int]] = set()
        self._lock = threading.Lock()

    def open(self) -> None:
        """Make the owner's file. Raises MachineError where hard links cannot be made, and OSError."""
        with self._lock, open_folder(self._root, _FOLDER, make=True) as folder:
            self._add_file(folder)
            probe = f"{self._names[-1]}.link"
            try:
                os.link(self._names[-1], probe, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
            except FileExistsError:
                pass  # made, and the answer lost
            except OSError as error:
                if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS):
                    raise
                raise MachineError(
                    f"{self._root}: this file system has no hard links, which claims are made of ({error.strerror}); "
                    "give --output a folder on a local disk or on NFS"
                ) from error
            remove(probe, folder)

    def close(self) -> None:
        """Remove the owner's files; claims that link to them stay as they are. Raises OSError."""
        with self._lock, suppress(FileNotFoundError), open_folder(self._root, _FOLDER) as folder:
            while self._names:
                remove(self._names[-1], folder)
                self._names.pop()

    def beat(self) -> None:
        """Touch the owner's file, with the file server's clock. Raises OSError."""
        with self._lock, open_folder(self._root, _FOLDER, make=True) as folder:
            self._touch(folder)

    def now(self) -> float:
        """The file server's time in seconds: that of the owner's file, touched just now. Raises OSError."""
        with self._lock, open_folder(self._root, _FOLDER, make=True) as folder:
            self._touch(folder)
            return os.stat(self._names[-1], dir_fd=folder, follow_symlinks=False).st_mtime

    def link(self, folder: int, name: str) -> bool:
        """Make `name` in the folder a link to the owner's file; False if another's is there. Raises OSError."""
        with self._lock, open_folder(self._root, _FOLDER, make=True) as owners:
            try:
                return self._link(owners, folder, name)
            except OSError as error:
                # Its file has all the links that the file system allows to one, or somebody removed it.
                if error.errno not in (errno.EMLINK, errno.ENOENT):
                    raise
            self._add_file(owners)
            return self._link(owners, folder, name)

    def owns(self, folder: int, name: str) -> bool:
        """Whether `name` is a link that this owner made. Raises OSError."""
        try:
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return (found.st_dev, found.st_ino) in self._inodes

    def silence(self, folder: int, name: str) -> float:
        """Seconds since the owner of a claim last touched its file, while its process lives. Raises OSError.

        0 for one on another host: all that can be said of it is that it is lost, sooner or later, by `fate`.
        """
        content, touched = _read(folder, name)
        token, _ = _parse(content)
        return self.now() - touched if token and is_dead(token) is False else 0.0

    def fate(self, folder: int, name: str) -> Fate:
        """What became of the owner of a claim. Raises OSError."""
        try:
            content, touched = _read(folder, name)
        except FileNotFoundError:
            return "alive"  # the whole folder is being removed: nothing is known, so nothing is taken over
        token, host = _parse(content)
        dead = is_dead(token) if token else None
        if dead is not None:
            return "died" if dead else "alive"
        silence = self.now() - touched
        # This very machine was started again since: the owner is gone. That the name is the same is not enough, as
        # other hosts may have it too; they touch their files.
        rebooted = bool(token) and host == gethostname() and _boot_id(token) != _boot_id(self._token)
        lost_after = min(HOST_LOST_SECONDS, time.clock_gettime(time.CLOCK_BOOTTIME)) if rebooted else HOST_LOST_SECONDS
        return "lost" if silence > lost_after else "alive"

    def sweep(self) -> None:
        """Remove the files of owners that are gone. Claims stay: they are the record. Raises OSError."""
        with open_folder(self._root, _FOLDER, make=True) as folder:
            for name in list_names(folder):
                match = _NAME.fullmatch(name)
                if match and match[1] != self._token and self._is_gone(folder, name, match[1]):
                    remove(name, folder)

    def _is_gone(self, folder: int, name: str, token: str) -> bool:
        dead = is_dead(token)
        if dead is not None:
            return dead
        try:
            touched = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mtime
        except FileNotFoundError:
            return False
        return self.now() - touched > _SWEEP_SECONDS

    def _add_file(self, folder: int) -> None:
        """Write one more file of this owner, whole before anything links to it."""
        number = len(self._names)
        while True:
            name = f"{self._token}.{number}"
            try:
                descriptor = create(name, folder)
                break
            except FileExistsError:
                number += 1
        try:
            about = self._about | {"started": datetime.now(timezone.utc).isoformat(timespec="seconds")}
            with os.fdopen(descriptor, "wb") as file:
                file.write(json.dumps(about).encode())
                found = os.fstat(descriptor)
        except OSError:
            remove(name, folder)  # a full disk: half a file would say nothing of its owner
            raise
        self._names.append(name)
        self._inodes.add((found.st_dev, found.st_ino))

    def _touch(self, folder: int) -> None:
        for name in list(self._names):
            try:
                os.utime(name, dir_fd=folder, follow_symlinks=False)
            except FileNotFoundError:
                self._names.remove(name)
        if not self._names:
            self._add_file(folder)

    def _link(self, owners: int, folder: int, name: str) -> bool:
        if not self._names:
            raise FileNotFoundError(errno.ENOENT, "the owner's file is gone", str(self._root / _FOLDER))
        try:
            os.link(self._names[-1], name, src_dir_fd=owners, dst_dir_fd=folder, follow_symlinks=False)
        except FileExistsError:
            # Perhaps an NFS server made this very link, its answer was lost, and the client asked again.
            return self.owns(folder, name)
        return True


def _read(folder: int, name: str) -> tuple[bytes, float]:
    """A claim's content (nothing if it cannot be read) and when it was last touched."""
    try:
        descriptor = os.open(name, _TO_READ, dir_fd=folder)
    except FileNotFoundError:
        raise
    except OSError:  # another user's, or a symbolic link
        return b"", os.stat(name, dir_fd=folder, follow_symlinks=False).st_mtime
    try:
        found = os.fstat(descriptor)
        content = os.read(descriptor, _MAX_BYTES) if S_ISREG(found.st_mode) else b""
        return content, found.st_mtime
    finally:
        os.close(descriptor)


def _parse(content: bytes) -> tuple[str, str]:
    """An owner's token and host; empty where the file does not say."""
    try:
        about = json.loads(content)
    except (ValueError, RecursionError):
        return "", ""
    token = about.get("token") if isinstance(about, dict) else None
    if not isinstance(token, str) or not re.fullmatch(TOKEN_PATTERN, token, re.ASCII):
        return "", ""
    return token, str(about.get("host", ""))


def _boot_id(token: str) -> str:
    return token.split("-")[0]
