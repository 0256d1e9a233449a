"""What is said of a clip: in English or Chinese, with words for its motion or without, always true."""

import random

import torch
from torch import Tensor

from training.tokens import END_ID, PAD_ID, UNKNOWN_ID, tokenizer
from wan_ddp.references.pocket_world.scenes import CAMERA, FIGURE, Scenes
from wan_ddp.references.pocket_world.vocabulary import (
    ACTIONS,
    BACKGROUNDS,
    COLOURS,
    MOVES,
    PATHS,
    PERSON,
    SHAPES,
    SHIRT,
    Language,
    Thing,
)

MAX_TOKENS = 63
"""Of a caption, with its end; the pipeline pads to 512, which `flow.Context` stands for."""
MOTION_SHARE = 0.5
_SURPRISE_SHARE = 0.15


def captions(scenes: Scenes, seed: int, *, motion: bool | None = None, language: Language | None = None) -> list[str]:
    """A caption a clip, the same for the same arguments. `motion`: with words for it, or by chance (None)."""
    chance = random.Random(seed)
    return [_caption(scenes, index, chance, motion, language) for index in range(len(scenes))]


def tokenize(texts: list[str], surprises: random.Random | None = None) -> Tensor:
    """(B, MAX_TOKENS) of token ids. With `surprises` some have unknown words put in, as prompts of people do."""
    rows = torch.full((len(texts), MAX_TOKENS), PAD_ID)
    for row, encoded in zip(rows, tokenizer().encode_batch(texts), strict=True):
        ids = encoded.ids[:-1]
        if surprises is not None and surprises.random() < _SURPRISE_SHARE:
            for _ in range(surprises.randint(1, 10)):
                ids.insert(surprises.randint(0, len(ids)), UNKNOWN_ID)
        ids = [*ids[: MAX_TOKENS - 1], END_ID]
        row[: len(ids)] = torch.tensor(ids)
    return rows


def _caption(scenes: Scenes, index: int, chance: random.Random, motion: bool | None, language: Language | None) -> str:
    told = chance.random() < MOTION_SHARE
    spoken: Language = "en" if chance.random() < 0.6 else "zh"
    with_motion, language = told if motion is None else motion, language or spoken
    write = _english if language == "en" else _chinese
    return write(scenes, index, chance, with_motion)


def _one(thing: Thing, chance: random.Random, language: Language) -> str:
    return chance.choice(thing.en if language == "en" else thing.zh)


def _english(scenes: Scenes, index: int, chance: random.Random, motion: bool) -> str:
    ground = chance.choice(BACKGROUNDS[scenes.background[index]].en)
    category = int(scenes.category[index])
    where = chance.choice((f"on the {ground}", f"over {ground}", f"on {ground}", f"with {ground} in the background"))

    def thing(k: int) -> str:
        colour = chance.choice(COLOURS[scenes.colour[index, k]].en)
        return f"{'an' if colour[0] in 'aeio' else 'a'} {colour} {_one(SHAPES[scenes.shape[index, k]], chance, 'en')}"

    def moves(k: int) -> str:
        return f" {_one(PATHS[scenes.path_kind[index, k]], chance, 'en')}" if motion else ""

    if category == FIGURE:
        colour = chance.choice(COLOURS[scenes.colour[index, 0]].en)
        text = f"a {_one(PERSON, chance, 'en')} {chance.choice(('in', 'wearing'))} a {colour} "
        text += _one(SHIRT, chance, "en")
        if motion:
            text += f" {_one(ACTIONS[scenes.action_kind[index]], chance, 'en')}"
        text += f" {where}"
    elif category == CAMERA:
        text = f"{thing(0)} {where}" if scenes.num_objects[index] else chance.choice((ground, f"a view of {ground}"))
    elif scenes.num_objects[index] == 1:
        text = f"{thing(0)}{moves(0)} {where}"
    else:
        link = chance.choice((" and ", " while ")) if motion else " and "
        text = f"{thing(0)}{moves(0)}{link}{thing(1)}{moves(1)} {where}"
    if motion and (scenes.move_kind[index] or category == CAMERA):
        text += f", the camera {_one(MOVES[scenes.move_kind[index]], chance, 'en')}"
    return f"{text[0].upper()}{text[1:]}."


def _chinese(scenes: Scenes, index: int, chance: random.Random, motion: bool) -> str:
    ground = chance.choice(BACKGROUNDS[scenes.background[index]].zh)
    category = int(scenes.category[index])

    def thing(k: int) -> str:
        colour = chance.choice(COLOURS[scenes.colour[index, k]].zh)
        return f"一个{colour}的{_one(SHAPES[scenes.shape[index, k]], chance, 'zh')}"

    def moves(k: int) -> str:
        return _one(PATHS[scenes.path_kind[index, k]], chance, "zh") if motion else ""

    if category == FIGURE:
        colour = chance.choice(COLOURS[scenes.colour[index, 0]].zh)
        text = f"一位穿着{colour}的{_one(SHIRT, chance, 'zh')}的{_one(PERSON, chance, 'zh')}"
        text = f"在{ground}上，{text}" + (_one(ACTIONS[scenes.action_kind[index]], chance, "zh") if motion else "")
    elif category == CAMERA:
        text = f"{ground}上有{thing(0)}" if scenes.num_objects[index] else f"{ground}的画面"
    else:
        subjects = [f"{thing(k)}{moves(k)}" for k in range(int(scenes.num_objects[index]))]
        joined = ("，" if motion else "和").join(subjects)
        text = chance.choice((f"{ground}上，{joined}", f"{joined}，背景是{ground}"))
    if motion and (scenes.move_kind[index] or category == CAMERA):
        text += f"，镜头{_one(MOVES[scenes.move_kind[index]], chance, 'zh')}"
    return f"{text}。"
