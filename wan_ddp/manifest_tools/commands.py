"""The `manifest` command line. What reads videos is imported only once there is something to read."""

import argparse
import json
import os
import signal
from pathlib import Path
from typing import Any, get_args

from wan_ddp.errors import EXIT_COMPLETE, EXIT_INCOMPLETE, EXIT_UNUSABLE, ManifestError, Stopped
from wan_ddp.job import Sampling, ShortReference
from wan_ddp.manifest import read_manifest
from wan_ddp.manifest_tools import build, flags
from wan_ddp.manifest_tools.columns import count_table
from wan_ddp.manifest_tools.counts import count, irregularities
from wan_ddp.manifest_tools.layouts import LAYOUTS, Options, collect
from wan_ddp.manifest_tools.names import shown
from wan_ddp.manifest_tools.schema import schema_text
from wan_ddp.settings import Settings, add_job_settings, take_job_settings

_NUM_SHOWN = 20

BUILD_HELP = """\
Write a manifest from a folder of clips and prompts, or from a file of prompts.
The layout is found by looking at what is there:

{layouts}

Names are compared in Unicode NFC, with or without .mp4, and ref_pan_832x480 is pan.
Clips without prompts and prompts without a clip are listed with the nearest names,
and then nothing is written, unless --allow-unmatched says so. A list's prompts are
prompt 0, 1, 2, ... by position; where the input numbers them itself ({{"1": "..."}},
prompt_1, a column prompt_index, "1. A cat"), --first-prompt-number says what the
first number is.
"""
BUILD_EXAMPLES = """\
examples:
  a folder, two seeds, and how many references there should be:
    python -m wan_ddp manifest build data --output my/all.jsonl --seeds 42 142 \\
        --expect camera_motion=14 single_object=33
  two references a category, to try a run with:
    python -m wan_ddp manifest build data --output my/trial.jsonl --seeds 42 --sample 2
  prompts in one place, clips in another:
    python -m wan_ddp manifest build prompts.json --clips /data/references --output my/all.jsonl --seeds 42 142
  a table saved by Excel, with columns of its own names:
    python -m wan_ddp manifest build 提示词.csv --encoding gb18030 --first-prompt-number 1 \\
        --columns category=类别 reference=视频 prompt=提示词 prompt_index=编号 --output my/all.jsonl --seeds 42 142

exit codes: 0 the manifest is written; 2 it is not, and why.
"""
CHECK_HELP = """\
Look a manifest over before a run: every complaint of its lines, how many references,
prompts, seeds and jobs a category has, references with fewer prompts than the others,
prompts that differ between seeds. Then every reference is read as a run would read it,
several at once: too few frames, another frame rate, another aspect, rotated, damaged.
Give the flags of the run (--sampling, --short-reference, --num-frames, ...): they
decide what is too short.
"""
CHECK_EXAMPLES = """\
examples:
  python -m wan_ddp manifest check my/all.jsonl
  python -m wan_ddp manifest check my/all.jsonl --expect camera_motion=14 single_object=33
  python -m wan_ddp manifest check my/all.jsonl --sampling time --short-reference hold
  python -m wan_ddp manifest check my/all.jsonl --json > check.json

exit codes: 0 every reference can be read as its jobs need it; 1 some jobs would fail;
2 the manifest cannot be used, or has other counts than --expect says.
"""
SCHEMA_HELP = """\
Print the JSON Schema (draft 2020-12) of a manifest's line, made from the code that
checks it: for editors, and for programs that write manifests.

What it cannot say, and a run refuses all the same: integers written as 81.0, a field
twice in an object, two lines with one output, names longer than 200 bytes.
"""
SCHEMA_EXAMPLES = """\
example:
  python -m wan_ddp manifest schema > manifest.schema.json
"""


def add_commands(subparsers: Any) -> None:
    """Register `manifest build`, `check` and `schema`; each sets `run`, from arguments to an exit code."""
    parser = subparsers.add_parser("manifest", help="write a manifest from your clips and prompts, look one over")
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    layouts = "\n".join(f"    {layout:12}  {text}" for layout, text in LAYOUTS.items())
    _add_build(_command(actions, "build", "write one", BUILD_HELP.format(layouts=layouts), BUILD_EXAMPLES))
    _add_check(_command(actions, "check", "look one over, references and all", CHECK_HELP, CHECK_EXAMPLES))
    schema = _command(actions, "schema", "print the format as a JSON Schema", SCHEMA_HELP, SCHEMA_EXAMPLES)
    schema.set_defaults(run=run_schema)


def _command(actions: Any, name: str, summary: str, description: str, examples: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(
        name,
        help=summary,
        description=description,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    return parser


def _add_build(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "input", type=flags.absolute, metavar="INPUT", help="a folder, or a .json, .csv, .tsv or .jsonl file"
    )
    parser.add_argument("--output", type=flags.absolute, metavar="FILE", required=True, help="the manifest to write")
    parser.add_argument(
        "--seeds", type=flags.integer, nargs="+", metavar="SEED", help="each prompt is made with each of them"
    )
    _add_expect(parser)
    parser.add_argument("--sample", type=flags.positive, metavar="N", help="N references a category, for a trial run")
    parser.add_argument(
        "--sample-seed", type=flags.integer, default=0, metavar="S", help="which ones are drawn (default: %(default)s)"
    )
    parser.add_argument(
        "--allow-unmatched", action="store_true", help="leave clips without prompts, and prompts without a clip, out"
    )
    parser.add_argument("--force", action="store_true", help="replace a manifest that is there already")
    parser.set_defaults(run=run_build)
    group = parser.add_argument_group("how the input is read")
    group.add_argument("--layout", choices=list(LAYOUTS), help="where it has more than one")
    group.add_argument(
        "--first-prompt-number",
        type=int,
        choices=(0, 1),
        help="of prompts that the input numbers: with 1, its number 1 becomes prompt_index 0",
    )
    group.add_argument(
        "--clips", type=flags.absolute, metavar="DIR", help="the clips' folder (default: with the prompts)"
    )
    group.add_argument("--category", metavar="NAME", help="for an input of one category (default: its folder's name)")
    group.add_argument(
        "--columns", type=flags.column, nargs="+", metavar="FIELD=COLUMN", help="a table's columns with other names"
    )
    group.add_argument("--encoding", type=flags.encoding, metavar="NAME", help="of prompt files that are not UTF-8")
    group.add_argument(
        "--links",
        type=flags.absolute,
        metavar="DIR",
        help="with a folder a video, where all clips have one name: make links DIR/<category>/<folder>.mp4 to them",
    )
    add_job_settings(parser.add_argument_group("settings for every line (default: left to the run)"))


def _add_check(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("manifest", type=Path, metavar="FILE", help="the manifest")
    _add_expect(parser)
    parser.add_argument(
        "--jobs", type=flags.positive, metavar="N", help="references to read at once (default: one a core)"
    )
    parser.add_argument(
        "--json", action="store_true", help="one JSON object on standard output, and nothing else there"
    )
    parser.set_defaults(run=run_check)
    group = parser.add_argument_group("the run's flags, which decide what is too short")
    group.add_argument("--sampling", choices=get_args(Sampling), default=Settings.sampling)
    group.add_argument("--short-reference", choices=get_args(ShortReference), default=Settings.short_reference)
    add_job_settings(group)


def _add_expect(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--expect",
        type=flags.expectation,
        nargs="+",
        action="extend",
        default=[],
        metavar="CATEGORY=N",
        help="the references that a category should have; others are refused",
    )


def run_build(args: argparse.Namespace) -> int:
    settings = take_job_settings(vars(args))
    request = build.Request(
        output=args.output,
        seeds=tuple(args.seeds) if args.seeds else None,
        settings=settings,
        first_prompt_number=args.first_prompt_number,
        expected=dict(args.expect),
        sample=args.sample,
        sample_seed=args.sample_seed,
        allow_unmatched=args.allow_unmatched,
        links=args.links,
        force=args.force,
    )
    build.refuse_existing(request)
    options = Options(args.layout, args.clips, args.category, args.encoding, dict(args.columns or ()), args.output)
    collected = collect(args.input, options)
    built = build.build(collected, request)
    build.write(built, request)
    lines = [collected.summary, *collected.notes]
    if collected.unmatched:
        lines += ["left out, by --allow-unmatched:", *build.describe_unmatched(collected.unmatched)]
    if args.sample is not None:
        lines.append(f"a sample of {args.sample} references a category, drawn with --sample-seed {args.sample_seed}")
    odd = irregularities(built.jobs)
    lines += [f"unlike the others: {each}" for each in odd[:_NUM_SHOWN]]
    lines += [f"unlike the others: {len(odd) - _NUM_SHOWN} more"] if len(odd) > _NUM_SHOWN else []
    expected = {} if args.sample is not None else request.expected
    lines += ["", *count_table(count(built.jobs), expected), ""]
    name = shown(os.path.relpath(args.output))
    lines += [f"{name}: {len(built.jobs)} jobs", f"next: python -m wan_ddp manifest check {name}"]
    print("\n".join(lines))
    return EXIT_COMPLETE


def run_check(args: argparse.Namespace) -> int:
    from wan_ddp.manifest_tools.check import check
    from wan_ddp.manifest_tools.check_view import check_json, check_text

    defaults = take_job_settings(vars(args))
    expected = dict(args.expect)
    try:
        jobs = read_manifest(args.manifest, defaults)
    except ManifestError as error:
        if args.json:
            print(json.dumps({"exit_code": EXIT_UNUSABLE, "problems": error.problems}, ensure_ascii=False))
        raise
    try:
        checked = check(
            jobs,
            expected=expected,
            sampling=args.sampling,
            short_reference=args.short_reference,
            num_workers=args.jobs or len(os.sched_getaffinity(0)),
        )
    except KeyboardInterrupt:
        return Stopped(signal.SIGINT).exit_code
    code = EXIT_UNUSABLE if checked.unexpected else EXIT_INCOMPLETE if checked.num_failing else EXIT_COMPLETE
    if args.json:
        print(check_json(checked, expected, code))
    else:
        print(check_text(checked, expected, lambda path: shown(build.written(path, os.path.abspath(args.manifest)))))
    return code


def run_schema(args: argparse.Namespace) -> int:
    print(schema_text())
    return EXIT_COMPLETE
