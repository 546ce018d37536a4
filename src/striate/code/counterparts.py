"""What layers are called in PyTorch, Keras and ONNX, where name and hyperparameters are all there is to say.

Promises: one row a layer, from which code is written, and modules, files and functions are written and read. A row may be
left out in part, and what it says is overruled by a rule of the same kind in the tables of code and interop.
Leaves out: layers with windows, axes, shapes or parameters, which those tables have functions for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Counterpart(NamedTuple):
    """A layer elsewhere.

    Fields:  module       its class in torch.nn; options, that class's arguments: hyperparameters of the same name in both
             calls        its functions in PyTorch: "F.relu", "torch.relu", "operator.neg", ".relu" for a method
             onnx         its operators: the first is written, all are read
             attributes   of hyperparameters, the operator's name for each and what it is there if it is not said
             activation   Keras's names of the activation; layer, a layer of Keras's; operations, classes of keras.ops. Of each
                          the first is written, all are read
    """

    module: str = ""
    options: tuple[str, ...] = ()
    calls: tuple[str, ...] = ()
    onnx: tuple[str, ...] = ()
    attributes: Mapping[str, tuple[str, Any]] = {}
    activation: tuple[str, ...] = ()
    layer: str = ""
    operations: tuple[str, ...] = ()


COUNTERPARTS: Mapping[str, Counterpart] = {
    "ReLU": Counterpart("ReLU", calls=("F.relu", "torch.relu", ".relu", ".relu_"), onnx=("Relu",), activation=("relu",), operations=("Relu",)),
    "LeakyReLU": Counterpart("LeakyReLU", ("negative_slope",), calls=("F.leaky_relu",), onnx=("LeakyRelu",), attributes={"negative_slope": ("alpha", 0.01)}),
    "Sigmoid": Counterpart("Sigmoid", calls=("F.sigmoid", "torch.sigmoid", ".sigmoid"), onnx=("Sigmoid",), activation=("sigmoid",), operations=("Sigmoid",)),
    "Tanh": Counterpart("Tanh", calls=("F.tanh", "torch.tanh", ".tanh"), onnx=("Tanh",), activation=("tanh",), operations=("Tanh",)),
    "Softmax": Counterpart(activation=("softmax",)),
    "LogSoftmax": Counterpart(activation=("log_softmax",)),
    "ELU": Counterpart("ELU", ("alpha",), calls=("F.elu",), onnx=("Elu",), attributes={"alpha": ("alpha", 1.0)}, activation=("elu",)),
    "CELU": Counterpart("CELU", ("alpha",), calls=("F.celu", "torch.celu"), onnx=("Celu",), attributes={"alpha": ("alpha", 1.0)}, activation=("celu",)),
    "SELU": Counterpart("SELU", calls=("F.selu",), onnx=("Selu",), attributes={"alpha": ("alpha", 1.6732632), "gamma": ("gamma", 1.0507010)}, activation=("selu",)),
    "GELU": Counterpart("GELU", ("approximate",), calls=("F.gelu",), onnx=("Gelu",), attributes={"approximate": ("approximate", "none")}, activation=("gelu",)),
    "Mish": Counterpart("Mish", calls=("F.mish",), onnx=("Mish",), activation=("mish",)),
    "HardSwish": Counterpart("Hardswish", calls=("F.hardswish",), onnx=("HardSwish",), activation=("hard_silu", "hard_swish")),
    "HardSigmoid": Counterpart("Hardsigmoid", calls=("F.hardsigmoid",), onnx=("HardSigmoid",), attributes={"alpha": ("alpha", 0.2), "beta": ("beta", 0.5)}, activation=("hard_sigmoid",)),
    "Softplus": Counterpart("Softplus", calls=("F.softplus",), onnx=("Softplus",), activation=("softplus",)),
    "Softsign": Counterpart("Softsign", calls=("F.softsign",), onnx=("Softsign",), activation=("softsign",)),
    "Abs": Counterpart(calls=("torch.abs", ".abs"), onnx=("Abs",), operations=("Abs", "Absolute")),
    "Negate": Counterpart(calls=("torch.neg", ".neg", "operator.neg"), onnx=("Neg",), operations=("Negative",)),
    "Exp": Counterpart(calls=("torch.exp", ".exp"), onnx=("Exp",), activation=("exponential",), operations=("Exp",)),
    "Log": Counterpart(calls=("torch.log", ".log"), onnx=("Log",), operations=("Log",)),
    "Sqrt": Counterpart(calls=("torch.sqrt", ".sqrt"), onnx=("Sqrt",), operations=("Sqrt",)),
    "Add": Counterpart(calls=("torch.add", ".add", "operator.add", "operator.iadd", ".add_"), onnx=("Sum", "Add"), layer="Add", operations=("Add",)),
    "Subtract": Counterpart(calls=("torch.sub", ".sub", "operator.sub", "operator.isub", ".sub_"), onnx=("Sub",), layer="Subtract", operations=("Subtract",)),
    "Multiply": Counterpart(calls=("torch.mul", ".mul", "operator.mul", "operator.imul", ".mul_"), onnx=("Mul",), layer="Multiply", operations=("Multiply",)),
    "Divide": Counterpart(calls=("torch.div", ".div", "operator.truediv", "operator.itruediv", ".div_"), onnx=("Div",), operations=("Divide", "TrueDivide")),
    "Power": Counterpart(calls=("torch.pow", ".pow", "operator.pow"), onnx=("Pow",), operations=("Power",)),
    "Mean": Counterpart(onnx=("Mean",), layer="Average"),
    "Maximum": Counterpart(calls=("torch.maximum",), onnx=("Max",), layer="Maximum", operations=("Maximum",)),
    "Minimum": Counterpart(calls=("torch.minimum",), onnx=("Min",), layer="Minimum", operations=("Minimum",)),
}  # fmt: skip
