"""The `status` command line. Light to import: rich comes in once something is to be shown."""

import argparse
from pathlib import Path
from typing import Any

from wan_ddp.errors import MachineError

_HELP = """\
How the run in an output folder stands: per category and in all, what each rank does and how fast, what failed, and how
long the rest will take. From any terminal or node that sees the folder, while the run goes on or afterwards. Only the
files are read, and nothing is written into the folder.
"""
_EXAMPLES = """\
examples:
  python -m wan_ddp status results                     once
  python -m wan_ddp status results --watch             every two seconds, until the run ends
  python -m wan_ddp status results --json | jq .left   for scripts; docs/status.md tells the fields
  python -m wan_ddp status results --watch 30 --prometheus /var/lib/node_exporter/wan.prom > /dev/null

exit codes: 0 every video is there and verified; 1 not yet, or the run ended without; 2 there is no run to be seen;
130 stopped by Ctrl-C.
"""
_WATCH_SECONDS = 2.0


def add_commands(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Add `status`. The chosen function lands in `run`: it takes the arguments and gives the exit code."""
    parser = subparsers.add_parser(
        "status",
        help="how a run stands: progress, ranks, failures, time left",
        description=_HELP,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("output", type=Path, metavar="OUTPUT", help="the folder that the run's --output names")
    parser.add_argument(
        "--watch",
        type=_seconds,
        nargs="?",
        const=_WATCH_SECONDS,
        metavar="SECONDS",
        help=f"look again every so many seconds (default: {_WATCH_SECONDS:g}) until the run has ended",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on a line, with --watch one for each look")
    parser.add_argument(
        "--prometheus", type=Path, metavar="FILE", help="write metrics into this file too, for those who scrape"
    )
    parser.add_argument(
        "--run",
        dest="run_id",
        metavar="RUN_ID",
        help="look at this run (default: all that go on, else the latest); --watch waits for it to begin",
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    try:
        from wan_ddp.status.show import show
    except ModuleNotFoundError as error:
        if error.name != "rich":
            raise
        raise MachineError("status needs the package rich, which is not installed: pip install rich") from error
    return show(
        arguments.output,
        arguments.run_id,
        every=arguments.watch,
        as_json=arguments.json,
        metrics=arguments.prometheus,
    )


def _seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0.1 <= number <= 86400:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no number of seconds from 0.1 to 86400; the folder comes first: status OUTPUT --watch"
        )
    return number
