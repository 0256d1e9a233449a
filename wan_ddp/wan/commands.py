"""The command line around checkpoints: `python -m wan_ddp checkpoint make`. Light to import."""

import argparse
from pathlib import Path
from typing import Any

from wan_ddp.errors import EXIT_COMPLETE, MachineError, UnusableError
from wan_ddp.wan.architectures import BY_NAME


def add_commands(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Add `checkpoint make`. The chosen function lands in `run`: it takes the arguments and gives the exit code."""
    checkpoint = subparsers.add_parser("checkpoint", help="make a checkpoint of random weights")
    actions = checkpoint.add_subparsers(required=True, metavar="ACTION")
    make = actions.add_parser(
        "make",
        help="write random weights in a published checkpoint's layout",
        description="Write random weights with the names, shapes and files of a published checkpoint. Speed and memory "
        "are those of the real one; the videos are noise.",
    )
    make.add_argument("--like", required=True, choices=list(BY_NAME), help="the checkpoint to imitate")
    make.add_argument("folder", type=Path, help="the folder to make; it must not exist")
    make.set_defaults(run=_make)


def _make(args: argparse.Namespace) -> int:
    if args.folder.exists():
        raise UnusableError(f"{args.folder} exists already; name another folder or remove it")
    from wan_ddp.wan.random_checkpoint import make_checkpoint

    try:
        make_checkpoint(args.folder, args.like)
    except OSError as error:
        raise MachineError(f"cannot write a checkpoint into {args.folder}: {error.strerror or error}") from error
    return EXIT_COMPLETE
