"""What a rank's GPU is, and how busy, asked of NVML, the driver's library: no CUDA, which a supervisor never starts."""

import logging
import threading
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

log = logging.getLogger(__name__)

SAMPLE_SECONDS = 10.0
_GOODBYE_SECONDS = 1.0


class GpuUse:
    """Says every ten seconds how busy a GPU is, while its `with` block runs; nothing where NVML does not know.

    In a thread of its own, because a driver in trouble keeps whoever asks it waiting, and a rank's heart must go on.
    """

    def __init__(self, device: str, environ: Mapping[str, str], say: Callable[..., None]) -> None:
        """`say` is told `gpu_utilization`, a percentage, and `gpu_memory_gib`, all that is taken on the device."""
        self._device, self._environ, self._say = device, environ, say
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="GPU use", daemon=True)

    def __enter__(self) -> "GpuUse":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(_GOODBYE_SECONDS)  # a driver that hangs is left alone with it

    def _follow(self) -> None:
        try:
            import pynvml
        except ImportError:
            return
        try:
            pynvml.nvmlInit()
            handle = find_gpu(pynvml, self._device, self._environ)
            while handle is not None:
                self._say(**sample(pynvml, handle))
                if self._ended.wait(SAMPLE_SECONDS):
                    break
        except pynvml.NVMLError as error:
            log.info("%s: its use is not followed: %s", self._device, error)


def visible_devices(environ: Mapping[str, str]) -> list[str] | None:
    """What CUDA_VISIBLE_DEVICES names, in its order: indices or UUIDs, or nothing between commas. None: all GPUs."""
    devices = environ.get("CUDA_VISIBLE_DEVICES")
    return None if devices is None else [name.strip() for name in devices.split(",")]


def find_gpu(nvml: ModuleType, device: str, environ: Mapping[str, str]) -> Any | None:
    """NVML's handle of `cuda:<index>`, None for the CPU and where it cannot be told. Raises NVMLError.

    NVML sees all GPUs, in the order of the PCI bus, whatever CUDA_VISIBLE_DEVICES says; that holds indices, or UUIDs
    that may be cut short, or UUIDs of MIG slices. CUDA's own order is another one only where GPUs are of several kinds
    and CUDA_DEVICE_ORDER is not PCI_BUS_ID.
    """
    kind, _, index = device.partition(":")
    if kind != "cuda":
        return None
    if (names := visible_devices(environ)) is None:
        return nvml.nvmlDeviceGetHandleByIndex(int(index))
    name = names[int(index)] if int(index) < len(names) else ""
    if name.isdecimal():
        return nvml.nvmlDeviceGetHandleByIndex(int(name))
    if name.startswith("MIG-"):
        return nvml.nvmlDeviceGetHandleByUUID(name)
    gpus = [nvml.nvmlDeviceGetHandleByIndex(number) for number in range(nvml.nvmlDeviceGetCount())]
    return next((gpu for gpu in gpus if name and nvml.nvmlDeviceGetUUID(gpu).startswith(name)), None)


def is_without_driver() -> bool:
    """Whether NVIDIA's driver is not on this machine: torch, which takes seconds to import, need not look for GPUs."""
    try:
        import pynvml
    except ImportError:
        return False
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError_LibraryNotFound:
        return True
    except pynvml.NVMLError:  # it is there, and in trouble
        return False
    return False


def compute_capability(device: str, environ: Mapping[str, str]) -> tuple[int, int] | None:
    """Of `cuda:<index>`, such as (9, 0); None where NVML does not tell."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        handle = find_gpu(pynvml, device, environ)
        return None if handle is None else tuple(pynvml.nvmlDeviceGetCudaComputeCapability(handle))
    except pynvml.NVMLError as error:
        log.info("%s: its compute capability is not known: %s", device, error)
        return None


def sample(nvml: ModuleType, handle: Any) -> dict[str, float | None]:
    """What is true of the GPU now. A MIG slice has a memory of its own, but nobody says how busy it is."""

    def ask(question: Callable[[Any], Any]) -> Any | None:
        try:
            return question(handle)
        except nvml.NVMLError:  # not supported, or the GPU is lost
            return None

    rates = ask(nvml.nvmlDeviceGetUtilizationRates)
    memory = ask(nvml.nvmlDeviceGetMemoryInfo)
    return {
        "gpu_utilization": None if rates is None else float(rates.gpu),
        "gpu_memory_gib": None if memory is None else round(memory.used / 2**30, 1),
    }
