"""The pocket Wan's clips: the same for the same seed, and what their captions say is what is seen and how it moves."""

import numpy as np
import pytest
import torch

from training import measure
from training.captions import MAX_TOKENS, captions, tokenize
from training.tokens import UNKNOWN_ID, tokenizer
from wan_ddp.job import NEGATIVE_PROMPT
from wan_ddp.miniature import shrink
from wan_ddp.motion import compare, motion_of
from wan_ddp.references.pocket_world.drawing import draw, to_bytes
from wan_ddp.references.pocket_world.scenes import CATEGORIES, FIGURE, SINGLE, Scenes, doubles, draw_scenes
from wan_ddp.references.pocket_world.vocabulary import BACKGROUNDS, COLOURS, MOVES, PATHS

COUNT = 12


@pytest.fixture(scope="module")
def scenes() -> Scenes:
    return draw_scenes(5, COUNT)


@pytest.fixture(scope="module")
def clips(scenes: Scenes) -> np.ndarray:
    """(COUNT, 17, 96, 160, 3) uint8."""
    return to_bytes(draw(scenes)).numpy()


def test_the_same_seed_is_the_same_data_and_another_one_is_other_data(scenes: Scenes, clips: np.ndarray) -> None:
    again = draw_scenes(5, COUNT)
    assert np.array_equal(to_bytes(draw(again[:2])).numpy(), clips[:2])
    assert captions(again, 5) == captions(scenes, 5)
    assert not torch.equal(draw_scenes(6, COUNT).path, scenes.path)


def test_every_clip_shows_the_background_and_the_colours_that_it_knows_of(scenes: Scenes, clips: np.ndarray) -> None:
    for index, frames in enumerate(clips):
        known, seen = scenes.names(index), measure.seen_in(frames)
        assert BACKGROUNDS[seen["background"]].name == known["background"], known
        if scenes.num_objects[index] or scenes.category[index] == FIGURE:
            num_objects = max(1, int(scenes.num_objects[index]))
            assert {COLOURS[colour].name for colour in seen["colours"][:num_objects]} == set(known["colours"]), known


def test_captions_name_what_is_there_and_its_motion_only_if_asked_to(scenes: Scenes) -> None:
    for language in ("en", "zh"):
        for motion in (False, True):
            for index, caption in enumerate(captions(scenes, 1, motion=motion, language=language)):
                said = caption.lower()
                known = BACKGROUNDS[scenes.background[index]]
                assert any(word in said for word in getattr(known, language)), caption
                if scenes.num_objects[index]:
                    assert any(word in said for word in getattr(COLOURS[scenes.colour[index, 0]], language)), caption
                if scenes.category[index] == SINGLE:
                    moves = getattr(PATHS[scenes.path_kind[index, 0]], language)
                    assert any(words in said for words in moves) == motion, caption
                if scenes.category[index] != FIGURE and not motion:
                    assert not any(words in said for move in MOVES[1:] for words in getattr(move, language)), caption


def test_the_tokenizer_knows_every_word_of_a_caption_and_fits_a_negative_prompt() -> None:
    for caption in captions(draw_scenes(9, 200), 9):
        assert UNKNOWN_ID not in tokenizer().encode(caption).ids, caption
    assert tokenize([NEGATIVE_PROMPT, ""]).shape == (2, MAX_TOKENS)
    assert len(tokenizer().encode(NEGATIVE_PROMPT).ids) < MAX_TOKENS


def test_a_double_moves_alike_and_shares_no_colour_and_no_background(scenes: Scenes) -> None:
    double = doubles(scenes, 8)
    assert torch.equal(double.path, scenes.path)
    assert torch.equal(double.camera, scenes.camera)
    assert not (double.background == scenes.background).any()
    assert not (double.colour[:, 0] == scenes.colour[:, 0]).any()


def test_a_path_is_measured_where_the_scene_has_it(scenes: Scenes, clips: np.ndarray) -> None:
    still_camera = (scenes.category == SINGLE) & (scenes.move_kind == 0)
    indices = still_camera.nonzero().flatten().tolist()
    assert indices
    for index in indices:
        masks = measure.colour_masks(clips[index], int(scenes.background[index]))
        path = measure.path_of(masks, int(scenes.colour[index, 0]))
        known = scenes.path[index, 0].double().numpy()
        likeness = measure.likeness(path, known)
        assert likeness is None or likeness > 0.97, scenes.names(index)
        assert measure.likeness(-path, known) in (None, pytest.approx(-likeness))


def test_the_camera_of_a_double_is_measured_to_move_alike() -> None:
    scenes = draw_scenes(2, 40)
    pans = [n for n in range(40) if MOVES[scenes.move_kind[n]].name.startswith("pans") and scenes.category[n] == 0][:1]
    pair = [to_bytes(draw(each)).numpy()[0] for each in (scenes[pans], doubles(scenes[pans], 3))]
    motions = [motion_of(shrink(frames)) for frames in pair]
    likeness = compare(motions[0], motions[1]).camera_likeness
    assert likeness is not None
    assert likeness > 0.8


def test_all_categories_are_drawn() -> None:
    assert set(draw_scenes(0, 200).category.tolist()) == set(range(len(CATEGORIES)))
