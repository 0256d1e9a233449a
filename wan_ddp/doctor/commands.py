"""The command line of doctor. Light to import: what it looks at may be broken."""

import argparse
import json
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

from wan_ddp.doctor.rows import Row, exit_code, table
from wan_ddp.errors import EXIT_COMPLETE, EXIT_UNUSABLE, MachineError, Stopped, UnusableError
from wan_ddp.settings import Settings, add_flags, from_flags
from wan_ddp.signals import Signals

if TYPE_CHECKING:
    from wan_ddp.doctor.diagnose import Diagnosis
    from wan_ddp.doctor.outcome import Outcome

_DESCRIPTION = """\
Look at everything that a run needs, before it is started: what was found, what is needed, what to do. Takes the flags
and the environment of the run itself, and changes nothing.

    python -m wan_ddp doctor --manifest my/all.jsonl --output out --model-dir /data/Wan2.1-T2V-14B

With --pilot it then makes a few short videos (8 steps), as the run would, in OUTPUT-pilot, and tells from them what the
whole run will take: GPU-hours, disk, and when it will end. The figures are kept in OUTPUT/pilot.json, for --dry-run.
"""
_EPILOG = "exit codes: 0 a run would work, whatever the warnings; 2 it would fail, or the pilot did."


def add_commands(subparsers: Any) -> None:
    """Register `doctor`; it sets `run`, from arguments to an exit code."""
    parser = subparsers.add_parser(
        "doctor",
        help="what a run needs of this machine, what was found, what to do; --pilot measures what it will take",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    group = parser.add_argument_group("doctor")
    group.add_argument("--pilot", action="store_true", help="make short videos, and measure what the run will take")
    group.add_argument("--json", action="store_true", help="one JSON object on standard output, and nothing else there")
    group.add_argument(
        "--world-size",
        type=_positive,
        metavar="N",
        help="tell the time for so many ranks, of several machines say (default: those of this machine)",
    )
    add_flags(parser)
    parser.set_defaults(run=run_doctor, action="check")


def _positive(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 10**6:
        raise argparse.ArgumentTypeError(f"{text!r} is not an integer of 1 or more")
    return int(text)


def run_doctor(args: argparse.Namespace) -> int:
    """Look, say what was found, and make a pilot if that is asked for."""
    arguments = vars(args).copy()
    flags = [flag for flag in arguments.pop("argv") if flag not in ("--pilot", "--json")]
    wants_pilot = arguments.pop("pilot")
    del arguments["run"]
    settings = from_flags(arguments, os.environ)
    signals = Signals()
    signals.install()
    try:
        return _run(settings, args.world_size, flags if wants_pilot else None)
    except Stopped as stopped:
        return stopped.exit_code


def _run(settings: Settings, world_size: int | None, pilot_flags: Sequence[str] | None) -> int:
    """`pilot_flags` are those of the run, None where no pilot is wanted."""
    from wan_ddp.doctor.diagnose import diagnose

    diagnosis = diagnose(settings, world_size, os.environ)
    code, outcome = exit_code(diagnosis.rows), None
    if not settings.json:
        print(table(diagnosis.rows, shutil.get_terminal_size((120, 24)).columns), flush=True)
    if pilot_flags is not None:
        try:
            outcome = _pilot(settings, diagnosis, pilot_flags)
        except UnusableError as error:
            code = EXIT_UNUSABLE
            print(f"error: {error}", file=sys.stderr)
    if settings.json:
        print(_as_json(diagnosis.rows, code, outcome))
    return code


def _pilot(settings: Settings, diagnosis: "Diagnosis", flags: Sequence[str]) -> "Outcome | None":
    """Make it, and say and keep what it tells; None if nothing is left to do. Raises UnusableError."""
    if diagnosis.project is None or exit_code(diagnosis.rows) != EXIT_COMPLETE:
        raise UnusableError("pilot: none was made, because the run would fail; mend that first")
    from wan_ddp.doctor.outcome import outcome_of, outcome_text
    from wan_ddp.doctor.trial import Trial, choose, folder_of, shorten
    from wan_ddp.pilot import write_pilot
    from wan_ddp.progress import describe_seconds

    project, needs = diagnosis.project, diagnosis.project.needs
    shards = [[task.job for task in shard if task.is_to_do(settings, None)] for shard in project.shards]
    if not any(shards):
        print("pilot: nothing is left to do", file=sys.stderr)
        return None
    jobs = [task.job for task in project.tasks if task.is_to_do(settings, None)]
    chosen = [shorten(job) for job in choose(jobs, needs.num_ranks)]
    if not chosen:
        raise UnusableError("pilot: no job to do has its reference; put one there")
    print(f"pilot: {len(chosen)} short videos, in {folder_of(settings.output)}", file=sys.stderr)
    pilot = Trial(settings, chosen, flags, needs.num_ranks).run(os.environ)
    outcome = outcome_of(pilot, shards, datetime.now().astimezone())
    try:
        kept = write_pilot(settings.output, pilot)
    except OSError as error:
        raise MachineError(f"pilot: its figures cannot be written: {error}; make room") from error
    if not settings.json:
        print(f"\n{outcome_text(outcome, describe_seconds(outcome.seconds))}\n\nkept in {kept}, for --dry-run")
    return outcome


def _as_json(rows: Sequence[Row], code: int, outcome: "Outcome | None") -> str:
    told = {"works": code == EXIT_COMPLETE, "rows": [asdict(row) for row in rows]}
    return json.dumps(told | {"pilot": asdict(outcome) if outcome else None}, ensure_ascii=False)
