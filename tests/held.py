"""Weights that load in no time, for the process that holds them: what they give away is who gave it."""

import os
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from wan_ddp.errors import OutOfGpuMemoryError
from wan_ddp.weights_holder import Weights


class Packed:
    num_bytes = 0

    def give(self, connection: Connection) -> None:
        connection.send(os.getpid())


@dataclass(frozen=True)
class Few(Weights):
    """`obstacle`: while that file is there, they do not fit into memory."""

    obstacle: Path = Path("/nowhere")

    def import_parts(self) -> None:
        pass

    def load_and_pack(self) -> Any:
        if self.obstacle.exists():
            raise OutOfGpuMemoryError("cpu ran out of memory")
        return Packed()
