"""`lead`: arguments only. Each command imports what it needs when it is called, so that a typo is reported at once."""

import argparse
import importlib
import io
import os
import signal
import sys

from lead_kit.errors import InputError, nearest, nearest_or_all, shorten
from lead_kit.safe_text import safe_text


class _Parser(argparse.ArgumentParser):
    """A parser that raises InputError for a mistake."""

    def error(self, message: str) -> None:
        raise InputError(f"{shorten(message, 300)} (see `{self.prog} --help`)")


def take_parameters(argv: list[str]) -> tuple[dict[str, str], list[str]]:
    """The `-p NAME VALUE` pairs and the remaining arguments. argparse cannot do this: it takes -1e-6 for an option."""
    pairs, rest = {}, []
    while argv:
        first, *argv = argv
        if first not in ("-p", "--parameter"):
            rest.append(first)
        elif len(argv) < 2:
            raise InputError(f"{' '.join([first, *argv])}: expected a name and a value, e.g. -p length_alpha 0.1")
        else:
            pairs[argv[0]], argv = argv[1], argv[2:]
    return pairs, rest


def _parameter_and_settings(add) -> None:
    add("-p", "--parameter", dest="parameters", nargs=2, metavar=("NAME", "VALUE"), help="a parameter; repeat for more")
    add("--accelerate", metavar="FILE", help="FSDP or DeepSpeed settings, e.g. experiments/accelerate/fsdp2.yaml")


def _run_arguments(add) -> None:
    add("notebook", help="path, or the name of one in notebooks/, e.g. 03_grpo")
    _parameter_and_settings(add)
    add("--run-name", help="folder under runs/; the same as -p run_name NAME")
    add("--nproc", type=int, default=1, help="processes on each host, one kernel each (default 1)")
    add("--nodes", type=int, default=1, help="hosts that share the run (default 1); start the same command on each")
    add("--node-rank", type=int, metavar="R", help="number of this host, from 0 (in a step of Slurm: its own)")
    add("--rendezvous", metavar="HOST:PORT", help="an address of host 0 that the others reach (in Slurm: chosen)")
    add("--again", action="store_true", help="repeat a finished run; its files move to attempts/N")
    add(
        "--replace", action="store_true", help="run even if the name has other parameters; its files move to attempts/N"
    )
    add(
        "--anyway",
        action="store_true",
        help="run even if the check of the run says stop; the same as -p preflight warn",
    )
    add("--wait", action="store_true", help="wait for another process that writes the same run, instead of stopping")
    add("--die-with-parent", type=int, help=argparse.SUPPRESS)
    add("--prefix", default="", help=argparse.SUPPRESS)
    add("--brief", action="store_true", help="show progress only; log.txt and the executed notebook have the rest")


def _check_arguments(add) -> None:
    add("notebook", help="path, or the name of one in notebooks/: 03_grpo")
    _parameter_and_settings(add)
    add("--run-name", help="the run's name; the check is written to runs/NAME-check")
    add("--nproc", type=int, default=1, help="processes, one kernel each (default 1)")


def _reproduce_arguments(add) -> None:
    add("recipe", help="name of a file in experiments/recipes/")
    add("--scale", dest="scale_name", default="tiny", help="name of a file in experiments/scales/ (default tiny)")
    add("--seeds", help="comma-separated, e.g. 0,1,2 (default: those of the scale)")
    add(
        "--arms",
        help="comma-separated subset of the recipe's arms (default: all not optional); +controls adds random rewards",
    )
    add("--jobs", dest="at_once", type=int, help="runs at a time (default: those of the scale, else one per core)")
    add("--set", dest="resources", action="append", default=[], metavar="NAME=VALUE", help="a resource of cluster jobs")
    add("--cold", action="store_true", help="start every run by itself, not from one process that has the libraries")
    add("--dry-run", action="store_true", help="print commands, memory estimates and numbers of rollouts; run nothing")


def _recipe_arguments(add) -> None:
    add("name", help="name of a file in experiments/recipes/")


def _replay_arguments(add) -> None:
    add("rollouts", help="a run folder, a file of rollouts, or a glob of either (in quotes)")
    add("--variant", dest="variants", action="append", metavar="V", help="RECIPE/ARM or an estimator; repeat for more")
    add("--golds", metavar="FILE", help='problems with right answers, or "recorded": grade the accuracy again')
    add("-p", "--parameter", dest="parameters", nargs=2, metavar=("NAME", "VALUE"), help="a parameter of 06_replay")
    add("--run-name", help="folder under runs/ (default: replay/ and the name of the rollouts)")
    add("--again", action="store_true", help="repeat a finished replay; its files move to attempts/N")
    add("--replace", action="store_true", help="run even if the name has other parameters")


def _verify_arguments(add) -> None:
    add("--gold", required=True, help="the right answer")
    add("--answer", help="the answer to check")
    completion = "a model's completion instead of an answer (- for stdin)"
    add("--completion", dest="completion_file", metavar="FILE", help=completion)
    add("--loose", action="store_true", help="accept an answer outside \\boxed{}")


def _score_arguments(add) -> None:
    add("path", help="JSON lines or parquet with completions and gold answers")
    add("--out", metavar="FILE", help="verdicts, one row a sample (default: beside the input)")
    add("--loose", action="store_true", help="accept an answer outside \\boxed{}")
    add("--thinking", action="store_true", help="prompts opened <think>: without </think> there is no answer")
    add("-k", type=int, help="samples counted by pass@k and cons@k (default: all)")
    add("--answer-region", default="after_think", help="where the answer is looked for (default after_think)")


def _compare_arguments(add) -> None:
    add("run_a", help="a run folder, a file of samples, or a name under runs/; RUN@ARM takes one arm of several")
    add("run_b", help="the other run")
    add("--metric", default="pass@1", help="the metric to compare (default pass@1)")
    add("--seed", type=int, default=0, help="seed of the permutations (default 0)")
    add("--missing", help="problems that a run lacks: refuse (default), wrong, ...")
    add("--uneven-samples", help="problems with fewer samples: refuse (default), fewest, ...")
    add("--duplicates", help="samples that occur twice: refuse (default), first, last")


def _plan_arguments(add) -> None:
    add("source", help="a run with rollouts, an evaluation (RUN@MODEL takes one model), or problems with --column")
    add("--column", default="", help="column of the problems with the share of right samples, e.g. correctness")
    add("--samples", type=int, default=0, help="samples behind each share (default: read from the shares)")
    add("--rule", default="grpo_lead", help="grpo_lead (default: 0 < p <= .75) or retire_solved (p < .9)")
    add("--add", default="", metavar="SET", help="a second set or file that joins the kept problems")
    add("--out", metavar="FOLDER", help="also write problems.csv, all_right_or_all_wrong.csv and the figure there")


def _leaks_arguments(add) -> None:
    add("set_a", help="what is trained on: a set by name or a file")
    add("set_b", help="what must not be in it: a set, a suite, a file or a folder of files")
    add("--threshold", type=float, default=0.65, help="score from which two problems are compared (default 0.65)")
    add("--show", type=int, default=3, help="pairs to print (default 3)")
    add("--out", metavar="FILE.csv", help="also write every pair")


def _export_arguments(add) -> None:
    add("run", help="a run folder, or a name under runs/")
    add("--out", metavar="FILE", help="where the HTML goes (default: NAME.html in the run folder)")


def _show_arguments(add) -> None:
    add("run", help="a run's name, or its folder")


COMMANDS = {  # name: the function (module below lead_kit, imported when called), help, arguments
    "run": ("launch.run_notebook:run_command", "execute a notebook in its run folder", _run_arguments),
    "check": ("launch.check:check_command", "train one batch and say what speaks against a run", _check_arguments),
    "reproduce": (
        "launch.run_recipe:reproduce_recipe",
        "run a recipe: every stage, arm and seed",
        _reproduce_arguments,
    ),
    "recipe": ("launch.listing:show_recipe", "show a recipe: each parameter, value and source", _recipe_arguments),
    "list": ("launch.listing:show_list", "show recipes, scales, estimators and rewards", lambda add: None),
    "replay": ("launch.replay:replay_command", "what recorded rollouts were really paid for", _replay_arguments),
    "verify": ("evaluate.score:verify_command", "check one answer against the gold answer", _verify_arguments),
    "score": ("evaluate.score:score_command", "score a file of completions", _score_arguments),
    "plan-stage": ("report.stage_plan:plan_command", "choose the next stage's problems, and how sure", _plan_arguments),
    "leaks": ("data.near_duplicates:leaks_command", "which problems of one set are also in another", _leaks_arguments),
    "show": (
        "report.show_run:show_command",
        "a run's state, curve and last rollouts, live or finished",
        _show_arguments,
    ),
    "export": ("report.export_run:export_command", "one HTML of a run that opens without a network", _export_arguments),
    "compare": ("report.compare:compare_command", "compare two runs: differences with intervals", _compare_arguments),
}


def parse(argv: list[str]) -> argparse.Namespace:
    """The parsed arguments. Raises InputError for a mistake, naming the nearest command or option."""
    if argv and not argv[0].startswith("-") and argv[0] not in COMMANDS:
        raise InputError(f"no command {argv[0]!r}{nearest_or_all(argv[0], COMMANDS)}")
    top = _Parser(prog="lead", description="Reinforcement learning on mathematics with verifiable rewards.")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (_, text, add_arguments) in COMMANDS.items():
        add_arguments(commands.add_parser(name, help=text, description=text, allow_abbrev=False).add_argument)
    takes_parameters = argv[:1] in (["run"], ["check"], ["replay"])
    pairs, rest = take_parameters(argv) if takes_parameters else ({}, argv)
    options, unknown = top.parse_known_args(rest)
    if unknown:
        hint = nearest(unknown[0], commands.choices[options.command]._option_string_actions)
        raise InputError(f"`lead {options.command}` has no argument {unknown[0]!r}{hint}")
    if takes_parameters:
        options.parameters = pairs
    return options


class _Output(io.FileIO):
    """stdout for readers that may leave early, such as `head`: what they no longer read is thrown away, and the
    command goes on."""

    def write(self, data) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())
            return len(data)


def _open_output() -> None:
    """Makes sys.stdout an Output, unless something else than the process's own stdout stands there."""
    if sys.stdout is not None and sys.stdout is sys.__stdout__:
        buffer = io.BufferedWriter(_Output(sys.stdout.fileno(), "wb", closefd=False))
        options = {"encoding": sys.stdout.encoding, "line_buffering": sys.stdout.line_buffering}
        sys.stdout = io.TextIOWrapper(buffer, errors="backslashreplace", **options)


def main(argv: list[str] | None = None) -> int:
    """Runs a command. Bad input prints one sentence on stderr and gives exit code 2."""
    _open_output()
    argv = sys.argv[1:] if argv is None else argv
    try:
        options = vars(parse(argv))
        command, parent = options.pop("command"), options.pop("die_with_parent", None)
        if parent is not None:
            from lead_kit.launch import process_tree

            process_tree.die_with_parent(parent or None, signal.SIGTERM)  # 0: the parent is not known
        if command in ("run", "check", "replay") and "LEAD_WARM" in os.environ:
            from lead_kit.launch import warm

            if (code := warm.run(argv)) is not None:
                return code
        module, _, function = COMMANDS[command][0].partition(":")
        return getattr(importlib.import_module(f"lead_kit.{module}"), function)(**options) or 0
    except InputError as error:
        print(f"lead: {safe_text(error)}", file=sys.stderr)
    except FileNotFoundError as error:
        print(f"lead: {error if error.errno is None else f'no file {error.filename}'}", file=sys.stderr)
    except OSError as error:
        if error.filename is None:  # not about a file that the user named
            raise
        print(f"lead: {shorten(error.filename)}: {error.strerror}", file=sys.stderr)
    except KeyboardInterrupt:  # before a command has begun to handle signals
        return 128 + signal.SIGINT
    return 2


if __name__ == "__main__":
    sys.exit(main())
