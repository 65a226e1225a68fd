"""What a plan does to a model, in words: neurons that are cut, matrices that are reduced. Knows no metric, no page."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from fractions import Fraction

from resect.core.address import Neurons, Site
from resect.core.number_format import PLAIN, NumberStyle, plural
from resect.runs.schemas.plan import MatrixEditRecord, ModelRecord, PlanFile, PruneWeightsRecord
from resect.runs.schemas.rows import TrialLine


@dataclass(frozen=True)
class Reduction:
    """An edit of one matrix.

    share : ρ, or of a pruning the share that is dropped
    rank, full : the rank that is left, and the rank before; None: not known
    """

    site: Site
    share: float
    kind: str = "reduce_rank"
    keep: str = "largest"
    rank: int | None = None
    full: int | None = None

    @classmethod
    def of(cls, edit: MatrixEditRecord, model: ModelRecord | None, trials: Iterable[TrialLine] = ()) -> "Reduction":
        """An edit of plan.json; a rank that does not follow from the shape of the matrix is that of the candidate that was chosen."""
        if isinstance(edit, PruneWeightsRecord):
            return cls(edit.site, edit.fraction, edit.kind)
        shapes = model.shapes if model is not None else {}
        shape = shapes.get(str(edit.site)) or shapes.get(str(replace(edit.site, expert=0)))
        if shape is not None:
            return cls(edit.site, edit.rho, edit.kind, edit.keep, rank_of(edit.rho, min(shape), edit.variant == "official"), min(shape))
        known = next((trial.rank for trial in trials if (trial.site, trial.rho) == (edit.site, edit.rho)), None)
        return cls(edit.site, edit.rho, edit.kind, edit.keep, known)

    @property
    def named(self) -> str:
        """Its matrix, or matrices, in a sentence.

        >>> Reduction(Site.parse("decoder.3.experts.up"), 0.05).named
        'each matrix of decoder.3.experts.up'
        """
        return f"each matrix of {self.site}" if self.site.is_joint else str(self.site)

    @property
    def setting(self) -> str:
        """ρ, or the share that is dropped.

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

    def ranks(self, style: NumberStyle = PLAIN) -> str:
        """The rank that is left, and the full one.

        >>> Reduction(Site.parse("decoder.3.up"), 0.001, rank=0, full=256).ranks()
        'rank 0 of 256: the matrix is zeroed'
        """
        if self.kind == "prune_weights":
            return "the smallest weights are set to 0"
        if self.rank is None:
            return "the matrix is zeroed" if self.is_zeroed else "its rank is not known"
        kept = f"rank {style.number(self.rank)}" + ("" if self.full is None else f" of {style.number(self.full)}")
        return f"{kept}: the matrix is zeroed" if self.is_zeroed else f"{kept}, the smallest" if self.keep == "smallest" else kept

    def line(self, style: NumberStyle = PLAIN) -> str:
        """All of it on one line."""
        return f"{self.site}, {self.setting}: {self.ranks(style)}"


@dataclass(frozen=True)
class PlanSummary:
    """What a plan does.

    units : the neurons that are cut
    factor : what they are multiplied by, 0 where they are cut; None: several factors, or they are set to values
    is_of_matrices : whether matrices are what is changed, or, where nothing is, what the search tried to change
    digest : that of the plan
    """

    units: Neurons = field(default_factory=Neurons)
    reductions: tuple[Reduction, ...] = ()
    is_of_matrices: bool = False
    family: str = ""
    digest: str = ""
    factor: float | None = 0.0

    @classmethod
    def of(cls, plan: PlanFile | None, trials: Iterable[TrialLine] = (), digest: str = "") -> "PlanSummary":
        """The summary of plan.json; without a plan, nothing of the kind that was tried."""
        trials, units, reductions = tuple(trials), Neurons(), list[Reduction]()
        for edit in plan.edits if plan is not None else ():
            if isinstance(edit, MatrixEditRecord):
                reductions.append(Reduction.of(edit, plan.model if plan is not None else None, trials))
            else:
                units |= Neurons(edit.neurons)
        tried_matrices = any(trial.site is not None for trial in trials)
        family = plan.model.family if plan is not None and plan.model is not None else ""
        factors = {
            getattr(edit, "factor", None) for edit in (plan.edits if plan is not None else ()) if not isinstance(edit, MatrixEditRecord)
        }
        factor = next(iter(factors)) if len(factors) == 1 else None if factors else 0.0
        return cls(units, tuple(reductions), bool(reductions) or (tried_matrices and not units), family, digest, factor)

    @property
    def neurons(self) -> int:
        """How many neurons are cut; one that two edits name counts once."""
        return self.units.count

    @property
    def total(self) -> int:
        """How many neurons and matrices are changed."""
        return self.neurons + len(self.reductions)

    @property
    def noun(self) -> str:
        """The word for such a change."""
        return "reduction" if self.is_of_matrices else "change" if self.factor else "cut"

    @property
    def past(self) -> str:
        """The same as a participle."""
        return "reduced" if self.is_of_matrices else "changed" if self.factor else "cut"

    @property
    def subject(self) -> str:
        """What is changed, as the subject of a sentence, with its verb."""
        if not self.is_of_matrices:
            return "these neurons are"
        return "this matrix is" if len(self.reductions) == 1 else "these matrices are"

    @property
    def control_noun(self) -> str:
        """The control in two words."""
        return "other matrices" if self.is_of_matrices else "random neurons" if self.factor else "random cuts"

    @property
    def control_label(self) -> str:
        """The control in few words."""
        if self.is_of_matrices:
            return "other matrices, reduced as far"
        return "as many random neurons, the same factor" if self.factor else "random cuts of the same size"

    @property
    def control_phrase(self) -> str:
        """The control as the beginning of a sentence."""
        roles = {reduction.site.role for reduction in self.reductions}
        those = "those roles" if len(roles) > 1 else "that role"
        if self.is_of_matrices:
            return f"Other matrices of {those}, reduced as far"
        return "As many random neurons, multiplied by the same" if self.factor else "Random cuts of the same size"

    @property
    def control(self) -> str:
        """The control in a sentence of its own."""
        if self.is_of_matrices:
            return "Control: the mean of reductions of other matrices, each of the same role, drawn at random, with the same ρ."
        return "Control: the mean of random cuts of the same number of neurons in each layer and role."

    def action(self, style: NumberStyle = PLAIN) -> str:
        """What is done, as the beginning of a sentence.

        >>> PlanSummary(Neurons({"decoder.3.up": [1, 5, 17]})).action()
        'Cutting 3 neurons'
        """
        neurons, changed = plural(self.neurons, "neurons"), len(self.reductions)
        if not changed:
            return f"Multiplying {neurons} by {self.factor:g}" if self.factor else f"Cutting {neurons}"
        if self.neurons:
            return f"Cutting {neurons} and changing {changed:,} matri{'x' if changed == 1 else 'ces'}"
        if changed > 1:
            return f"Reducing {changed:,} matrices"
        (only,) = self.reductions
        if only.is_zeroed:
            return f"Zeroing {only.named}"
        if only.kind == "prune_weights":
            return f"Dropping the smallest {100 * only.share:g}{style.blank}% of the weights of {only.named}"
        part = f"rank {style.number(only.rank)}" if only.rank is not None else f"ρ = {only.share:g}"
        if only.keep == "smallest":
            return f"Keeping only the smallest components of {only.named} ({part})"
        return f"Reducing {only.named} to {part}" + ("" if only.full is None else f" of {style.number(only.full)}")

    def brief(self) -> str:
        """What is done in few letters, for a table.

        >>> PlanSummary(Neurons({"decoder.3.up": [1, 5]})).brief(), PlanSummary().brief()
        ('2 neurons', 'nothing')
        """
        times = f" × {self.factor:g}" if self.factor else ""
        parts = [plural(self.neurons, "neurons") + times] if self.neurons else []
        parts += [f"{reduction.site} {reduction.setting}" for reduction in self.reductions[:1]]
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
