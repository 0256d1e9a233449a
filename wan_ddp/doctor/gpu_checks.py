"""The GPUs, their driver and torch: what was found against what is needed. Nothing here asks the machine."""

from collections.abc import Sequence

from wan_ddp.doctor.found import Driver, Gpu, Mps, Torch
from wan_ddp.doctor.needs import Needs
from wan_ddp.doctor.rows import INSTALL, Row, Verdict
from wan_ddp.estimate import cpu_step_seconds


def check_torch(torch: Torch, gpus: Sequence[Gpu]) -> Row:
    needed = "one that can be imported" + (", built with CUDA for this GPU" if gpus else "")
    if not torch.version:
        return Row("torch", torch.problem or "it does not say its version", needed, "fails", INSTALL)
    build = f"CUDA {torch.cuda}" if torch.cuda else "no CUDA"
    found = f"{torch.version}, built with {build}"
    if gpus and not torch.cuda:
        return Row(
            "torch", found, needed, "fails", "pip install --force-reinstall torch torchvision -c constraints.txt"
        )
    strangers = [gpu for gpu in gpus if not _is_supported(gpu.capability, torch.architectures)]
    if strangers:
        known = ", ".join(torch.architectures)
        found = f"{found} for {known}; GPU {strangers[0].index} is of {strangers[0].capability}"
        return Row(
            "torch", found, needed, "fails", "install a torch that knows the GPU: https://pytorch.org/get-started"
        )
    return Row("torch", found, needed)


def _is_supported(capability: str, architectures: Sequence[str]) -> bool:
    """Machine code runs on the same major version and a minor one as high or higher; PTX on anything later."""
    if not capability or not architectures:
        return True
    major, minor = map(int, capability.split("."))
    for architecture in architectures:
        kind, _, number = architecture.rstrip("af").partition("_")
        if not number.isdecimal() or len(number) < 2:
            return True
        built_major, built_minor = int(number[:-1]), int(number[-1])
        if (built_major == major and built_minor <= minor) or (
            kind == "compute" and (built_major, built_minor) <= (major, minor)
        ):
            return True
    return False


def check_driver(driver: Driver, torch: Torch, needs: Needs) -> Row:
    """The NVIDIA driver, against the CUDA of torch: within a major version of CUDA any driver serves."""
    name, needed = "driver", f"one for CUDA {torch.cuda}" if torch.cuda else "one that answers"
    if driver.problem:
        verdict: Verdict = "warning" if torch.num_gpus or needs.is_small else "fails"
        return Row(
            name, driver.problem, needed, verdict, "see `dmesg | grep -i -e nvrm -e xid`; load it anew, or reboot"
        )
    newest = f", for CUDA up to {torch.driver_cuda}" if torch.driver_cuda else ""
    if torch.num_gpus and torch.cuda and torch.driver_cuda and _major(torch.driver_cuda) < _major(torch.cuda):
        index = f"https://download.pytorch.org/whl/cu{torch.driver_cuda.replace('.', '')}"
        remedy = f"a newer driver, or a torch for this one: pip install torch torchvision --index-url {index}"
        return Row(name, f"{driver.version}{newest}", needed, "fails", remedy)
    if driver.is_missing:
        if torch.num_gpus:
            return Row(
                name, f"there is no nvidia-smi{newest}", f"{needed}, and nvidia-smi to see the GPUs' memory", "warning"
            )
        return Row(name, "none: there is no nvidia-smi", "none, without a GPU")
    return Row(name, f"{driver.version}{newest}", needed)


def _major(version: str) -> int:
    return int(version.partition(".")[0])


def check_gpus(driver: Driver, torch: Torch, needs: Needs) -> Row:
    """The GPUs that a run sees. Without any it runs on the CPU, which is fair for the models inside alone."""
    name, needed = "GPUs", f"one or more for {needs.model}"
    if torch.num_gpus:
        names = list(dict.fromkeys(gpu.name for gpu in driver.gpus)) or ["of a kind that nvidia-smi does not name"]
        return Row(name, f"{torch.num_gpus} x {', '.join(names)}; {needs.num_ranks} ranks on them", needed)
    found, remedy = "none: a run goes to the CPU", "a machine with a GPU; a container is given them: --gpus all"
    if driver.version and not driver.gpus:
        found, remedy = "none that CUDA_VISIBLE_DEVICES leaves: a run goes to the CPU", "unset CUDA_VISIBLE_DEVICES"
    if driver.gpus:
        found = f"{len(driver.gpus)} x {driver.gpus[0].name}, of which torch sees none"
        remedy = "see the rows of torch and the driver; unset CUDA_VISIBLE_DEVICES"
    if needs.is_small:
        return Row(name, found, f"none for {needs.model}, one or more for a real model", "warning")
    step = cpu_step_seconds(needs.largest, needs.size)
    found += f", where a step of {needs.frames} takes {step:.0f} s and more"
    if step > needs.step_timeout:
        needed += f", or a step within --step-timeout ({needs.step_timeout:g} s)"
        return Row(name, found, needed, "fails", remedy)
    return Row(name, found, needed, "warning", remedy)


def check_gpu_use(driver: Driver, mps: Mps, needs: Needs) -> list[Row]:
    """Memory, mode and sharing of the GPUs that nvidia-smi names; nothing where it names none."""
    if not driver.gpus:
        return []
    return [check_gpu_memory(driver.gpus, needs), check_gpu_mode(driver.gpus, mps, needs), check_mps(mps, needs)]


def check_gpu_memory(gpus: Sequence[Gpu], needs: Needs) -> Row:
    name = "GPU memory"
    total = min(gpu.total_gib for gpu in gpus)
    fullest = min(gpus, key=lambda gpu: gpu.total_gib - gpu.used_gib)
    free = fullest.total_gib - fullest.used_gib
    found = f"{total:.1f} GiB a GPU, {free:.1f} free" + (f" on GPU {fullest.index}" if len(gpus) > 1 else "")
    if needs.offload:
        return Row(name, found, "less than the weights: they are kept on the CPU; how much less is not estimated")
    ranks = needs.ranks_on_gpu
    needed = f"{needs.gpu_gib:.1f} GiB for {ranks} rank{'s' * (ranks > 1)} at {needs.frames} ({needs.gib_basis})"
    # What was not measured may be wrong; but where the weights alone do not fit, it is not.
    sure = needs.is_gib_measured or needs.gpu_weights_gib > total
    if needs.gpu_gib > total:
        fitting = needs.num_fitting(total)
        remedy = f"--ranks-per-gpu {fitting}" if fitting else "--cpu-offload"
        return Row(name, found, needed, "fails" if sure else "warning", remedy)
    if needs.gpu_gib > free:
        remedy = (
            f"other processes hold {fullest.used_gib:.1f} GiB of GPU {fullest.index}: `nvidia-smi` names them; end "
            "them, or leave the GPU out with CUDA_VISIBLE_DEVICES"
        )
        return Row(name, found, needed, "fails" if sure else "warning", remedy)
    return Row(name, found, needed)


def check_gpu_mode(gpus: Sequence[Gpu], mps: Mps, needs: Needs) -> Row:
    """Whether the GPUs let several processes in."""
    name, needed = "GPU mode", "Default, which lets the ranks of a GPU share it"
    for gpu in gpus:
        found = f"GPU {gpu.index} is in mode {gpu.compute_mode}"
        if gpu.compute_mode == "Prohibited":
            return Row(name, found, needed, "fails", f"nvidia-smi -i {gpu.index} -c DEFAULT")
        if gpu.compute_mode.startswith("Exclusive") and not mps.is_running and needs.num_ranks > 1:
            return Row(
                name, found, needed, "fails", f"nvidia-smi -i {gpu.index} -c DEFAULT, or nvidia-cuda-mps-control -d"
            )
        if gpu.mig:
            found = f"GPU {gpu.index} is cut in parts (MIG), of which a process sees one"
            return Row(
                name,
                found,
                "whole GPUs: what a part has was not looked at",
                "warning",
                f"nvidia-smi -i {gpu.index} -mig 0",
            )
    return Row(name, gpus[0].compute_mode, needed)


def check_mps(mps: Mps, needs: Needs) -> Row:
    """NVIDIA's Multi-Process Service. Without it, a GPU works for one process at a time, and switches between them."""
    name = "MPS"
    found = "running" if mps.is_running else "not running" if mps.is_installed else "not installed"
    if needs.ranks_per_gpu == 1 or needs.num_ranks == 1:
        return Row(name, found, "none, for one rank a GPU")
    needed = "running: without it a rank that encodes or decodes holds up the one that denoises"
    if mps.is_running:
        return Row(name, found, needed)
    start = (
        "nvidia-cuda-mps-control -d"
        if mps.is_installed
        else "on the host of this container: nvidia-cuda-mps-control -d"
    )
    return Row(name, found, needed, "warning", f"{start}   (stop it with: echo quit | nvidia-cuda-mps-control)")
