"""What `manifest check` found, as a person reads it, and as a script does."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from wan_ddp.manifest_tools.check import Checked
from wan_ddp.manifest_tools.columns import aligned, count_table
from wan_ddp.manifest_tools.findings import Finding
from wan_ddp.manifest_tools.names import shown

_NUM_SHOWN = 20  # of what does no harm
_HEADER = ["reference", "jobs", "frames", "fps", "size", "seconds", "what"]


def check_text(checked: Checked, expected: Mapping[str, int], name: Callable[[str], str]) -> str:
    """`name` gives a reference's path as it is to be shown."""
    lines = [*count_table(checked.counts, expected)]
    lines += _section("references are not as many as expected", checked.unexpected, None)
    lines += _section("references or prompts are unlike the others", checked.irregular, _NUM_SHOWN)
    failing = [finding for finding in checked.findings if finding.fails]
    noted = [finding for finding in checked.findings if finding.notes and not finding.fails]
    lines += _table("references fail their jobs", failing, name, lambda finding: finding.fails + finding.notes)
    lines += _table("references work, with changes or flaws", noted, name, lambda finding: finding.notes)
    lines += _section("clips beside the references are used by no job", list(map(name, checked.unused)), _NUM_SHOWN)
    num_good = len(checked.findings) - len(failing)
    verdict = f"{num_good} of {len(checked.findings)} references can be read as their jobs need them"
    if checked.num_failing:
        verdict += f"; {checked.num_failing} jobs would fail"
    return "\n".join([*lines, "", verdict])


def check_json(checked: Checked, expected: Mapping[str, int], exit_code: int) -> str:
    """One object; the references' paths are absolute."""
    return json.dumps(
        {
            "exit_code": exit_code,
            "jobs": sum(each.num_jobs for each in checked.counts),
            "failing_jobs": checked.num_failing,
            "categories": {
                each.category: {
                    "references": each.num_references,
                    "prompts": list(each.num_prompts),
                    "seeds": list(each.seeds),
                    "jobs": each.num_jobs,
                    "expected": expected.get(each.category),
                }
                for each in checked.counts
            },
            "problems": checked.unexpected,
            "irregular": checked.irregular,
            "references": [_object(finding) for finding in checked.findings],
            "unused": checked.unused,
        },
        ensure_ascii=False,
    )


def _object(finding: Finding) -> dict[str, Any]:
    measured = asdict(finding.probe) if finding.probe else {}
    numbers = ("num_frames", "fps", "width", "height", "seconds", "rotation")
    return {
        "reference": finding.use.path,
        "jobs": finding.use.num_jobs,
        "failing_jobs": finding.num_failing,
        **{each: measured.get(each) for each in numbers},
        "fails": list(finding.fails),
        "notes": list(finding.notes),
    }


def _section(title: str, items: Sequence[str], num_shown: int | None) -> list[str]:
    if not items:
        return []
    kept = items[:num_shown]
    more = [f"  ... and {len(items) - len(kept)} more; --json lists them all"] if len(kept) < len(items) else []
    return ["", f"{len(items)} {title}:", *(f"  {item}" for item in kept), *more]


def _table(
    title: str, findings: Sequence[Finding], name: Callable[[str], str], what: Callable[[Finding], Sequence[str]]
) -> list[str]:
    if not findings:
        return []
    rows = [
        [name(finding.use.path), *_numbers(finding), "; ".join(map(_printable, what(finding)))] for finding in findings
    ]
    return ["", f"{len(findings)} {title}:", *(f"  {line}" for line in aligned([_HEADER, *rows], left=(0, 6)))]


def _numbers(finding: Finding) -> list[str]:
    probe = finding.probe
    failing = f"{finding.num_failing} of {finding.use.num_jobs}" if finding.num_failing else str(finding.use.num_jobs)
    if probe is None:
        return [failing, "", "", "", ""]
    size = f"{probe.width}x{probe.height}" if probe.width else ""
    return [
        failing,
        "" if probe.num_frames is None else str(probe.num_frames),
        "" if probe.fps is None else f"{probe.fps:.4g}",
        size,
        "" if probe.seconds is None else f"{probe.seconds:.2f}",
    ]


def _printable(text: str) -> str:
    """ffmpeg's words may quote what is in a file."""
    return text if text.isprintable() else shown(text)
