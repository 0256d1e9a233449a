"""A table of clips and prompts: which columns mean what, and which file each row means."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from wan_ddp.errors import UnusableError
from wan_ddp.job import JOB_FIELDS, Job
from wan_ddp.manifest_tools.lookup import Lookup
from wan_ddp.manifest_tools.matching import NUM_WITH_NEAREST, Clip, Collected, Entry, Unmatched
from wan_ddp.manifest_tools.names import nearest, nfc, shown
from wan_ddp.manifest_tools.prompts import Prompt, PromptList, parse_value
from wan_ddp.manifest_tools.texts import Row, Table
from wan_ddp.manifest_tools.tree import why_unusable

_NUMBERS = ("prompt_index", "prompt_number")
_OWN_COLUMNS = (*JOB_FIELDS, "prompt_number", "prompts")
_WIDE = re.compile(r"prompt[ _-]?(\d{1,9})")


@dataclass(frozen=True, slots=True)
class _Line:
    """A row whose columns are understood."""

    where: str
    reference: str
    category: str | None
    prompts: tuple[Prompt, ...]


def collect_table(
    table: Table,
    folder: str,
    columns: Mapping[str, str],
    category: str | None,
    clips: Sequence[str],
    collected: Collected,
) -> Collected:
    """Rows of one clip need not stand together; their order is that of its prompts. `clips` are known to be there.

    `reference` is a path below `folder`, or below its category's folder in it, or absolute; its suffix may be left out.
    """
    names = _meanings(table, columns)
    if category is not None and "category" in names.values():
        raise UnusableError(f"{shown(table.name)}: has a column for the category; leave --category out")
    unused = [name for name in table.columns if name not in names]
    if unused:
        collected.notes.append(f"columns that are not used: {', '.join(map(shown, unused))}")
    lines = [line for row in table.rows if (line := _line(row, names, collected.problems))]
    lookup = Lookup(folder)
    rows: dict[Clip, list[_Line]] = {}
    missing: dict[tuple[str, str], list[_Line]] = {}
    for line in lines:
        told = line.category or category or ""
        found = lookup.find(line.reference, told)
        if len(found) == 1:
            path = found[0]
            own = nfc(told or PurePath(os.path.dirname(path)).name)
            rows.setdefault(Clip(own, PurePath(path).name, path), []).append(line)
        elif found:
            names_found = " or ".join(map(shown, found))
            collected.problems.append(f"{line.where}: {shown(line.reference)} could be {names_found}")
        else:
            missing.setdefault((line.reference, told), []).append(line)
    for clip, own_lines in rows.items():
        prompts = tuple(prompt for line in own_lines for prompt in line.prompts)
        if why := why_unusable(clip.path):
            collected.unmatched.append(Unmatched("clip", shown(clip.path), why))
        elif prompts:
            collected.entries.append(Entry(clip, PromptList(clip.category, clip.name, own_lines[0].where, prompts)))
    collected.unmatched += _alone(lookup, rows, missing, clips)
    read_as = ", ".join(name if name == meaning else f"{name} as {meaning}" for name, meaning in names.items())
    by_folder = "" if category or "category" in names.values() else "; a clip's category is its folder"
    collected.summary = f"layout table: {shown(table.name)} has {len(table.rows)} rows, with {read_as}{by_folder}"
    return collected


def _meanings(table: Table, columns: Mapping[str, str]) -> dict[str, str]:
    """What each column of the table is, as far as it is anything: `reference`, `prompt`, ..."""
    for field, name in columns.items():
        if field not in _OWN_COLUMNS:
            allowed = ", ".join(_OWN_COLUMNS)
            raise UnusableError(f"--columns {field}={name}: there is no field {field}; allowed are {allowed}")
        if name not in table.columns:
            raise UnusableError(f"{shown(table.name)}: has no column {shown(name)}; it has {_names(table)}")
    renamed = {name: field for field, name in columns.items()}
    names: dict[str, str] = {}
    for name in table.columns:
        own = name.casefold()
        if name in renamed:
            own = renamed[name]
        elif own in columns or not (own in _OWN_COLUMNS or _WIDE.fullmatch(own)):
            continue
        if other := next((each for each, meaning in names.items() if _same(meaning, own)), None):
            raise UnusableError(f"{shown(table.name)}: the columns {shown(other)} and {shown(name)} are the same field")
        names[name] = own
    if "reference" not in names.values():
        example = next((name for name in table.columns if name not in names), "NAME")
        raise UnusableError(
            f"{shown(table.name)}: has no column reference, the clip's path or name; it has {_names(table)}. "
            f"Say which it is, such as --columns reference={example}"
        )
    if not any(meaning in ("prompt", "prompts") or _WIDE.fullmatch(meaning) for meaning in names.values()):
        raise UnusableError(
            f"{shown(table.name)}: has no column prompt, prompts, or prompt_1, prompt_2 and so on; it has "
            f"{_names(table)}. Say which it is, such as --columns prompt=NAME"
        )
    return names


def _same(meaning: str, other: str) -> bool:
    wide, other_wide = _WIDE.fullmatch(meaning), _WIDE.fullmatch(other)
    return int(wide[1]) == int(other_wide[1]) if wide and other_wide else meaning == other


def _line(row: Row, names: Mapping[str, str], problems: list[str]) -> _Line | None:
    cells = {meaning: row.cells[name] for name, meaning in names.items() if name in row.cells}
    reference, category = cells.pop("reference", None), cells.pop("category", None)
    if not isinstance(reference, str) or not reference or "\0" in reference:
        problems.append(f"{row.where}: names no clip; the column reference must be its path or name")
        return None
    if category is not None and not isinstance(category, str):
        problems.append(f"{row.where}: category is {category!r}; it must be text")
        return None
    before = len(problems)
    prompts = _prompts(row.where, cells, problems)
    if not prompts and len(problems) == before:
        problems.append(f"{row.where}: has no prompt; write one, or take the row out")
    return _Line(row.where, reference, category, prompts)


def _prompts(where: str, cells: dict[str, Any], problems: list[str]) -> tuple[Prompt, ...]:
    """The prompts of one row, each with the job's other fields that the row has."""
    fields = {name: _typed(name, value) for name, value in cells.items() if name in JOB_FIELDS}
    text = fields.pop("prompt", None)
    fields.pop("prompt_index", None)
    wide = {match[1]: value for name, value in cells.items() if (match := _WIDE.fullmatch(name))}
    numbers = [cells[name] for name in _NUMBERS if name in cells]
    if (text is not None) + ("prompts" in cells) + bool(wide) > 1:
        problems.append(f"{where}: has prompts in columns of more than one kind; prompt, prompts or prompt_1 and so on")
    if "prompts" in cells or wide:
        if numbers:
            problems.append(f"{where}: has a prompt's number and several prompts; leave the number out")
        parsed = parse_value(cells.get("prompts", wide), where, problems)
        return tuple(Prompt(each.text, where, each.number, fields) for each in parsed)
    parsed = parse_value(text, where, problems) if text is not None else ()
    number = _number(where, numbers, problems)
    return tuple(Prompt(each.text, where, number, fields) for each in parsed)


def _number(where: str, numbers: Sequence[Any], problems: list[str]) -> int | None:
    if len(numbers) > 1:
        problems.append(f"{where}: has a prompt_index and a prompt_number; leave one column out")
    value = _integer(numbers[0]) if numbers else None
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    problems.append(f"{where}: the prompt's number is {value!r}; it must be an integer")
    return None


def _typed(name: str, value: Any) -> Any:
    """A CSV cell as the field's type, where it can be read so; the manifest's own check judges the rest."""
    if not isinstance(value, str):
        return value
    default = Job.__dataclass_fields__[name].default
    if name == "seed" or isinstance(default, int):
        return _integer(value)
    if isinstance(default, float):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _integer(value: Any) -> Any:
    return int(value) if isinstance(value, str) and re.fullmatch(r"[+-]?\d{1,30}", value.strip()) else value


def _alone(
    lookup: Lookup,
    rows: Mapping[Clip, Sequence[_Line]],
    missing: Mapping[tuple[str, str], Sequence[_Line]],
    clips: Sequence[str],
) -> list[Unmatched]:
    """References that are no file, and clips that no row names: known ones, and those beside the ones named."""
    named = {_real(clip.path) for clip in rows}
    beside = lookup.videos_beside(clip.path for clip in rows)
    alone = [path for path in dict.fromkeys((*clips, *beside)) if _real(path) not in named]
    found = [Unmatched("clip", shown(path), why_unusable(path) or "no row names it") for path in alone]
    for (reference, category), lines in missing.items():
        near: tuple[str, ...] = ()
        if len(found) < len(alone) + NUM_WITH_NEAREST:
            places = {PurePath(path).name: path for path in (*lookup.clips_around(reference, category), *alone)}
            near = tuple(shown(places[name]) for name in nearest(PurePath(reference).name, places))
        more = f" and {len(lines) - 1} rows more" if len(lines) > 1 else ""
        what = f"{lines[0].where}{more}: {shown(reference)}"
        found.append(Unmatched("prompts", what, "there is no such file", near))
    return found


def _real(path: str) -> str:
    """One path for a file, whichever links its folder is reached by."""
    return os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))


def _names(table: Table) -> str:
    return ", ".join(map(shown, table.columns))
