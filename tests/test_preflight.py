"""What is said and refused of the model before a run; the rest of the check has tests beside its parts."""

from pathlib import Path

import pytest
from factories import make_job

from wan_ddp.errors import ModelError
from wan_ddp.job import Job
from wan_ddp.preflight import check
from wan_ddp.rank import Rank
from wan_ddp.settings import Settings, parse
from wan_ddp.wan.random_checkpoint import make_checkpoint


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    make_checkpoint(folder, "tiny")
    return folder


@pytest.fixture
def jobs(tmp_path: Path) -> list[Job]:
    (tmp_path / "pan.mp4").write_bytes(b"frames")
    return [make_job(reference=str(tmp_path / "pan.mp4"))]


def settings(folder: Path, model_dir: Path, *flags: str, **environ: str) -> Settings:
    return parse(["--output", str(folder / "output"), "--model-dir", str(model_dir), *flags], environ)


def test_that_random_weights_make_noise_is_said_once_a_launch(
    tmp_path: Path, tiny: Path, jobs: list[Job], capsys: pytest.CaptureFixture[str]
) -> None:
    check(settings(tmp_path, tiny, "--model", "tiny"), jobs, Rank())
    assert capsys.readouterr().err == "tiny has random weights here: the videos will be noise\n"
    check(settings(tmp_path, tiny, "--model", "tiny"), jobs, Rank(rank=1, world_size=2))
    # A rank that launch.sh started, after its check has said it.
    check(settings(tmp_path, tiny, "--model", "tiny", WAN_RUN_ID="run"), jobs, Rank())
    assert capsys.readouterr() == ("", "")


def test_a_stand_in_is_not_taken_for_the_model_that_was_asked_for(tmp_path: Path, tiny: Path, jobs: list[Job]) -> None:
    with pytest.raises(ModelError, match=r"holds tiny, which makes noise, and Wan2\.1-T2V-14B was asked for"):
        check(settings(tmp_path, tiny), jobs, Rank())
    assert not (tmp_path / "output").exists()
