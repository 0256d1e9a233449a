"""A video's frames in memory without a name, which one process hands to another: they outlive the one that made them.

Not in /dev/shm: of that a container has 64 MB, and what a killed process leaves there stays.
"""

import mmap
import os
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle, send_handle

from wan_ddp.errors import StorageError
from wan_ddp.video import Frames


@dataclass(frozen=True, slots=True)
class FramesFile:
    """Frames of shape (num_frames, height, width, 3), uint8 RGB, behind an open descriptor of this process."""

    descriptor: int
    shape: tuple[int, int, int, int]

    @classmethod
    def of(cls, frames: Frames) -> "FramesFile":
        """A copy of the frames. Raises StorageError where there is no room for it."""
        import numpy as np

        num_frames, height, width, channels = frames.shape
        try:
            descriptor = os.memfd_create("frames", os.MFD_CLOEXEC)
            try:
                with os.fdopen(descriptor, "wb", buffering=0, closefd=False) as file:
                    rest = np.ascontiguousarray(frames).data.cast("B")
                    while rest:
                        rest = rest[file.write(rest) :]
            except BaseException:
                os.close(descriptor)
                raise
        except OSError as error:
            raise StorageError(f"no memory for the video's {frames.nbytes:,} bytes: {error.strerror}") from error
        return cls(descriptor, (num_frames, height, width, channels))

    def open(self) -> Frames:
        """The frames, not to be written to; they can be read after `close` as well."""
        import numpy as np

        # The array keeps the map open, and the map the memory.
        return np.frombuffer(mmap.mmap(self.descriptor, 0, access=mmap.ACCESS_READ), np.uint8).reshape(self.shape)

    def close(self) -> None:
        """Let go of the memory, as far as this process is concerned."""
        os.close(self.descriptor)

    def send(self, connection: Connection) -> None:
        """Hand them over and let go of them. What is sent is the receiver's, whatever becomes of this process."""
        send_handle(connection, self.descriptor, None)
        self.close()

    def receive(self, connection: Connection) -> "FramesFile":
        """These frames, of which only the shape came with a message; what `send` sent comes after it.

        Raises EOFError and OSError if the sender died in between.
        """
        return replace(self, descriptor=recv_handle(connection))
