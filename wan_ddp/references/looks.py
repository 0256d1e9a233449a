"""The same motion in other looks: what a transfer of a clip's motion that succeeds gives. Pure."""

from collections.abc import Collection
from dataclasses import replace

from wan_ddp.references import backdrops, shapes, worlds
from wan_ddp.references.clip import Clip, Drawing, Mover, Performance, PocketScene, Shot, Stage

_COLOURS = ("#2f6fb5", "#e8b23a", "#8a58a8")
_SIZES = (1.15, 0.85)


def in_other_looks(clip: Clip, number: int = 0) -> Clip:
    """The clip's moves before another backdrop, by other things or people; each number gives other ones."""
    return replace(clip, name=f"{clip.name} {number}", drawing=_redrawn(clip.drawing, number))


def _redrawn(drawing: Drawing, number: int) -> Drawing:
    if isinstance(drawing, Shot):
        return replace(drawing, world=_another(worlds.WORLDS, drawing.world, number))
    if isinstance(drawing, PocketScene):
        return replace(drawing, look=number + 1)
    backdrop = _another(backdrops.BACKDROPS, drawing.backdrop, 5 * number + 3)
    if isinstance(drawing, Stage):
        movers = (_remade(mover, 7 * number + 3 * place) for place, mover in enumerate(drawing.movers))
        return Stage(backdrop, tuple(movers))
    return Performance(backdrop, drawing.action, shirt=_COLOURS[number % 3], trousers=_COLOURS[(number + 1) % 3])


def _remade(mover: Mover, number: int) -> Mover:
    return replace(
        mover,
        shape=_another(shapes.SHAPES, mover.shape, number),
        colour=_COLOURS[number % len(_COLOURS)],
        size=mover.size * _SIZES[number % len(_SIZES)],
    )


def _another(names: Collection[str], name: str, number: int) -> str:
    others = sorted(set(names) - {name})
    return others[number % len(others)]
