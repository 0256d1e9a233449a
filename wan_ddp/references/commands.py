"""The `references` command line. Numpy, Pillow and imageio are imported only once something is to be drawn."""

import argparse
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from wan_ddp.errors import EXIT_COMPLETE, MachineError, Stopped

MAKE_HELP = """\
Draw the reference set: 68 clips of plain, known motion in four categories, as
<output>/<category>/ref_<name>_832x480.mp4 (81 frames at 15 fps, H.264).

    camera_motion          14   pans, tilts, zooms, orbits, dolly and roll
    single_object          33   one object on a path
    multiple_objects       13   several objects with different motions
    complex_human_motion    8   a jointed figure that walks, waves, jumps, turns

Nothing is downloaded, and every run draws the same pixels. It takes a minute or two
on two cores and about 30 MB. Clips that are there and whole are kept, so a stopped
run goes on where it was. manifests/all.jsonl expects the set in references/, beside
manifests/.
"""
MAKE_EXAMPLES = """\
examples:
  python -m wan_ddp references make                          the set, into references/
  python -m wan_ddp references make --jobs 8                 the same on eight cores
  python -m wan_ddp references make --demo                   five tiny clips, into references-demo/
  python -m wan_ddp references make --output /data/refs      elsewhere
"""
MANIFEST_HELP = """\
Write the manifests over the reference set: all.jsonl (68 clips x 5 prompts x seeds 42
and 142 = 680 jobs) and demo.jsonl (a few small jobs of every category, over the clips
of `references make --demo`). The ones in manifests/ were written by this command.
"""


def add_commands(subparsers: Any) -> None:
    """Register `references make` and `references manifest`; each sets `run`, from arguments to an exit code."""
    parser = subparsers.add_parser("references", help="draw the project's own reference set, write its manifests")
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    make = actions.add_parser(
        "make",
        help="draw the 68 reference clips",
        description=MAKE_HELP,
        epilog=MAKE_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    make.add_argument(
        "--output", type=Path, metavar="DIR", help="where to (default: references, with --demo references-demo)"
    )
    make.add_argument("--demo", action="store_true", help="only the demo's clips, 160x96 with 17 frames")
    make.add_argument("--jobs", type=_positive, metavar="N", help="processes to draw with (default: one a core)")
    make.add_argument("--force", action="store_true", help="draw what is there already, too")
    make.set_defaults(run=run_make)
    manifest = actions.add_parser(
        "manifest",
        help="write manifests/all.jsonl and manifests/demo.jsonl",
        description=MANIFEST_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    manifest.add_argument(
        "--output", type=Path, metavar="DIR", default=Path("manifests"), help="where to (default: manifests)"
    )
    manifest.set_defaults(run=run_manifest)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return int(text)


def run_make(args: argparse.Namespace) -> int:
    from wan_ddp.references import catalogue, make
    from wan_ddp.references.clip import DEMO, FULL

    clips, size = (catalogue.DEMO_CLIPS, DEMO) if args.demo else (catalogue.CLIPS, FULL)
    output = args.output or Path("references-demo" if args.demo else "references")
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        num_drawn = make.make(clips, output, size, min(args.jobs or _num_cores(), len(clips)), force=args.force)
    except (KeyboardInterrupt, Stopped) as stopped:
        sys.stderr.write("stopped; the clips drawn so far are whole, the same command draws the rest\n")
        return stopped.exit_code if isinstance(stopped, Stopped) else Stopped(signal.SIGINT).exit_code
    finally:
        signal.signal(signal.SIGTERM, before)
    kept = len(clips) - num_drawn
    sys.stdout.write(f"{output}: {num_drawn} clips drawn, {kept} kept\n")
    return EXIT_COMPLETE


def run_manifest(args: argparse.Namespace) -> int:
    from wan_ddp.references import manifests

    try:
        for path in manifests.write(args.output):
            sys.stdout.write(f"{path}\n")
    except OSError as error:
        raise MachineError(f"cannot write manifests to {args.output}: {error.strerror or error}") from error
    return EXIT_COMPLETE


def _stop(signal_number: int, frame: FrameType | None) -> None:
    raise Stopped(signal_number)


def _num_cores() -> int:
    """The cores that this process may use, which on a cluster are fewer than the machine's."""
    return len(os.sched_getaffinity(0))
