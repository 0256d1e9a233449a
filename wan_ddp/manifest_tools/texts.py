"""Prompt files read as text, JSON or rows, with what is wrong said as `file:line: ...`."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from wan_ddp.errors import UnusableError
from wan_ddp.manifest_tools.names import shown

# What the files of people who do not use UTF-8 are in: tried only to say so.
_LIKELY_ENCODINGS = ("gb18030", "big5")
_DELIMITERS = (",", ";", "\t")
# The longest prompts there are have some thousand characters; the module's own limit is 131,072.
_MAX_CELL = 2**20


class _TwiceError(ValueError):
    """An object with one key twice."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table. `cells` has no blank cells of a CSV file."""

    where: str
    cells: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Table:
    name: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]


def read_text(path: str, encoding: str | None) -> str:
    """Raises UnusableError for a file that cannot be read, or is in another encoding than told (default: UTF-8)."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise UnusableError(f"{shown(path)}: cannot be read: {error.strerror}") from error
    try:
        return content.decode(encoding or "utf-8-sig").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UnusableError(f"{shown(path)}:{line}: not {encoding or 'UTF-8'}; {_remedy(content, encoding)}") from error


def read_json(path: str, encoding: str | None) -> Any:
    """Raises UnusableError for what is not JSON, and for an object with one key twice: it would lose one of them."""
    return _parse_json(read_text(path, encoding), shown(path), first_line=1)


def read_rows(path: str, encoding: str | None) -> Table:
    """A CSV file (comma, semicolon or tab) with a header, JSON Lines, or a JSON list of objects; by its suffix."""
    suffix = PurePath(path).suffix.lower()
    text = read_text(path, encoding)
    if suffix in (".csv", ".tsv"):
        columns, rows = _parse_csv(text, shown(path))
    else:
        rows = list(_json_rows(text, shown(path), suffix))
        columns = list(dict.fromkeys(name for row in rows for name in row.cells))
    if not rows:
        raise UnusableError(f"{shown(path)}: no rows in it; a row names a clip and its prompt")
    return Table(path, tuple(columns), tuple(rows))


def _remedy(content: bytes, encoding: str | None) -> str:
    for likely in ("utf-16",) if content[:2] in (b"\xff\xfe", b"\xfe\xff") else _LIKELY_ENCODINGS:
        try:
            content.decode(likely)
        except UnicodeDecodeError:
            continue
        if likely != encoding:
            return f"it reads as {likely}: save it as UTF-8, or give --encoding {likely}"
    return "save it as UTF-8, or name its encoding with --encoding"


def _parse_json(text: str, where: str, first_line: int) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        line = first_line + error.lineno - 1
        raise UnusableError(f"{where}:{line}: not JSON: {error.msg} at column {error.colno}") from error
    except RecursionError as error:
        raise UnusableError(f"{where}:{first_line}: not JSON of prompts: nested too deep") from error
    except _TwiceError as error:
        place = f"{where}:{first_line}" if first_line > 1 else where
        raise UnusableError(f"{place}: {error.args[0]} stands twice in one object; each name may stand once") from error
    except ValueError as error:  # an integer of thousands of digits
        raise UnusableError(f"{where}:{first_line}: not JSON of prompts: {error}") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _TwiceError(json.dumps(next(key for key in keys if keys.count(key) > 1), ensure_ascii=False))
    return value


def _json_rows(text: str, name: str, suffix: str) -> Iterator[Row]:
    if suffix == ".json":
        values = _parse_json(text, name, first_line=1)
        placed = [(f"{name}, row {index}", value) for index, value in enumerate(values, start=1)]
    else:
        lines = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
        placed = [(f"{name}:{number}", _parse_json(line, name, number)) for number, line in lines]
    for where, value in placed:
        if not isinstance(value, dict):
            raise UnusableError(f"{where}: it is no object; a row is one, such as {{'reference': ..., 'prompt': ...}}")
        yield Row(where, value)


def _parse_csv(text: str, name: str) -> tuple[Sequence[str], list[Row]]:
    """The columns that the first row names, and the other rows."""
    csv.field_size_limit(_MAX_CELL)
    # Excel takes the delimiter from such a line.
    first = 2 if text.startswith("sep=") else 1
    lines = text.split("\n", first - 1)[-1]
    delimiter = max(_DELIMITERS, key=lines.split("\n", 1)[0].count)
    reader = csv.reader(io.StringIO(lines, newline=""), delimiter=delimiter, strict=True)
    header: Sequence[str] = ()
    rows: list[Row] = []
    number = first
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                if header:
                    rows.append(_csv_row(header, cells, f"{name}:{number}"))
                else:
                    header = _header(cells, f"{name}:{number}")
            number = first + reader.line_num
    except csv.Error as error:
        raise UnusableError(f"{name}:{first - 1 + reader.line_num}: not CSV: {error}") from error
    return header, rows


def _header(cells: Sequence[str], where: str) -> Sequence[str]:
    names = [cell.strip() for cell in cells]
    while names and not names[-1]:
        names.pop()
    if "" in names:
        raise UnusableError(f"{where}: column {names.index('') + 1} has no name; the first row names the columns")
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UnusableError(f"{where}: the column {shown(twice)} stands twice; each name may stand once")
    return names


def _csv_row(header: Sequence[str], cells: Sequence[str], where: str) -> Row:
    if any(cell.strip() for cell in cells[len(header) :]):
        raise UnusableError(
            f"{where}: {len(cells)} cells, and the first row names {len(header)} columns; "
            'a prompt that holds the delimiter stands in quotes: "A cat, running"'
        )
    return Row(where, {name: cell.strip() for name, cell in zip(header, cells, strict=False) if cell.strip()})
