"""What a plan does to a model, in words: neurons that are cut, matrices that are reduced. Plain values in; knows no metric, no page."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from resect.core.address import Site
from resect.core.errors import InputError
from resect.core.number_format import PLAIN, NumberStyle, plural

#: Methods whose plans change whole matrices, and those that look for the units of languages and know no task.
OF_MATRICES, OF_LANGUAGES = ("laser",), ("lape",)


@dataclass(frozen=True)
class Reduction:
    """An edit of one whole matrix. `share`: ρ, or of a pruning the share that is dropped; `full`: its rank before; None: not known."""

    site: Site
    share: float
    kind: str = "reduce_rank"
    keep: str = "largest"
    rank: int | None = None
    full: int | None = None

    @classmethod
    def of(cls, edit: Mapping[str, Any], shapes: Mapping[str, Any]) -> "Reduction":
        """An edit of plan.json, with the shapes of the plan's model. Raises InputError, TypeError or KeyError where it is none."""
        kind, site = str(edit.get("kind", "")), Site.parse(str(edit["site"]))
        share = _share(edit, "fraction" if kind == "prune_weights" else "rho")
        shape = shapes.get(str(site))
        full = min(shape) if isinstance(shape, list) and shape and all(type(size) is int for size in shape) else None
        rank = None
        if kind == "reduce_rank" and full is not None:
            rank = rank_of(share, full, official=edit.get("variant") == "official")
        return cls(site, share, kind, str(edit.get("keep", "largest")), rank, full)

    @property
    def setting(self) -> str:
        """What was set: ρ, or the share that is dropped.

        >>> Reduction(Site.parse("decoder.3.up"), 0.05).setting
        'ρ 0.05'
        """
        if self.kind == "prune_weights":
            return f"{100 * self.share:g} % pruned"
        return f"ρ {self.share:g}{', smallest' if self.keep == 'smallest' else ''}"

    @property
    def is_zeroed(self) -> bool:
        """Whether nothing is left of the matrix."""
        return self.kind == "reduce_rank" and (self.rank == 0 or (self.rank is None and self.share == 0))

    def ranks(self, face: NumberStyle = PLAIN) -> str:
        """The rank that is left, of the full one, and that rank 0 is no matrix any more.

        >>> Reduction(Site.parse("decoder.3.up"), 0.001, rank=0, full=256).ranks()
        'rank 0 of 256: the matrix is zeroed'
        """
        if self.kind == "prune_weights":
            return "the smallest weights are set to 0"
        if self.rank is None:
            return "the matrix is zeroed" if self.is_zeroed else "its rank is not known"
        kept = f"rank {face.number(self.rank)}" + ("" if self.full is None else f" of {face.number(self.full)}")
        return f"{kept}: the matrix is zeroed" if self.is_zeroed else f"{kept}, the smallest" if self.keep == "smallest" else kept

    def told(self, face: NumberStyle = PLAIN) -> str:
        """All of it on one line."""
        return f"{self.site}, {self.setting}: {self.ranks(face)}"


@dataclass(frozen=True)
class Surgery:
    """What a plan does. `neurons`: how many are cut; `method`: what found the plan, "" where that is not known."""

    neurons: int = 0
    reductions: tuple[Reduction, ...] = ()
    method: str = ""

    @classmethod
    def of(cls, plan: Mapping[str, Any], method: str = "", trials: Iterable[Mapping[str, Any]] = ()) -> "Surgery":
        """What the object of plan.json does; ranks that it does not tell are taken from the candidates that were tried.

        Raises InputError, TypeError, KeyError or ValueError where it is no plan.
        """
        model = plan.get("model")
        shapes = model.get("shapes") if isinstance(model, Mapping) else None
        ranks = {(row.get("site"), row.get("rho")): row.get("rank") for row in trials}
        neurons, reductions = set[tuple[str, int]](), []  # a unit of two languages is in the edits of both, and is one
        for edit in plan["edits"]:
            neurons |= {(address, unit) for address, units in (edit.get("neurons") or {}).items() for unit in units}
            if "site" in edit:
                found = Reduction.of(edit, shapes if isinstance(shapes, Mapping) else {})
                known = ranks.get((str(found.site), found.share))
                told = found.kind == "reduce_rank" and found.rank is None and isinstance(known, int)
                reductions.append(replace(found, rank=known) if told else found)
        return cls(len(neurons), tuple(reductions), method)

    @property
    def total(self) -> int:
        """How many neurons and matrices are touched."""
        return self.neurons + len(self.reductions)

    @property
    def is_of_matrices(self) -> bool:
        """Whether whole matrices are what is changed, or would have been."""
        return bool(self.reductions) if self.total else self.method in OF_MATRICES

    @property
    def noun(self) -> str:
        """What people call one such change."""
        return "reduction" if self.is_of_matrices else "cut"

    @property
    def past(self) -> str:
        """What was done to what is touched."""
        return "reduced" if self.is_of_matrices else "cut"

    @property
    def these(self) -> str:
        """What is touched, as the subject of a sentence, with its verb."""
        if not self.is_of_matrices:
            return "these neurons are"
        return "this matrix is" if len(self.reductions) == 1 else "these matrices are"

    @property
    def random(self) -> str:
        """What the control is."""
        roles = {each.site.role for each in self.reductions}
        those = "those roles" if len(roles) > 1 else "that role"
        return f"Other matrices of {those}, reduced as far" if self.is_of_matrices else "Random cuts of the same size"

    @property
    def control_label(self) -> str:
        """What the control is, in few words."""
        return "other matrices, reduced as far" if self.is_of_matrices else "random cuts as large"

    @property
    def control(self) -> str:
        """What the control is, in a sentence of its own."""
        if self.is_of_matrices:
            return "Control: the mean of reductions of other matrices, each of the same role, drawn at random, with the same ρ."
        return "Control: the mean of random cuts of the same number of neurons in each layer and role."

    def doing(self, face: NumberStyle = PLAIN) -> str:
        """What is done, as the beginning of a sentence.

        >>> Surgery(neurons=3).doing()
        'Cutting 3 neurons'
        """
        neurons, changed = plural(self.neurons, "neurons"), len(self.reductions)
        if not changed:
            return f"Cutting {neurons}"
        if self.neurons:
            return f"Cutting {neurons} and changing {changed:,} matri{'x' if changed == 1 else 'ces'}"
        if changed > 1:
            return f"Reducing {changed:,} matrices"
        (only,) = self.reductions
        if only.is_zeroed:
            return f"Zeroing {only.site}"
        if only.kind == "prune_weights":
            return f"Dropping the smallest {100 * only.share:g}{face.blank}% of the weights of {only.site}"
        part = f"rank {face.number(only.rank)}" if only.rank is not None else f"ρ = {only.share:g}"
        if only.keep == "smallest":
            return f"Keeping only the smallest components of {only.site} ({part})"
        return f"Reducing {only.site} to {part}" + ("" if only.full is None else f" of {face.number(only.full)}")

    def brief(self) -> str:
        """What was done in a few letters, for a table.

        >>> Surgery(neurons=17).brief(), Surgery().brief()
        ('17 neurons', 'nothing')
        """
        parts = [plural(self.neurons, "neurons")] if self.neurons else []
        parts += [f"{each.site} {each.setting}" for each in self.reductions[:1]]
        if len(self.reductions) > 1:
            parts[-1] += f" and {len(self.reductions) - 1:,} more"
        return ", ".join(parts) or "nothing"


def rank_of(rho: float, full: int, official: bool = False) -> int:
    """The rank that ρ leaves: ⌊ρ · full⌋ for the ρ that was written; `official`: as the authors' code has it, in floats.

    >>> rank_of(0.29, 100), rank_of(0.01, 4096), rank_of(0.01, 96)
    (29, 40, 0)
    """
    written = Fraction(repr(float(rho)))
    return int(full * ((10 - float(10 * (1 - written))) * 0.1)) if official else math.floor(written * full)


def _share(edit: Mapping[str, Any], name: str) -> float:
    value = edit[name]
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1:
        raise InputError(f"plan.json is damaged: {name} of {edit.get('site')} is {value!r}; it is a share from 0 to 1.")
    return float(value)
