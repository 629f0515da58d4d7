"""`lead`: arguments only. Everything heavy is imported by the command that needs it, so a typo is answered at once."""

import argparse
import importlib
import os
import signal
import sys

from lead_kit.errors import InputError, nearest


class Parser(argparse.ArgumentParser):
    """A parser whose mistakes are InputErrors like any other."""

    def error(self, message: str) -> None:
        raise InputError(f"{message} (see `{self.prog} --help`)")


def take_parameters(argv: list[str]) -> tuple[dict[str, str], list[str]]:
    """`-p NAME VALUE` pairs and the remaining arguments; apart from argparse, which takes -1e-6 for an option."""
    pairs, rest = {}, []
    while argv:
        first, *argv = argv
        if first not in ("-p", "--parameter"):
            rest.append(first)
        elif len(argv) < 2:
            raise InputError(
                f"{first} {' '.join(argv)}: expected a name and a value, e.g. -p length_alpha 0.1".replace(" :", ":")
            )
        else:
            pairs[argv[0]], argv = argv[1], argv[2:]
    return pairs, rest


def run_arguments(one) -> None:
    one("notebook", help="path, or the name of one in notebooks/, e.g. 03_grpo")
    one("-p", "--parameter", dest="parameters", nargs=2, metavar=("NAME", "VALUE"), help="a parameter; repeat for more")
    one("--run-name", help="folder under runs/; the same as -p run_name NAME")
    one("--nproc", type=int, default=1, help="processes on this host, one kernel each (default 1)")
    one("--accelerate", metavar="FILE", help="FSDP or DeepSpeed settings, e.g. experiments/accelerate/fsdp2.yaml")
    one("--again", action="store_true", help="run even if the same run is finished; its files move to attempts/N")
    one("--replace", action="store_true", help="run even if the name has other parameters; its files move likewise")
    one("--wait", action="store_true", help="wait for another process that writes the same run, instead of stopping")
    one("--die-with-parent", type=int, help=argparse.SUPPRESS)
    one("--prefix", default="", help=argparse.SUPPRESS)
    one("--brief", action="store_true", help="show progress only; log.txt and the executed notebook have the rest")


def reproduce_arguments(one) -> None:
    one("recipe", help="name of a file in experiments/recipes/")
    one("--scale", dest="scale_name", default="tiny", help="name of a file in experiments/scales/ (default tiny)")
    one("--seeds", help="comma-separated, e.g. 0,1,2 (default: those of the scale)")
    one("--arms", help="comma-separated subset of the recipe's arms (default: all that are not optional)")
    one("--jobs", dest="at_once", type=int, help="runs at a time (default: those of the scale, else one per core)")
    one("--dry-run", action="store_true", help="print commands, memory estimates and numbers of rollouts; run nothing")


def recipe_arguments(one) -> None:
    one("name", help="name of a file in experiments/recipes/")


def verify_arguments(one) -> None:
    one("--gold", required=True, help="the right answer")
    one("--answer", help="the answer to check")
    completion = "a model's completion instead of an answer (- for stdin)"
    one("--completion", dest="completion_file", metavar="FILE", help=completion)
    one("--loose", action="store_true", help="accept an answer outside \\boxed{}")


def score_arguments(one) -> None:
    one("path", help="JSON lines or parquet with completions and gold answers")
    one("--out", metavar="FILE", help="verdicts, one row a sample (default: beside the input)")
    one("--loose", action="store_true", help="accept an answer outside \\boxed{}")
    one("-k", type=int, help="samples counted by pass@k and cons@k (default: all)")
    one("--answer-region", default="after_think", help="where the answer is looked for (default after_think)")


def compare_arguments(one) -> None:
    one("run_a", help="a run folder, a file of samples, or a name under runs/; RUN@ARM takes one arm of several")
    one("run_b", help="the other")
    one("--metric", default="pass@1", help="what is compared (default pass@1)")
    one("--seed", type=int, default=0, help="of the permutations (default 0)")
    one("--missing", help="problems that a run lacks: refuse (default), wrong, ...")
    one("--mixed", help="problems with fewer samples: refuse (default), fewest, ...")
    one("--duplicates", help="samples that are there twice: refuse (default), first, last")


COMMANDS = {  # name: the function (module below lead_kit, imported when called), help, arguments
    "run": ("launch.supervisor:run_command", "execute a notebook in its run folder", run_arguments),
    "reproduce": (
        "launch.reproduce:reproduce_recipe",
        "run every stage, arm and seed of a recipe",
        reproduce_arguments,
    ),
    "recipe": (
        "launch.reproduce:show_recipe",
        "show each parameter of a recipe, its values and source",
        recipe_arguments,
    ),
    "list": ("launch.reproduce:show_list", "show recipes, scales, estimators and rewards", lambda one: None),
    "verify": ("evaluate.score:verify_command", "check one answer against the gold answer", verify_arguments),
    "score": ("evaluate.score:score_command", "score a file of completions", score_arguments),
    "compare": ("report.compare:compare_command", "compare two runs: differences with intervals", compare_arguments),
}


def parser() -> Parser:
    top = Parser(
        prog="lead", description="Experiments in reinforcement learning on mathematics with verifiable rewards."
    )
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (_, text, arguments) in COMMANDS.items():
        arguments(commands.add_parser(name, help=text, description=text, allow_abbrev=False).add_argument)
    return top


def parse(argv: list[str]) -> argparse.Namespace:
    """The arguments. Raises InputError for a mistake, with the nearest command or option."""
    if argv and not argv[0].startswith("-") and argv[0] not in COMMANDS:
        raise InputError(f"no command {argv[0]!r}{nearest(argv[0], COMMANDS) or '; there are: ' + ', '.join(COMMANDS)}")
    pairs, rest = take_parameters(argv) if argv[:1] == ["run"] else ({}, argv)
    options, unknown = parser().parse_known_args(rest)
    if unknown:
        known = [
            name
            for action in parser()._subparsers._group_actions[0].choices[options.command]._actions
            for name in action.option_strings
        ]
        raise InputError(f"`lead {options.command}` has no argument {unknown[0]!r}{nearest(unknown[0], known)}")
    return argparse.Namespace(**vars(options) | ({"parameters": pairs} if argv[:1] == ["run"] else {}))


def main(argv: list[str] | None = None) -> int:
    """Runs a command; bad input is one sentence on stderr and exit code 2."""
    try:
        options = parse(sys.argv[1:] if argv is None else argv)
        if getattr(options, "die_with_parent", None) is not None:
            from lead_kit.launch import processes

            processes.die_with_parent(options.die_with_parent or None, signal.SIGTERM)
        given = {name: value for name, value in vars(options).items() if name not in ("command", "die_with_parent")}
        module, _, function = COMMANDS[options.command][0].partition(":")
        return getattr(importlib.import_module(f"lead_kit.{module}"), function)(**given) or 0
    except InputError as error:
        print(f"lead: {error}", file=sys.stderr)
    except FileNotFoundError as error:
        print(f"lead: {error if error.errno is None else f'no file {error.filename}'}", file=sys.stderr)
    except BrokenPipeError:  # the reader, `head` say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return 2


if __name__ == "__main__":
    sys.exit(main())
