"""Limits on what an edit may cost: what no candidate of a search may lose, and from which loss on a verdict is that an edit damages.

Knows names and numbers; knows no model and no file.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from resect.core.errors import BadRecipe, UnknownName

#: The entry that holds for every tag that is not named.
ALL_TAGS = "tags"
#: From this share on, of all answers, a model gives one constant answer.
CONSTANT = 0.95
PERPLEXITY, COLLAPSE, NONE = "perplexity", "collapse", "none"


@dataclass(frozen=True)
class GuardLimits:
    """What may be lost; None, or a missing tag: no limit.

    Parameters
    ----------
    tags : by tag the largest loss of the metric's mean, as a share (0.03 is 3 points); "tags": of every tag that is not named
    perplexity : the largest rise of the perplexity of plain text, as a share of it
    collapse : the largest rise of the share of the most frequent kind of answer, where that kind is wrong
    """

    tags: Mapping[str, float] = field(default_factory=lambda: {ALL_TAGS: 0.03}, hash=False)
    perplexity: float | None = 0.05
    collapse: float | None = 0.10

    @classmethod
    def damage(cls, entries: Sequence[str] = ()) -> "GuardLimits":
        """Returns from which loss on a verdict is that an edit damages: 10 points of a tag or task, and 0.2 of the others, unless said."""
        return cls.parse(entries, cls({ALL_TAGS: 0.10}, 0.20, 0.20), "damage")

    @classmethod
    def none(cls) -> "GuardLimits":
        """No limit at all: the rule of the papers."""
        return cls({}, None, None)

    @classmethod
    def parse(cls, entries: Sequence[str], defaults: "GuardLimits | None" = None, flag: str = "guard") -> "GuardLimits":
        """Returns the limits of entries as they are written on a command line; what they do not name is as in `defaults`.

        >>> GuardLimits.parse(["disambig=5", "perplexity=none"])
        GuardLimits(tags={'tags': 0.03, 'disambig': 0.05}, perplexity=None, collapse=0.1)
        >>> GuardLimits.parse(["none"]) == GuardLimits.none()
        True

        Raises BadRecipe.
        """
        limits = defaults or cls()
        if [entry.strip().lower() for entry in entries] == [NONE]:
            return cls.none()
        tags, shares = dict(limits.tags), {PERPLEXITY: limits.perplexity, COLLAPSE: limits.collapse}
        for entry in entries:
            name, equals, text = (part.strip() for part in entry.partition("="))
            value = None if text.lower() == NONE else _number(text)
            if not name or not equals or (value is not None and not (math.isfinite(value) and value >= 0)):
                raise BadRecipe(
                    f"{flag} = {entry!r} is no limit. A limit is TAG=POINTS (disambig=3: that tag may lose 3 points), tags=POINTS (every "
                    "tag), perplexity=SHARE (0.05: it may rise by 5 %), collapse=SHARE (0.1: the most frequent kind of answer may become "
                    "10 points more frequent), each 0 or more, or none. The word none by itself takes all limits off; it stands alone."
                )
            if name in shares:
                shares[name] = value
            elif value is None:
                tags[name] = math.inf
            else:
                tags[name] = value / 100
        return cls(tags, shares[PERPLEXITY], shares[COLLAPSE])

    def of_tag(self, tag: str) -> float:
        """Returns the largest loss of a tag; infinity where there is no limit."""
        return self.tags.get(tag, self.tags.get(ALL_TAGS, math.inf))

    @property
    def named_tags(self) -> tuple[str, ...]:
        """The tags that are named."""
        return tuple(tag for tag in self.tags if tag != ALL_TAGS)

    def check_tags(self, known: Collection[str], note: str) -> None:
        """Raises UnknownName, with the note, for a named tag that is none of the known ones."""
        for tag in self.named_tags:
            if tag not in known:
                raise UnknownName("guard for the tag", tag, [*sorted(known), PERPLEXITY, COLLAPSE], note)

    @property
    def is_none(self) -> bool:
        """Whether there is no limit at all."""
        return self.perplexity is None and self.collapse is None and not any(map(math.isfinite, self.tags.values()))

    def to_json(self) -> dict[str, float | None]:
        """Returns the limits by name, as shares; null: no limit."""
        tags = {tag: limit if math.isfinite(limit) else None for tag, limit in self.tags.items()}
        return {**tags, PERPLEXITY: self.perplexity, COLLAPSE: self.collapse}


def answers_limit(entries: Sequence[str]) -> float | None:
    """Returns by how much the shares that guard written answers may rise, of entries as on a command line; None: there is no guard.

    >>> answers_limit([]), answers_limit(["collapse=0.2"]), answers_limit(["none"])
    (0.1, 0.2, None)

    Raises BadRecipe for anything else: written answers have neither tags nor a perplexity to guard.
    """
    try:
        if all(entry.partition("=")[0].strip() in (COLLAPSE, NONE) for entry in entries):
            return GuardLimits.parse(entries).collapse
    except BadRecipe:  # which explains limits that are refused here
        pass
    raise BadRecipe(
        f"guard = {' '.join(entries)!r} is no limit for written answers. They have one, collapse=SHARE (0.1: repetition, the share of the "
        "most frequent answer and that of empty ones may each rise by 10 points), 0 or more; or none, for no limit. Tags do not exist "
        "here, and perplexity is no guard: steering away from a language raises that of its text by intent."
    )


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
