"""PyTorch in and out.

striate.interop.torch.to_module(model)               a torch.nn.Module with the same outputs and the same parameter names
striate.interop.torch.load_weights(model, source)    a state_dict's numbers in, with a table of what went where
striate.interop.torch.from_module(module, example)   a Model from a module of the usual layers, by tracing

Promises: outputs equal to 1e-5 both ways; .pt and .pth files are read with weights_only=True, so nothing in them is run.
Leaves out: modules whose forward depends on the numbers, several inputs or outputs, recurrent layers.
"""

from __future__ import annotations

from typing import Any

from ...model import Model
from .weights import Match, Matches, load_weights

__all__ = ["Match", "Matches", "from_module", "load_weights", "to_module"]


def to_module(model: Model) -> Any:
    """A torch.nn.Module that computes what the model does, in training too; its state_dict has the model's names, with a _
    behind a layer's name that is an attribute of modules (forward) or a keyword (class).

    Raises:   MissingDependencyError without torch; OptionError for a layer that PyTorch cannot express.
    """
    from .module import build

    return build(model)


def from_module(module: Any, example: Any, *, engine: str | None = None) -> Model:
    """A Model that computes what a torch.nn.Module does in evaluation; the module is left in the mode that it was in.

    Layers keep their paths ('.' becomes '_'), so load_weights takes a state_dict of the module's class by name. A warning
    says where the forward does something else in training, and where numbers are not float32.

    Args:     example, an input batch (a tensor, or an array): its shape without the first axis is that of one image;
              engine as in Model.
    Raises:   ModelFileError, with every operation that cannot be read in one message; MissingDependencyError without torch.
    """
    from .trace import trace

    return trace(module, example, engine)
