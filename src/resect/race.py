"""A race of candidates over the same questions: each is asked only as far as it can still win.

Knows numbers only, no task and no model. The outcome is that of asking everybody everything: a candidate is given up once not even
the best value at every question that is left would bring it up to the best total so far.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .work import Progress, silent

STAGE = "asking who can still win"
#: How many of the most promising candidates are asked in full before the others, so that the best total is high early.
FINALISTS = 8


@dataclass(frozen=True)
class Tally:
    """How far a candidate was asked.

    Parameters
    ----------
    asked, of : questions so far, and in all
    total : sum of their values; more is better
    ceiling : the most that one question can add
    margin : how sure the answers were right, in sum: tells equals apart, and decides nothing
    seconds : spent
    """

    asked: int
    of: int
    total: float
    ceiling: float
    margin: float = 0.0
    seconds: float = 0.0

    @property
    def complete(self) -> bool:
        """Whether everything was asked."""
        return self.asked == self.of

    @property
    def reach(self) -> float:
        """The best total that is still possible: exact, since values that are added in one order never fall behind it."""
        return self.total + (self.of - self.asked) * self.ceiling


#: Ask a candidate on from where its tally stands, question by question in one fixed order, until all is asked or it is told to stop.
Ask = Callable[[int, Tally, Callable[[Tally], bool]], Tally]


def race(
    ask: Ask, count: int, start: Tally, best: float, *, scout: int = 0, bound: bool = True, progress: Progress = silent
) -> list[Tally]:
    """The tallies of `count` candidates; every one that reaches the highest total is complete.

    First all are asked the first `scout` questions, then those that did best there in full, then the rest in their order (a climb
    through the layers, where that is cheap), as far as they can still win.

    Parameters
    ----------
    start : of a candidate that was asked nothing
    best : the total to beat or to equal: that of no edit at all
    scout : how many of the first questions; best such as most candidates get wrong and a good one gets right
    bound : whether anybody is given up; else all are asked everything
    """
    tallies = [start] * count
    if not bound:
        return [_told(ask(place, start, never), place, count, progress) for place in range(count)]
    hopeless = worse_than(best)
    stage = "asking every candidate a few questions"
    progress(stage, 0, count)
    for place in range(count):
        tallies[place] = ask(place, start, lambda tally: tally.asked >= scout or hopeless(tally))
        progress(stage, place + 1, count)
    promising = sorted(range(count), key=lambda place: (*_promise(tallies[place]), place))[:FINALISTS]
    order = [*sorted(promising), *(place for place in range(count) if place not in promising)]
    progress(STAGE, 0, count)
    for done, place in enumerate(order, start=1):
        if not tallies[place].complete and not tallies[place].reach < best:
            tallies[place] = ask(place, tallies[place], worse_than(best))
        if tallies[place].complete:
            best = max(best, tallies[place].total)
        progress(STAGE, done, count)
    return tallies


def _promise(tally: Tally) -> tuple[float, float]:
    """Less is more promising: by what was right so far, and among equals by how surely."""
    return -tally.total / max(1, tally.asked), -tally.margin / max(1, tally.asked)


def winners(tallies: Sequence[Tally], best: float) -> list[int]:
    """The candidates whose total is the highest and above `best`; none where nobody's is."""
    highest = max((tally.total for tally in tallies if tally.complete), default=best)
    return [place for place, tally in enumerate(tallies) if tally.complete and tally.total == highest > best]


def worse_than(best: float) -> Callable[[Tally], bool]:
    """Whether a candidate can only come out below `best`; one that may equal it goes on."""
    return lambda tally: tally.reach < best


def no_better_than(best: float) -> Callable[[Tally], bool]:
    """Whether a candidate can only come out below `best`, or equal to it."""
    return lambda tally: tally.reach <= best


def never(_: Tally) -> bool:
    """Whether a candidate that is asked everything may be given up."""
    return False


def _told(tally: Tally, place: int, count: int, progress: Progress) -> Tally:
    progress("asking every candidate everything", place + 1, count)
    return tally
