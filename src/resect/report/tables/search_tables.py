"""The tables of a search: the candidates among numbers of units, the steps of a composition. Knows no page."""

from resect.core.exhibits import Table
from resect.core.number_format import PAGE, MetricFormat, NumberStyle
from resect.report.readers.rank_search import RankSearch, step_name
from resect.report.readers.run_contents import RunContents
from resect.runs.guarded_search import GuardedSearch, breaks, has_broken
from resect.runs.schemas.rows import TrialLine


def sizes_table(contents: RunContents, figures: MetricFormat) -> Table | None:
    """The candidates of a search among numbers of units, and the factors that they are multiplied by; None for another search."""
    trials = sorted((trial for trial in contents.trials if trial.size is not None), key=lambda trial: (trial.size or 0, trial.factor or 0))
    has_factors, is_guarded = any(trial.factor for trial in trials), has_broken(trials)
    rows = [
        (
            *(PAGE.number(trial.size), *((PAGE.number(trial.factor or 0.0),) if has_factors else ()), figures.value(trial.score)),
            *(PAGE.number(trial.examples), "yes" if trial.complete else "no", PAGE.number(trial.seconds)),
            *((breaks(trial),) if is_guarded else ()),
        )
        for trial in trials
    ]
    chosen = chosen_size(contents)
    strong = tuple(place for place, trial in enumerate(trials) if (trial.size, trial.factor or 0.0) == chosen)
    columns = ("n", *(("factor",) if has_factors else ()), f"{figures.metric} (select)", "answers", "complete", "seconds")
    return Table("Candidates", (*columns, *(("breaks",) if is_guarded else ())), rows, strong=strong) if rows else None


def chosen_size(contents: RunContents) -> tuple[int, float] | None:
    """How many units the plan changes, and by which factor; None without a plan."""
    if contents.plan is None:
        return None
    size, guarded = contents.plan.total, GuardedSearch.of(contents.comparison)
    if guarded is not None and guarded.outcome.chosen is not None:
        return size, guarded.outcome.chosen.factor or 0.0
    gain = MetricFormat("" if contents.comparison is None else contents.comparison.metric).gain
    able = [trial for trial in contents.trials if trial.size == size and not trial.broken]
    best: TrialLine | None = max(able, key=lambda trial: gain(trial.score or 0.0), default=None)
    return size, (None if best is None else best.factor) or 0.0


def composition_table(search: RankSearch, style: NumberStyle = PAGE) -> Table:
    """The steps that were kept, with the metric on select and on test after each."""
    figures = search.figures(style)
    rows = [(f"{place} {step_name(step)}", figures.value(step.select), figures.value(step.test)) for place, step in enumerate(search.steps)]
    return Table(f"The steps, {search.metric}", ("kept", "select", "test"), rows)
