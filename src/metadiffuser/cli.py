"""The command line: one verb a stage, and a few for people."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from metadiffuser.config.loading import PARAMS, load
from metadiffuser.errors import InputError, one_line


def _parser() -> argparse.ArgumentParser:
    from metadiffuser.pipeline.dag import STAGES

    parser = argparse.ArgumentParser(prog="metadiffuser", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for stage in STAGES.values():
        verb = verbs.add_parser(stage.name, help=f"run the stage for one {' x '.join(stage.wildcards) or 'preset'}")
        for wildcard in stage.wildcards:
            verb.add_argument(f"--{wildcard}", required=True)
        verb.set_defaults(stage=stage)
    use = verbs.add_parser("use", help="write a preset to params.yaml and say what became stale")
    use.add_argument("preset")
    view = verbs.add_parser("view", help="play the agent live in a window")
    view.add_argument("--family", required=True)
    view.add_argument("--task", type=int, help="index of the task (default: the first unseen one)")
    view.add_argument("--method", default="dual", help="guide variant (default: %(default)s)")
    importing = verbs.add_parser("import", help="put other people's data in place of a family's generated ones")
    importing.add_argument("--family", required=True)
    importing.add_argument("--from", required=True, type=Path, dest="source", metavar="PATH")
    importing.add_argument("--tasks", type=Path, metavar="FILE", help="list of tasks (default: PATH/tasks.json)")
    for name, what, default in (("reward", "a reward", 1e-3), ("state", "a next observation", 2e-2)):
        importing.add_argument(
            f"--{name}-tolerance",
            type=_tolerance,
            default=default,
            metavar="X",
            help=f"largest difference of {what} from the family's own that is accepted (default: %(default)s)",
        )
    verify = verbs.add_parser("verify", help="compare what lies on disk with what was recorded when it was made")
    which = verify.add_mutually_exclusive_group()
    which.add_argument("of", nargs="?", choices=list(STAGES), metavar="STAGE", help="jobs of this stage alone")
    which.add_argument(
        "--rerun",
        choices=list(STAGES),
        metavar="STAGE",
        help="run its jobs again in a scratch folder (below TMPDIR) and compare outputs byte by byte",
    )
    for wildcard in dict.fromkeys(name for stage in STAGES.values() for name in stage.wildcards):
        verify.add_argument(f"--{wildcard}", help=f"jobs of this {wildcard} alone")
    report = verbs.add_parser(
        "report", help="make a preset's report page from its committed tables, figures and videos"
    )
    report.add_argument("--preset", help="default: params.yaml")
    plan = verbs.add_parser("plan", help="estimate what a preset takes: jobs, hours, memory, disk")
    plan.add_argument("--preset", help="default: params.yaml")
    plan.add_argument("--cores", type=_cores, default=os.cpu_count() or 1, help="default: %(default)s, as many as here")
    plan.add_argument("--measure", action="store_true", help="take the rates anew from results/*/timings, and stop")
    tune = verbs.add_parser("tune", help="try every method's settings on held-out training tasks (docs/tuning.md)")
    tune.add_argument("--method", help="metadiffuser or a baseline (default: all of the file)")
    tune.add_argument("--family", help="(default: all in force)")
    tune.add_argument(
        "--settings", type=Path, default=Path("workflow/tuning.yaml"), metavar="FILE", help="(default: %(default)s)"
    )
    gc = verbs.add_parser("gc", help="drop what no preset's record names from DVC's cache, and from a remote")
    gc.add_argument("--dry", action="store_true", help="only tell how many objects would be dropped")
    gc.add_argument("--remote", metavar="NAME", help="a remote to drop them from as well")
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
    elif arguments.verb == "plan":
        from metadiffuser.pipeline import estimate, presets

        if arguments.measure:
            estimate.measure_costs()
        else:
            estimate.plan(presets.read(arguments.preset)[1] if arguments.preset else load(), arguments.cores)
    elif arguments.verb == "report":
        from metadiffuser.pipeline import presets
        from metadiffuser.stages.make_report import write_report

        print(write_report(presets.read(arguments.preset)[1] if arguments.preset else load()))
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
    """Tell numerical libraries, which read it when they are imported; sums depend on the number of threads."""
    os.environ.update({f"{library}_NUM_THREADS": str(count) for library in ("OMP", "MKL", "OPENBLAS")})
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; return the exit code.

    0 done, 1 ``verify`` found something, 2 a mistake in the input, 3 the file system refused, 130 interrupted.
    """
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    arguments = _parser().parse_args(argv)
    try:
        code = _dispatch(arguments)
        sys.stdout.flush()
    except InputError as error:
        print(f"metadiffuser: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        goes_on = "; the same command goes on from the last checkpoint" if hasattr(arguments, "stage") else ""
        print(f"metadiffuser: interrupted{goes_on}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        name = error.filename or Path.cwd()
        remedy = "free space or rights there, then run again; what was finished before is kept"
        with suppress(OSError):  # standard error may be a file in the same place
            print(f"metadiffuser: {name}: {error.strerror or error}; {remedy}", file=sys.stderr)
        return 3
    return code


if __name__ == "__main__":
    sys.exit(main())
