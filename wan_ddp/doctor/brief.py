"""Doctor before every run, in short: `generate.py --check` refuses what it always did, then says what else is not well.

Only what costs next to nothing is looked at, and nothing is refused for it.
"""

import sys
from collections.abc import Mapping, Sequence

from wan_ddp.doctor.checks import check_clock, check_disk, check_host_memory, check_processor, check_terminal, gb
from wan_ddp.doctor.child import driver_cuda, look_at_folder
from wan_ddp.doctor.found import Driver, Folder, Torch
from wan_ddp.doctor.gpu_checks import check_driver, check_gpu_use, check_gpus
from wan_ddp.doctor.model import Model, model_of
from wan_ddp.doctor.needs import Needs
from wan_ddp.doctor.probe import (
    ask_smi,
    look_at_memory,
    look_at_mps,
    look_at_processor,
    look_at_terminal,
    read_smi,
)
from wan_ddp.doctor.project import find_ranks, needs_of
from wan_ddp.doctor.rows import Row, in_one_line, in_short
from wan_ddp.job import Job
from wan_ddp.pilot import CPU
from wan_ddp.preflight import Ready, check, show_num_ranks
from wan_ddp.rank import Rank
from wan_ddp.settings import Settings

_SMI_SECONDS = 5.0  # from before the check, which takes about as long


def check_in_short(settings: Settings, jobs: Sequence[Job], rank: Rank, environ: Mapping[str, str]) -> int:
    """The check before a run, and on standard error what is not well and a line that sums up. Raises UnusableError."""
    with ask_smi(_SMI_SECONDS) as asked:  # it answers while the rest is looked at
        ready = check(settings, jobs, rank)
        driver = read_smi(asked.answer(), environ) if ready.num_gpus else Driver(is_missing=True)
    try:
        lines = _lines(settings, ready, driver, environ)
    except Exception as error:  # noqa: BLE001 - a run that would work is not refused for what this could not read
        lines = [f"warning: the machine could not be looked at: {in_one_line(error)}"]
    print("\n".join(lines), file=sys.stderr)
    return show_num_ranks(settings, ready)


def _lines(settings: Settings, ready: Ready, driver: Driver, environ: Mapping[str, str]) -> list[str]:
    model = model_of(ready.checkpoint)
    num_ranks, _ = find_ranks(settings, ready.num_gpus, environ)
    names = [gpu.name for gpu in driver.gpus]
    device = (names[0] if names else None) if ready.num_gpus else CPU
    needs = needs_of(settings, ready.tasks, model, num_ranks=num_ranks, world_size=num_ranks, device=device)
    folder = Folder(settings.output, **look_at_folder(settings.output))
    return [*in_short(_rows(ready, driver, needs, folder, environ)), _summary(ready, driver, model, needs, folder)]


def _rows(ready: Ready, driver: Driver, needs: Needs, folder: Folder, environ: Mapping[str, str]) -> list[Row]:
    torch, mps, terminal = _torch(ready), look_at_mps(environ), look_at_terminal(environ)
    rows = [
        check_driver(driver, torch, needs),
        check_gpus(driver, torch, needs),
        *check_gpu_use(driver, mps, needs),
        check_host_memory(look_at_memory(), needs),
        check_processor(look_at_processor(environ), needs),
        check_disk(folder, needs),
        check_clock(folder),
    ]
    return [*rows, check_terminal(terminal, needs)] if terminal.is_terminal else rows


def _torch(ready: Ready) -> Torch:
    """What the check has imported already where there is a GPU, without which it does not matter.

    Its architectures are not known without starting CUDA.
    """
    if not ready.num_gpus:
        return Torch()
    import torch

    return Torch(torch.__version__, torch.version.cuda or "", driver_cuda(), ready.num_gpus)


def _summary(ready: Ready, driver: Driver, model: Model, needs: Needs, folder: Folder) -> str:
    if ready.num_gpus:
        name = driver.gpus[0].name if driver.gpus else "GPU"
        gpus = f"{ready.num_gpus} x {name}, {needs.ranks_on_gpu} ranks each"
        if driver.gpus and not needs.offload:
            gpus += f", {needs.gpu_gib:.0f} of {min(gpu.total_gib for gpu in driver.gpus):.0f} GiB needed"
    else:
        gpus = f"no GPU, {needs.num_ranks} ranks on the CPU"
    disk = f"disk {gb(needs.disk_bytes)} GB needed, {gb(folder.free_bytes)} free"
    videos = f"{needs.num_to_do} of {needs.num_jobs} videos to make"
    return f"machine: {gpus}; model {model.name}, {gb(ready.checkpoint.num_bytes)} GB; {videos}; {disk}"
