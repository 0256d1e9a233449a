"""Everything that a run needs, looked at: a row for each, and the plan that a pilot goes on with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wan_ddp.doctor.checks import check_machine
from wan_ddp.doctor.model import Model, look_at_model
from wan_ddp.doctor.needs import MEASURED_JOB, Needs
from wan_ddp.doctor.probe import look_at_machine
from wan_ddp.doctor.rows import Row, in_one_line
from wan_ddp.errors import ManifestError
from wan_ddp.estimate import video_bytes
from wan_ddp.job import Job
from wan_ddp.manifest import read_manifest
from wan_ddp.settings import Settings

if TYPE_CHECKING:
    from wan_ddp.doctor.project import Project


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """`project` is None where it could not be looked at."""

    rows: list[Row]
    model: Model
    project: "Project | None"


def diagnose(settings: Settings, world_size: int | None, environ: Mapping[str, str]) -> Diagnosis:
    """Look at all of it; what is missing or broken becomes a row. `world_size` None: this machine's ranks alone."""
    jobs, manifest = _find_jobs(settings)
    machine = look_at_machine(settings.output, max(map(video_bytes, jobs or [MEASURED_JOB])), environ)
    model, model_rows = look_at_model(settings)
    try:
        from wan_ddp.doctor.project import look_at_project

        project = look_at_project(settings, jobs, machine, model, world_size, environ)
    except Exception as error:  # noqa: BLE001 - a package is broken, or the fault is ours: the rest is told all the same
        ranks = settings.ranks_per_gpu
        needs = Needs(model.name, ranks, ranks, on_gpu=bool(machine.torch.num_gpus), size=model.size)
        unseen = Row("videos", f"not looked at: {in_one_line(error)}", "a plan that can be looked at", "fails")
        return Diagnosis([*check_machine(machine, needs), manifest, *model_rows, unseen], model, None)
    rows = [*check_machine(machine, project.needs), manifest, *model_rows, *project.rows]
    return Diagnosis(rows, model, project)


def _find_jobs(settings: Settings) -> tuple[Sequence[Job], Row]:
    needed = "a manifest in which every line is a job"
    try:
        jobs = read_manifest(settings.manifest, settings.job_defaults)
    except ManifestError as error:
        first, *more = error.problems
        found = f"{first}; and {len(more)} more problems" if more else first
        remedy = f"python generate.py --manifest {settings.manifest} --dry-run   (names them all)"
        return [], Row("manifest", found, needed, "fails", remedy)
    categories = len({job.category for job in jobs})
    found = f"{settings.manifest}: {len(jobs)} jobs in {categories} categor{'ies' if categories > 1 else 'y'}"
    return jobs, Row("manifest", found, needed)
