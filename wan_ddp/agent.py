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
    from torch.distributed.elastic.rendezvous import RendezvousError
    from torch.distributed.run import main

    if os.environ.get("WAN_NNODES"):
        _expect_other_nodes()
    try:
        main()
    except SignalException as signalled:
        _wait_for_ranks()
        return exit_code_of(signalled.sigval)
    except ChildFailedError as failed:
        code = failed.get_first_failure()[1].exitcode
        print(f"launch: torchrun gave up, a rank ended with exit code {code}", file=sys.stderr)
        return EXIT_UNUSABLE if code == EXIT_UNUSABLE else EXIT_INCOMPLETE
    except RendezvousError as error:
        why = str(error.__cause__ or error).partition("\n")[0] or type(error).__name__
        print(
            f"error: the nodes cannot meet at RDZV_ENDPOINT {os.environ.get('RDZV_ENDPOINT')}: {why}", file=sys.stderr
        )
        return EXIT_INCOMPLETE if "WAN_RUN_ID" in os.environ else EXIT_UNUSABLE
    return EXIT_COMPLETE


def _expect_other_nodes() -> None:
    """Know the rendezvous of several nodes, and wait for none of them at the end."""
    from torch.distributed.elastic.agent.server.local_elastic_agent import LocalElasticAgent
    from torch.distributed.launcher import api

    from wan_ddp import nodes

    class Agent(LocalElasticAgent):
        def _exit_barrier(self) -> None:
            """The ranks have met at theirs, which knows the dead. This one would wait for them, five minutes."""

    nodes.register()
    api.LocalElasticAgent = Agent  # type: ignore[attr-defined]


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
    # A node that is not to be reached would be told of by the store's client, with a trace, every few seconds.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    code = run()
    end_quietly()
    if answer := os.environ.get("WAN_RUN_ID_PIPE"):  # launch.sh reads there what the nodes have agreed on
        os.write(int(answer), f"{os.environ.get('WAN_RUN_ID', '')}\n".encode())
    sys.exit(code)
