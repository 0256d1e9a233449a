"""Everything that can be checked before a GPU is touched. What cannot be used raises UnusableError: exit code 2."""

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from wan_ddp.digests import REMEMBERED, ReferenceDigests
from wan_ddp.errors import EXIT_COMPLETE, MachineError, ModelError
from wan_ddp.gpu_use import compute_capability, is_without_driver
from wan_ddp.job import Conditions, Job
from wan_ddp.outputs import Outputs
from wan_ddp.presets import attention_refusal, is_installed, refusal
from wan_ddp.rank import Rank, device
from wan_ddp.settings import TINY_MODEL, Settings
from wan_ddp.speeds import read_speeds
from wan_ddp.survey import Task, refuse_changed, refuse_missing_references, survey
from wan_ddp.wan.checkpoint import Checkpoint, check_meant, check_mechanisms, find_checkpoint
from wan_ddp.wan.lora import check_lora


@dataclass(frozen=True, slots=True)
class Ready:
    """A run that can start."""

    checkpoint: Checkpoint
    conditions: Conditions
    device: str
    num_gpus: int
    outputs: Outputs
    tasks: list[Task]
    seconds_a_video: tuple[float, ...] | None = None
    """Of each rank, where --speeds tells."""


def check(settings: Settings, jobs: Sequence[Job], rank: Rank) -> Ready:
    """Raises UnusableError for a machine, model, reference set or output folder that the run cannot work with."""
    # A check of launch.sh's, before there are ranks, is for no world size.
    world_size = settings.world_size if settings.action == "check" else rank.world_size
    seconds_a_video = read_speeds(settings.speeds, world_size)
    if not settings.allow_missing:
        refuse_missing_references(jobs)
    checkpoint = find_model(settings, rank)
    check_mechanisms(checkpoint, jobs)
    warnings = [check_lora(lora.path, checkpoint) for lora in settings.lora]
    if rank.rank == 0 and settings.run_id is None:
        print(*filter(None, warnings), sep="\n", end="\n" * any(warnings), file=sys.stderr)
    # Once: launch.sh gives its run an id after its check has said it.
    if checkpoint.random_weights and rank.rank == 0 and settings.run_id is None:
        print(f"{checkpoint.name} has random weights here: the videos will be noise", file=sys.stderr)
    num_gpus = count_gpus()
    where = device(rank, num_gpus)
    refuse_preset(settings, num_gpus)
    outputs = Outputs(settings.output)
    outputs.check_usable()
    if rank.rank == 0:  # it takes a look at every name, and one look does for all ranks
        outputs.sweep()
    conditions = conditions_of(settings, checkpoint.identity)
    tasks = look(settings, jobs, outputs, conditions)
    if settings.on_change == "refuse":
        refuse_changed(tasks)
    return Ready(checkpoint, conditions, where, num_gpus, outputs, tasks, seconds_a_video)


def conditions_of(settings: Settings, model_identity: str | None, *, read: bool = True) -> Conditions:
    """The settings that change pixels; with read=False a LoRA that is not remembered counts as not known."""
    digests = ReferenceDigests(digests_path(settings))
    conditions = settings.conditions(model_identity, partial(digests.digest, read=read))
    if read and settings.lora:
        with suppress(OSError):  # then they are read again next time
            digests.save()
    return conditions


def look(settings: Settings, jobs: Sequence[Job], outputs: Outputs, conditions: Conditions) -> list[Task]:
    """Every job beside what lies on disk for it, to the depth that --verify asks for."""
    digests = ReferenceDigests(digests_path(settings))
    tasks = survey(jobs, outputs, digests, conditions, full=settings.verify == "full")
    with suppress(OSError):  # then the references are read again next time
        digests.save()
    return tasks


def look_again(settings: Settings, ready: Ready) -> list[Task]:
    """What is true now, from the disk alone, after what dead processes left is gone."""
    ready.outputs.sweep()
    return look(settings, [task.job for task in ready.tasks], ready.outputs, ready.conditions)


def look_only(settings: Settings, jobs: Sequence[Job]) -> tuple[list[Task], str | None]:
    """The same for a dry run: nothing is written and no reference read; and the model's identity, if it is known."""
    try:
        identity = find_checkpoint(settings.model_dir).identity
    except ModelError:
        identity = None
    conditions = conditions_of(settings, identity, read=False)
    digests = ReferenceDigests(digests_path(settings))
    return survey(jobs, Outputs(settings.output), digests, conditions, read_references=False), identity


def digests_path(settings: Settings) -> Path:
    return settings.output / REMEMBERED


def find_model(settings: Settings, rank: Rank) -> Checkpoint:
    """The checkpoint's files: the tiny one is made on first use, others are fetched if --download asks.

    Of several ranks none downloads: launch.sh, or `generate.py --check --download`, does it before they start.
    Raises ModelError, and MachineError if the tiny one cannot be written.
    """
    if settings.model == TINY_MODEL:
        if not settings.model_dir.exists():
            from wan_ddp.wan.random_checkpoint import make_checkpoint

            try:
                make_checkpoint(settings.model_dir, TINY_MODEL)
            except OSError as error:
                raise MachineError(
                    f"{settings.model_dir}: the tiny model cannot be written: {error.strerror}; "
                    "give --model-dir a folder that can be"
                ) from error
    elif settings.download and rank.world_size == 1:
        from wan_ddp.wan.download import download

        download(settings.model, settings.model_dir)
    return check_meant(find_checkpoint(settings.model_dir), settings.model)


def count_gpus() -> int:
    """The GPUs that this process sees (CUDA_VISIBLE_DEVICES counts); asks the driver without starting CUDA."""
    if is_without_driver():
        return 0
    import torch

    return torch.cuda.device_count()


def refuse_preset(settings: Settings, num_gpus: int) -> None:
    """Raises MachineError if a GPU of this machine, or its CPU where there is none, cannot do what is asked for.

    A GPU that nobody knows is let pass: its worker says it.
    """
    for where in [f"cuda:{index}" for index in range(num_gpus)] or ["cpu"]:
        capability = compute_capability(where, os.environ)
        if where != "cpu" and capability is None:
            continue
        why = refusal(settings.preset, capability)
        if why or (why := attention_refusal(settings.attention, capability, is_installed)):
            raise MachineError(f"{where}: {why}")


def show_num_ranks(settings: Settings, ready: Ready) -> int:
    """Print how many ranks this machine takes."""
    print(num_ranks(settings, ready.num_gpus))
    return EXIT_COMPLETE


def num_ranks(settings: Settings, num_gpus: int) -> int:
    """How many ranks a machine takes: two (or --ranks-per-gpu) a GPU, or so many on the CPU in all."""
    return settings.ranks_per_gpu * max(num_gpus, 1)
