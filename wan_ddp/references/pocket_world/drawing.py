"""Draws scenes as clips, a batch at a time, with torch on any device: thousands of clips a minute on a GPU.

A background is one picture of the ground, which each frame's camera looks at; shapes and limbs are signed distances
(in frame heights, negative inside) that become masks with an edge one pixel wide.
"""

import math
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

from wan_ddp.references.pocket_world.scenes import FIGURE, GRAIN_GRIDS, HEIGHT, WIDTH, Scenes
from wan_ddp.references.pocket_world.vocabulary import SHAPES

GROUND_WIDTH, GROUND_HEIGHT = 3.2, 2.4
"""The picture of the ground, in frame heights; beyond it lies its mirror image."""
GROUND_PIXELS = (240, 320)
SKIN = (226, 172, 134)
TROUSERS = (82, 74, 84)
STREWN_OPACITY = 0.75
_GRAIN_WEIGHTS = (1.0, 0.6, 0.3, 0.1)


def draw(scenes: Scenes, device: str | torch.device = "cpu", *, width: int = WIDTH, height: int = HEIGHT) -> Tensor:
    """(B, T, H, W, 3) in 0 to 1, float32."""
    rows = (torch.arange(height, device=device) + 0.5) / height - 0.5
    columns = (torch.arange(width, device=device) + 0.5) / height - width / height / 2
    screen = torch.stack([columns.expand(height, width), rows[:, None].expand(height, width)], dim=-1)
    there = scenes.to(device)
    video = _look_at(_ground(there), _to_ground(screen, there.camera))
    edge = 1 / height
    for k in range(2):
        index = _indices(scenes.num_objects > k, device)
        if len(index):
            video[index] = _with_object(video[index], there[index], k, screen, edge)
    index = _indices(scenes.category == FIGURE, device)
    if len(index):
        video[index] = _with_figure(video[index], there[index], screen, edge)
    return video.clamp_(0, 1)


def to_bytes(video: Tensor) -> Tensor:
    """0 to 1 as uint8."""
    return (video * 255 + 0.5).clamp(0, 255).to(torch.uint8)


def on_screen(points: Tensor, camera: Tensor) -> Tensor:
    """(B, T, 2) points on the ground as the cameras (B, T, 4) see them, in frame heights from the frame's middle."""
    away = points - camera[..., :2]
    cos, sin = camera[..., 3].cos(), camera[..., 3].sin()
    zoom = camera[..., 2].exp()
    x, y = away[..., 0], away[..., 1]
    return torch.stack([zoom * (cos * x + sin * y), zoom * (cos * y - sin * x)], dim=-1)


def _indices(which: Tensor, device: str | torch.device) -> Tensor:
    """Where a mask on the CPU is true, on the device: asked there, the GPU would be waited for."""
    return which.nonzero().flatten().to(device, non_blocking=True)


@cache
def _colour(colour: tuple[int, int, int], device: torch.device) -> Tensor:
    return torch.tensor(colour, device=device) / 255


def _to_ground(screen: Tensor, camera: Tensor) -> Tensor:
    """(B, T, H, W, 2): where on the ground the camera (B, T, 4) sees each point of the screen (H, W, 2)."""
    cos, sin = (camera[..., 3].cos()[..., None, None], camera[..., 3].sin()[..., None, None])
    zoom = camera[..., 2].exp()[..., None, None]
    x, y = screen[..., 0], screen[..., 1]
    right = (cos * x - sin * y) / zoom + camera[..., 0, None, None]
    down = (sin * x + cos * y) / zoom + camera[..., 1, None, None]
    return torch.stack([right, down], dim=-1)


def _look_at(ground: Tensor, places: Tensor) -> Tensor:
    """The picture (B, 3, h, w) of the ground at places (B, T, H, W, 2): (B, T, H, W, 3)."""
    batch, num_frames, height, width, _ = places.shape
    scaled = torch.stack([places[..., 0] * (2 / GROUND_WIDTH), places[..., 1] * (2 / GROUND_HEIGHT)], dim=-1)
    grid = scaled.reshape(batch, num_frames * height, width, 2)
    seen = functional.grid_sample(ground, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    return seen.permute(0, 2, 3, 1).reshape(batch, num_frames, height, width, 3).contiguous()


def _ground(scenes: Scenes) -> Tensor:
    """(B, 3, h, w): the pictures of the ground."""
    high, wide = GROUND_PIXELS
    grain, device = scenes.grain, scenes.grain.device
    first, second = _field(grain[:, 0]), _field(grain[:, 1])
    y = (torch.arange(high, device=device) + 0.5)[None, :, None] / high * GROUND_HEIGHT
    x = (torch.arange(wide, device=device) + 0.5)[None, None, :] / wide * GROUND_WIDTH
    bent = y + 0.25 * second
    ripples = 0.5 + 0.5 * torch.sin(2 * math.pi * (bent / 0.22 + 0.3 * x))
    boards = ((y / 0.2).floor() * 0.61803) % 1 + 0 * x
    tiles = ((x / 0.3).floor() * 0.754877 + (y / 0.3).floor() * 0.569840) % 1
    share = torch.stack(
        [first, 0.6 * first + 0.4 * ripples, 0.45 * first + 0.55 * boards, 0.5 * first + 0.5 * tiles], dim=1
    )
    share = share[torch.arange(len(scenes), device=device), scenes.pattern][:, None]
    low, light, strewn = scenes.ground[..., None, None].unbind(1)
    picture = low + (light - low) * share
    mask = torch.zeros(len(scenes), high, wide, device=device)
    for dot in scenes.strewn.unbind(1):
        away = torch.hypot(x - dot[:, 0, None, None] * GROUND_WIDTH, y - dot[:, 1, None, None] * GROUND_HEIGHT)
        radius = 0.022 + 0.03 * dot[:, 2, None, None]
        mask = torch.maximum(mask, ((radius - away) * high / GROUND_HEIGHT + 0.5).clamp(0, 1))
    return picture + STREWN_OPACITY * mask[:, None] * (strewn - picture)


def _field(grain: Tensor) -> Tensor:
    """Fractal noise of 0 to 1 from a flat row of random numbers (B, GRAIN_SIZE): (B, h, w)."""
    total = torch.zeros(len(grain), *GROUND_PIXELS, device=grain.device)
    start = 0
    for (rows, columns), weight in zip(GRAIN_GRIDS, _GRAIN_WEIGHTS, strict=True):
        grid = grain[:, start : start + rows * columns].view(-1, 1, rows, columns)
        total += weight * functional.interpolate(grid, GROUND_PIXELS, mode="bicubic", align_corners=True)[:, 0]
        start += rows * columns
    return ((total / sum(_GRAIN_WEIGHTS) - 0.5) * 2.2 + 0.5).clamp(0, 1)


def _mask(distance: Tensor, edge: float) -> Tensor:
    return (0.5 - distance / edge).clamp(0, 1)


def _with_object(video: Tensor, scenes: Scenes, k: int, screen: Tensor, edge: float) -> Tensor:
    """The clips with their object number k drawn on them, with a shadow, a darker rim and light from the upper left."""
    camera = scenes.camera
    middle = on_screen(scenes.path[:, k], camera)
    radius = scenes.size[:, k, None] * camera[..., 2].exp()
    turn = scenes.turn[:, k] - camera[..., 3]
    x = screen[..., 0] - middle[..., 0, None, None]
    y = screen[..., 1] - middle[..., 1, None, None]
    cos, sin = turn.cos()[..., None, None], turn.sin()[..., None, None]
    radii = radius[..., None, None]
    inside = _shape_distance(cos * x + sin * y, cos * y - sin * x, radii, scenes.shape[:, k])
    shadow = _mask(torch.hypot(x - 0.03, y - 0.045) - 0.95 * radii, 6 * edge)
    video = video * (1 - 0.35 * shadow[..., None])
    paint = scenes.paint[:, k, None, None, None, :]
    light = 1 + 0.12 * (-(x + y) / radii).clamp(-1, 1) - 0.25 * _mask(-inside - 0.02, 2 * edge)
    mask = _mask(inside, edge)[..., None]
    return video + mask * ((paint * light[..., None]).clamp(0, 1) - video)


def _shape_distance(x: Tensor, y: Tensor, radius: Tensor, shape: Tensor) -> Tensor:
    """About how far outside a shape of that radius a point is; (B, T, H, W), each clip with its own shape."""
    far = torch.hypot(x, y)
    angle = torch.atan2(x, -y)
    box = torch.maximum(x.abs(), y.abs()) - 0.82 * radius
    triangle = torch.maximum(0.866 * x.abs() - 0.5 * y, y) - 0.58 * radius
    # A star: its outline swings between two radii five times.
    swing = ((angle * 5 / (2 * math.pi)) % 1 - 0.5).abs() * 2
    star = (far - radius * (0.5 + 0.58 * swing)) * 0.8
    every = {"ball": far - radius, "square": box, "triangle": triangle, "star": star}
    which = shape[:, None, None, None]
    distance = every[SHAPES[0].name]
    for index, thing in enumerate(SHAPES[1:], start=1):
        distance = torch.where(which == index, every[thing.name], distance)
    return distance


def _with_figure(video: Tensor, scenes: Scenes, screen: Tensor, edge: float) -> Tensor:
    """The clips with a jointed figure: trousers, arms and head of fixed colours, and a shirt of the first colour."""
    camera, pose = scenes.camera, scenes.pose
    unit = scenes.size[:, :1] * 4 * 0.95
    sin = torch.sin(pose[..., 3:])
    cos = torch.cos(pose[..., 3:])
    ground = torch.zeros_like(pose[..., 0]) + 0.36
    crouch, stride = pose[..., 2], pose[..., 9]
    hip_height = 0.46 * (1 - 0.42 * crouch)
    hips = torch.stack([pose[..., 0], ground - unit * hip_height - pose[..., 1]], dim=-1)

    def at(base: Tensor, right: Tensor | float, up: Tensor | float) -> Tensor:
        """A point so far (in body heights) from another one."""
        zero = torch.zeros_like(hips[..., 0])
        return base + unit[..., None] * torch.stack([zero + right, zero - up], dim=-1)

    neck = at(hips, 0, 0.34)
    limbs: list[tuple[Tensor, Tensor, float, Tensor]] = []
    shirt = scenes.paint[:, 0, None, None, None, :]
    skin, trousers = _colour(SKIN, video.device), _colour(TROUSERS, video.device)
    for side, leg, sign in ((-1, 4, 1.0), (1, 5, -1.0)):
        hip = at(hips, 0.05 * side, 0)
        bend = torch.where(stride != 0, sign * stride, side * (pose[..., 3 + leg] + 0.5 * crouch))
        knee = at(hip, 0.5 * hip_height * torch.sin(bend), 0.5 * hip_height * torch.cos(0.8 * bend))
        knee = torch.stack([knee[..., 0], 2 * hip[..., 1] - knee[..., 1]], dim=-1)
        foot = at(hip, hip_height * torch.sin(bend) * (1 - 0.6 * crouch), -hip_height * torch.cos(bend) ** 0.3)
        limbs += [(hip, knee, 0.055, trousers), (knee, foot, 0.045, trousers)]
    limbs.append((hips, neck, 0.115, shirt))
    for side, upper in ((-1, 0), (1, 2)):
        shoulder = at(neck, 0.1 * side, -0.03)
        elbow = at(shoulder, 0.17 * side * sin[..., upper], -0.17 * cos[..., upper])
        hand = at(elbow, 0.16 * side * sin[..., upper + 1], -0.16 * cos[..., upper + 1])
        limbs += [(shoulder, elbow, 0.05, shirt), (elbow, hand, 0.042, skin)]
    head = at(neck, 0, 0.13)
    limbs.append((head, head, 0.085, skin))
    zoom = camera[..., 2].exp()
    for start, end, thickness, colour in limbs:
        radius = thickness * unit * zoom
        distance = _capsule(screen, on_screen(start, camera), on_screen(end, camera)) - radius[..., None, None]
        mask = _mask(distance, edge)[..., None]
        rim = 1 - 0.3 * _mask(-distance - 0.012, 2 * edge)[..., None]
        video = video + mask * (colour * rim - video)
    return video


def _capsule(screen: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """How far the points of the screen (H, W, 2) are from the lines between two points (B, T, 2)."""
    start, end = start[..., None, None, :], end[..., None, None, :]
    along = end - start
    away = screen - start
    share = (away * along).sum(-1) / (along * along).sum(-1).clamp_min(1e-9)
    distance: Tensor = torch.linalg.vector_norm(away - share.clamp(0, 1)[..., None] * along, dim=-1)
    return distance
