"""A manifest looked over: what its references are, which jobs would fail, what lies beside them unused."""

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import PurePath

from tqdm import tqdm

from wan_ddp.job import Job, Sampling, ShortReference
from wan_ddp.manifest_tools.counts import Count, count, irregularities, unexpected
from wan_ddp.manifest_tools.findings import Finding, Use, judge, missing, uses
from wan_ddp.manifest_tools.names import nearest, nfc, shown
from wan_ddp.manifest_tools.probing import probe_all
from wan_ddp.manifest_tools.tree import is_clip, list_names

_NUM_WITH_NEAREST = 100  # a folder that is not mounted needs no list of near names a file


@dataclass(frozen=True, slots=True)
class Checked:
    """Everything that was found of a manifest that can be read."""

    counts: list[Count]
    unexpected: list[str]
    irregular: list[str]
    findings: list[Finding]
    unused: list[str]
    """Clips beside the references that no job uses."""

    @property
    def num_failing(self) -> int:
        return sum(finding.num_failing for finding in self.findings)


def check(
    jobs: Sequence[Job],
    *,
    expected: Mapping[str, int],
    sampling: Sampling,
    short_reference: ShortReference,
    num_workers: int,
) -> Checked:
    """Reads every reference as a run with these settings would, with a bar on a terminal."""
    references = uses(jobs, sampling, short_reference)
    counts = count(jobs)
    return Checked(
        counts=counts,
        unexpected=unexpected(counts, expected),
        irregular=irregularities(jobs),
        findings=_probed(references, num_workers),
        unused=_unused(use.path for use in references),
    )


def _probed(references: Sequence[Use], num_workers: int) -> list[Finding]:
    gone = [use for use in references if not os.path.exists(use.path)]
    reasons = [_why_missing(use.path, look=position < _NUM_WITH_NEAREST) for position, use in enumerate(gone)]
    findings = {use.path: missing(use, why) for use, why in zip(gone, reasons, strict=True)}
    there = [use for use in references if use.path not in findings]
    if there:
        probes = probe_all([use.request for use in there], min(num_workers, len(there)))
        with (
            closing(probes),
            tqdm(total=len(there), desc="references", unit="clip", file=sys.stderr, disable=None) as bar,
        ):
            for position, probe in probes:
                findings[there[position].path] = judge(there[position], probe)
                bar.update()
    return [findings[use.path] for use in references]


def _why_missing(path: str, *, look: bool) -> str:
    """That a file is not there; with `look`, what it may be called instead."""
    if os.path.islink(path):
        return "it is a link to a file that is not there"
    if not look:
        return "it is not there"
    folder, name = os.path.split(path)
    names = list_names(folder)
    if same := next((each for each in names if nfc(each) == nfc(name)), None):
        return f"it is not there; {shown(same)} is, which is the same name in another form of Unicode: rename the file"
    near = nearest(name, [each for each in names if is_clip(each)])
    return f"it is not there; nearest: {', '.join(map(shown, near))}" if near else "it is not there"


def _unused(used: Iterable[str]) -> list[str]:
    paths = set(used)
    folders = dict.fromkeys(str(PurePath(path).parent) for path in paths)
    beside = [os.path.join(folder, name) for folder in sorted(folders) for name in list_names(folder) if is_clip(name)]
    return [path for path in beside if path not in paths]
