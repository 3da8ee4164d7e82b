"""A verdict for each claim of the paper, and for what goes beyond it, by one rule that is the same for every preset.

Every claim is that an effect lies above, or below, a bound. The effect is a paired difference of two cells on unseen
tasks, averaged over the families that have such tasks, each counting the same; its interval is that of the hierarchical
bootstrap over training seeds, tasks and episodes. Scores are normalised, so that effects are points of score.

| | claim | effect | holds |
|---|---|---|---|
| a | one episode of an unseen task suffices | own context minus a wrong task's | above 0 |
| b | better than each baseline | MetaDiffuser minus the baseline | above 0 |
| c | robust to the warm-start data | own context minus a random policy's | below ``MARGIN`` |
| d | free in the task representation | the own minus the other representation | below ``MARGIN`` |
| e | the dual guide raises return | dual guide minus none | above 0 |
| e | the dual guide keeps plans consistent | plan error, dual minus return guide | below 0 |
| f | planning adds to cloning | MetaDiffuser minus cloning on the same z | above 0 |
| g | a value and candidates add to the paper's planner | with them minus MetaDiffuser | above 0 |
| g | zero-shot is close to few-shot | zero-shot minus own context | above -``MARGIN`` |

"Own context" is the warm-start data of table 1, an expert's episode. The plan error is that of the next state, before
any change of plan; its unit is the return guide's mean error in the same family, because families differ in scale.
Cloning is a baseline as well, whose row is (f).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from metadiffuser.reporting import captions, registry, scores, style
from metadiffuser.reporting.captions import join
from metadiffuser.reporting.evidence import Evidence
from metadiffuser.reporting.labels import OWN
from metadiffuser.reporting.layout import Cell, Column, Table, number
from metadiffuser.reporting.registry import table
from metadiffuser.reporting.rows import corrected, few_shot_rows
from metadiffuser.reporting.scores import CELL
from metadiffuser.reporting.summary import Cells, Difference, Estimate, Key
from metadiffuser.reporting.tables.context import CLONING
from metadiffuser.reporting.tables.guide import NEAR, P_DIGITS, error_cells
from metadiffuser.reporting.tables.representation import representation_cells

MARGIN = 10.0  # points that "no loss" may cost at most, a tenth of the way from random to expert; ours
HOLDS, FAILS, UNDECIDED, UNTESTED = "holds", "does not hold", "not decided", "not tested here"


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A claim: the effect, ``first`` minus ``second``, lies on one side of a bound.

    Attributes:
        text: the claim in one plain sentence.
        effect: the two that are compared, in words.
        cells: the resampled cells of which ``first`` and ``second`` are keys.
        column: the column of ``cells`` that is compared.
        shown: name of the table or figure that shows the effect family by family.
        bound: the claim is neither true nor false of an effect that lies here.
        above: whether the claim is that the effect is greater than the bound, and not that it is less.
        unit: of effect and bound.
    """

    text: str
    effect: str
    cells: Cells
    first: Key
    second: Key
    shown: str
    column: str = "normalised"
    bound: float = 0.0
    above: bool = True
    unit: str = " points"

    @property
    def condition(self) -> str:
        """What the effect is if the claim holds: ``above 0 points``."""
        return f"{'above' if self.above else 'below'} {number(self.bound, 0)}{self.unit}"

    def difference(self, families: Sequence[str]) -> Difference | None:
        """Return the effect over ``families``; None if one of them lacks a cell."""
        return self.cells.average_difference(families, self.first, self.second, self.column, self.bound)

    def verdict(self, effect: Estimate) -> str:
        """Return what the interval says: wholly on the claim's side of the bound, wholly on the other, or neither."""
        greater, less = effect.low > self.bound, effect.high < self.bound
        if not (greater or less):
            return UNDECIDED
        return HOLDS if greater == self.above else FAILS


def claims(evidence: Evidence) -> Iterator[Claim]:
    """Yield the claims in the order of the module's table; each baseline and representation has one of its own."""
    guide, context = evidence.reference
    own, title = evidence.own, evidence.labels.method(OWN)
    given, most = f"{style.context_name(context)} context", f"at most {MARGIN:.0f} points"
    scored = partial(Claim, cells=evidence.cells)
    yield scored(
        text=f"(a) {title} generalises to unseen tasks: an episode of the task helps it more than one of another task.",
        effect=f"{given} minus wrong task",
        first=own,
        second=(OWN, guide, "wrong_task"),
        shown="table1_few_shot",
    )
    rows = [row for row in few_shot_rows(evidence) if row.method in evidence.labels.baselines and row.method != CLONING]
    for name, cell in [(row.title, row.cell) for row in rows] or [("other methods", ("", "none", context))]:
        yield scored(
            text=f"(b) {title} scores higher than {name}.",
            effect=f"{title} minus {name}",
            first=own,
            second=cell,
            shown="comparisons",
        )
    yield scored(
        text=f"(c) {title} is robust to the warm-start data: a random episode in place of an expert's costs {most}.",
        effect=f"{given} minus random",
        first=own,
        second=(OWN, guide, "random"),
        shown="scores_by_warm_start",
        bound=MARGIN,
        above=False,
    )
    names, planners = representation_cells(evidence)
    for name in [name for name in names if name != evidence.representation] or ["another one"]:
        words = style.representation_name(name)
        yield Claim(
            text=f"(d) The task representation is free to choose: with {words} the planner loses {most}.",
            effect=f"{style.representation_name(evidence.representation)} minus {words}",
            cells=planners,
            first=(evidence.representation,),
            second=(name,),
            shown="table3_representation",
            bound=MARGIN,
            above=False,
        )
    dual, unguided, greedy = ((OWN, name, context) for name in ("dual", "none", "return"))
    yield scored(
        text="(e) The dual guide raises the return.",
        effect="dual guide minus none",
        first=dual,
        second=unguided,
        shown="scores_by_guide",
    )
    yield Claim(
        text="(e) The dual guide keeps plans consistent: their next state errs less than with the return guide alone.",
        effect="plan error, dual guide minus return guide",
        cells=_relative_errors(evidence, greedy),
        column="error",
        first=dual,
        second=greedy,
        shown="table4_significance",
        above=False,
        unit="% of error",
    )
    yield scored(
        text="(f) Planning adds to cloning on the same z.",
        effect=f"{title} minus cloning",
        first=own,
        second=(CLONING, "none", context),
        shown="comparisons",
    )
    valued = evidence.labels.method("with_value")
    yield scored(
        text=f"(g) Beyond the paper: {valued}, scores higher than {title}.",
        effect="with a value and candidates minus without",
        first=("with_value", guide, context),
        second=own,
        shown="comparisons",
    )
    yield scored(
        text=f"(g) Beyond the paper: without warm-start data {title} loses {most}.",
        effect=f"zero-shot minus {given}",
        first=(OWN, guide, "zero_shot"),
        second=own,
        shown="scores_by_warm_start",
        bound=-MARGIN,
    )


def _relative_errors(evidence: Evidence, base: Key) -> Cells:
    """Return the errors of the next planned state, in per cent of the mean error of ``base`` in the same family."""
    rows = evidence.task_errors[evidence.task_errors["ahead"] == NEAR[0]]
    means = rows[(rows[list(CELL)] == list(base)).all(axis=1)].groupby("family")["error"].mean()
    return error_cells(evidence, rows.assign(error=100 * rows["error"] / rows["family"].map(means)))


def _tested_on(evidence: Evidence, tasks: int, seeds: int) -> str:
    """Return the data, families, unseen tasks and training seeds that an effect rests on."""
    named = scores.read_qualities([*evidence.planner, *evidence.baselines])
    qualities = style.ordered(named[named["family"].isin(evidence.families)]["quality"], style.QUALITIES)
    data = f"{' and '.join(qualities)} data: " if qualities else ""
    families = ", ".join(map(evidence.labels.family, evidence.families))
    return f"{data}{families}; {tasks} unseen tasks; {seeds} training seed{'s' if seeds != 1 else ''}"


@table("verdicts", title="Verdicts", section="The paper's claims", place=1)
def verdicts(evidence: Evidence) -> Table:
    """One row a claim: what it was tested on, the effect, its corrected p-value, and the verdict."""
    titles = {entry.name: entry.title for entry in registry.entries(registry.TABLE, registry.FIGURE)}
    judged = [(claim, claim.difference(evidence.families)) for claim in claims(evidence)]
    adjusted = corrected([None if found is None else found.p for _, found in judged])
    rows: list[list[Cell]] = []
    for (claim, found), p in zip(judged, adjusted, strict=True):
        if found is None:
            rows.append([claim.text, UNTESTED, None, claim.condition, None, claim.effect, None, None, None])
            continue
        seeds = min(claim.cells.seeds(claim.first), claim.cells.seeds(claim.second))
        row: list[Cell] = [claim.text, claim.verdict(found.mean), found.mean, claim.condition, p, claim.effect]
        row += [_tested_on(evidence, found.tasks, seeds), titles[claim.shown], captions.coverage(OWN, seeds)]
        rows.append(row)
    caption = join(
        "The claims of the paper, and (g) two beyond it, each as an effect and a bound that are the same for every "
        "preset. Effect: difference of normalised scores in points, averaged over families and paired on the same "
        "training seeds, tasks and episodes; of plan errors, RMSE by task of the planned against the executed next "
        "state, in per cent of the return guide's mean error in the same family. Verdict: the claim "
        f"{HOLDS} if the interval lies wholly on its side of the bound, {FAILS} if wholly on the other side, and is "
        f"{UNDECIDED} if the interval covers the bound; {UNTESTED}: the preset's metrics lack what it needs. The "
        f"margin of {MARGIN:.0f} points is ours. p (Holm): two-sided bootstrap p-value of an effect equal to the "
        f"bound, corrected for the {sum(p is not None for p in adjusted)} tested rows; the verdict reads the interval "
        "alone. With few tasks and seeds p-values are too small rather than too large. Data: the qualities that the "
        "preset's methods were trained on, as their metrics name them.",
        evidence.protocol(),
        evidence.averages(),
    )
    columns = [Column("Claim", words=True), Column("Verdict", words=True), Column("Effect")]
    columns += [Column("Holds if", words=True), Column("p (Holm)", digits=P_DIGITS)]
    columns += [Column(title, words=True) for title in ("Difference", "Tested on", "Shown in", "Interval")]
    return Table(columns, rows, caption, evidence.digits)
