"""The analyses of a run of LASER: of its matrices and reductions, and those that any method may offer. The quickest comes first."""

from resect.methods.analyses.analysis import Analyses, Analysis
from resect.methods.analyses.catalogue import GENERAL

from .components import components
from .growth import growth
from .loss import loss
from .matrix_exhibits import describe_components, describe_growth, describe_loss, describe_reduction, describe_spectra
from .reduction import reduction
from .spectra import spectra

ANALYSES: Analyses = {
    "spectra": Analysis(
        spectra,
        "Singular values, effective rank and noise edge of every matrix that was searched.",
        "Singular values",
        describe_spectra,
        needs_plan=False,
        needs_task=False,
    ),
    **GENERAL,
    "growth": Analysis(
        growth, "Whether the set of right answers only grows with the reduction.", "Answers gained and lost", describe_growth
    ),
    "reduction": Analysis(
        reduction,
        "How far the plan's matrix can be reduced: up to nothing, then without its block and its layer.",
        "How far reduction goes",
        describe_reduction,
    ),
    "components": Analysis(
        components,
        "Answers with the smallest components of the plan's matrix alone.",
        "Answers of the smallest components",
        describe_components,
    ),
    "loss": Analysis(
        loss,
        "The loss of every reduction that was searched, no candidate stopped early.",
        "Loss of every reduction",
        describe_loss,
        needs_plan=False,
    ),
}
