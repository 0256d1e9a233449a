"""The tools around a run: `python -m wan_ddp --help`."""

import argparse
import sys
from collections.abc import Sequence

from wan_ddp.errors import EXIT_UNUSABLE, UnusableError


def main(argv: Sequence[str]) -> int:
    try:
        from wan_ddp import doctor, manifest_tools, references, report
        from wan_ddp.status import commands as status
        from wan_ddp.wan import commands as checkpoint
    except ModuleNotFoundError as error:
        print(
            f"error: {error.name} is not installed for {sys.executable}; use the environment that has it: source "
            ".venv/bin/activate; or pip install -r requirements.txt -c constraints.txt",
            file=sys.stderr,
        )
        return EXIT_UNUSABLE
    parser = argparse.ArgumentParser(
        prog="python -m wan_ddp",
        description="The tools around a run. The run itself: python generate.py --help, bash launch.sh --help.",
        allow_abbrev=False,
    )
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    references.add_commands(subparsers)
    manifest_tools.add_commands(subparsers)
    report.add_commands(subparsers)
    checkpoint.add_commands(subparsers)
    doctor.add_commands(subparsers)
    status.add_commands(subparsers)
    arguments = parser.parse_args(argv, argparse.Namespace(argv=list(argv[1:])))
    try:
        code: int = arguments.run(arguments)
    except UnusableError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_UNUSABLE
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
