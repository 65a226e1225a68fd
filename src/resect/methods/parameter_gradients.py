"""Which parameters of a model take part in autograd for a while. Knows parameters; knows no method and no objective."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import nn


@contextmanager
def only_gradients_of(module: nn.Module, parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    """Let only these parameters take gradients, none where only activations need them; afterwards flags and gradients are as before.

    Inside, `.grad` of these parameters starts as None.
    """
    flags = {parameter: parameter.requires_grad for parameter in module.parameters()}
    gradients = [parameter.grad for parameter in parameters]
    try:
        for parameter in flags:
            parameter.requires_grad_(False)
        for parameter in parameters:
            parameter.grad = None
            parameter.requires_grad_(True)
        yield
    finally:
        for parameter, flag in flags.items():
            parameter.requires_grad_(flag)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
