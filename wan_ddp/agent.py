"""torchrun, called by launch.sh: the same agent with the same arguments, but a signal ends it, and its ranks, quietly.

Exit codes: 0 all ranks ended with 0; 130 and 143 it was stopped; 2 a rank found something that is not usable; 1 ranks
died more often than --max-restarts allows.
"""

import os
import signal
import sys
import time

from wan_ddp.entry import end_quietly, end_with_parent, exit_code_of
from wan_ddp.errors import EXIT_COMPLETE, EXIT_INCOMPLETE, EXIT_UNUSABLE

_PATIENCE_SECONDS = 30.0  # as torchrun's own, for ranks that are told to end


def run() -> int:
    """torchrun with this process's arguments; returns its exit code."""
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main

    try:
        main()
    except SignalException as signalled:
        _wait_for_ranks()
        return exit_code_of(signalled.sigval)
    except ChildFailedError as failed:
        code = failed.get_first_failure()[1].exitcode
        print(f"launch: torchrun gave up, a rank ended with exit code {code}", file=sys.stderr)
        return EXIT_UNUSABLE if code == EXIT_UNUSABLE else EXIT_INCOMPLETE
    return EXIT_COMPLETE


def _wait_for_ranks() -> None:
    """Let ranks that were told to end do so, where a second signal made torchrun leave them alone with that."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline:
        try:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                time.sleep(0.05)
        except ChildProcessError:
            return


if __name__ == "__main__":
    end_quietly()
    # Ranks are told to end, and may save what they are at, if launch.sh is killed; they die at once if this process is.
    end_with_parent(os.environ.get("WAN_LAUNCH_PID"), signal.SIGTERM)
    os.environ["WAN_AGENT_PID"] = str(os.getpid())
    if sys.version_info < (3, 11):
        del sys.path[0]  # the working directory, which PYTHONSAFEPATH keeps out of later versions
    code = run()
    end_quietly()
    sys.exit(code)
