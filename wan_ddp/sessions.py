"""What launch.sh --tmux asks: where the output folder is, and which session follows which rank's log.

`python -m wan_ddp.sessions NUM_RANKS [FLAGS OF generate.py]` prints the folder, then a session's name and a log for
each rank of this machine, each with a NUL at its end: no path holds that.
"""

import os
import sys
from collections.abc import Sequence

from wan_ddp.rank import Rank
from wan_ddp.settings import parse


def names(num_ranks: int, argv: Sequence[str]) -> list[str]:
    settings = parse(argv, os.environ)
    output = settings.output.absolute()
    found = [str(output)]
    for number in range(num_ranks):
        rank = Rank(local_rank=number, local_world_size=num_ranks, ranks_per_gpu=settings.ranks_per_gpu)
        found += [f"gpu{rank.gpu}_proc{rank.process}", str(output / rank.log)]
    return found


if __name__ == "__main__":
    sys.stdout.buffer.write(b"".join(os.fsencode(name) + b"\0" for name in names(int(sys.argv[1]), sys.argv[2:])))
