"""The settings of a run: a frozen value made once from flags and environment, every default stated here."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar, get_args

from wan_ddp.errors import UnusableError
from wan_ddp.job import SETTING_FIELDS, Conditions, Control, Job, Mechanism, Sampling, ShortReference
from wan_ddp.manifest import ALLOWED, check_defaults
from wan_ddp.presets import MEANINGS, Attention, Preset, can_offload, described

ROOT = Path(__file__).resolve().parent.parent
PUBLISHED_MODEL = "Wan2.1-T2V-14B"
TINY_MODEL = "tiny"
POCKET_MODEL = "pocket"
# WAN_MODEL_DIR is where the real checkpoint lies or will: no place for these.
OWN_MODELS = {TINY_MODEL: ROOT / "models" / TINY_MODEL, POCKET_MODEL: ROOT / "wan_ddp" / POCKET_MODEL}

OnChange = Literal["refuse", "rerun", "keep"]
Verify = Literal["size", "full"]
Action = Literal["run", "dry-run", "check", "verdict"]
_T = TypeVar("_T")
_MAX_DIGITS = 9  # of a count; Python refuses to read integers of thousands


@dataclass(frozen=True, slots=True)
class Lora:
    """A low-rank adaptation of the model, `alpha` times which is added to its weights."""

    path: Path
    alpha: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that a run is told. `job_defaults`: the job fields given as flags, for lines that leave them out."""

    manifest: Path
    output: Path
    model: str = PUBLISHED_MODEL
    model_dir: Path
    download: bool = False
    demo: bool = False
    ranks_per_gpu: int = 2
    sampling: Sampling = "frames"
    short_reference: ShortReference = "refuse"
    control: Control = "as-is"
    tiled: bool = True
    preset: Preset = "fused"
    attention: Attention = "auto"
    vram_limit: float | None = None
    cpu_offload: bool = False
    own_weights: bool | None = None
    lora: tuple[Lora, ...] = ()
    on_change: OnChange = "refuse"
    verify: Verify = "size"
    allow_missing: bool = False
    takeover: bool = True
    speeds: Path | None = None
    retry_failed: bool = False
    max_attempts: int = 3
    checkpoint_every: int = 10
    io_patience: float = 3600.0
    step_timeout: float = 900.0
    grace: float = 25.0
    barrier_timeout: float = 120.0
    job_defaults: Mapping[str, Any] = field(default_factory=dict)
    action: Action = "run"
    world_size: int = 8
    json: bool = False
    run_id: str | None = None

    @property
    def offloads(self) -> bool:
        """Whether weights wait in the CPU's memory."""
        return self.cpu_offload or self.vram_limit is not None

    def shares_weights(self, *, on_gpu: bool) -> bool:
        """Whether the ranks of a device have one copy of the weights."""
        wants_own = not on_gpu if self.own_weights is None else self.own_weights
        return not (wants_own or self.offloads)

    def conditions(
        self, model_identity: str | None, digest: Callable[[str], str | None] = lambda _: None
    ) -> Conditions:
        """The settings that change pixels. `digest` of a path: its file's content, None if it is not known."""
        digests = [(digest(str(lora.path)), lora.alpha) for lora in self.lora]
        return Conditions(
            sampling=self.sampling,
            short_reference=self.short_reference,
            control=self.control,
            tiled=self.tiled,
            preset=described(self.preset, self.attention),
            lora=None if None in dict(digests) else tuple(f"{content} x {alpha:g}" for content, alpha in digests),
            model=model_identity,
        )


_EPILOG = """\
examples:
  what would be done, without a GPU:      python generate.py --manifest manifests/all.jsonl --dry-run
  the same for 16 ranks, for a script:    python generate.py --dry-run --world-size 16 --json
  two ranks on each of four GPUs:         torchrun --nproc_per_node=8 generate.py --manifest M --output DIR
  everything around it as well:           bash launch.sh --manifest M --output DIR

environment: WAN_MANIFEST, WAN_OUTPUT, WAN_MODEL, WAN_MODEL_DIR, WAN_PRESET and WAN_RANKS_PER_GPU stand for the flags
of those names; a flag wins, and so does --demo. exit codes: 0 every video is there and verified; 1 finished, but
some are missing or failed; 2 the command, manifest, model or machine is not usable; 143 and 130 stopped by SIGTERM and
Ctrl-C: run it again.
"""


def parse(argv: Sequence[str], environ: Mapping[str, str]) -> Settings:
    """The settings that these arguments and this environment ask for. Raises UnusableError; `--help` exits with 0."""
    return from_flags(vars(_parser().parse_args(argv)), environ)


def from_flags(arguments: dict[str, Any], environ: Mapping[str, str]) -> Settings:
    """The settings of parsed flags, by name (see `add_flags`), and of this environment. Raises UnusableError."""
    arguments = dict(arguments)
    arguments["lora"] = tuple(arguments["lora"])
    job_defaults = take_job_settings(arguments)
    _fill_in(arguments, environ)
    _check_preset(arguments)
    return Settings(**arguments, job_defaults=job_defaults, run_id=environ.get("WAN_RUN_ID"))


def take_job_settings(arguments: dict[str, Any]) -> dict[str, Any]:
    """The job's settings that were given as flags, taken out of all arguments. Raises UnusableError."""
    given = {name: value for name in SETTING_FIELDS if (value := arguments.pop(f"job_{name}")) is not None}
    problems = check_defaults(given)
    if given.get("mechanism", "v2v") != "v2v" and "denoising_strength" in given:
        problems.append("--denoising-strength goes with --mechanism v2v only; leave it out")
    if problems:
        raise UnusableError("\n".join(f"settings: {problem}" for problem in problems))
    return given


def _fill_in(arguments: dict[str, Any], environ: Mapping[str, str]) -> None:
    """What no flag said: from --demo, else from the environment, else the default."""

    def fill(name: str, variable: str, convert: Callable[[str], _T], default: _T) -> None:
        if arguments[name] is None:
            arguments[name] = _from_environ(environ, variable, convert, default)

    if arguments["demo"]:
        demo = {"manifest": ROOT / "manifests" / "demo.jsonl", "output": ROOT / "results-demo", "model": POCKET_MODEL}
        arguments |= {name: value for name, value in demo.items() if arguments[name] is None}
    fill("manifest", "WAN_MANIFEST", Path, ROOT / "manifests" / "all.jsonl")
    fill("output", "WAN_OUTPUT", Path, ROOT / "results")
    fill("model", "WAN_MODEL", str, PUBLISHED_MODEL)
    arguments["model_dir"] = arguments["model_dir"] or OWN_MODELS.get(arguments["model"])
    fill("model_dir", "WAN_MODEL_DIR", Path, ROOT / "models" / arguments["model"])
    fill("preset", "WAN_PRESET", _preset, Settings.preset)
    fill("ranks_per_gpu", "WAN_RANKS_PER_GPU", _positive, Settings.ranks_per_gpu)
    fill("world_size", "WORLD_SIZE", _positive, Settings.world_size)


def _check_preset(arguments: Mapping[str, Any]) -> None:
    """Raises UnusableError for what does not go together."""
    preset, attention = arguments["preset"], arguments["attention"]
    if preset == "plain" and attention != "auto":
        raise UnusableError(
            f"settings: --attention {attention} does not go with --preset plain, which is DiffSynth as it comes; "
            "leave one of them out"
        )
    if not can_offload(preset) and (arguments["cpu_offload"] or arguments["vram_limit"] is not None):
        raise UnusableError(
            f"settings: --preset {preset} keeps its weights on the GPU, where they take half the memory; leave out "
            "--cpu-offload and --vram-limit, or use --preset fused"
        )


def _from_environ(environ: Mapping[str, str], name: str, convert: Callable[[str], _T], default: _T) -> _T:
    """A variable's value; one that is empty counts as not set."""
    if not environ.get(name):
        return default
    try:
        return convert(environ[name])
    except argparse.ArgumentTypeError as error:
        raise UnusableError(f"{name} in the environment: {error}") from error


class _Parser(argparse.ArgumentParser):
    """Says what is wrong as every other error is said: in one line."""

    def error(self, message: str) -> NoReturn:
        raise UnusableError(f"{' '.join(message.split())}; see {self.prog} --help")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="generate.py",
        description="Makes every video of a manifest with Wan2.1 through DiffSynth-Studio, each moving like its "
        "reference. Run it again and only what is missing is made.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_flags(parser)
    _add_actions(parser)
    return parser


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags that say what a run makes, and how: for every command that speaks of one."""
    _add_run(parser)
    _add_model(parser)
    _add_references(parser)
    _add_outputs(parser)
    add_job_settings(parser.add_argument_group("settings for manifest lines that leave them out"))


def _add_run(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the run")
    group.add_argument(
        "--manifest",
        type=_path,
        metavar="FILE",
        help="JSON Lines, one job a line (default: manifests/all.jsonl); the format: manifests/README.md",
    )
    group.add_argument(
        "--output",
        type=_path,
        metavar="DIR",
        help="the folder of the results (default: results)",
    )
    group.add_argument(
        "--demo",
        action="store_true",
        help="manifests/demo.jsonl into results-demo on the pocket model: the whole path, in minutes, without a GPU",
    )
    group.add_argument(
        "--ranks-per-gpu",
        type=_positive,
        metavar="N",
        help=f"ranks that share a GPU (default: {Settings.ranks_per_gpu})",
    )
    group.add_argument(
        "--max-attempts",
        type=_positive,
        default=Settings.max_attempts,
        metavar="N",
        help="attempts at a job whose worker dies or hangs, over all ranks and runs (default: %(default)s)",
    )
    group.add_argument(
        "--retry-failed",
        action="store_true",
        help="try again, with new attempts, what earlier runs gave up (missing.jsonl lists it)",
    )
    group.add_argument(
        "--no-takeover",
        dest="takeover",
        action="store_false",
        help="each rank makes its own shard only, and none of a slower or dead rank's",
    )
    group.add_argument(
        "--speeds",
        type=_path,
        metavar="FILE",
        help="how fast each rank is, as a run leaves it in its output folder (speeds.json): shares in proportion",
    )
    group.add_argument(
        "--checkpoint-every",
        type=_positive,
        default=Settings.checkpoint_every,
        metavar="STEPS",
        help="save the state of a video under way every so many steps, to go on from there (default: %(default)s)",
    )
    group.add_argument(
        "--io-patience",
        type=_seconds,
        default=Settings.io_patience,
        metavar="SECONDS",
        help="how long to wait for a full or unreachable disk before a rank ends (default: %(default)g)",
    )
    group.add_argument(
        "--step-timeout",
        type=_seconds,
        default=Settings.step_timeout,
        metavar="SECONDS",
        help="a worker that finishes no step for so long is taken to hang (default: %(default)g)",
    )
    group.add_argument(
        "--grace",
        type=_seconds,
        default=Settings.grace,
        metavar="SECONDS",
        help="how long a worker may take to end after SIGTERM or Ctrl-C (default: %(default)g)",
    )
    group.add_argument(
        "--barrier-timeout",
        type=_seconds,
        default=Settings.barrier_timeout,
        metavar="SECONDS",
        help="how long rank 0 waits at the end for a rank that shows no sign of life (default: %(default)g)",
    )


def _add_model(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the model")
    group.add_argument(
        "--model",
        type=_not_empty,
        metavar="NAME",
        help=f"a published checkpoint's name (default: {PUBLISHED_MODEL}), {POCKET_MODEL}: an embedded one that "
        f"was trained on drawn clips, or {TINY_MODEL}: one with random weights, which makes noise",
    )
    group.add_argument(
        "--model-dir",
        type=_path,
        metavar="DIR",
        help="the checkpoint's files as published (default: models/NAME)",
    )
    group.add_argument("--download", action="store_true", help="fetch the checkpoint into the model folder if missing")
    group.add_argument(
        "--vram-limit",
        type=_seconds,
        metavar="GB",
        help="GPU memory in use on the whole device above which DiffSynth keeps weights on the CPU",
    )
    group.add_argument(
        "--cpu-offload", action="store_true", help="keep models in the CPU's memory, and each on the GPU while it works"
    )
    group.add_argument(
        "--own-weights",
        action=argparse.BooleanOptionalAction,
        help="a copy of the weights for each rank, not one a GPU (default on the CPU, and where weights are offloaded)",
    )
    group.add_argument(
        "--lora",
        type=_lora,
        action="append",
        default=[],
        metavar="FILE[:ALPHA]",
        help="add a LoRA to the model's weights, ALPHA times (default: 1); may be given several times. With one that "
        "was distilled for few steps: --steps 4 --cfg-scale 1",
    )
    group.add_argument(
        "--preset",
        type=_preset,
        metavar="NAME",
        help="; ".join(f"{name}: {meaning}" for name, meaning in MEANINGS.items())
        + f" (default: {Settings.preset}); see docs/presets.md",
    )
    group.add_argument(
        "--attention",
        choices=get_args(Attention),
        default=Settings.attention,
        help="the attention kernel of a preset other than plain; flash3_fp8 and sage are not exact (default: "
        "%(default)s, the fastest exact one that is installed and fits the GPU)",
    )
    group.add_argument(
        "--no-tiled",
        dest="tiled",
        action="store_false",
        help="VAE in one piece: faster, 4 to 8 GB more a rank",
    )


def _add_references(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the references")
    group.add_argument(
        "--sampling",
        choices=get_args(Sampling),
        default=Settings.sampling,
        help="frames: frame for frame from the start (default); time: resampled to the job's fps",
    )
    group.add_argument(
        "--short-reference",
        choices=get_args(ShortReference),
        default=Settings.short_reference,
        help="what is made of a clip with too few frames (default: refuse, the jobs fail as bad input)",
    )
    group.add_argument(
        "--control",
        choices=get_args(Control),
        default=Settings.control,
        help="vace and fun_control: what is made of the reference (default: as-is, it is a control video already)",
    )
    group.add_argument("--allow-missing", action="store_true", help="go on though reference files are missing")


def _add_outputs(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the outputs")
    group.add_argument(
        "--on-change",
        choices=get_args(OnChange),
        default=Settings.on_change,
        help="videos made with other settings: refuse to start (default), rerun them, or keep them as they are",
    )
    group.add_argument(
        "--verify",
        choices=get_args(Verify),
        default=Settings.verify,
        help="size: records and file sizes (default); full: every video is decoded and hashed as well",
    )


def add_job_settings(group: argparse._ArgumentGroup) -> None:
    """A flag for each of a job's settings; what is given lands in `job_<field>`, None in the others."""
    kinds: Mapping[type, Any] = {int: int, float: float}
    for name in SETTING_FIELDS:
        default = Job.__dataclass_fields__[name].default
        flags = [f"--{name.replace('_', '-')}"] + (["--steps"] if name == "num_inference_steps" else [])
        shown = "DiffSynth's usual Chinese one" if name == "negative_prompt" else default
        group.add_argument(
            *flags,
            dest=f"job_{name}",
            type=kinds.get(type(default), str),
            choices=_choices(name),
            metavar=None if _choices(name) else name.rpartition("_")[2].upper(),
            help=f"{ALLOWED[name]} (default: {shown})",
        )


def _add_actions(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("instead of a run")
    actions = group.add_mutually_exclusive_group()
    for action, text in (
        ("dry-run", "show the plan: ranks, what is done, what is missing, estimates"),
        ("check", "check everything that can be checked before a run, and print how many ranks fit this machine"),
        ("verdict", "exit with the verdict of the run WAN_RUN_ID, from its report"),
    ):
        actions.add_argument(f"--{action}", dest="action", action="store_const", const=action, default="run", help=text)
    group.add_argument(
        "--world-size",
        type=_positive,
        metavar="N",
        help=f"plan for so many ranks (default: WORLD_SIZE, else {Settings.world_size})",
    )
    group.add_argument("--json", action="store_true", help="the plan as one JSON object on standard output")


def _choices(name: str) -> tuple[str, ...] | None:
    return get_args(Mechanism) if name == "mechanism" else None


def _not_empty(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("it is empty")
    return text


def _path(text: str) -> Path:
    return Path(_not_empty(text))


def _preset(text: str) -> Preset:
    for preset in MEANINGS:
        if text == preset:
            return preset
    raise argparse.ArgumentTypeError(f"{text[:40]!r} is not one of {', '.join(MEANINGS)}")


def _lora(text: str) -> Lora:
    path, colon, alpha = text.rpartition(":")
    try:
        scale = float(alpha) if colon else None
    except ValueError:  # a path with a colon in it
        scale = None
    if scale is None:
        return Lora(_path(text))
    if not isfinite(scale):
        raise argparse.ArgumentTypeError(f"{alpha!r} is not a finite number")
    return Lora(_path(path), scale)


def _positive(text: str) -> int:
    if not text.isdecimal() or len(text) > _MAX_DIGITS or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not an integer of 1 or more")
    return int(text)


def _seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return number
