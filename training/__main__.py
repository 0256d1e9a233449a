"""The commands of the training: `python -m training --help`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from wan_ddp.references.manifests import DEMO_SAMPLING

ROOT = Path(__file__).resolve().parent.parent
STATE = ROOT / "training" / "state"
CHECKPOINT = ROOT / "models" / "pocket"
VAE_MINUTES, DIT_MINUTES = 14.0, 35.0


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__, allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for stage, minutes, text in (
        ("vae", VAE_MINUTES, "train the VAE, or go on with it"),
        ("dit", DIT_MINUTES, "train text encoder and DiT on the VAE, which is frozen from then on, or go on with them"),
    ):
        command = commands.add_parser(stage, help=text, description=text)
        _add_place(command)
        command.add_argument("--minutes", type=float, default=minutes, help="of this command (default: %(default)g)")
        command.add_argument("--of", type=float, default=minutes, help="minutes of the stage in all (%(default)g)")
        command.add_argument("--compile", action="store_true", help="torch.compile: faster after a minute or two")
        command.add_argument("--max-steps", type=int, help="of this command: for trials")
    look = commands.add_parser("look", help="sample from the state in batches: quick figures and a picture")
    _add_place(look)
    look.add_argument("--output", type=Path, default=STATE / "look.png", help="the picture (default: %(default)s)")
    look.add_argument("--count", type=int, default=64, help="videos a figure (default: %(default)s)")
    _add_guidance(look)
    speed = commands.add_parser("speed", help="measure the seconds of a step of each kind, without saving anything")
    speed.add_argument("--device", default=None)
    speed.add_argument("--compile", action="store_true")
    speed.add_argument("--steps", type=int, default=8)
    write = commands.add_parser("write", help="write the checkpoint of the state, in the published layout")
    write.add_argument("--state", type=Path, default=STATE)
    write.add_argument("--output", type=Path, default=CHECKPOINT, help="the checkpoint's folder (%(default)s)")
    _add_evaluate(commands)
    draw = commands.add_parser("draw", help="draw some of the clips as a picture")
    draw.add_argument("--seed", type=int, default=1)
    draw.add_argument("--output", type=Path, default=Path("clips.png"))
    show = commands.add_parser("show", help="a moving picture of a demo's reference and of what its prompts made")
    show.add_argument("--results", type=Path, default=ROOT / "results-demo")
    show.add_argument("--references", type=Path, default=ROOT / "references-demo")
    show.add_argument("--clip", default="ball_bounces_left", help="the reference's name (default: %(default)s)")
    show.add_argument("--output", type=Path, default=ROOT / "docs" / "pocket.webp")
    arguments = parser.parse_args(argv)
    return run(arguments)


def _add_place(command: argparse.ArgumentParser) -> None:
    command.add_argument("--state", type=Path, default=STATE, help="the folder of the state (default: training/state)")
    command.add_argument("--device", default=None, help="cuda:0 if there is one, else cpu")


def _add_guidance(command: argparse.ArgumentParser) -> None:
    guidance = DEMO_SAMPLING["cfg_scale"]
    command.add_argument("--cfg-scale", type=float, default=guidance, help="the guidance (default: %(default)g)")


def _add_evaluate(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    evaluate = commands.add_parser("evaluate", help="measure a checkpoint through the project's own pipeline")
    evaluate.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    evaluate.add_argument("--output", type=Path, default=None, help="a folder for figures (default: evaluation beside)")
    evaluate.add_argument("--device", default=None)
    evaluate.add_argument("--workers", type=int, default=1, help="processes that share the videos")
    evaluate.add_argument("--share", type=float, default=1.0, help="of the cases: a part of them is quick")
    _add_guidance(evaluate)


def run(arguments: argparse.Namespace) -> int:
    import torch

    if hasattr(arguments, "device") and arguments.device is None:
        arguments.device = "cuda:0" if torch.cuda.is_available() else "cpu"
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")
    if arguments.command == "vae":
        from training import vae
        from training.budget import Budget

        budget = Budget(arguments.minutes, arguments.of, arguments.max_steps)
        vae.train(arguments.state, budget, arguments.device, vae.VaeOptions(compile=arguments.compile))
    elif arguments.command == "dit":
        from training import dit
        from training.budget import Budget

        budget = Budget(arguments.minutes, arguments.of, arguments.max_steps)
        dit.train(arguments.state, budget, arguments.device, dit.DitOptions(compile=arguments.compile))
    elif arguments.command == "look":
        from training import look

        look.look(arguments.state, arguments.output, arguments.device, arguments.count, arguments.cfg_scale)
    elif arguments.command == "speed":
        from training import speed

        speed.measure(arguments.device, arguments.steps, arguments.compile)
    elif arguments.command == "write":
        from training.write import write_checkpoint

        write_checkpoint(arguments.state, arguments.output)
        print(f"wrote {arguments.output}")
    elif arguments.command == "evaluate":
        from training import evaluate

        output = arguments.output or arguments.checkpoint.with_name(f"{arguments.checkpoint.name}-evaluation")
        evaluate.evaluate(
            arguments.checkpoint, output, arguments.device, arguments.workers, arguments.share, arguments.cfg_scale
        )
    elif arguments.command == "show":
        from training import pictures

        pictures.show_results(arguments.results, arguments.references, arguments.clip, arguments.output)
    else:
        from training import pictures

        pictures.draw_some(arguments.seed, arguments.output)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
