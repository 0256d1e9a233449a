"""torchrun, called by launch.sh: the same agent with the same arguments, but a signal ends it without a traceback."""

import sys

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import main

if __name__ == "__main__":
    try:
        main()
    except SignalException as signalled:
        sys.exit(128 + signalled.sigval)
    except KeyboardInterrupt:
        sys.exit(130)
    except ChildFailedError as failed:
        # A supervisor died more often than --max-restarts allows; its log, and what is missing, say the rest.
        print(f"torchrun gave up: {failed.get_first_failure()[1].exitcode=}", file=sys.stderr)
        sys.exit(1)
