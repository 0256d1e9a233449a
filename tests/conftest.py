"""What holds for every test."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from wan_ddp.wan.checkpoint import Checkpoint, find_checkpoint

# A shared or busy machine takes its time: how long an example took says nothing about it.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")


# Minutes each. Begun last, one of them would be waited for while the other processes have nothing left to do.
LONG = ("test_chaos", "test_survival", "test_nodes", "test_doctor", "test_end_to_end", "test_supervisor")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.stem not in LONG)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """As under torchrun, one thread: on a busy machine several wait for each other many times as long as they work."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """The tiny model, with random weights."""
    from wan_ddp.wan.random_checkpoint import make_checkpoint  # takes seconds to import, which most tests do without

    folder = tmp_path_factory.mktemp("checkpoints") / "tiny"
    make_checkpoint(folder, "tiny")
    return find_checkpoint(folder)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"needs the right to mount a tmpfs: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)
