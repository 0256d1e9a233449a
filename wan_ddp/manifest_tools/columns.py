"""Tables for a terminal, where a Chinese character is as wide as two others."""

import unicodedata
from collections.abc import Mapping, Sequence

from wan_ddp.manifest_tools.counts import Count


def aligned(rows: Sequence[Sequence[str]], left: Sequence[int] = (0,)) -> list[str]:
    """Lines of columns, the numbers of `left` to the left and the others to the right."""
    widths = [max(map(width, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell + " " * (size - width(cell)) if number in left else " " * (size - width(cell)) + cell
            for number, (cell, size) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def width(text: str) -> int:
    """The columns that a text takes: 2 a wide character, none an accent that stands for itself."""
    return sum(
        0 if unicodedata.combining(character) else 1 + (unicodedata.east_asian_width(character) in "WF")
        for character in text
    )


def count_table(counts: Sequence[Count], expected: Mapping[str, int]) -> list[str]:
    """References, prompts, seeds and jobs a category, beside the references that are expected where any are."""
    header = ["category", "references", "prompts", "seeds", "jobs"]
    rows = [
        [
            each.category,
            str(each.num_references),
            _range(each.num_prompts),
            str(len(each.seeds)),
            str(each.num_jobs),
            str(expected.get(each.category, "")),
        ]
        for each in counts
    ]
    rows += [
        [name, "0", "", "", "0", str(number)]
        for name, number in expected.items()
        if name not in {c.category for c in counts}
    ]
    all_references, all_jobs = sum(each.num_references for each in counts), sum(each.num_jobs for each in counts)
    rows = [[*header, "expected"], *rows, ["all", str(all_references), "", "", str(all_jobs), ""]]
    return aligned(rows if expected else [row[:-1] for row in rows])


def _range(numbers: tuple[int, int]) -> str:
    lowest, highest = numbers
    return str(lowest) if lowest == highest else f"{lowest} to {highest}"
