"""torchrun's environment as a value."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wan_ddp.errors import MachineError
from wan_ddp.rank import Rank, device

MEETING = {"MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}


def test_outside_of_torchrun_a_process_is_the_only_rank() -> None:
    rank = Rank.from_env({}, ranks_per_gpu=2)
    assert (rank.rank, rank.world_size, rank.gpu, rank.process, rank.restart) == (0, 1, 0, 0, 0)
    assert str(rank.log_folder / rank.name) == "logs/gpu0_process0"


def test_the_sixth_of_eight_ranks_is_the_second_process_of_the_third_gpu() -> None:
    environ = {"RANK": "5", "LOCAL_RANK": "5", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "8", "GROUP_WORLD_SIZE": "1"}
    rank = Rank.from_env(environ | MEETING, ranks_per_gpu=2)
    assert (rank.gpu, rank.process, rank.name) == (2, 1, "gpu2_process1")
    assert device(rank, num_gpus=4) == "cuda:2"


def test_ranks_of_several_nodes_log_into_a_folder_a_node() -> None:
    local = {"LOCAL_RANK": "5", "LOCAL_WORLD_SIZE": "8", "GROUP_RANK": "1", "GROUP_WORLD_SIZE": "2"}
    rank = Rank.from_env({"RANK": "13", "WORLD_SIZE": "16"} | local | MEETING, ranks_per_gpu=2)
    assert str(rank.log_folder / rank.name) == "logs/node1/gpu2_process1"


def test_a_node_keeps_the_number_that_launch_sh_gave_it_when_the_nodes_that_are_left_meet_again() -> None:
    left = {"GROUP_RANK": "0", "GROUP_WORLD_SIZE": "1", "WAN_NODE_RANK": "2", "WAN_NNODES": "3"}
    rank = Rank.from_env(left, ranks_per_gpu=2)
    assert str(rank.log) == "logs/node2/gpu0_process0.log"


@given(num_gpus=st.integers(1, 16), ranks_per_gpu=st.integers(1, 8))
def test_a_full_node_puts_each_gpus_ranks_on_it_and_names_all_apart(num_gpus: int, ranks_per_gpu: int) -> None:
    size = num_gpus * ranks_per_gpu
    ranks = [
        Rank.from_env({"LOCAL_RANK": str(number), "LOCAL_WORLD_SIZE": str(size)}, ranks_per_gpu)
        for number in range(size)
    ]
    devices = [device(rank, num_gpus) for rank in ranks]
    assert [devices.count(f"cuda:{gpu}") for gpu in range(num_gpus)] == [ranks_per_gpu] * num_gpus
    assert len({rank.name for rank in ranks}) == size


def test_restarts_are_counted() -> None:
    assert Rank.from_env({"TORCHELASTIC_RESTART_COUNT": "3"}, 2).restart == 3


@pytest.mark.parametrize(
    "name",
    [
        "RANK",
        "WORLD_SIZE",
        "LOCAL_RANK",
        "LOCAL_WORLD_SIZE",
        "GROUP_RANK",
        "GROUP_WORLD_SIZE",
        "TORCHELASTIC_RESTART_COUNT",
        "MASTER_PORT",
    ],
)
@pytest.mark.parametrize("text", ["", "-1", "two", "1.0"])
def test_an_environment_that_is_no_number_is_named(name: str, text: str) -> None:
    environ = {name: text} if name != "MASTER_PORT" else {"WORLD_SIZE": "2", "MASTER_ADDR": "localhost", name: text}
    with pytest.raises(MachineError, match=f"{name} is {text!r}"):
        Rank.from_env(environ, 2)


@pytest.mark.parametrize(
    ("rank", "count"), [("RANK", "WORLD_SIZE"), ("LOCAL_RANK", "LOCAL_WORLD_SIZE"), ("GROUP_RANK", "GROUP_WORLD_SIZE")]
)
@pytest.mark.parametrize("numbers", [("4", "4"), ("5", "4"), ("1", None), ("0", "0")])
def test_a_rank_that_is_not_among_those_there_are_is_refused(
    rank: str, count: str, numbers: tuple[str, str | None]
) -> None:
    number, size = numbers
    environ = {rank: number} | ({count: size} if size else {})
    with pytest.raises(
        MachineError, match=f"^{rank} is {number} .* {count} {size or 1}.* start it with torchrun"
    ) as caught:
        Rank.from_env(environ | MEETING, 2)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("left_out", list(MEETING))
def test_ranks_that_could_not_meet_are_refused(left_out: str) -> None:
    meeting = {name: value for name, value in MEETING.items() if name != left_out}
    with pytest.raises(MachineError, match=r"WORLD_SIZE is 2 .*MASTER_ADDR and MASTER_PORT.* start it with torchrun"):
        Rank.from_env({"WORLD_SIZE": "2"} | meeting, 2)
    assert Rank.from_env({"WORLD_SIZE": "1"} | meeting, 2).world_size == 1


def test_more_ranks_than_the_gpus_allow_are_refused_with_the_arithmetic() -> None:
    rank = Rank(local_rank=0, local_world_size=9, ranks_per_gpu=2)
    with pytest.raises(MachineError, match=r"^9 ranks are too many: 4 GPUs x 2 ranks per GPU = 8; start 8 .*=8"):
        device(rank, num_gpus=4)


def test_without_a_gpu_any_number_of_ranks_runs_on_the_cpu() -> None:
    assert device(Rank(local_rank=99, local_world_size=100), num_gpus=0) == "cpu"
