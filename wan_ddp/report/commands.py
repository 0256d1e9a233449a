"""The command line of the report: `python -m wan_ddp report OUTPUT`. Light to import."""

import argparse
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from wan_ddp.errors import EXIT_COMPLETE, MachineError, Stopped

_MAX_DECODERS = 16

_HELP = """\
Make a report of an output folder: one page that opens from disk, offline, in any
browser. For each reference a row in which it and its results play in step; filters;
what failed and why; the run's charts; a table of all videos (CSV) and a contact sheet
(PNG) for each reference. Of a run that goes on, it shows how things stand.

Nothing in the output folder is written but the report. Run it again and only what
has changed is made anew.
"""
_EXAMPLES = """\
examples:
  python -m wan_ddp report results                       into results/report/index.html
  python -m wan_ddp report results --to /data/report     elsewhere
"""


def add_commands(subparsers: Any) -> None:
    """Register `report`; it sets `run`, from arguments to an exit code."""
    parser = subparsers.add_parser(
        "report",
        help="make a page of what is in an output folder",
        description=_HELP,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("output", type=Path, metavar="OUTPUT", help="the folder that a run's --output names")
    parser.add_argument("--to", type=Path, metavar="DIR", help="the report's folder (default: OUTPUT/report)")
    parser.add_argument(
        "--jobs", type=_positive, metavar="N", help=f"decoders at once (default: one a core, at most {_MAX_DECODERS})"
    )
    parser.set_defaults(run=_run)


def _positive(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1024:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to 1024")
    return int(text)


def _run(args: argparse.Namespace) -> int:
    try:
        from wan_ddp.report import make
    except ModuleNotFoundError as error:
        raise MachineError(
            f"the report needs the package {error.name}, which is not installed; "
            "pip install -r requirements.txt brings it"
        ) from error
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        page = make.make_report(args.output, args.to or args.output / make.DEFAULT_NAME, args.jobs or _num_cores())
    except (KeyboardInterrupt, Stopped) as stopped:
        print("stopped; an earlier report is as it was, and the same command goes on from here", file=sys.stderr)
        return stopped.exit_code if isinstance(stopped, Stopped) else Stopped(signal.SIGINT).exit_code
    finally:
        signal.signal(signal.SIGTERM, before)
    print(page)
    return EXIT_COMPLETE


def _stop(signal_number: int, frame: FrameType | None) -> None:
    raise Stopped(signal_number)


def _num_cores() -> int:
    """The cores that this process may use, as far as they are of use: each decoder takes up to a gigabyte."""
    return min(len(os.sched_getaffinity(0)), _MAX_DECODERS)
