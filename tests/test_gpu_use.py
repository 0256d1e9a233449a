"""How busy a GPU is comes from NVML, and nothing that NVML does holds a rank up."""

import sys
import threading
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from wan_ddp import gpu_use, heartbeat
from wan_ddp.gpu_use import GpuUse, find_gpu, is_without_driver, sample
from wan_ddp.heartbeat import Heartbeat, RankState, read_state

UUIDS = ["GPU-11111111-aaaa", "GPU-22222222-bbbb", "GPU-22229999-cccc"]


class NVMLError(Exception):
    pass


class Driver(ModuleType):
    """Stands in for pynvml, on a machine with three GPUs and a MIG slice that says nothing of its use."""

    def __init__(self) -> None:
        super().__init__("pynvml")
        self.NVMLError = NVMLError
        self.hangs = threading.Event()
        self.hangs.set()

    def nvmlInit(self) -> None:  # noqa: N802
        pass

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(UUIDS)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:  # noqa: N802
        if index >= len(UUIDS):
            raise NVMLError("Invalid Argument")
        return UUIDS[index]

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:  # noqa: N802
        return uuid

    def nvmlDeviceGetUUID(self, handle: str) -> str:  # noqa: N802
        return handle

    def nvmlDeviceGetUtilizationRates(self, handle: str) -> Any:  # noqa: N802
        self.hangs.wait()
        if handle.startswith("MIG"):
            raise NVMLError("Not Supported")
        return SimpleNamespace(gpu=97, memory=30)

    def nvmlDeviceGetMemoryInfo(self, _: str) -> Any:  # noqa: N802
        return SimpleNamespace(used=int(70.6 * 2**30), total=80 * 2**30)


def test_the_stand_in_offers_nothing_that_nvidias_binding_lacks() -> None:
    pynvml = pytest.importorskip("pynvml")
    assert issubclass(pynvml.NVMLError, Exception)
    for name in vars(Driver):
        if name.startswith("nvml"):
            assert callable(getattr(pynvml, name))


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    driver = Driver()
    monkeypatch.setitem(sys.modules, "pynvml", driver)
    return driver


@pytest.mark.parametrize(
    ("device", "visible", "found"),
    [
        ("cuda:1", None, UUIDS[1]),
        ("cuda:0", "2", UUIDS[2]),
        ("cuda:1", "2, 0", UUIDS[0]),
        ("cuda:0", "GPU-2222222", UUIDS[1]),
        ("cuda:1", f"0,{UUIDS[2]}", UUIDS[2]),
        ("cuda:0", "MIG-5c1b", "MIG-5c1b"),
        ("cuda:1", "0", None),
        ("cuda:0", "", None),
        ("cuda:0", "-1", None),
        ("cuda:0", "GPU-none", None),
        ("cpu", None, None),
    ],
)
def test_a_device_is_found_as_cuda_counts_them(driver: Driver, device: str, visible: str | None, found: Any) -> None:
    environ = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    assert find_gpu(driver, device, environ) == found


def test_what_a_gpu_does_not_say_is_left_open(driver: Driver) -> None:
    assert sample(driver, UUIDS[0]) == {"gpu_utilization": 97.0, "gpu_memory_gib": 70.6}
    assert sample(driver, "MIG-5c1b") == {"gpu_utilization": None, "gpu_memory_gib": 70.6}


def follow(path: Path, device: str) -> RankState:
    """A rank's last state after a moment with its GPU followed."""
    with Heartbeat(path, RankState("run", 0, 0, 0, "0-0-1-0")) as heart, GpuUse(device, {}, heart.update):
        time.sleep(0.2)
    state = read_state(path, "run")
    assert state is not None
    return state


def test_the_use_is_in_the_ranks_state(driver: Driver, tmp_path: Path) -> None:
    state = follow(tmp_path / "state", "cuda:0")
    assert (state.gpu_utilization, state.gpu_memory_gib) == (97.0, 70.6)


@pytest.mark.parametrize("device", ["cpu", "cuda:7"])
@pytest.mark.parametrize("absent", ["package", "driver"])
def test_without_a_gpu_a_driver_or_nvml_nothing_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str, absent: str
) -> None:
    if absent == "package":
        monkeypatch.setitem(sys.modules, "pynvml", None)
    state = follow(tmp_path / "state", device)
    assert (state.gpu_utilization, state.gpu_memory_gib) == (None, None)


@pytest.mark.parametrize(("trouble", "is_absent"), [("LibraryNotFound", True), ("DriverNotLoaded", False), ("", False)])
def test_a_driver_that_is_in_trouble_is_not_taken_for_none(
    monkeypatch: pytest.MonkeyPatch, trouble: str, is_absent: bool
) -> None:
    pynvml = pytest.importorskip("pynvml")

    def init() -> None:
        if trouble:
            raise getattr(pynvml, f"NVMLError_{trouble}")

    monkeypatch.setattr(pynvml, "nvmlInit", init)
    assert is_without_driver() == is_absent


def test_without_the_package_a_driver_may_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert not is_without_driver()


def test_a_driver_that_hangs_stops_no_heart_and_no_end(
    driver: Driver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 0.02)
    monkeypatch.setattr(gpu_use, "_GOODBYE_SECONDS", 0.1)
    driver.hangs.clear()
    began = time.monotonic()
    state = follow(tmp_path / "state", "cuda:0")
    assert state.beat > 3
    assert time.monotonic() - began < 5
    driver.hangs.set()
