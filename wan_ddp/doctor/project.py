"""What a run itself would find or refuse, in rows: the same functions are asked, and none of them stops the rest."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from wan_ddp.doctor.checks import check_ranks, check_references, check_time
from wan_ddp.doctor.found import Machine, Reference
from wan_ddp.doctor.model import Model
from wan_ddp.doctor.needs import MEASURED_JOB, Needs
from wan_ddp.doctor.rows import Row, Verdict, in_one_line
from wan_ddp.errors import JobError, MachineError, UnusableError
from wan_ddp.estimate import video_bytes
from wan_ddp.job import Job
from wan_ddp.outputs import Outputs
from wan_ddp.pilot import CPU, fitting_pilot
from wan_ddp.plan_view import forecast
from wan_ddp.preflight import conditions_of, look, num_ranks, refuse_preset
from wan_ddp.presets import MEANINGS, can_offload
from wan_ddp.progress import describe_seconds
from wan_ddp.rank import Rank
from wan_ddp.rank import device as device_of
from wan_ddp.reader import ClipRequest, ReferenceReader
from wan_ddp.settings import Settings
from wan_ddp.survey import Task, refuse_changed, refuse_missing_references, shards_of
from wan_ddp.wan.checkpoint import Checkpoint, check_mechanisms

_MAX_READ = 4
_READ_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Project:
    """`needs` of this machine; `tasks` of the manifest, empty where they could not be looked at; `world_size` ranks."""

    rows: list[Row]
    needs: Needs
    tasks: list[Task]
    world_size: int

    @property
    def shards(self) -> list[list[Task]]:
        return shards_of(self.tasks, self.world_size)


def look_at_project(
    settings: Settings,
    jobs: Sequence[Job],
    machine: Machine,
    model: Model,
    world_size: int | None,
    environ: Mapping[str, str],
) -> Project:
    """What the run finds on this machine; without jobs, of which the manifest's row tells, what can be told."""
    num_gpus = machine.torch.num_gpus
    num_here, ranks = find_ranks(settings, num_gpus, environ)
    tasks: list[Task] = []
    rows = [ranks, find_preset(settings, num_gpus)]
    if jobs:
        rows += [find_references(settings, jobs), read_references(settings, jobs)]
        rows += [find_abilities(model.checkpoint, jobs)] if model.checkpoint else []
        if machine.folder.problem:
            rows.append(Row("videos", "not looked at: the output folder cannot be used", "", "warning"))
        else:
            tasks, videos = find_tasks(settings, jobs, model.identity)
            rows.append(videos)
    names = [gpu.name for gpu in machine.driver.gpus]
    needs = needs_of(
        settings,
        tasks,
        model,
        num_ranks=num_here,
        world_size=world_size or num_here,
        device=(names[0] if names else None) if num_gpus else CPU,
    )
    if tasks:
        rows.append(check_time(needs, describe_seconds(needs.seconds)))
    return Project(rows, needs, tasks, world_size or num_here)


def find_ranks(settings: Settings, num_gpus: int, environ: Mapping[str, str]) -> tuple[int, Row]:
    """How many ranks launch.sh will start here, and what a run says of that."""
    fitting = num_ranks(settings, num_gpus)
    asked = environ.get("WAN_NUM_RANKS") or str(fitting)
    if not re.fullmatch(r"0*[1-9]\d{0,3}", asked):
        return fitting, check_ranks(fitting, f"WAN_NUM_RANKS is {asked!r}, which is no integer from 1 to 9999")
    try:
        device_of(Rank(local_world_size=int(asked), ranks_per_gpu=settings.ranks_per_gpu), num_gpus)
    except MachineError as error:
        return int(asked), check_ranks(int(asked), str(error).partition("; ")[0])
    return int(asked), check_ranks(int(asked), "")


def find_preset(settings: Settings, num_gpus: int) -> Row:
    """Whether the GPUs can do what --preset and --attention ask for."""
    needed = "GPUs that can do it" if num_gpus else "one that a CPU can do"
    try:
        refuse_preset(settings, num_gpus)
    except MachineError as error:
        found, _, remedy = str(error).partition("; ")
        return Row("preset", found, needed, "fails", remedy)
    return Row("preset", f"{settings.preset}: {MEANINGS[settings.preset]}", needed)


def find_references(settings: Settings, jobs: Sequence[Job]) -> Row:
    """Whether every reference is there."""
    needed = "every file that the manifest names"
    num_references = len({job.reference for job in jobs})
    try:
        refuse_missing_references(jobs)
    except UnusableError as error:
        missing = str(error).splitlines()
        found = f"{len(missing) - 1} of {num_references} are missing, the first is {missing[0].rpartition(': ')[0]}"
        verdict: Verdict = "warning" if settings.allow_missing else "fails"
        remedy = "put them there, correct the manifest, or leave their jobs to fail: --allow-missing"
        return Row("references", found, needed, verdict, remedy)
    return Row("references", f"{num_references}, all there", needed)


def find_abilities(checkpoint: Checkpoint, jobs: Sequence[Job]) -> Row:
    """Whether the model can do what the jobs ask of it."""
    needed = f"mechanism {', '.join(sorted({job.mechanism for job in jobs}))}"
    try:
        check_mechanisms(checkpoint, jobs)
    except UnusableError as error:
        return Row(
            "mechanisms", str(error), needed, "fails", "give --model-dir the checkpoint that can, or --mechanism"
        )
    return Row("mechanisms", f"it can do {', '.join(sorted(checkpoint.mechanisms))}", needed)


def find_tasks(settings: Settings, jobs: Sequence[Job], identity: str | None) -> tuple[list[Task], Row]:
    """Every job beside what lies in the output folder for it."""
    name, needed = "videos", "none that were made with other settings"
    try:
        tasks = look(settings, jobs, Outputs(settings.output), conditions_of(settings, identity))
        if settings.on_change == "refuse":
            refuse_changed(tasks)
    except UnusableError as error:
        first, *_, last = str(error).splitlines()
        found, _, remedy = last.partition("; ")
        return [], Row(name, f"{found}, the first is {first}", needed, "fails", remedy)
    except OSError as error:
        return [], Row(name, f"they cannot be looked at: {error}", needed, "fails")
    given_up = sum(task.finding.failure is not None for task in tasks)
    done = sum(task.finding.state == "verified" for task in tasks)
    found = f"{done} of {len(tasks)} are done" + (f", {given_up} were given up" if given_up else "")
    return tasks, Row(name, found, needed, remedy="--retry-failed tries these again" if given_up else "")


def read_references(settings: Settings, jobs: Sequence[Job]) -> Row:
    """Read the first reference of each category, of the first few of them, as its job would."""
    first: dict[str, Job] = {}
    for job in jobs:
        if job.mechanism != "none" and Path(job.reference).exists():
            first.setdefault(job.category, job)
    with ReferenceReader(timeout_seconds=_READ_SECONDS) as reader:
        return check_references([_read(reader, settings, job) for job in [*first.values()][:_MAX_READ]])


def _read(reader: ReferenceReader, settings: Settings, job: Job) -> Reference:
    size = ClipRequest(
        path=job.reference,
        num_frames=job.num_frames,
        width=job.width,
        height=job.height,
        fps=job.fps,
        sampling=settings.sampling,
        short_reference=settings.short_reference,
    )
    try:
        source = reader.read(size).source
    except JobError as error:
        return Reference(job.reference, problem=in_one_line(error))
    except (ImportError, OSError) as error:
        return Reference(job.reference, problem=f"it cannot be read: {in_one_line(error)}")
    return Reference(job.reference, f"{source.width}x{source.height}, {source.num_frames} frames, {source.fps:g} fps")


def needs_of(
    settings: Settings, tasks: Sequence[Task], model: Model, *, num_ranks: int, world_size: int, device: str | None
) -> Needs:
    """What the rest of the run needs, by the videos made, by a pilot, or by an estimate.

    `device` is the GPUs' name, or CPU, or None for GPUs without a name; `num_ranks` of the `world_size` run here.
    """
    to_do = [task.job for task in tasks if task.is_to_do(settings, None)]
    pilot, _ = fitting_pilot(settings, model.identity, world_size, device)
    expected = forecast(shards_of(tasks, world_size), settings, pilot, model.size) if to_do else None
    if expected and device == CPU and not expected.is_measured:
        expected = replace(expected, seconds=0.0, basis="")  # an H100 tells nothing of it
    num_bytes = sum(video_bytes(job, noise=model.noise) for job in to_do)
    return Needs(
        model=model.name,
        num_ranks=num_ranks,
        ranks_per_gpu=settings.ranks_per_gpu,
        on_gpu=device != CPU,
        size=model.size,
        largest=max(to_do, key=lambda job: job.width * job.height * job.num_frames, default=MEASURED_JOB),
        num_to_do=len(to_do),
        num_jobs=len(tasks),
        video_bytes=expected.num_bytes if expected and pilot else num_bytes,
        is_disk_measured=pilot is not None,
        seconds=expected.seconds if expected else 0.0,
        basis=expected.basis if expected else "",
        tiled=settings.tiled,
        offload=settings.offloads,
        one_copy=settings.shares_weights(on_gpu=device != CPU),
        in_float8=not can_offload(settings.preset),
        step_timeout=settings.step_timeout,
        measured_gib=pilot.gpu_gib if pilot else None,
    )
