"""Makes every video of a manifest, each moving like its reference. `python generate.py --help` teaches the rest.

The way of one job: manifest line -> Job -> a rank's shard -> skip if done -> reference clip -> latents -> denoise ->
decode -> hidden file -> verified -> published -> record -> verdict.
"""

import os
import sys
from collections.abc import Sequence

from wan_ddp.entry import enter, leave

if __name__ == "__main__":
    enter(os.environ)  # what follows takes a moment to import

from wan_ddp.conclude import read_verdict
from wan_ddp.errors import EXIT_UNUSABLE, Stopped, UnusableError
from wan_ddp.manifest import read_manifest
from wan_ddp.plan_view import show_plan
from wan_ddp.preflight import check
from wan_ddp.rank import Rank
from wan_ddp.run import run
from wan_ddp.settings import parse
from wan_ddp.signals import Signals


def main(argv: Sequence[str]) -> int:
    signals = Signals()
    try:
        signals.install()
        settings = parse(argv, os.environ)
        if settings.action == "verdict":
            is_one_of_several = Rank.from_env(os.environ, settings.ranks_per_gpu).num_nodes > 1
            return read_verdict(settings, settings.barrier_timeout if is_one_of_several else 0.0)
        jobs = read_manifest(settings.manifest, settings.job_defaults)
        if settings.action == "dry-run":
            return show_plan(settings, jobs)
        rank = Rank.from_env(os.environ, settings.ranks_per_gpu)
        if settings.action == "check":
            from wan_ddp.doctor.brief import check_in_short  # only here: a plan does without it, and so do the ranks

            return check_in_short(settings, jobs, rank, os.environ)
        return run(settings, rank, check(settings, jobs, rank), os.environ, signals)
    except UnusableError as error:
        for line in str(error).splitlines():
            print(f"error: {line}", file=sys.stderr)
        return EXIT_UNUSABLE
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_UNUSABLE
    except Stopped as stopped:
        return stopped.exit_code


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
