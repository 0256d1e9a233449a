"""What the clips show and the words for it, in English and Chinese. Colours are sRGB, 0 to 255. Pure.

The first word of a row is its name everywhere; the others mean the same, and captions take any of them.
"""

from dataclasses import dataclass
from typing import Literal

Language = Literal["en", "zh"]
Rgb = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Colour:
    """An object's colour."""

    rgb: Rgb
    en: tuple[str, ...]
    zh: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.en[0]


@dataclass(frozen=True, slots=True)
class Background:
    """A ground seen from above: its darkest and lightest colour, the colour of what lies strewn on it (without which a
    camera's motion over it could hardly be seen), its pattern, and the objects' colours that would not be told from it.
    """

    low: Rgb
    high: Rgb
    strewn: Rgb
    pattern: Literal["plain", "ripples", "boards", "tiles"]
    unlike: tuple[str, ...]
    en: tuple[str, ...]
    zh: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.en[0]


@dataclass(frozen=True, slots=True)
class Thing:
    """A shape, a path, a camera's move or an action, in words."""

    en: tuple[str, ...]
    zh: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.en[0]


COLOURS = (
    Colour((216, 32, 32), ("red", "crimson", "scarlet"), ("红色", "红")),
    Colour((247, 132, 20), ("orange",), ("橙色", "橘色")),
    Colour((250, 222, 38), ("yellow", "golden"), ("黄色", "金色", "黄")),
    Colour((24, 168, 62), ("green", "emerald"), ("绿色", "绿")),
    Colour((28, 66, 230), ("blue",), ("蓝色", "蓝")),
    Colour((246, 80, 176), ("pink",), ("粉色", "粉红色")),
    Colour((250, 250, 250), ("white",), ("白色", "白")),
    Colour((18, 18, 20), ("black",), ("黑色", "黑")),
)
BACKGROUNDS = (
    Background((66, 116, 42), (132, 180, 84), (252, 248, 214), "plain", ("green",),
               ("meadow", "grass", "lawn", "park"), ("草地", "草坪", "草原", "公园")),
    Background((200, 164, 98), (242, 218, 160), (112, 84, 56), "ripples", ("yellow", "orange"),
               ("sand", "beach", "desert"), ("沙滩", "沙漠", "沙地")),
    Background((196, 208, 224), (248, 250, 252), (92, 108, 134), "plain", ("white",),
               ("snow", "ice"), ("雪地", "雪", "冰面")),
    Background((20, 80, 146), (84, 152, 204), (236, 246, 250), "ripples", ("blue",),
               ("water", "sea", "lake", "ocean", "pond"), ("水面", "海面", "湖面", "大海", "湖")),
    Background((10, 12, 34), (48, 42, 92), (252, 248, 214), "plain", ("black", "blue"),
               ("night", "space"), ("夜空", "太空", "夜色")),
    Background((92, 54, 30), (164, 112, 68), (40, 22, 12), "boards", ("orange",),
               ("wood", "parquet", "wooden"), ("木地板", "木桌", "木板")),
    Background((98, 98, 102), (170, 168, 164), (232, 228, 216), "tiles", (),
               ("stone", "pavement", "tiles", "concrete"), ("石板", "石头", "水泥地", "路面")),
    Background((108, 78, 146), (192, 156, 216), (252, 248, 214), "plain", ("pink",),
               ("lavender", "heather"), ("薰衣草", "花田")),
)  # fmt: skip
SHAPES = (
    Thing(("ball", "disc", "balloon"), ("球", "圆盘", "气球")),
    Thing(("square", "box", "crate"), ("方块", "箱子", "盒子")),
    Thing(("triangle", "kite"), ("三角形", "风筝")),
    Thing(("star",), ("星星", "五角星")),
)
PERSON = Thing(("person", "man", "woman", "figure", "dancer"), ("人", "男人", "女人", "舞者"))
SHIRT = Thing(("shirt", "coat", "jacket"), ("衬衫", "外套", "衣服"))

PATHS = (
    Thing(("stays in place", "lies still"), ("停在原地", "静止不动")),
    Thing(("moves to the right", "moves from left to right", "goes right"), ("向右移动", "从左向右移动", "从左向右")),
    Thing(("moves to the left", "moves from right to left", "goes left"), ("向左移动", "从右向左移动", "从右向左")),
    Thing(("falls", "moves down", "sinks"), ("下落", "向下移动", "落下")),
    Thing(("rises", "moves up", "climbs"), ("上升", "向上移动", "升起")),
    Thing(("moves diagonally", "crosses from corner to corner"), ("沿对角线移动", "斜着移动")),
    Thing(("circles clockwise", "moves in a circle"), ("顺时针绕圈", "绕圈")),
    Thing(("circles counterclockwise", "moves in a circle"), ("逆时针绕圈", "绕圈")),
    Thing(("bounces", "hops"), ("弹跳", "蹦跳")),
    Thing(("swings", "sways"), ("摆动", "左右摆动")),
    Thing(("moves in a wave", "weaves"), ("波浪式移动", "起伏移动")),
    Thing(("moves to and fro", "goes there and back"), ("来回移动", "往返移动")),
)
MOVES = (
    Thing(("stays still", "is static"), ("静止", "固定机位")),
    Thing(("pans to the right", "pans right"), ("向右平移", "向右摇")),
    Thing(("pans to the left", "pans left"), ("向左平移", "向左摇")),
    Thing(("tilts up", "moves up"), ("向上摇", "上移")),
    Thing(("tilts down", "moves down"), ("向下摇", "下移")),
    Thing(("zooms in", "comes closer"), ("推近", "拉近")),
    Thing(("zooms out", "draws back"), ("拉远", "后退")),
    Thing(("rolls clockwise", "rolls to the right"), ("顺时针旋转", "向右旋转")),
    Thing(("rolls counterclockwise", "rolls to the left"), ("逆时针旋转", "向左旋转")),
)
ACTIONS = (
    Thing(("waves", "raises an arm and waves"), ("挥手", "招手")),
    Thing(("walks to the right", "runs to the right"), ("向右走", "向右跑")),
    Thing(("walks to the left", "runs to the left"), ("向左走", "向左跑")),
    Thing(("jumps", "jumps up"), ("跳跃", "跳起来")),
    Thing(("does jumping jacks", "spreads arms and legs"), ("做开合跳", "张开手脚")),
    Thing(("squats", "bends the knees"), ("下蹲", "屈膝")),
)
# What captions are strung together with; the tokenizer must know these words as well.
GLUE = (
    "a", "an", "and", "the", "on", "over", "in", "of", "with", "at", "to", "there", "is", "one", "two", "as", "while",
    "camera", "shot", "view", "field", "floor", "sky", "background", "ground", "before", "wearing",
    "一个", "一只", "一位", "在", "上", "上有", "的", "和", "镜头", "背景", "背景是", "画面", "穿着",
    "两个", "前", "穿",
)  # fmt: skip
COLOUR_NAMES = tuple(colour.name for colour in COLOURS)
BACKGROUND_NAMES = tuple(background.name for background in BACKGROUNDS)


def can_show(background: int, colour: int) -> bool:
    """Whether an object of that colour is told from that background."""
    return COLOURS[colour].name not in BACKGROUNDS[background].unlike


def words(language: Language) -> list[str]:
    """Every word of the vocabulary in one language, each once, in order."""
    rows: list[Colour | Background | Thing] = [
        *COLOURS, *BACKGROUNDS, *SHAPES, PERSON, SHIRT, *PATHS, *MOVES, *ACTIONS,
    ]  # fmt: skip
    phrases = [phrase for row in rows for phrase in (row.en if language == "en" else row.zh)]
    glue = [word for word in GLUE if word.isascii() == (language == "en")]
    split = [word for phrase in [*phrases, *glue] for word in (phrase.split() if language == "en" else [phrase])]
    return list(dict.fromkeys(split))
