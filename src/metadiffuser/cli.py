"""The command line: one verb a stage, and a few for people."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from metadiffuser.errors import InputError
from metadiffuser.parameters import load


def _parser() -> argparse.ArgumentParser:
    from metadiffuser.dag import STAGES

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
    verbs.add_parser("schema", help="print the JSON schema of params.yaml")
    return parser


def _tolerance(text: str) -> float:
    value = float(text)
    if not value >= 0:
        raise ValueError(text)
    return value


def _dispatch(arguments: argparse.Namespace) -> None:
    if arguments.verb == "use":
        from metadiffuser.presets import use

        use(arguments.preset)
    elif arguments.verb == "schema":
        import json

        from metadiffuser.parameters import schema

        print(json.dumps(schema(), indent=2, sort_keys=True))
    elif arguments.verb == "import":
        from metadiffuser.importing.checks import Tolerances
        from metadiffuser.stages.import_data import import_data

        tolerances = Tolerances(arguments.reward_tolerance, arguments.state_tolerance)
        import_data(load(), arguments.family, arguments.source, arguments.tasks, tolerances)
    elif arguments.verb == "view":
        from metadiffuser.stages.view import make_player
        from metadiffuser.viewing.live import view

        view(load(), arguments.family, arguments.task, arguments.method, make_player)
    else:
        _run_stage(arguments.verb, {name: getattr(arguments, name) for name in arguments.stage.wildcards})


def _run_stage(stage: str, wildcards: dict[str, str]) -> None:
    from metadiffuser import dag

    params = load()
    job = dag.find_job(stage, wildcards, params)
    # Read by numerical libraries when they are imported, hence before run is; sums depend on the number of threads.
    threads = str(dag.threads(job, params))
    os.environ.update({f"{library}_NUM_THREADS": threads for library in ("OMP", "MKL", "OPENBLAS")})
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    from metadiffuser.run import execute

    execute(job, params)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; return the exit code: 0 done, 2 a mistake in the input, 130 interrupted."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    arguments = _parser().parse_args(argv)
    try:
        _dispatch(arguments)
        sys.stdout.flush()
    except InputError as error:
        print(f"metadiffuser: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("metadiffuser: interrupted; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        name = error.filename or Path.cwd()
        remedy = "free space or rights there, then run again; what was finished before is kept"
        with suppress(OSError):  # standard error may be a file in the same place
            print(f"metadiffuser: {name}: {error.strerror or error}; {remedy}", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
