"""``metadiffuser tune``: try every method's settings on held-out training tasks, and record what they came to."""

from __future__ import annotations

from pathlib import Path

from metadiffuser import paths
from metadiffuser.config.params import Params
from metadiffuser.errors import InputError
from metadiffuser.evaluation.statistics import Bootstrap
from metadiffuser.pipeline.records import WORK
from metadiffuser.reporting.style import family_words, method_words
from metadiffuser.tuning import record
from metadiffuser.tuning.settings import read_settings, trials
from metadiffuser.tuning.trial import Score, Scratch, waiting


def tune(params: Params, file: Path, method: str | None, family: str | None) -> None:
    """Run the trials of ``file``, of one method or family only if they are given, and write the record.

    Trials that have been run are not run again, and a killed one goes on where it was. The rows of a method and family
    are written when its last trial has ended; those of others stay.

    Raises:
        InputError: a bad file, method or family; missing data; settings that are not valid parameters.
    """
    tuning = read_settings(file)
    _known("--method", method, list(tuning.settings))
    _known("--family", family, list(params.families))
    families = [family] if family else list(params.families)
    planned = [
        trials(tuning, params, name, place) for place in families for name in ([method] if method else tuning.settings)
    ]
    bootstrap = Bootstrap(params.report.confidence, params.report.bootstrap_samples)
    for listed in planned:
        scratches = Scratch.prepare(params, listed[0].family, tuning.held_out, tuning.folds)
        judged = []
        for trial in listed:
            judged.append(record.Judged(trial, Score.join([scratch.run(trial) for scratch in scratches])))
            name = f"{trial.method}, {trial.family}, {record.text(trial.overrides) or record.PRESET}"
            print(f"{name}: {judged[-1].mean:.2f}", flush=True)
        rows = record.judge(judged, bootstrap, params.seed)
        with waiting(WORK / "locks" / "tuning.lock"):
            path = Path(paths.TUNING.format(preset=params.preset))
            everything = record.merged(record.read_record(path), rows, list(tuning.settings), params.families)
            record.write_record(path, everything)
            titles: dict[str, str] = {name: family_words(name) for name in params.families}
            page = Path(paths.TUNING_PAGE.format(preset=params.preset))
            methods = {name: method_words(name) for name in tuning.settings}
            record.write_page(page, everything, methods, titles, bootstrap.confidence)


def _known(option: str, value: str | None, choices: list[str]) -> None:
    if value is not None and value not in choices:
        raise InputError(f"{option} {value}: expected one of {', '.join(choices)}")
