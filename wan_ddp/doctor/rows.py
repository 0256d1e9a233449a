"""What doctor says: a row for each thing that a run needs, as a table, in short, or for a script."""

import textwrap
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Literal

from wan_ddp.errors import EXIT_COMPLETE, EXIT_UNUSABLE

Verdict = Literal["ok", "warning", "fails"]

INSTALL = "pip install -r requirements.txt -c constraints.txt"
_MIN_CELL, _MAX_CELL = 24, 60


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that a run needs. `remedy` is what to do, a command where there is one; it stays on one line."""

    name: str
    found: str
    needed: str
    verdict: Verdict = "ok"
    remedy: str = ""


def exit_code(rows: Sequence[Row]) -> int:
    """2 if a run would fail."""
    return EXIT_UNUSABLE if any(row.verdict == "fails" for row in rows) else EXIT_COMPLETE


def table(rows: Sequence[Row], width: int) -> str:
    """A block for each row: its cells, wrapped for a terminal of `width`, and on one line below them what to do."""
    names = max(len(row.name) for row in rows)
    verdicts = max(len(row.verdict) for row in rows)
    cell = max(_MIN_CELL, min(_MAX_CELL, (width - names - verdicts - 6) // 2))
    lines = [f"{'':{verdicts}}  {'':{names}}  {'found':{cell}}  needed"]
    for row in rows:
        head = f"{row.verdict:{verdicts}}  {row.name:{names}}"
        for found, needed in _side_by_side(_wrap(row.found, cell), _wrap(row.needed, cell), cell):
            padding = " " * max(cell - _num_columns(found), 0)
            lines.append(f"{head}  {found}{padding}  {needed}".rstrip())
            head = " " * len(head)
        lines += [f"{'':{verdicts}}  -> {row.remedy}"] if row.remedy else []
    return "\n".join([*lines, "", conclusion(rows)])


def _wrap(text: str, width: int) -> list[str]:
    """Lines of whole words: a path that is longer stays whole, to be copied."""
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False) or [""]


def _side_by_side(left: list[str], right: list[str], width: int) -> Iterator[tuple[str, str]]:
    """Lines beside each other, the right ones below those on the left that are too long."""
    if any(_num_columns(line) > width for line in left):
        right = [""] * len(left) + right
    return zip_longest(left, right, fillvalue="")


def _num_columns(text: str) -> int:
    """On a terminal, where Chinese characters are two columns wide."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def conclusion(rows: Sequence[Row]) -> str:
    """Whether a run would work, in one line."""
    failing = [row.name for row in rows if row.verdict == "fails"]
    warnings = sum(row.verdict == "warning" for row in rows)
    and_warnings = f", {warnings} warning{'s' * (warnings != 1)}" if warnings else ""
    if failing:
        return f"a run would fail: {', '.join(failing)}{and_warnings}"
    return f"a run would work{and_warnings}"


def in_short(rows: Sequence[Row]) -> list[str]:
    """A line for each row that is not well."""
    return [
        f"{row.verdict}: {row.name}: {row.found}; needed: {row.needed}" + (f"; {row.remedy}" if row.remedy else "")
        for row in rows
        if row.verdict != "ok"
    ]


def in_one_line(error: BaseException) -> str:
    """What an error says, of whichever class and however long."""
    text = " ".join(str(error).split())
    return text if type(error).__module__.startswith("wan_ddp") else f"{type(error).__name__}: {text}"
