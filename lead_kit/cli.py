"""`lead`: arguments only. Each command imports what it needs when it is called, so that a typo is reported at once.

Completion in bash: eval "$(_LEAD_COMPLETE=bash_source lead)", and zsh_source or fish_source in the other shells.
"""

import errno
import importlib
import io
import os
import signal
import sys

import click
from click.shell_completion import shell_complete

from lead_kit import __version__
from lead_kit.errors import InputError, shorten
from lead_kit.safe_text import safe_text


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120}, no_args_is_help=False)
@click.version_option(__version__, prog_name="lead")
def lead() -> None:
    """Reinforcement learning on mathematics with verifiable rewards."""


_PATHS = {"rollouts", "golds", "path", "source", "add", "set_a", "set_b", "run", "run_a", "run_b"}  # may name one


def _command(name: str, target: str, text: str) -> click.Command:
    """Adds a command. `target` is its function, in a module below lead_kit that is imported when it is called."""

    def call(**options) -> int:
        files = importlib.import_module("lead_kit.runs.files")
        options |= {name: files.from_here(options[name]) for name in _PATHS & options.keys() if options[name]}
        if "run" in options:  # refused before the libraries of its command are loaded
            importlib.import_module("lead_kit.runs.find").recorded_run(options["run"])
        module, _, function = target.partition(":")
        return getattr(importlib.import_module(f"lead_kit.{module}"), function)(**options) or 0

    lead.add_command(click.Command(name, callback=call, help=text))
    return lead.commands[name]


def _argument(name: str, text: str) -> click.Argument:
    return click.Argument([name], help=text)


def _option(names: str, text: str, **settings) -> click.Option:
    return click.Option(names.split(), help=text, show_default="default" in settings, **settings)


def _flag(name: str, text: str) -> click.Option:
    return click.Option([name], is_flag=True, help=text)


def _parameters(text: str) -> click.Option:
    """`-p NAME VALUE`, as often as wanted; a value may look like an option, as -1e-6 does."""

    def by_name(context, option, pairs: list[tuple[str, str]]) -> dict[str, str]:
        if twice := [name for name, _ in pairs if [other for other, _ in pairs].count(name) > 1]:
            raise click.UsageError(f"-p {twice[0]} is there twice", context)
        return dict(pairs)

    names = "-p --parameter parameters"
    return _option(names, text, callback=by_name, nargs=2, multiple=True, metavar="NAME VALUE")


def _die_with_parent(context: click.Context, option: click.Option, parent: int | None) -> None:
    if parent is not None:
        from lead_kit.launch import process_tree

        process_tree.die_with_parent(parent or None, signal.SIGTERM)  # 0: the parent is not known


_ACCELERATE = _option("--accelerate", "FSDP or DeepSpeed settings: a file in experiments/accelerate/", metavar="FILE")
_AT_LEAST_1 = click.IntRange(min=1)
_OF_A_PLAN = [
    _option("--scale scale_name", "name of a file in experiments/scales/", default="tiny"),
    _option("--seeds", "comma-separated, e.g. 0,1,2 (default: those of the scale)"),
    _option("--jobs at_once", "runs at a time (default: those of the scale, else one per core)", type=_AT_LEAST_1),
    _option("--set settings", "a resource of cluster jobs", multiple=True, metavar="NAME=VALUE"),
    _flag("--dry-run", "print commands, memory estimates and numbers of rollouts; run nothing"),
]
_LOOSE = _flag("--loose", "accept an answer outside \\boxed{}")

_command("run", "launch.run_notebook:run_command", "execute a notebook in its run folder").params += [
    _argument("notebook", "path, or the name of one in notebooks/, e.g. 03_grpo"),
    _parameters("a parameter; repeat for more"),
    _ACCELERATE,
    _option("--run-name", "folder under runs/; the same as -p run_name NAME"),
    _option("--nproc", "processes on each host, one kernel each", type=_AT_LEAST_1, default=1),
    _option("--nodes", "hosts that share the run; start the same command on each", type=_AT_LEAST_1, default=1),
    _option("--node-rank", "number of this host, from 0 (in a step of Slurm: its own)", type=int, metavar="R"),
    _option("--rendezvous", "an address of host 0 that the others reach (in Slurm: chosen)", metavar="HOST:PORT"),
    _flag("--again", "repeat a finished run; its files move to attempts/N"),
    _flag("--replace", "run even if the name has other parameters; its files move to attempts/N"),
    _flag("--anyway", "run even if the check of the run says stop; the same as -p preflight warn"),
    _flag("--wait", "wait for another process that writes the same run, instead of stopping"),
    _flag("--brief", "show progress only; log.txt and the executed notebook have the rest"),
    click.Option(["--prefix"], default="", hidden=True),
    click.Option(["--die-with-parent"], type=int, hidden=True, expose_value=False, callback=_die_with_parent),
]
_command("check", "launch.commands:check_command", "train one batch and report reasons not to start a run").params += [
    _argument("notebook", "path, or the name of one in notebooks/: 03_grpo"),
    _parameters("a parameter; repeat for more"),
    _ACCELERATE,
    _option("--run-name", "the run's name; the check is written to runs/NAME-check"),
    _option("--nproc", "processes, one kernel each", type=_AT_LEAST_1, default=1),
]
_command("reproduce", "launch.run_recipe:reproduce_recipe", "run a recipe: every stage, arm and seed").params += [
    _argument("recipe", "name of a file in experiments/recipes/"),
    _option("--arms", "comma-separated (default: all not optional)"),
    *_OF_A_PLAN,
]
_command("sweep", "launch.sweep:sweep_command", "several values of a parameter: runs, table and figure").params += [
    _argument("notebook", "the name of one in notebooks/, e.g. 03_grpo"),
    _parameters("a parameter and its values, separated by commas or as JSON; repeat for a grid, or for a fixed value"),
    _option("--recipe", "whose data and stages it takes; RECIPE/ARM takes the arm's values, too", default="figure1"),
    _option("--run-name", "folder under runs/ (default: from the recipe and the parameters)"),
    *_OF_A_PLAN,
]
_command("recipe", "launch.commands:recipe_command", "show a recipe: each parameter, value and source").params += [
    _argument("name", "name of a file in experiments/recipes/"),
    _flag("--new", "write a commented recipe of this name to start from"),
]
_command("list", "launch.commands:show_list", "show recipes, scales, estimators and rewards")
_command("replay", "launch.commands:replay_command", "which rewards drove recorded advantages").params += [
    _argument("rollouts", "a run folder, a file of rollouts, or a glob of either (in quotes)"),
    _option("--variant variants", "RECIPE/ARM or an estimator; repeat for more", multiple=True, metavar="V"),
    _option("--golds", 'problems with right answers, or "recorded": grade the accuracy again', metavar="FILE"),
    _parameters("a parameter of 06_replay"),
    _option("--run-name", "folder under runs/ (default: replay/ and the name of the rollouts)"),
    _flag("--again", "repeat a finished replay; its files move to attempts/N"),
    _flag("--replace", "run even if the name has other parameters"),
]
_command("verify", "evaluate.score:verify_command", "check one answer against the gold answer").params += [
    _option("--gold", "the right answer", required=True),
    _option("--answer", "the answer to check"),
    _option("--completion completion_file", "a model's completion instead of an answer (- for stdin)", metavar="FILE"),
    _LOOSE,
]
_command("score", "evaluate.score:score_command", "score a file of completions").params += [
    _argument("path", "JSON lines or parquet with completions and gold answers"),
    _option("--out", "verdicts, one row a sample (default: beside the input)", metavar="FILE"),
    _LOOSE,
    _flag("--thinking", "prompts opened <think>: without </think> there is no answer"),
    _option("-k", "samples counted by pass@k and cons@k (default: all)", type=int),
    _option("--answer-region", "where the answer is looked for", default="after_think"),
]
_command("plan-stage", "report.stage_plan:plan_command", "choose the next stage's problems, and how sure").params += [
    _argument("source", "a run with rollouts, an evaluation (RUN@MODEL takes one model), or problems with --column"),
    _option("--column", "column of the problems with the share of right samples, e.g. correctness", default=""),
    _option("--samples", "samples behind each share (0: read from the shares)", type=int, default=0),
    _option("--rule", "grpo_lead (0 < p <= .75) or retire_solved (p < .9)", default="grpo_lead"),
    _option("--add", "a second set or file that joins the kept problems", default="", metavar="SET"),
    _option("--out", "also write the table of problems there", metavar="FOLDER"),
]
_command("leaks", "data.near_duplicates:leaks_command", "which problems of one set are also in another").params += [
    _argument("set_a", "what is trained on: a set by name or a file"),
    _argument("set_b", "what must not be in it: a set, a suite, a file or a folder of files"),
    _option("--threshold", "score from which two problems are compared", type=float, default=0.65),
    _option("--show", "pairs to print", type=int, default=3),
    _option("--out", "also write every pair", metavar="FILE.csv"),
]
_command("runs", "launch.commands:list_runs", "all runs, the newest first: state, step, last value").params += [
    click.Argument(["part"], default="", help="only those whose name contains this, e.g. figure1/tiny"),
]
_command("diff", "launch.commands:show_differences", "parameters, inputs and code in which two runs differ").params += [
    _argument("run_a", "a run's name, or its folder"),
    _argument("run_b", "the other run"),
]
_command("show", "report.show_run:show_command", "a run's state, curve and last rollouts, live or finished").params += [
    _argument("run", "a run's name, or its folder"),
]
_command("export", "report.export_run:export_command", "one HTML of a run that opens without a network").params += [
    _argument("run", "a run folder, or a name under runs/"),
    _option("--out", "where the HTML goes (default: NAME.html in the run folder)", metavar="FILE"),
]
_command("card", "report.model_card:card_command", "write the model card of a run, README.md in its folder").params += [
    _argument("run", "a run's name, or its folder"),
]
_command("push", "report.model_card:push_command", "show what would go to the hub; --yes uploads it").params += [
    _argument("run", "a run with a model and a card"),
    _argument("repo", "owner/name; a new repository is private"),
    _flag("--yes", "upload the files, with the token of huggingface_hub"),
]
_command("compare", "report.compare:compare_command", "compare two runs: differences with intervals").params += [
    _argument("run_a", "a run folder, a file of samples, or a name under runs/; RUN@ARM takes one arm of several"),
    _argument("run_b", "the other run"),
    _option("--metric", "the metric to compare", default="pass@1"),
    _option("--seed", "seed of the bootstrap", type=int, default=0),
    _option("--missing", "problems that a run lacks: refuse (default) or 'leave out'"),
    _option("--uneven-samples", "problems with fewer samples: refuse (default) or fewest"),
]


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
        if instruction := os.environ.get("_LEAD_COMPLETE"):
            return shell_complete(lead, {}, "lead", "_LEAD_COMPLETE", instruction)
        with lead.make_context("lead", list(argv)) as context:
            return lead.invoke(context) or 0
    except click.exceptions.Exit as end:  # after --help and --version
        return end.exit_code
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else f"lead {argv[0]}"
        text = safe_text(shorten(error.format_message().removesuffix("."), 300))
        print(f"lead: {text} (see `{command} --help`)", file=sys.stderr)
    except InputError as error:
        print(f"lead: {safe_text(error)}", file=sys.stderr)
    except OSError as error:
        if error.filename is None and error.errno not in (errno.ENOSPC, errno.EDQUOT):  # not about a file or the disk
            raise
        print(f"lead: {shorten(error.filename or 'cannot write')}: {error.strerror}", file=sys.stderr)
    except KeyboardInterrupt:  # before a command has begun to handle signals
        return 128 + signal.SIGINT
    return 2


if __name__ == "__main__":
    sys.exit(main())
