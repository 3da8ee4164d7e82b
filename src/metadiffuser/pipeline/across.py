"""``metadiffuser across``: the guide's ablation by the quality of the data, from the metrics of several presets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from metadiffuser import paths
from metadiffuser.artifacts import whole_file, write_text
from metadiffuser.config.params import Params
from metadiffuser.errors import InputError
from metadiffuser.evaluation.statistics import Bootstrap
from metadiffuser.pipeline import dag, presets
from metadiffuser.reporting import style
from metadiffuser.reporting.across import Ablation, Arm, ablation, guide_by_data_figure, guide_by_data_table
from metadiffuser.reporting.evidence import Evidence
from metadiffuser.reporting.layout import to_csv, to_markdown


def across(names: Sequence[str]) -> list[Path]:
    """Write table and figure of the guide by the quality of the data; return their paths.

    Args:
        names: presets, as of ``gathered``.

    Raises:
        InputError: as of ``gathered``.
    """
    found = gathered(names)
    table, drawing = guide_by_data_table(found), guide_by_data_figure(found)
    csv, page, picture = (Path(f"{paths.GUIDE_BY_DATA}{suffix}") for suffix in (".csv", ".md", ".svg"))
    write_text(csv, to_csv(table))
    write_text(page, f"{to_markdown(table)}\n![{table.title}]({picture.name})\n\n{drawing.caption}\n")
    with whole_file(picture) as partial:
        partial.write_bytes(style.svg(drawing.figure))
    return [csv, page, picture]


def gathered(names: Sequence[str]) -> Ablation:
    """Return the planners of several presets with what their metrics say of them.

    Args:
        names: presets, in order of precedence. No artifact is needed; of each preset, the families are shown whose
            planner was evaluated.

    Raises:
        InputError: there is no such preset, its metrics are missing, or the presets do not compare.
    """
    return ablation([_arm(presets.read(name)) for name in dict.fromkeys(names)])


def _arm(params: Params) -> Arm:
    """Return the metrics of a preset, of the families whose planner was evaluated."""
    named = {"preset": params.preset, "representation": params.representations[0]}
    folders = {
        family: Path(paths.PLANNER_METRICS.format(**named, family=family, seed="")).parent for family in params.families
    }
    families = [family for family, folder in folders.items() if folder.is_dir()]
    if not families:
        folder = folders[params.families[0]].parents[1]
        raise InputError(
            f"{folder}: no metrics of the planner; run evaluate with the preset {params.preset}, or restore them from "
            "git"
        )
    shown, report = params.model_copy(update={"families": families}), params.report
    evidence = Evidence(
        planner=[Path(path) for path in dag.expand(paths.PLANNER_METRICS, named, shown)],
        baselines=(),
        dataset=[Path(path) for path in dag.expand(paths.DATASET_METRICS, named, shown)],
        context=(),
        representation=named["representation"],
        seed=params.seeds[0],
        bootstrap=Bootstrap(report.confidence, report.bootstrap_samples),
        digits=report.digits,
    )
    return Arm(params.preset, evidence, {family: params.section("context", family).qualities for family in families})
