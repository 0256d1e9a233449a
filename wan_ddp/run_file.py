"""What a run was told, in a file beside its ranks' states: so the output folder alone tells later how the run stands.

`logs/.run-<run id>/run.json` holds the settings, and `logs/.manifests/<digest>.jsonl` the manifest as it was then, once
for all runs that were given the same one.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from wan_ddp.files import read_or_none, write_atomically
from wan_ddp.heartbeat import run_folder
from wan_ddp.job import Conditions, Job
from wan_ddp.manifest import read_manifest
from wan_ddp.settings import Settings

_MANIFESTS = ".manifests"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFile:
    """One run. `manifest` is where its manifest lay, `manifest_copy` the name of the copy that was kept."""

    run_id: str
    started: str
    """In UTC, as in `report.json`."""
    manifest: str
    manifest_copy: str
    job_defaults: dict[str, Any]
    conditions: Conditions
    on_change: str
    retry_failed: bool
    max_attempts: int
    world_size: int
    ranks_per_gpu: int
    num_gpus: int
    """On rank 0's node, 0 if the run is on the CPU."""
    model: str
    random_weights: bool

    def kept_manifest(self, logs: Path) -> Path:
        return logs / _MANIFESTS / self.manifest_copy

    def jobs(self, logs: Path) -> list[Job]:
        """The run's jobs, as its ranks read them. Raises ManifestError."""
        folder = Path(self.manifest).parent
        return read_manifest(self.kept_manifest(logs), self.job_defaults, folder=folder)


_RUN_FILE = TypeAdapter(RunFile)


def describe_run(
    settings: Settings,
    conditions: Conditions,
    *,
    run_id: str,
    started: datetime,
    world_size: int,
    num_gpus: int,
    model: str,
    random_weights: bool,
) -> RunFile:
    """What the file says of a run. Raises OSError if the manifest is gone."""
    content = settings.manifest.read_bytes()
    return RunFile(
        run_id=run_id,
        started=f"{started:%Y-%m-%dT%H:%M:%SZ}",
        manifest=str(settings.manifest.absolute()),
        manifest_copy=f"{hashlib.sha256(content).hexdigest()[:32]}.jsonl",
        job_defaults=dict(settings.job_defaults),
        conditions=conditions,
        on_change=settings.on_change,
        retry_failed=settings.retry_failed,
        max_attempts=settings.max_attempts,
        world_size=world_size,
        ranks_per_gpu=settings.ranks_per_gpu,
        num_gpus=num_gpus,
        model=model,
        random_weights=random_weights,
    )


def write_run_file(logs: Path, run: RunFile) -> None:
    """Put the file, and the manifest's copy, below `logs`. Raises OSError."""
    path, copy = run_folder(logs, run.run_id) / "run.json", run.kept_manifest(logs)
    for folder in (path.parent, copy.parent):
        folder.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(asdict(run), ensure_ascii=False, indent=1).encode())
    if not copy.exists():  # after the file that speaks of it, or a sweep might take it for nobody's
        write_atomically(copy, Path(run.manifest).read_bytes())


def read_run_files(logs: Path) -> list[RunFile]:
    """Every run whose file is there, the latest last; one that does not parse is left out."""
    return sorted(_run_files(logs), key=lambda run: (run.started, run.run_id))


def sweep_manifests(logs: Path) -> None:
    """Remove the copies that belong to no run any more."""
    kept = {run.manifest_copy for run in _run_files(logs)}
    for path in (logs / _MANIFESTS).glob("*.jsonl"):
        if path.name not in kept:
            with suppress(OSError):
                path.unlink()


def _run_files(logs: Path) -> Iterator[RunFile]:
    for path in logs.glob(".run-*/run.json"):
        with suppress(OSError, ValidationError):
            if content := read_or_none(path):
                yield _RUN_FILE.validate_json(content)
