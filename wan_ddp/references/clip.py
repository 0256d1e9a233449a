"""What a reference clip is: a name, a category, how it is drawn, and the prompts that borrow its motion. Pure."""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from wan_ddp.references.moves import Move
from wan_ddp.references.paths import Path

CATEGORIES = ("camera_motion", "single_object", "multiple_objects", "complex_human_motion")


@dataclass(frozen=True, slots=True)
class Format:
    """The size and length that clips are drawn in."""

    width: int
    height: int
    num_frames: int
    fps: int


FULL = Format(width=832, height=480, num_frames=81, fps=15)
DEMO = Format(width=160, height=96, num_frames=17, fps=15)


@dataclass(frozen=True, slots=True)
class Shot:
    """A moving camera in a still world."""

    world: str  # a name in worlds.WORLDS
    move: Move


@dataclass(frozen=True, slots=True)
class Mover:
    """One object on a path. Lengths are in frame heights; the origin is the middle of the frame, y points down."""

    shape: str  # a name in shapes.SHAPES
    path: Path
    size: float
    colour: str = "#d9482b"
    tether: tuple[float, float] | None = None  # a string is drawn from here to the object


@dataclass(frozen=True, slots=True)
class Stage:
    """Objects that move before a still backdrop."""

    backdrop: str  # a name in backdrops.BACKDROPS
    movers: tuple[Mover, ...]


@dataclass(frozen=True, slots=True)
class Performance:
    """A jointed figure that acts before a still backdrop."""

    backdrop: str
    action: str  # a name in actions.ACTIONS
    shirt: str
    trousers: str


@dataclass(frozen=True, slots=True)
class PocketScene:
    """A scene of the world that the pocket Wan knows: the first one of that seed which shows all of this."""

    shows: Mapping[str, object]  # see pocket_world.scenes.Scenes.names
    seed: int
    look: int = 0  # another number is another look of the same motion


Drawing: TypeAlias = Shot | Stage | Performance | PocketScene


@dataclass(frozen=True, slots=True)
class Clip:
    """One reference clip and the prompts that ask for other content with the same motion."""

    category: str
    name: str
    drawing: Drawing
    prompts: tuple[str, ...]

    def path(self, size: Format) -> str:
        """Where the clip lies below the references' folder, in NFC."""
        name = f"{self.category}/ref_{self.name}_{size.width}x{size.height}.mp4"
        return unicodedata.normalize("NFC", name)
