"""The command line of the pipeline.

Each stage has a verb that runs one job of it, as the engines do. Other verbs switch presets, look at results, check and
compare them, and take data in and out.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from metadiffuser.config.loading import PARAMS, load
from metadiffuser.config.params import Params
from metadiffuser.errors import InputError, current_folder, final_name, say
from metadiffuser.pipeline import options
from metadiffuser.pipeline.options import number_from_zero, offer_publishing, positive_number, whole_number
from metadiffuser.pipeline.streams import OUTPUT, discard_errors, discard_output, flushed_output, open_streams

QUALITIES = ("expert", "medium", "random", "mixed")
FORMATS = ("minari", "npz", "d4rl")  # those of pipeline/export_data.py, which takes seconds to import


def _parser() -> argparse.ArgumentParser:
    from metadiffuser.pipeline.dag import STAGES
    from metadiffuser.pretrained.options import offer

    parser = argparse.ArgumentParser(prog="metadiffuser", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for stage in STAGES.values():
        what = options.JOBS_DO[stage.name]
        verb = verbs.add_parser(stage.name, help=what, description=f"{what.capitalize()}.")
        needed = [verb.add_argument(f"--{key}", required=True, help=options.JOBS_OF[key]) for key in stage.wildcards]
        verb.set_defaults(run=_stage, stage=stage)
        if stage.name == "evaluate":
            offer(verb, _pretrained, needed)
            verb.add_argument(
                "--tasks", type=whole_number, metavar="N", help="with --pretrained: number of unseen tasks (default: 5)"
            )
    use = verbs.add_parser("use", help="write the whole params.yaml of a preset and say which jobs are to be run")
    use.add_argument(
        "preset",
        metavar="PRESET|PATH",
        help="a name in presets/, or a YAML file of what differs; params.yaml itself gets the keys that it lacks",
    )
    use.set_defaults(run=_use)
    view = verbs.add_parser("view", help="play the agent live in a window")
    view.add_argument("--family", required=True)
    view.add_argument("--task", type=int, help="index of the task (default: the first unseen one)")
    view.add_argument("--method", default="dual", help="guide variant (default: %(default)s)")
    view.set_defaults(run=_view)
    offer(view, _pretrained, [])
    publish = verbs.add_parser("publish", help="collect a preset's trained models in pretrained/ (docs/pretrained.md)")
    offer_publishing(publish, [stage.name for stage in STAGES.values() if "family" in stage.wildcards])
    publish.set_defaults(run=_publish)
    importing = verbs.add_parser("import", help="replace a family's generated data by data of your own")
    importing.add_argument("--family", required=True)
    importing.add_argument(
        "--from", required=True, type=Path, dest="source", metavar="PATH", help="folder with the data"
    )
    importing.add_argument("--tasks", type=Path, metavar="FILE", help="list of tasks (default: PATH/tasks.json)")
    for name, what, default in (("reward", "a reward", 1e-3), ("state", "a next observation", 2e-2)):
        importing.add_argument(
            f"--{name}-tolerance",
            type=number_from_zero,
            default=default,
            metavar="X",
            help=f"largest accepted difference of {what} from the family's own (default: %(default)s)",
        )
    importing.add_argument(
        "--action-scale",
        type=positive_number,
        default=1.0,
        metavar="X",
        help="what stored actions are multiplied by, such as 10 where Point-Robot's are displacements (default: 1)",
    )
    importing.set_defaults(run=_import)
    exporting = verbs.add_parser("export", help="write a family's datasets in a layout that other projects read")
    exporting.add_argument("--family", required=True)
    exporting.add_argument("--quality", choices=QUALITIES, help="only the datasets of this quality (default: all)")
    exporting.add_argument("--format", required=True, choices=FORMATS, dest="layout", help="layout of the files")
    exporting.add_argument("--to", required=True, type=Path, metavar="FOLDER", help="a new or an empty folder")
    exporting.set_defaults(run=_export)
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
        verify.add_argument(f"--{wildcard}", help=f"only jobs of this {options.JOBS_OF[wildcard]}")
    verify.set_defaults(run=_verify)
    for name, what in {
        "estimate": "estimate what a preset takes: jobs, hours, memory, disk",
        "plan": "the former name of estimate",
    }.items():
        estimate = verbs.add_parser(name, help=what)
        estimate.add_argument("--preset", help="a name in presets/ (default: the parameters in params.yaml)")
        estimate.add_argument(
            "--cores", type=whole_number, default=os.cpu_count() or 1, help="CPU cores (default: %(default)s)"
        )
        estimate.set_defaults(run=_estimate)
    report = verbs.add_parser("report", help="make a preset's report page from committed tables, figures and videos")
    report.add_argument("--preset", help="a name in presets/ (default: the parameters in params.yaml)")
    report.set_defaults(run=_report)
    what = "print where the report is, and the main result in three lines"
    verbs.add_parser("summary", help=what).set_defaults(run=_summary)
    compare = verbs.add_parser("compare", help="compare your run with the committed one, cell by cell")
    compare.add_argument("--preset", help="a name in presets/ (default: the parameters in params.yaml)")
    compare.add_argument(
        "--with", dest="revision", default="HEAD", metavar="COMMIT", help="compare with this commit (default: HEAD)"
    )
    compare.add_argument(
        "--write-spread",
        nargs="+",
        type=Path,
        metavar="METRICS",
        help="instead, write the preset's spread from the metrics folders of runs with different root seeds",
    )
    compare.set_defaults(run=_compare)
    across = verbs.add_parser(
        "across", help="compare the guide's terms over presets that differ in the quality of data"
    )
    across.add_argument("presets", nargs="+", metavar="PRESET", help="presets whose evaluation has run")
    across.set_defaults(run=_across)
    tune = verbs.add_parser("tune", help="try every method's settings on held-out training tasks (docs/tuning.md)")
    tune.add_argument("--method", help="metadiffuser or one baseline (default: all in the settings)")
    tune.add_argument("--family", help="one family (default: all in params.yaml)")
    tune.add_argument(
        "--settings",
        type=Path,
        default=Path("workflow/tuning.yaml"),
        metavar="FILE",
        help="settings (default: %(default)s)",
    )
    tune.set_defaults(run=_tune)
    gc = verbs.add_parser("gc", help="remove objects that no record refers to from DVC's cache, and from a remote")
    gc.add_argument("--dry", action="store_true", help="only print what would be removed")
    gc.add_argument("--remote", metavar="NAME", help="also remove them from this remote")
    gc.set_defaults(run=_gc)
    verbs.add_parser("dvc", help="write dvc.yaml from the DAG in pipeline/dag.py").set_defaults(run=_dvc)
    what = "print the JSON schema of params.yaml, with all installed methods"
    verbs.add_parser("schema", help=what).set_defaults(run=_schema)
    return parser


def _use(arguments: argparse.Namespace) -> None:
    from metadiffuser.pipeline.presets import use

    use(arguments.preset)


def _schema(arguments: argparse.Namespace) -> None:
    import json

    from metadiffuser.config.params import json_schema

    print(json.dumps(json_schema(), indent=2, sort_keys=True))


def _dvc(arguments: argparse.Namespace) -> None:
    from metadiffuser.pipeline import dvc_yaml

    dvc_yaml.write()


def _gc(arguments: argparse.Namespace) -> None:
    from metadiffuser.pipeline.gc import collect_garbage

    collect_garbage(arguments.dry, arguments.remote)


def _import(arguments: argparse.Namespace) -> None:
    params = load()  # before the imports, which take seconds
    from metadiffuser.importing.comparison import Tolerances
    from metadiffuser.pipeline.import_data import import_data

    tolerances = Tolerances(arguments.reward_tolerance, arguments.state_tolerance)
    import_data(params, arguments.family, arguments.source, arguments.tasks, tolerances, arguments.action_scale)


def _export(arguments: argparse.Namespace) -> None:
    params = load()
    from metadiffuser.pipeline.export_data import export_data

    export_data(params, arguments.family, arguments.quality, arguments.layout, arguments.to)


def _tune(arguments: argparse.Namespace) -> None:
    params = load()
    _use_threads(params.diffusion.threads)
    from metadiffuser.tuning.tune import tune

    tune(params, arguments.settings, arguments.method, arguments.family)


def _view(arguments: argparse.Namespace) -> None:
    params = load()
    from metadiffuser.viewing.live import view
    from metadiffuser.viewing.player import make_player

    view(params, arguments.family, arguments.task, arguments.method, make_player)


def _pretrained(arguments: argparse.Namespace) -> None:
    _use_threads(1)
    from metadiffuser.pretrained.options import play

    play(arguments)


def _publish(arguments: argparse.Namespace) -> None:
    params = _preset(arguments.preset)
    from metadiffuser.pipeline.publish import publish, publish_jobs

    if arguments.stage:
        publish_jobs(params, arguments.family, arguments.stage)
    else:
        publish(params, arguments.family, arguments.episodes)


def _estimate(arguments: argparse.Namespace) -> None:
    if arguments.verb == "plan":
        print("metadiffuser plan: this verb is now called 'metadiffuser estimate'", file=sys.stderr)
    from metadiffuser.pipeline.estimate import estimate

    estimate(_preset(arguments.preset), arguments.cores)


def _report(arguments: argparse.Namespace) -> None:
    from metadiffuser.pipeline.report import write_report

    print(write_report(_preset(arguments.preset)))


def _summary(arguments: argparse.Namespace) -> None:
    from metadiffuser.pipeline.summary import print_summary

    print_summary(load())


def _compare(arguments: argparse.Namespace) -> int:
    params = _preset(arguments.preset)
    from metadiffuser.pipeline.compare import compare, write_spread

    if arguments.write_spread:
        print(write_spread(params.preset, arguments.write_spread))
        return 0
    return compare(params, arguments.revision)


def _across(arguments: argparse.Namespace) -> None:
    from metadiffuser.pipeline.across import across

    print(*across(arguments.presets), sep="\n")


def _preset(name: str | None) -> Params:
    """Return the parameters of a preset, or those of params.yaml."""
    from metadiffuser.pipeline import presets

    return presets.read(name) if name else load()


def _verify(arguments: argparse.Namespace) -> int:
    params = load()
    given = {name: getattr(arguments, name) for name in ("family", "shard", "representation", "seed", "method")}
    wildcards = {name: value for name, value in given.items() if value is not None}
    if arguments.rerun:
        from metadiffuser.pipeline.rerun import rerun

        return rerun(params, arguments.rerun, wildcards)
    from metadiffuser.pipeline.verify import verify

    return verify(params, arguments.of, wildcards)


def _stage(arguments: argparse.Namespace) -> None:
    if getattr(arguments, "tasks", None) is not None:
        raise InputError("--tasks: only with --pretrained; evaluation plays the unseen tasks of params.yaml")
    from metadiffuser.pipeline import dag

    params = load()
    wildcards = {name: getattr(arguments, name) for name in arguments.stage.wildcards}
    job = dag.find_job(arguments.verb, wildcards, params)
    _use_threads(dag.threads(job, params))
    from metadiffuser.pipeline.run import execute

    execute(job, params, PARAMS)


def _use_threads(count: int) -> None:
    """Limit numerical libraries to ``count`` threads, in this process and in those that it starts.

    Sums depend on the number of threads. Reading the parameters may have imported the libraries, with the methods; they
    look at the environment only when they are imported.
    """
    os.environ.update({f"{library}_NUM_THREADS": str(count) for library in ("OMP", "MKL", "OPENBLAS")})
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    import torch
    from threadpoolctl import threadpool_limits

    threadpool_limits(count)
    torch.set_num_threads(count)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; return the exit code.

    0 done, 1 ``verify`` or ``compare`` found something, 2 a mistake in the input, 3 the file system refused, 130
    interrupted.
    """
    open_streams()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    arguments = argparse.Namespace()
    try:
        with flushed_output():
            arguments = _parser().parse_args(argv)
            code = arguments.run(arguments) or 0
    except InputError as error:
        say(f"metadiffuser: {error}")
        return 2
    except KeyboardInterrupt:
        is_job = getattr(arguments, "run", None) is _stage
        resumes = "; the same command continues from the last checkpoint" if is_job else ""
        say(f"metadiffuser: interrupted{resumes}")
        return 130
    except BrokenPipeError:  # the reader, such as head, has seen enough
        discard_output()
        return 0
    except OSError as error:
        if error.filename == OUTPUT:
            discard_output()
        where = final_name(str(error.filename)) if error.filename else current_folder()
        remedy = "make room or give write access there, then run again; finished work is kept"
        say(f"metadiffuser: {where}: {error.strerror or error}; {remedy}")
        return 3
    finally:
        discard_errors()
    return code


if __name__ == "__main__":
    sys.exit(main())
