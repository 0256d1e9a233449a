"""How many jobs there are of what, and which references have fewer or others than the rest. Pure."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from wan_ddp.job import Job
from wan_ddp.manifest_tools.names import nearest, nfc, shown


@dataclass(frozen=True, slots=True)
class Count:
    """A category in numbers. `num_prompts` holds the fewest and the most that a reference has."""

    category: str
    num_references: int
    num_prompts: tuple[int, int]
    seeds: tuple[int, ...]
    num_jobs: int


def count(jobs: Iterable[Job]) -> list[Count]:
    """One count a category, in the order of the jobs. A reference counts once for each size of its videos."""
    counts = []
    for category, references in _by_category(jobs).items():
        prompts = [len({job.prompt_index for job in own}) for own in references.values()]
        seeds = dict.fromkeys(job.seed for own in references.values() for job in own)
        num_jobs = sum(map(len, references.values()))
        counts.append(Count(category, len(references), (min(prompts), max(prompts)), tuple(seeds), num_jobs))
    return counts


def unexpected(counts: Sequence[Count], expected: Mapping[str, int]) -> list[str]:
    """The categories that do not have as many references as is expected of them."""
    found = {each.category: each.num_references for each in counts}
    problems = []
    for category, number in expected.items():
        if found.get(nfc(category), 0) != number:
            near = [] if nfc(category) in found else nearest(category, found)
            hint = f" (is it {' or '.join(map(shown, near))}?)" if near else ""
            problems.append(
                f"{shown(category)}{hint}: {found.get(nfc(category), 0)} references, and {number} are expected"
            )
    return problems


def irregularities(jobs: Iterable[Job]) -> list[str]:
    """What is allowed and yet seldom meant, one line each."""
    found: list[str] = []
    for references in _by_category(jobs).values():
        usual = Counter(len({job.prompt_index for job in own}) for own in references.values()).most_common(1)[0][0]
        seeds = Counter(frozenset(job.seed for job in own) for own in references.values()).most_common(1)[0][0]
        for name, own in references.items():
            found += [f"{shown(name)}: {what}" for what in _irregular(own, usual, seeds)]
    return found


def _irregular(jobs: Sequence[Job], usual: int, usual_seeds: frozenset[int]) -> Iterator[str]:
    """What is odd about the jobs of one reference."""
    texts: dict[int, dict[str, None]] = defaultdict(dict)
    for job in jobs:
        texts[job.prompt_index][job.prompt] = None
    seeds = frozenset(job.seed for job in jobs)
    if len(texts) != usual:
        yield f"{len(texts)} prompts, and others of the category have {usual}"
    if seeds != usual_seeds:
        yield f"seeds {_numbers(seeds)}, and others of the category have {_numbers(usual_seeds)}"
    if len(jobs) != len(texts) * len(seeds):
        yield f"{len(jobs)} jobs, and {len(texts)} prompts x {len(seeds)} seeds are {len(texts) * len(seeds)}"
    if gap := next((index for index in range(len(texts)) if index not in texts), None):
        yield f"prompt_index goes up to {max(texts)}, and there is no {gap}"
    elif 0 not in texts:
        yield f"prompt_index begins at {min(texts)}"
    differ = [index for index, each in texts.items() if len(each) > 1]
    if differ:
        yield f"prompt {_numbers(differ)} is another text with another seed"
    where: dict[str, list[int]] = defaultdict(list)
    for index, each in texts.items():
        for text in each:
            where[text].append(index)
    for indices in where.values():
        if len(indices) > 1:
            yield f"prompts {_numbers(indices)} are the same text"


def _by_category(jobs: Iterable[Job]) -> dict[str, dict[str, list[Job]]]:
    """The jobs of each reference, which is a folder of results, in each category."""
    found: dict[str, dict[str, list[Job]]] = defaultdict(lambda: defaultdict(list))
    for job in jobs:
        found[job.category][job.id.rpartition("/")[0]].append(job)
    return found


def _numbers(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(numbers)))
