"""The state of a video under way, in a hidden file beside its output: whoever makes it next goes on from there.

The file is sealed (`sealed.py`), and holds a line of JSON and the bytes that the generator gave.
"""

import json
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from wan_ddp.sealed import MAX_LINE_BYTES, open_regular, read_sealed, write_sealed

log = logging.getLogger(__name__)

# The largest job has latents of 2.1 GB (1001 frames of 4096x4096 in bfloat16), half of what may be sealed.
_KIND = "wan-ddp-steps-1"


@dataclass(frozen=True, slots=True)
class Header:
    """What a state belongs to. `resumed_from`: the steps at which earlier attempts at the video were taken up."""

    fingerprint: str
    step: int
    num_steps: int
    resumed_from: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class SavedSteps:
    """A video's state after `header.step` of its steps, as the generator gave it."""

    header: Header
    state: bytes


def save_steps(path: Path, saved: SavedSteps) -> None:
    """Write the file whole or not at all. Raises OSError."""
    write_sealed(path, _KIND, json.dumps(asdict(saved.header)).encode() + b"\n" + saved.state)


def load_steps(path: Path, fingerprint: str) -> SavedSteps | None:
    """The state saved for the video of that fingerprint; None, and a line in the log, if the file is of no use."""
    try:
        content = read_sealed(path, _KIND)
    except FileNotFoundError:
        return None
    except OSError as error:
        log.warning("%s cannot be read, the video starts over: %s", path, error.strerror)
        return None
    line, _, state = (content or b"").partition(b"\n")
    header = _parse(line)
    if header is None:
        log.warning("%s is damaged, the video starts over", path)
        return None
    if header.fingerprint != fingerprint:
        log.info("%s is of other settings, the video starts over", path)
        return None
    return SavedSteps(header, state)


def discard_steps(path: Path) -> None:
    """Remove what was saved, as far as the disk allows."""
    with suppress(OSError):
        path.unlink(missing_ok=True)


def fingerprint_of(path: Path) -> str | None:
    """Which video's state the file claims to be, by its header alone; None if it has none."""
    try:
        with open_regular(path) as file:
            file.readline(MAX_LINE_BYTES)
            header = _parse(file.readline(MAX_LINE_BYTES))
    except OSError:
        return None
    return header.fingerprint if header else None


class KeptSteps:
    """The steps of one attempt at a video: where it may go on from, and what is saved of it every so many steps.

    Nothing here stops the video: a state that cannot be read or written costs the steps that it would have saved.
    """

    def __init__(self, path: Path, fingerprint: str, every: int) -> None:
        self._path = path
        self._fingerprint = fingerprint
        self._every = every
        self._found = load_steps(path, fingerprint)
        self._on_disk: int | None = None
        self._last = 0
        """The last step at which it was time to save, or at which the attempt began."""
        self.resumed_from: tuple[int, ...] = ()

    @property
    def state(self) -> bytes | None:
        """What an earlier attempt has left, for the generator."""
        return self._found.state if self._found else None

    def begin(self, step: int) -> None:
        """The generator begins after so many steps: 0 if it could not use the state."""
        self._on_disk = self._last = step
        if self._found and step > 0:
            self.resumed_from = (*self._found.header.resumed_from, step)
        self._found = None  # 4 MB and more, not needed any longer

    def is_due(self, step: int, num_steps: int) -> bool:
        """Whether it is time to save: at every so many steps, or at the first one after that which has a state.

        After the last step it is too: the video may yet be lost before it is published.
        """
        is_time = step // self._every > self._last // self._every or step == num_steps
        return is_time and self.is_new(step)

    def is_new(self, step: int) -> bool:
        """Whether this step's state is not what lies on the disk already."""
        return step > 0 and step != self._on_disk

    def keep(self, step: int, num_steps: int, save: Callable[[], bytes]) -> None:
        """Save the state after `step` steps, which `save` gives. What `save` raises is passed on."""
        self._last = step  # also where it fails: the next time is as soon
        header = Header(self._fingerprint, step, num_steps, self.resumed_from)
        saved = SavedSteps(header, save())
        try:
            save_steps(self._path, saved)
        except OSError as error:
            log.warning("step %d of %d could not be saved, the video goes on: %s", step, num_steps, error.strerror)
        else:
            self._on_disk = step


def _parse(line: bytes) -> Header | None:
    try:
        fields = json.loads(line)
        header = Header(**fields | {"resumed_from": tuple(fields["resumed_from"])})
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    steps = (header.step, header.num_steps, *header.resumed_from)
    if type(header.fingerprint) is not str or any(type(step) is not int for step in steps):
        return None
    return header if 0 < header.step <= header.num_steps else None
