"""Prompts as inputs have them: by position or numbered, each with where it stands. Pure."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from wan_ddp.manifest_tools.names import shown

ALLOWED = 'a list of texts, {"1": text, "2": text, ...}, or one text'
_MAX_DIGITS = 10  # Python refuses to read integers of thousands
# `1. A cat`, `1) A cat`, `1、一只猫`: a list numbered by hand. Not `1:1 scale`, nor `1.5 m tall`.
_NUMBERED = re.compile(r"(\d{1,3})\s*(?:[、．）：]|[.):](?!\d))\s*(.*)")


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt. `fields` are the job fields that stand beside it, in a table."""

    text: Any
    where: str
    number: int | None = None
    """As the input counts, from 0 or from 1; None where its position counts."""
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PromptList:
    """The prompts of one clip, under the name that the input gives it."""

    category: str
    name: str
    where: str
    prompts: tuple[Prompt, ...]


def parse_value(value: Any, where: str, problems: list[str]) -> tuple[Prompt, ...]:
    """The prompts of one clip from JSON; what is wrong with them is added to `problems`."""
    if isinstance(value, str):
        value = [value]
    if isinstance(value, list):
        return _checked([Prompt(text, f"{where}, prompt {index}") for index, text in enumerate(value)], problems)
    if is_numbered(value):
        numbered = [Prompt(text, f"{where}, prompt {key}", int(key)) for key, text in value.items()]
        return _checked(numbered, problems)
    problems.append(f"{where}: its prompts are {_kind(value)}; they must be {ALLOWED}")
    return ()


def is_numbered(value: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict) and all(key.strip().isdecimal() and len(key) < _MAX_DIGITS for key in value)


def parse_lines(lines: Sequence[str], where: str, problems: list[str]) -> tuple[Prompt, ...]:
    """One prompt a line; blank lines do not count. Numbers do where each line begins with one, from 0 or 1 upwards."""
    texts = [(number, line.strip()) for number, line in enumerate(lines, start=1) if line.strip()]
    matches = [_NUMBERED.fullmatch(text) for _, text in texts]
    numbers = [int(match[1]) for match in matches if match]
    if numbers[:1] in ([0], [1]) and len(numbers) == len(texts) and numbers == sorted(set(numbers)):
        prompts = [
            Prompt(match[2], f"{where}:{line}", int(match[1]))
            for (line, _), match in zip(texts, matches, strict=True)
            if match
        ]
    else:
        prompts = [Prompt(text, f"{where}:{line}") for line, text in texts]
    return _checked(prompts, problems)


def number(lists: Iterable[PromptList], first: int | None, problems: list[str]) -> list[list[int]]:
    """Each prompt's `prompt_index`: its number less the first one, else its position, counted anew for each seed.

    Whether numbers begin at 0 or at 1 must be told: it changes the videos' names, and either looks right.
    """
    lists = list(lists)
    numbered = [prompts for prompts in lists if any(prompt.number is not None for prompt in prompts.prompts)]
    if numbered and first is None:
        problems.append(_which_first(numbered))
    if not numbered and first is not None:
        problems.append("--first-prompt-number goes with numbered prompts, and these have no numbers; leave it out")
    return [_indices(prompts, first or 0, problems) for prompts in lists]


def _indices(prompts: PromptList, first: int, problems: list[str]) -> list[int]:
    positions: dict[Any, int] = defaultdict(int)
    indices = []
    for prompt in prompts.prompts:
        seed = str(prompt.fields.get("seed"))
        if prompt.number is None:
            indices.append(positions[seed])
            positions[seed] += 1
        else:
            indices.append(prompt.number - first)
    has_number = {prompt.number is not None for prompt in prompts.prompts}
    if len(has_number) == 2:
        bad = next(prompt for prompt in prompts.prompts if prompt.number is None)
        problems.append(f"{bad.where}: it has no number, and others of {_name(prompts)} have; number all or none")
        return indices
    seeds = [str(prompt.fields.get("seed")) for prompt in prompts.prompts]
    twice = Counter(zip(seeds, indices, strict=True))
    for prompt, seed, index in zip(prompts.prompts, seeds, indices, strict=True):
        if index < 0:
            problems.append(f"{prompt.where}: number {prompt.number} comes before --first-prompt-number {first}")
        elif twice[seed, index] > 1:
            problems.append(f"{prompt.where}: number {prompt.number} stands twice for {_name(prompts)}")
    return indices


def _which_first(numbered: Sequence[PromptList]) -> str:
    numbers = [prompt.number for each in numbered for prompt in each.prompts if prompt.number is not None]
    example = numbered[0]
    shown_numbers = ", ".join(str(prompt.number) for prompt in example.prompts[:6])
    return (
        f"{example.where}: the prompts are numbered ({_name(example)}: {shown_numbers}; the lowest of all is "
        f"{min(numbers)}); say what the first number is, --first-prompt-number 0 or --first-prompt-number 1: with 1, "
        "number 1 makes seed_<seed>_prompt_0.mp4"
    )


def _checked(prompts: Sequence[Prompt], problems: list[str]) -> tuple[Prompt, ...]:
    for prompt in prompts:
        if not isinstance(prompt.text, str):
            problems.append(f"{prompt.where}: it is {_kind(prompt.text)}; it must be text")
        elif not prompt.text.strip():
            problems.append(f"{prompt.where}: it is blank; write the prompt, or take its place out of the list")
    return tuple(prompt for prompt in prompts if isinstance(prompt.text, str) and prompt.text.strip())


def _name(prompts: PromptList) -> str:
    return shown(f"{prompts.category}/{prompts.name}")


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number" if isinstance(value, int | float) else "text")
