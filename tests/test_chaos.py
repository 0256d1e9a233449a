"""Fifty kills over real torchrun: no video lost, none damaged, none finished twice."""

from pathlib import Path

import pytest
from chaos import Chaos, Scale


@pytest.mark.timeout(900)
def test_fifty_kills_lose_damage_and_double_no_video(tmp_path: Path) -> None:
    result = Chaos(tmp_path, Scale(seed=1, num_kills=50, num_jobs=36, world_sizes=(2,))).run()
    assert result.problems == [], f"replay with seed {result.seed}; what was done: {tmp_path}/faults.jsonl"
    assert result.num_kills >= 50
