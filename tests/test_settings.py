"""Flags and environment as one frozen value; what cannot be used is said in one line each."""

from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from wan_ddp.errors import UnusableError
from wan_ddp.job import SETTING_FIELDS
from wan_ddp.settings import ROOT, parse


def test_the_defaults_are_those_of_the_experiment() -> None:
    settings = parse([], {})
    assert settings.manifest == ROOT / "manifests" / "all.jsonl"
    assert settings.output == ROOT / "results"
    assert settings.model_dir == ROOT / "models" / "Wan2.1-T2V-14B"
    assert (settings.ranks_per_gpu, settings.world_size, settings.action, settings.run_id) == (2, 8, "run", None)
    assert (settings.tiled, settings.on_change, settings.verify) == (True, "refuse", "size")
    assert settings.job_defaults == {}


def test_settings_do_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        parse([], {}).output = Path()  # type: ignore[misc]


def test_the_demo_is_another_manifest_output_and_model() -> None:
    settings = parse(["--demo"], {})
    assert settings.manifest == ROOT / "manifests" / "demo.jsonl"
    assert settings.output == ROOT / "results-demo"
    assert (settings.model, settings.model_dir) == ("pocket", ROOT / "wan_ddp" / "pocket")


def test_flags_win_over_the_demo() -> None:
    settings = parse(["--demo", "--output", "/o", "--manifest", "/m"], {})
    assert (settings.output, settings.manifest, settings.model) == (Path("/o"), Path("/m"), "pocket")


def test_the_demo_wins_over_the_environment() -> None:
    environ = {"WAN_MANIFEST": "/m", "WAN_OUTPUT": "/o", "WAN_MODEL": "Wan2.1-VACE-14B", "WAN_MODEL_DIR": "/d"}
    assert parse(["--demo"], environ) == parse(["--demo"], {})


def test_own_models_are_never_looked_for_where_the_environment_says_the_real_one_lies() -> None:
    pocket = ROOT / "wan_ddp" / "pocket"
    for flags, environ, folder in (
        (["--model", "tiny"], {}, ROOT / "models" / "tiny"),
        ([], {"WAN_MODEL": "tiny"}, ROOT / "models" / "tiny"),
        (["--model", "pocket"], {}, pocket),
        (["--demo"], {}, pocket),
    ):
        assert parse(flags, {"WAN_MODEL_DIR": "/d", **environ}).model_dir == folder
    assert parse(["--demo", "--model-dir", "/t"], {"WAN_MODEL_DIR": "/d"}).model_dir == Path("/t")
    assert parse(["--demo", "--model", "Wan2.1-T2V-1.3B"], {"WAN_MODEL_DIR": "/d"}).model_dir == Path("/d")


def test_an_empty_variable_counts_as_not_set() -> None:
    names = ("WAN_MANIFEST", "WAN_OUTPUT", "WAN_MODEL", "WAN_MODEL_DIR", "WAN_RANKS_PER_GPU", "WORLD_SIZE")
    assert parse([], dict.fromkeys(names, "")) == parse([], {})


@pytest.mark.parametrize("flag", ["--manifest", "--output", "--model", "--model-dir"])
def test_an_empty_name_is_refused(flag: str) -> None:
    with pytest.raises(UnusableError, match=f"^argument {flag}: it is empty; see generate.py --help$"):
        parse([flag, ""], {})


def test_the_environment_stands_for_flags_and_a_flag_wins() -> None:
    environ = {
        "WAN_MANIFEST": "/m",
        "WAN_OUTPUT": "/o",
        "WAN_MODEL": "Wan2.1-VACE-14B",
        "WAN_MODEL_DIR": "/d",
        "WAN_RANKS_PER_GPU": "3",
        "WORLD_SIZE": "5",
        "WAN_RUN_ID": "run",
    }
    settings = parse([], environ)
    assert [str(path) for path in (settings.manifest, settings.output, settings.model_dir)] == ["/m", "/o", "/d"]
    assert (settings.model, settings.ranks_per_gpu, settings.world_size) == ("Wan2.1-VACE-14B", 3, 5)
    assert settings.run_id == "run"
    flags = ["--manifest", "/n", "--output", "/p", "--model", "x", "--model-dir", "/e", "--ranks-per-gpu", "1"]
    settings = parse([*flags, "--world-size", "4"], environ)
    assert [str(path) for path in (settings.manifest, settings.output, settings.model_dir)] == ["/n", "/p", "/e"]
    assert (settings.model, settings.ranks_per_gpu, settings.world_size) == ("x", 1, 4)


def test_every_setting_of_a_job_has_a_flag_and_only_those_given_become_defaults() -> None:
    values = {
        "negative_prompt": "模糊",
        "mechanism": "v2v",
        "denoising_strength": 0.5,
        "width": 640,
        "height": 352,
        "num_frames": 49,
        "fps": 23.976,
        "num_inference_steps": 30,
        "cfg_scale": 1.0,
        "sigma_shift": 8.0,
    }
    assert set(values) == set(SETTING_FIELDS)
    flags = [text for name, value in values.items() for text in (f"--{name.replace('_', '-')}", str(value))]
    assert parse(flags, {}).job_defaults == values
    assert parse(["--steps", "30"], {}).job_defaults == {"num_inference_steps": 30}


def test_conditions_hold_what_changes_pixels() -> None:
    flags = ["--sampling", "time", "--short-reference", "loop", "--control", "canny", "--no-tiled"]
    conditions = parse(flags, {}).conditions("identity", str)
    assert (conditions.sampling, conditions.short_reference, conditions.control) == ("time", "loop", "canny")
    assert (conditions.tiled, conditions.model) == (False, "identity")
    throughput = [
        "--step-timeout",
        "5",
        "--max-attempts",
        "1",
        "--cpu-offload",
        "--vram-limit",
        "20",
        "--verify",
        "full",
    ]
    assert parse(throughput, {}).conditions("m", str) == parse([], {}).conditions("m", str)


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (["--width", "831"], "settings: width is 831; it must be a multiple of 16, from 16 to 4096"),
        (["--num-frames", "80"], "settings: num_frames is 80; it must be 4n+1 from 5 to 1001, such as 77 or 81"),
        (["--fps", "nan"], "settings: fps is NaN; it must be a number above 0, at most 240"),
        (["--cfg-scale", "inf"], "settings: cfg_scale is Infinity; it must be a number from 0 to 100"),
        (["--denoising-strength", "1"], "settings: denoising_strength is 1.0, which ignores the reference"),
        (["--denoising-strength", "0"], "settings: denoising_strength is 0.0; it must be above 0 and below 1"),
        (
            ["--mechanism", "vace", "--denoising-strength", "0.5"],
            "settings: --denoising-strength goes with --mechanism v2v only; leave it out",
        ),
    ],
)
def test_a_setting_that_no_job_may_have_is_refused(flags: list[str], problem: str) -> None:
    with pytest.raises(UnusableError) as caught:
        parse(flags, {})
    assert str(caught.value).startswith(problem)
    assert "\n" not in str(caught.value)


def test_all_bad_settings_are_told_in_one_go() -> None:
    with pytest.raises(UnusableError) as caught:
        parse(["--width", "831", "--height", "1", "--steps", "0"], {})
    assert [line.split(" is ")[0] for line in str(caught.value).splitlines()] == [
        "settings: width",
        "settings: height",
        "settings: num_inference_steps",
    ]


@pytest.mark.parametrize(
    ("flags", "environ", "problem"),
    [
        (["--world-size", "0"], {}, "--world-size: '0' is not an integer of 1 or more"),
        (["--world-size", "-3"], {}, "--world-size"),
        (["--ranks-per-gpu", "two"], {}, "--ranks-per-gpu: 'two' is not an integer of 1 or more"),
        (["--max-attempts", "0"], {}, "--max-attempts"),
        (["--step-timeout", "0"], {}, "--step-timeout: '0' is not a number above 0"),
        (["--grace", "inf"], {}, "--grace"),
        (["--barrier-timeout", "nan"], {}, "--barrier-timeout"),
        (["--width", "wide"], {}, "--width: invalid int value: 'wide'"),
        (["--mechanism", "magic"], {}, "--mechanism: invalid choice: 'magic'"),
        (["--on-change", "ask"], {}, "--on-change: invalid choice"),
        (["--manifst", "m"], {}, "unrecognized arguments: --manifst m"),
        (["--mani", "m"], {}, "unrecognized arguments: --mani m"),
        (["--dry-run", "--check"], {}, "not allowed with argument --dry-run"),
        (["--manifst", "two\nlines"], {}, "unrecognized arguments: --manifst two lines; see generate.py --help"),
        (["--world-size", "9" * 5000], {}, "--world-size: '9999999999999"),
        ([], {"WORLD_SIZE": "many"}, "WORLD_SIZE in the environment: 'many' is not an integer of 1 or more"),
        ([], {"WORLD_SIZE": "9" * 5000}, "WORLD_SIZE in the environment: '9999999999999"),
        ([], {"WAN_RANKS_PER_GPU": "0"}, "WAN_RANKS_PER_GPU in the environment: '0' is not an integer of 1 or more"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_refused_in_a_line_that_names_the_flag_or_variable(
    flags: list[str], environ: dict[str, str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UnusableError) as caught:
        parse(flags, environ)
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capsys.readouterr() == ("", "")


def test_a_flag_makes_up_for_a_variable_that_makes_no_sense() -> None:
    assert parse(["--world-size", "3"], {"WORLD_SIZE": "many"}).world_size == 3


@pytest.mark.parametrize("action", ["dry-run", "check", "verdict"])
def test_an_action_takes_the_place_of_a_run(action: str) -> None:
    assert parse([f"--{action}"], {}).action == action


def test_help_tells_every_default_and_limit(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(["--help"], {})
    assert caught.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    for text in ("default: 832", "default: 81", "4n+1 from 5 to 1001", "default: 0.75", "default: results", "--steps"):
        assert text in shown
