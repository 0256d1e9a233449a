"""The flags of the `manifest` commands that take some reading: seeds, expected counts, columns, encodings."""

import argparse
import codecs
import os

from wan_ddp.manifest_tools.names import nfc

_MAX_DIGITS = 30


def integer(text: str) -> int:
    """An integer of 0 or more. Whether it is too large is the manifest's to say."""
    if not text.isdecimal() or len(text) > _MAX_DIGITS:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not an integer of 0 or more")
    return int(text)


def positive(text: str) -> int:
    if integer(text) == 0:
        raise argparse.ArgumentTypeError("it must be 1 or more")
    return int(text)


def expectation(text: str) -> tuple[str, int]:
    """`<category>=<references>`."""
    category, equals, number = text.rpartition("=")
    if not equals or not category:
        raise argparse.ArgumentTypeError(f"{text!r} is not CATEGORY=REFERENCES, such as camera_motion=14")
    return nfc(category), integer(number)


def column(text: str) -> tuple[str, str]:
    """`<field>=<column>`."""
    field, equals, name = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"{text!r} is not FIELD=COLUMN, such as reference=video_path")
    return field, name


def encoding(text: str) -> str:
    try:
        codecs.lookup(text)
        "".encode(text)  # not one of those that turn bytes into bytes
    except LookupError:
        raise argparse.ArgumentTypeError(f"{text!r} is no encoding; gb18030, big5 and utf-16 are some") from None
    return text


def absolute(text: str) -> str:
    """An absolute path, `..` resolved as the system does; else the names as they were given, links and all."""
    if not text:
        raise argparse.ArgumentTypeError("it is empty")
    if ".." in text.split("/"):
        return os.path.realpath(text)
    return os.path.abspath(text)
