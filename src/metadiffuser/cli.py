"""The command line: one verb a stage, and a few for people."""

from __future__ import annotations

import argparse
import io
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from metadiffuser.config.loading import PARAMS, load
from metadiffuser.errors import InputError, current_folder, one_line, say

OUTPUT = "standard output"


def _parser() -> argparse.ArgumentParser:
    from metadiffuser.pipeline.dag import STAGES

    parser = argparse.ArgumentParser(prog="metadiffuser", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for stage in STAGES.values():
        verb = verbs.add_parser(stage.name, help=f"run the stage for one {' x '.join(stage.wildcards) or 'preset'}")
        for wildcard in stage.wildcards:
            verb.add_argument(f"--{wildcard}", required=True)
        verb.set_defaults(stage=stage)
    use = verbs.add_parser("use", help="write a preset to params.yaml and print which jobs are to be run")
    use.add_argument("preset")
    view = verbs.add_parser("view", help="play the agent live in a window")
    view.add_argument("--family", required=True)
    view.add_argument("--task", type=int, help="index of the task (default: the first unseen one)")
    view.add_argument("--method", default="dual", help="guide variant (default: %(default)s)")
    importing = verbs.add_parser("import", help="replace a family's generated data by data of your own")
    importing.add_argument("--family", required=True)
    importing.add_argument("--from", required=True, type=Path, dest="source", metavar="PATH")
    importing.add_argument("--tasks", type=Path, metavar="FILE", help="list of tasks (default: PATH/tasks.json)")
    for name, what, default in (("reward", "a reward", 1e-3), ("state", "a next observation", 2e-2)):
        importing.add_argument(
            f"--{name}-tolerance",
            type=_tolerance,
            default=default,
            metavar="X",
            help=f"largest accepted difference of {what} from the family's own (default: %(default)s)",
        )
    verify = verbs.add_parser("verify", help="compare outputs on disk with the records of the jobs that made them")
    which = verify.add_mutually_exclusive_group()
    which.add_argument("of", nargs="?", choices=list(STAGES), metavar="STAGE", help="only jobs of this stage")
    which.add_argument(
        "--rerun",
        choices=list(STAGES),
        metavar="STAGE",
        help="run its jobs again in a scratch folder (below TMPDIR) and compare outputs byte by byte",
    )
    for wildcard in dict.fromkeys(name for stage in STAGES.values() for name in stage.wildcards):
        verify.add_argument(f"--{wildcard}", help=f"only jobs of this {wildcard}")
    for name, what in {
        "estimate": "estimate what a preset takes: jobs, hours, memory, disk",
        "plan": "the former name of estimate",
    }.items():
        estimate = verbs.add_parser(name, help=what)
        estimate.add_argument("--preset", help="(default: params.yaml)")
        estimate.add_argument("--cores", type=_cores, default=os.cpu_count() or 1, help="(default: %(default)s)")
    verbs.add_parser("summary", help="print where the report is, and the main result in three lines")
    tune = verbs.add_parser("tune", help="try every method's settings on held-out training tasks (docs/tuning.md)")
    tune.add_argument("--method", help="metadiffuser or a baseline (default: all in the file)")
    tune.add_argument("--family", help="(default: all in params.yaml)")
    tune.add_argument(
        "--settings", type=Path, default=Path("workflow/tuning.yaml"), metavar="FILE", help="(default: %(default)s)"
    )
    gc = verbs.add_parser("gc", help="remove objects that no record refers to from DVC's cache, and from a remote")
    gc.add_argument("--dry", action="store_true", help="only print how many objects would be removed")
    gc.add_argument("--remote", metavar="NAME", help="also remove them from this remote")
    verbs.add_parser("schema", help="print the JSON schema of params.yaml")
    return parser


def _cores(text: str) -> int:
    with suppress(ValueError):
        if (value := int(text)) >= 1:
            return value
    raise argparse.ArgumentTypeError(f"expected a whole number from 1 on, got '{one_line(text)}'")


def _tolerance(text: str) -> float:
    with suppress(ValueError):
        if (value := float(text)) >= 0:
            return value
    raise argparse.ArgumentTypeError(f"expected a number from 0 on, got '{one_line(text)}'")


def _dispatch(arguments: argparse.Namespace) -> int:
    """Run the verb; return the exit code."""
    if arguments.verb == "use":
        from metadiffuser.pipeline.presets import use

        use(arguments.preset)
    elif arguments.verb == "schema":
        import json

        from metadiffuser.config.loading import schema

        print(json.dumps(schema(), indent=2, sort_keys=True))
    elif arguments.verb == "gc":
        from metadiffuser.pipeline.gc import collect_garbage

        collect_garbage(arguments.dry, arguments.remote)
    elif arguments.verb == "import":
        params = load()  # before the imports, which take seconds
        from metadiffuser.importing.checks import Tolerances
        from metadiffuser.stages.import_data import import_data

        tolerances = Tolerances(arguments.reward_tolerance, arguments.state_tolerance)
        import_data(params, arguments.family, arguments.source, arguments.tasks, tolerances)
    elif arguments.verb == "tune":
        params = load()
        _use_threads(params.diffusion.threads)
        from metadiffuser.tuning.tune import tune

        tune(params, arguments.settings, arguments.method, arguments.family)
    elif arguments.verb == "view":
        params = load()
        from metadiffuser.stages.view import make_player
        from metadiffuser.viewing.live import view

        view(params, arguments.family, arguments.task, arguments.method, make_player)
    elif arguments.verb in ("estimate", "plan"):
        if arguments.verb == "plan":
            print("metadiffuser plan: this verb is now called 'metadiffuser estimate'", file=sys.stderr)
        from metadiffuser.pipeline import presets
        from metadiffuser.pipeline.estimate import estimate

        estimate(presets.read(arguments.preset)[1] if arguments.preset else load(), arguments.cores)
    elif arguments.verb == "summary":
        from metadiffuser.pipeline.summary import print_summary

        print_summary(load())
    elif arguments.verb == "verify":
        return _verify(arguments)
    else:
        _run_stage(arguments.verb, {name: getattr(arguments, name) for name in arguments.stage.wildcards})
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    params = load()
    given = {name: getattr(arguments, name) for name in ("family", "shard", "representation", "seed", "method")}
    wildcards = {name: value for name, value in given.items() if value is not None}
    if arguments.rerun:
        from metadiffuser.pipeline.rerun import rerun

        return rerun(params, arguments.rerun, wildcards)
    from metadiffuser.pipeline.verify import verify

    return verify(params, arguments.of, wildcards)


def _run_stage(stage: str, wildcards: dict[str, str]) -> None:
    from metadiffuser.pipeline import dag

    params = load()
    job = dag.find_job(stage, wildcards, params)
    _use_threads(dag.threads(job, params))
    from metadiffuser.pipeline.run import execute

    execute(job, params, PARAMS)


def _use_threads(count: int) -> None:
    """Set the threads of numerical libraries before their import; sums depend on the number of threads."""
    os.environ.update({f"{library}_NUM_THREADS": str(count) for library in ("OMP", "MKL", "OPENBLAS")})
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; return the exit code.

    0 done, 1 ``verify`` found something, 2 a mistake in the input, 3 the file system refused, 130 interrupted.
    """
    _open_streams()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    arguments = _parser().parse_args(argv)
    try:
        code = _dispatch(arguments)
        sys.stdout.flush()
    except InputError as error:
        say(f"metadiffuser: {error}")
        return 2
    except KeyboardInterrupt:
        goes_on = "; the same command goes on from the last checkpoint" if hasattr(arguments, "stage") else ""
        say(f"metadiffuser: interrupted{goes_on}")
        return 130
    except BrokenPipeError:  # the reader, such as head, has seen enough
        _discard_output()
        return 0
    except OSError as error:
        if error.filename == OUTPUT:
            _discard_output()
        where = error.filename or current_folder()
        remedy = "free space or rights there, then run again; what was finished before is kept"
        say(f"metadiffuser: {where}: {error.strerror or error}; {remedy}")
        return 3
    return code


def _open_streams() -> None:
    """Open standard streams that are closed on the null device, lest a file take their number and get the output."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)
            os.set_inheritable(number, True)  # programs that this one starts need it, too
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, closefd=False))
    output = sys.__stdout__
    if output is not None and output is sys.stdout and not output.isatty():
        stream = io.BufferedWriter(_Output(output.fileno(), "w", closefd=False))
        sys.stdout = io.TextIOWrapper(stream, output.encoding, output.errors)


def _discard_output() -> None:
    """Let nothing that is still to be written to standard output fail again when the program ends."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


class _Output(io.FileIO):
    """Standard output, which names itself in an error."""

    def write(self, data: Any) -> int:
        """Write bytes as a file does."""
        try:
            return super().write(data)
        except OSError as error:
            error.filename = OUTPUT
            raise


if __name__ == "__main__":
    sys.exit(main())
