"""A contact sheet: a reference and its results as rows of pictures over time, in one PNG."""

import io
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

NUM_FRAMES = 8
_MADE_OF = "wan-ddp made of"  # the PNG's text entry
_PICTURE_WIDTH = 192
_GAP = 4
_MARGIN = 16
_LABEL_WIDTH = 250
_LINE = 17
_FONT_SIZE = 13
_TITLE_SIZE = 20
_PAPER, _INK, _FAINT, _EMPTY = (255, 255, 255), (24, 26, 31), (104, 109, 120), (238, 239, 242)
# Where there is no fontconfig to ask.
_CHINESE_FONTS = (
    "/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc",
    "/usr/share/fonts/noto-cjk/NotoSansCJK-Regular.ttc",
    "/usr/share/fonts/google-noto-cjk/NotoSansCJK-Regular.ttc",
    "/usr/share/fonts/truetype/wqy/wqy-microhei.ttc",
    "/usr/share/fonts/truetype/droid/DroidSansFallbackFull.ttf",
)


@dataclass(frozen=True, slots=True)
class Strip:
    """One row of the sheet: a heading and a text, and its pictures, None where there are none."""

    labels: tuple[str, str]
    pictures: "Sequence[Image] | None"


@dataclass(frozen=True, slots=True)
class Typeface:
    """A font file, and the characters that it can draw."""

    path: str
    index: int
    characters: frozenset[int]

    def at(self, size: int) -> "FreeTypeFont":
        from PIL import ImageFont

        # The other layout engine, which shapes Arabic, takes ten times as long to measure a text.
        return ImageFont.truetype(self.path, size, self.index, layout_engine=ImageFont.Layout.BASIC)


def thumbnails(stills: "Sequence[Image]") -> "list[Image]":
    """Pictures as small as the sheet shows them."""
    from PIL import Image

    width = min(_PICTURE_WIDTH, stills[0].width)
    size = width, max(round(width * stills[0].height / stills[0].width), 1)
    return [still.resize(size, Image.Resampling.BOX) for still in stills]


def draw_sheet(title: str, about: str, strips: Sequence[Strip], clip_size: tuple[int, int], made_of: str) -> bytes:
    """The sheet as a PNG that says what it was `made_of`; `clip_size` is the videos' width and height."""
    from PIL import Image, ImageDraw
    from PIL.PngImagePlugin import PngInfo

    picture_width = min(_PICTURE_WIDTH, clip_size[0])
    picture_size = picture_width, max(round(picture_width * clip_size[1] / clip_size[0]), 1)
    row_height = max(picture_size[1], 3 * _LINE) + _GAP
    left, top = _MARGIN + _LABEL_WIDTH + _GAP, 2 * _MARGIN + _TITLE_SIZE + _LINE
    width = left + NUM_FRAMES * (picture_width + _GAP) + _MARGIN - _GAP
    sheet = Image.new("RGB", (width, top + len(strips) * row_height + _MARGIN), _PAPER)
    draw = ImageDraw.Draw(sheet)
    face = typeface()
    heading = face.at(_TITLE_SIZE)
    draw.text(
        (_MARGIN, _MARGIN - 4), _fitting(draw, readable(title, face), heading, width - 2 * _MARGIN), _INK, heading
    )
    draw.text((_MARGIN, _MARGIN + _TITLE_SIZE + 6), readable(about, face), _FAINT, face.at(_FONT_SIZE))
    for number, strip in enumerate(strips):
        y = top + number * row_height
        _write(draw, strip.labels, face, y, row_height - _GAP)
        for place in range(NUM_FRAMES):
            x = left + place * (picture_width + _GAP)
            if strip.pictures:
                sheet.paste(strip.pictures[place], (x, y))
            else:
                draw.rectangle((x, y, x + picture_size[0] - 1, y + picture_size[1] - 1), _EMPTY)
    info = PngInfo()
    info.add_text(_MADE_OF, made_of)
    content = io.BytesIO()
    sheet.save(content, "PNG", pnginfo=info, compress_level=4)
    return content.getvalue()


def sheet_made_of(path: Path) -> str | None:
    """What an earlier sheet was made of; None where there is none."""
    from PIL import Image

    with suppress(OSError, SyntaxError, ValueError), Image.open(path) as image:
        return str(image.info.get(_MADE_OF))
    return None


def readable(text: str, face: Typeface) -> str:
    """The text on one line, with `\\u955c` and the like for characters that the font would draw as boxes."""
    one_line = " ".join(text.split())
    return "".join(
        character if ord(character) in face.characters else character.encode("ascii", "backslashreplace").decode()
        for character in one_line
    )


@cache
def typeface() -> Typeface:
    """A font with Chinese if this system has one, else one that comes with matplotlib."""
    import matplotlib

    for path, index in _candidates():
        if characters := _characters(path, index):
            return Typeface(path, index, characters)
    path = f"{matplotlib.get_data_path()}/fonts/ttf/DejaVuSans.ttf"
    return Typeface(path, 0, _characters(path, 0))


def _candidates() -> Iterator[tuple[str, int]]:
    if program := shutil.which("fc-match"):
        asked = [program, "-f", "%{file}\t%{index}\t%{charset}", "sans-serif:charset=955c"]
        with suppress(OSError, ValueError, subprocess.SubprocessError):
            said = subprocess.run(asked, capture_output=True, timeout=30, check=True).stdout.decode()
            path, index, _ = said.split("\t")
            if ord("镜") in _characters(path, int(index)):
                yield path, int(index)
    yield from ((path, 0) for path in _CHINESE_FONTS)


def _characters(path: str, index: int) -> frozenset[int]:
    """What the font can draw; nothing if it cannot be read."""
    from fontTools.ttLib import TTFont, TTLibError

    with suppress(OSError, TTLibError), TTFont(path, fontNumber=index, lazy=True) as font:
        return frozenset(font.getBestCmap() or ())
    return frozenset()


def _write(draw: "ImageDraw", labels: tuple[str, str], face: Typeface, y: int, height: int) -> None:
    """The heading, and as many lines of the text as there is room for."""
    font = face.at(_FONT_SIZE)
    draw.text((_MARGIN, y), _fitting(draw, readable(labels[0], face), font, _LABEL_WIDTH), _INK, font)
    rest = readable(labels[1], face)
    if len(rest) > 2 * len(labels[1]):  # mostly escapes, which nobody reads
        return
    for line in range(1, height // _LINE):
        if not rest:
            return
        is_last = (line + 1) * _LINE > height - _LINE
        shown = _fitting(draw, rest, font, _LABEL_WIDTH) if is_last else _head(draw, rest, font)
        draw.text((_MARGIN, y + line * _LINE), shown, _FAINT, font)
        rest = "" if is_last else rest[len(shown) :].lstrip()


def _head(draw: "ImageDraw", text: str, font: "FreeTypeFont") -> str:
    """The words, or the characters of a text without spaces, that fit on a line."""
    fitting = _longest(draw, text, font, _LABEL_WIDTH)
    cut = text.rfind(" ", 0, fitting + 1)
    return text if fitting == len(text) else text[: cut if cut > 0 else max(fitting, 1)]


def _fitting(draw: "ImageDraw", text: str, font: "FreeTypeFont", width: int) -> str:
    fitting = _longest(draw, text, font, width)
    return text if fitting == len(text) else f"{text[: max(_longest(draw, text, font, width - 10), 1)]}..."


def _longest(draw: "ImageDraw", text: str, font: "FreeTypeFont", width: int) -> int:
    """How many characters from the start fit."""
    low, high = 0, min(len(text), width)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if draw.textlength(text[:middle], font=font) <= width else (low, middle - 1)
    return low
