"""Who this process is in the launch: torchrun's environment, read once into a value."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath

from wan_ddp.errors import MachineError

_REMEDY = "start it with torchrun, or unset these variables to run one rank"


@dataclass(frozen=True, slots=True)
class Rank:
    """One rank of the launch; `local_` counts within the node, and `restart` the agent's restarts of all ranks."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int = 1
    node: int = 0
    num_nodes: int = 1
    restart: int = 0
    ranks_per_gpu: int = 2

    @classmethod
    def from_env(cls, environ: Mapping[str, str], ranks_per_gpu: int) -> "Rank":
        """The rank that torchrun says this process is; alone, outside of torchrun, it is rank 0 of 1.

        Raises MachineError for an environment that torchrun does not make.
        """

        def number(name: str, default: int) -> int:
            text = environ.get(name, str(default))
            if not text.isdecimal():
                raise MachineError(
                    f"{name} is {text!r} in the environment; torchrun sets it to an integer of 0 or more"
                )
            return int(text)

        for name, count in (
            ("RANK", "WORLD_SIZE"),
            ("LOCAL_RANK", "LOCAL_WORLD_SIZE"),
            ("GROUP_RANK", "GROUP_WORLD_SIZE"),
            ("WAN_NODE_RANK", "WAN_NNODES"),
        ):
            if number(name, 0) >= number(count, 1):
                raise MachineError(
                    f"{name} is {number(name, 0)} in the environment and {count} {number(count, 1)}, where ranks count "
                    f"from 0; {_REMEDY}"
                )
        if number("WORLD_SIZE", 1) > 1 and not (environ.get("MASTER_ADDR") and number("MASTER_PORT", 0)):
            raise MachineError(
                f"WORLD_SIZE is {number('WORLD_SIZE', 1)} in the environment, without the MASTER_ADDR and MASTER_PORT "
                f"where its ranks meet; {_REMEDY}"
            )
        return cls(
            rank=number("RANK", 0),
            world_size=number("WORLD_SIZE", 1),
            local_rank=number("LOCAL_RANK", 0),
            local_world_size=number("LOCAL_WORLD_SIZE", 1),
            # launch.sh's own, which stay as they are when the nodes that are left meet again.
            node=number("WAN_NODE_RANK", number("GROUP_RANK", 0)),
            num_nodes=number("WAN_NNODES", number("GROUP_WORLD_SIZE", 1)),
            restart=number("TORCHELASTIC_RESTART_COUNT", 0),
            ranks_per_gpu=ranks_per_gpu,
        )

    @property
    def gpu(self) -> int:
        return self.local_rank // self.ranks_per_gpu

    @property
    def process(self) -> int:
        """Which of its GPU's ranks this is."""
        return self.local_rank % self.ranks_per_gpu

    @property
    def name(self) -> str:
        return f"gpu{self.gpu}_process{self.process}"

    @property
    def log_folder(self) -> PurePath:
        """Where the rank's files lie below the output folder."""
        return PurePath("logs", f"node{self.node}") if self.num_nodes > 1 else PurePath("logs")

    @property
    def log(self) -> PurePath:
        """What the rank's processes say, below the output folder."""
        return self.log_folder / f"{self.name}.log"

    @property
    def history(self) -> PurePath:
        """What the rank did and when, below the output folder: see `wan_ddp.heartbeat.read_history`."""
        return self.log_folder / f"{self.name}.history.jsonl"


def device(rank: Rank, num_gpus: int) -> str:
    """The rank's device, `cuda:<index>` or `cpu`. Raises MachineError, with the arithmetic, for too many ranks."""
    if num_gpus == 0:
        return "cpu"
    allowed = num_gpus * rank.ranks_per_gpu
    if rank.local_world_size > allowed:
        raise MachineError(
            f"{rank.local_world_size} ranks are too many: {num_gpus} GPU{'s' * (num_gpus > 1)} x {rank.ranks_per_gpu} "
            f"ranks per GPU = {allowed}; start {allowed} (--nproc_per_node={allowed}), or raise --ranks-per-gpu "
            "if the GPU's memory allows it"
        )
    return f"cuda:{rank.gpu}"
