"""The report, start to end: look at the output folder, make the pictures, draw the charts, write the page last."""

import fcntl
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from wan_ddp.errors import MachineError, UnusableError
from wan_ddp.files import parse_temporary, write_atomically
from wan_ddp.process import is_dead
from wan_ddp.report.charts import draw_charts
from wan_ddp.report.contents import read_contents
from wan_ddp.report.page import Links, render_page
from wan_ddp.report.pictures import make_pictures, sweep_pictures
from wan_ddp.report.table import write_table

DEFAULT_NAME = "report"
_MARK = ".wan-ddp-report"  # says that the folder is ours to write in; locked while one is made
_LINE_SECONDS = 10.0


def make_report(output: Path, folder: Path, num_threads: int) -> Path:
    """Make the report on `output` in `folder`, and return its page. Interrupted, it leaves the old report as it was.

    Raises UnusableError where there is nothing to report on, MachineError where `folder` cannot be written.
    """
    try:
        contents = read_contents(output)
    except OSError as error:
        raise MachineError(f"{error.filename or output}: cannot be read: {error.strerror or error}") from error
    if not contents.rows:
        raise UnusableError(f"{output}: no video was made there, and no run was told to; give the folder of --output")
    try:
        with _reserved(folder):
            with _Progress(len(contents.rows)) as progress:
                pictures = make_pictures(contents, folder, num_threads=num_threads, on_row=progress.advance)
            page = render_page(contents, pictures, draw_charts(contents), Links(folder, output))
            write_atomically(folder / "videos.csv", write_table(contents))
            write_atomically(folder / "index.html", page.encode("utf-8", "replace"))
            # What the old page showed may go only now.
            sweep_pictures(folder, pictures)
    except OSError as error:
        raise MachineError(f"{error.filename or folder}: cannot be written: {error.strerror or error}") from error
    return folder / "index.html"


@contextmanager
def _reserved(folder: Path) -> Iterator[None]:
    """Keep others from making the same report meanwhile, and the report from writing over what is none."""
    if folder.exists() and not (folder / _MARK).exists() and any(folder.iterdir()):
        raise UnusableError(f"{folder}: holds something that is no report; give --to another folder")
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / _MARK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UnusableError(f"{folder}: another report is being made there; wait for it") from None
        _remove_leftovers(folder)
        yield
    finally:
        os.close(descriptor)


def _remove_leftovers(folder: Path) -> None:
    """What killed reports have left under hidden names."""
    for parent, _, names in os.walk(folder):
        for name in names:
            parsed = parse_temporary(name)
            if parsed and is_dead(parsed[1]) is not False:
                Path(parent, name).unlink(missing_ok=True)


class _Progress:
    """A bar on a terminal, a line now and then elsewhere."""

    def __init__(self, num_rows: int) -> None:
        self._num_rows, self._num_done, self._next_line = num_rows, 0, time.monotonic() + _LINE_SECONDS
        self._bar = tqdm(total=num_rows, desc="references", unit="") if sys.stderr.isatty() else None

    def __enter__(self) -> "_Progress":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def advance(self) -> None:
        self._num_done += 1
        if self._bar is not None:
            self._bar.update()
        elif time.monotonic() > self._next_line:
            print(f"report: {self._num_done} of {self._num_rows} references", file=sys.stderr)
            self._next_line = time.monotonic() + _LINE_SECONDS
