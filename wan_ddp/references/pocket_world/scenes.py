"""What the clips of a batch show, as numbers: drawn by a seeded CPU generator, so the same seed is the same data.

A scene is a motion (what kind of clip, paths, camera, sizes) and a look (colours, shapes, background, grain). The same
motion can be given another look: so a clip and its double move alike and have nothing else in common.
"""

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from wan_ddp.references.pocket_world.paths import NUM_DRAWS, camera_moves, figure_poses, object_paths
from wan_ddp.references.pocket_world.vocabulary import ACTIONS, BACKGROUNDS, COLOURS, MOVES, PATHS, SHAPES, can_show

CATEGORIES = ("camera_motion", "single_object", "multiple_objects", "complex_human_motion")
CAMERA, SINGLE, MULTIPLE, FIGURE = range(4)
SHARES = (0.42, 0.26, 0.16, 0.16)
WIDTH, HEIGHT, NUM_FRAMES = 160, 96, 17
GRAIN_GRIDS = ((4, 5), (8, 10), (16, 20), (32, 40))
GRAIN_SIZE = sum(rows * columns for rows, columns in GRAIN_GRIDS)
NUM_OBJECTS = 2
NUM_STREWN = 32


@dataclass(frozen=True, eq=False)
class Scenes:
    """A batch of scenes. B clips, T frames, two objects each, of which `num_objects` are there."""

    category: Tensor
    """(B,): an index into CATEGORIES."""
    path_kind: Tensor
    """(B, 2): an index into PATHS."""
    move_kind: Tensor
    """(B,): an index into MOVES."""
    action_kind: Tensor
    """(B,): an index into ACTIONS."""
    num_objects: Tensor
    """(B,): 0, 1 or 2; 0 with a figure."""
    path: Tensor
    """(B, 2, T, 2): the objects' middles, in frame heights on the ground."""
    camera: Tensor
    """(B, T, 4): see `paths.camera_moves`."""
    pose: Tensor
    """(B, T, 10): see `paths.figure_poses`."""
    size: Tensor
    """(B, 2): the objects' radii in frame heights; the first one is a figure's height / 4."""
    turn: Tensor
    """(B, 2, T): how far they are turned, in radians."""
    background: Tensor
    """(B,): an index into BACKGROUNDS."""
    colour: Tensor
    """(B, 2): an index into COLOURS; the first one is a figure's shirt."""
    shape: Tensor
    """(B, 2): an index into SHAPES."""
    ground: Tensor
    """(B, 3, 3): the background's dark and light colour, and that of what lies strewn on it, 0 to 1."""
    paint: Tensor
    """(B, 2, 3): the objects' colours, 0 to 1."""
    pattern: Tensor
    """(B,): an index into PATTERNS."""
    grain: Tensor
    """(B, 2, GRAIN_SIZE): two fields of chance for the background."""
    strewn: Tensor
    """(B, NUM_STREWN, 3): x, y and size of the dots that lie on it, 0 to 1."""

    def __len__(self) -> int:
        return len(self.category)

    def __getitem__(self, which: slice | Tensor | list[int]) -> "Scenes":
        return Scenes(**{field.name: getattr(self, field.name)[which] for field in fields(self)})

    def to(self, device: str | torch.device) -> "Scenes":
        """On a device; a GPU is not waited for."""
        moved = {field.name: getattr(self, field.name).to(device, non_blocking=True) for field in fields(self)}
        return Scenes(**moved)

    def in_time(self, frames: slice | Tensor) -> "Scenes":
        """The same scenes, these frames of them."""
        return replace(
            self,
            path=self.path[:, :, frames],
            camera=self.camera[:, frames],
            pose=self.pose[:, frames],
            turn=self.turn[:, :, frames],
        )

    def names(self, index: int) -> dict[str, object]:
        """What a clip shows, in words."""
        objects = range(int(self.num_objects[index]))
        return {
            "category": CATEGORIES[self.category[index]],
            "background": BACKGROUNDS[self.background[index]].name,
            "colours": [COLOURS[self.colour[index, k]].name for k in (objects or range(1))],
            "shapes": [SHAPES[self.shape[index, k]].name for k in objects],
            "paths": [PATHS[self.path_kind[index, k]].name for k in objects],
            "camera": MOVES[self.move_kind[index]].name,
            "action": ACTIONS[self.action_kind[index]].name if self.category[index] == FIGURE else None,
        }


PATTERNS = ("plain", "ripples", "boards", "tiles")
_GROUND = torch.tensor([[ground.low, ground.high, ground.strewn] for ground in BACKGROUNDS]) / 255
_PAINT = torch.tensor([colour.rgb for colour in COLOURS]) / 255
_PATTERN = torch.tensor([PATTERNS.index(background.pattern) for background in BACKGROUNDS])
_CAN_SHOW = torch.tensor([[can_show(b, c) for c in range(len(COLOURS))] for b in range(len(BACKGROUNDS))]).float()
_MOVING = range(1, len(PATHS))


def draw_scenes(seed: int, count: int, *, num_frames: int = NUM_FRAMES, wild: float = 0.0) -> Scenes:
    """`count` scenes; the same for the same arguments. A share `wild` of them has colours that have no name."""
    chance = torch.Generator("cpu").manual_seed(seed)
    motion = _motion(chance, count, num_frames)
    return _with_look(motion, chance, wild)


def doubles(scenes: Scenes, seed: int) -> Scenes:
    """The same motions with other looks: other shapes, other grain, no colour and no background of before."""
    return _with_look(scenes, torch.Generator("cpu").manual_seed(seed), 0.0, scenes)


def of_category(scenes: Scenes, category: int, count: int) -> Scenes:
    """The first `count` of that category."""
    found = (scenes.category == category).nonzero().flatten()[:count]
    if len(found) < count:
        raise ValueError(f"{len(found)} of {len(scenes)} scenes are {CATEGORIES[category]}; {count} are asked for")
    return scenes[found]


def _motion(chance: torch.Generator, count: int, num_frames: int) -> Scenes:
    def rand(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=chance)

    def randint(high: int, *shape: int) -> Tensor:
        return torch.randint(high, shape, generator=chance)

    category = torch.multinomial(torch.tensor(SHARES), count, replacement=True, generator=chance)
    is_camera, is_single, is_multiple = category == CAMERA, category == SINGLE, category == MULTIPLE
    num_objects = is_single.long() + 2 * is_multiple + is_camera * (rand(count) < 0.6)
    path_kind = 1 + randint(len(PATHS) - 1, count, NUM_OBJECTS)
    path_kind[is_camera] = 0
    path = torch.stack(
        [object_paths(path_kind[:, k], rand(count, NUM_DRAWS), num_frames) for k in range(NUM_OBJECTS)], dim=1
    )
    # A camera of its own for every camera clip, and two moves at once for a third of them; few others have one.
    move_kind = 1 + randint(len(MOVES) - 1, count)
    move_kind[~is_camera & (rand(count) >= 0.12)] = 0
    camera = camera_moves(move_kind, rand(count, NUM_DRAWS), num_frames)
    second = camera_moves(1 + randint(len(MOVES) - 1, count), rand(count, NUM_DRAWS), num_frames)
    camera = camera + second * (is_camera & (rand(count) < 0.3))[:, None, None] * 0.6
    action_kind = randint(len(ACTIONS), count)
    size = 0.15 + 0.09 * rand(count, NUM_OBJECTS)
    size[is_multiple] *= 0.85
    turns = (rand(count, NUM_OBJECTS) - 0.5) * 6 * (rand(count, NUM_OBJECTS) < 0.6)
    start = rand(count, NUM_OBJECTS) * 0.6 - 0.3
    progress = torch.linspace(0, 1, num_frames)
    zeros = torch.zeros(count, NUM_OBJECTS, dtype=torch.long)
    return Scenes(
        category=category,
        path_kind=path_kind,
        move_kind=move_kind,
        action_kind=action_kind,
        num_objects=num_objects,
        path=path,
        camera=camera,
        pose=figure_poses(action_kind, rand(count, NUM_DRAWS), num_frames),
        size=size,
        turn=start[..., None] + turns[..., None] * progress * ~is_camera[:, None, None],
        background=zeros[:, 0],
        colour=zeros,
        shape=zeros,
        ground=torch.zeros(count, 3, 3),
        paint=torch.zeros(count, NUM_OBJECTS, 3),
        pattern=zeros[:, 0],
        grain=torch.zeros(count, 2, 0),
        strewn=torch.zeros(count, 0, 3),
    )


def _with_look(motion: Scenes, chance: torch.Generator, wild: float, unlike: Scenes | None = None) -> Scenes:
    def rand(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=chance)

    def pick(weights: Tensor) -> Tensor:
        return torch.multinomial(weights, 1, generator=chance)[:, 0]

    count = len(motion)
    every = torch.arange(count)
    ground_weights = torch.ones(count, len(BACKGROUNDS))
    if unlike is not None:
        ground_weights[every, unlike.background] = 0
    background = pick(ground_weights)
    first_weights = _CAN_SHOW[background].clone()
    if unlike is not None:
        first_weights[every, unlike.colour[:, 0]] = 0
    first = pick(first_weights)
    second_weights = _CAN_SHOW[background].clone()
    second_weights[every, first] = 0
    colour = torch.stack([first, pick(second_weights)], dim=1)
    ground = _GROUND[background] * (1 + 0.08 * (rand(count, 1, 1) - 0.5))
    paint = _PAINT[colour] * (1 + 0.08 * (rand(count, NUM_OBJECTS, 1) - 0.5))
    pattern = _PATTERN[background]
    if wild:
        is_wild = rand(count) < wild
        ground = torch.where(is_wild[:, None, None], rand(count, 3, 3), ground)
        paint = torch.where(is_wild[:, None, None], rand(count, NUM_OBJECTS, 3), paint)
        pattern = torch.where(is_wild, torch.randint(len(PATTERNS), (count,), generator=chance), pattern)
    return replace(
        motion,
        background=background,
        colour=colour,
        shape=torch.randint(len(SHAPES), (count, NUM_OBJECTS), generator=chance),
        ground=ground.clamp(0, 1),
        paint=paint.clamp(0, 1),
        pattern=pattern,
        grain=rand(count, 2, GRAIN_SIZE),
        strewn=rand(count, NUM_STREWN, 3),
    )
