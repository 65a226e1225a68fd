"""Which function does which command."""

from argparse import Namespace
from collections.abc import Callable, Mapping

from . import asking, jobs, showing

COMMANDS: Mapping[str, Callable[[Namespace], None]] = {
    "demo": jobs.demo,
    "anatomy": showing.anatomy,
    "crispr": jobs.job,
    "laser": jobs.job,
    "lape": jobs.job,
    "steer": asking.steer,
    "try": asking.try_plan,
    "evaluate": asking.evaluate,
    "transfer": asking.transfer,
    "table": showing.table,
    "analyse": jobs.analyse,
    "export": jobs.export,
    "report": showing.report,
    "repeat": jobs.repeat,
    "run": jobs.from_recipe,
    "list": showing.what_there_is,
}
