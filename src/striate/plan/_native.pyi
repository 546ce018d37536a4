"""The native extension, made from native/*.cpp: the structs that a program's ops are, and what runs them.

A new struct holds NONE, or NaN, in every field. Plan proves that each op stays inside the arena, the table, the parameters and the
state, or raises ValueError with the op, the field and the numbers. Arrays are taken as they are, never converted: another type,
order or number of axes, or a read-only array where it writes, is a TypeError. tests/test_native_contract.py holds this file
against the extension.
"""

from enum import IntEnum
from typing import Any

import numpy.typing as npt

NONE: int
SLOTS: int
POOLED_WIDTH: int
RUN: int
FILTERS_A_TILE: int
WINOGRAD_POINTS: int
TILE_GAP: int
GROUP_VECTORS: int
WINOGRAD_PANEL: int
WINOGRAD_CHANNELS: int
WINOGRAD_GAP: int
WINOGRAD_FILTER_GAP: int
WIDEST_FED: int
MOST_THREADS: int
Function: type[IntEnum]  # asked for by name: native/schema.h lists its members

def instruction_sets() -> list[str]: ...
def lanes(isa: str) -> int: ...
def multiply_adds(isa: str, count: int) -> int: ...
def update(
    isa: str,
    parameters: npt.NDArray[Any],
    gradients: npt.NDArray[Any],
    threads: int,
    optimizer: dict[str, Any],
) -> None: ...
def muon(
    isa: str,
    parameters: npt.NDArray[Any],
    gradients: npt.NDArray[Any],
    velocity: npt.NDArray[Any],
    threads: int,
    optimizer: dict[str, Any],
) -> None: ...

class Pairing(IntEnum):
    PRODUCT = 0
    QUOTIENT = 1
    POWER = 2
    LARGER = 3
    SMALLER = 4
    TOTAL = 5

class Reduction(IntEnum):
    SUM = 0
    MEAN = 1
    MOST = 2
    WHERE = 3
    WHERE_LAST = 4

class Loss(IntEnum):
    NO_LOSS = 0
    CROSS_ENTROPY = 1
    HINGE = 2
    MEAN_SQUARED_ERROR = 3

class Formula(IntEnum):
    NO_UPDATE = 0
    SGD = 1
    ADAGRAD = 2
    RMSPROP = 3
    ADADELTA = 4
    ADAM = 5

class Frame:
    training: int
    arena_vectors: int
    packed_floats: int
    parameters: int
    states: int
    statistics: int
    kept: int
    single: int
    scratch: int
    ranges: int
    n_ranges: int

class Port:
    place: int
    vectors: int
    gradient: int

class Conv:
    x: int
    y: int
    dx: int
    dy: int
    accumulate: int
    c: int
    h: int
    w: int
    k: int
    p: int
    q: int
    r: int
    s: int
    stride_h: int
    stride_w: int
    groups: int
    weight: int
    bias: int
    relu: int
    expanded: int
    expanded_h: int
    expanded_w: int
    row_map: int
    col_map: int
    taps: int
    pack: int
    packed: int
    back: int
    back_h: int
    back_w: int
    back_row_map: int
    back_col_map: int
    back_taps: int
    back_pack: int
    back_packed: int
    back_stride_h: int
    back_stride_w: int
    back_p: int
    back_q: int
    back_out: int
    pooled: int
    in_registers: int
    pool_p: int
    pool_q: int
    map: int
    d_map: int
    winners: int
    image_rows: int
    image_width: int
    image_row_map: int
    image_col_map: int
    image_pitch: int
    image_run: int
    image_index: int
    image_x: int
    image_dx: int
    image_dw: int
    image_order: int
    dx_width: int
    dx_col_map: int
    dx_pitch: int
    dx_run: int
    dx_index: int
    few_index: int
    few_packed: int
    few_lanes: int
    few_run: int
    few_x: int
    few_y: int
    few_col_map: int

class Winograd:
    x: int
    y: int
    dx: int
    dy: int
    accumulate: int
    c: int
    h: int
    w: int
    k: int
    p: int
    q: int
    r: int
    top: int
    left: int
    weight: int
    bias: int
    relu: int
    packed: int
    tiles: int
    back_tiles: int
    points: int
    products: int
    turned: int
    upstream: int
    d_filters: int
    d_products: int
    pooled: int
    pool_p: int
    pool_q: int
    map: int
    d_map: int

class Linear:
    x: int
    y: int
    dx: int
    dy: int
    accumulate: int
    c: int
    k: int
    weight: int
    bias: int
    relu: int
    kept: int
    reads_input: int
    by_neurons: int
    adds: int
    awaits: int

class MaxPool:
    x: int
    y: int
    dx: int
    dy: int
    accumulate: int
    c: int
    h: int
    w: int
    p: int
    q: int
    r: int
    s: int
    row_map: int
    col_map: int
    pairs: int

class AveragePool:
    x: int
    y: int
    dx: int
    dy: int
    accumulate: int
    c: int
    h: int
    w: int
    p: int
    q: int
    r: int
    s: int
    row_map: int
    col_map: int
    counts: int

class PowerPool:
    x: int
    y: int
    dx: int
    dy: int
    accumulate: int
    c: int
    h: int
    w: int
    p: int
    q: int
    r: int
    s: int
    row_map: int
    col_map: int
    power: float

class Relu:
    x: int
    y: int
    dx: int
    dy: int
    accumulate: int
    count: int

class LeakyRelu:
    x: int
    y: int
    dx: int
    dy: int
    accumulate: int
    count: int
    slope: float

class Sigmoid:
    x: int
    y: int
    dx: int
    dy: int
    accumulate: int
    count: int

class Tanh:
    x: int
    y: int
    dx: int
    dy: int
    accumulate: int
    count: int

class Curve:
    x: int
    y: int
    dx: int
    dy: int
    accumulate: int
    count: int
    function: int
    a: float
    b: float

class Softmax:
    x: int
    y: int
    dx: int
    dy: int
    accumulate: int
    c: int
    places: int
    logarithm: int

class Dropout:
    x: int
    y: int
    dx: int
    dy: int
    accumulate: int
    count: int
    index: int
    rate: float

class BatchNorm:
    x: int
    y: int
    dx: int
    dy: int
    accumulate: int
    c: int
    places: int
    weight: int
    bias: int
    state: int
    relu: int
    statistics: int
    ghost: int
    frozen: int
    epsilon: float
    momentum: float
    unbiased: float

class InstanceNorm:
    x: int
    y: int
    dx: int
    dy: int
    accumulate: int
    c: int
    places: int
    weight: int
    bias: int
    epsilon: float

class ResponseNorm:
    x: int
    y: int
    dx: int
    dy: int
    accumulate: int
    c: int
    places: int
    size: int
    squares: int
    through: int
    alpha: float
    beta: float
    k: float

class Prelu:
    x: int
    y: int
    dx: int
    dy: int
    accumulate: int
    count: int
    weight: int
    weights: int
    map: int

class Copy:
    x: int
    y: int
    dx: int
    dy: int
    accumulate: int
    count: int
    add: int
    factor: float

class Move:
    x: int
    y: int
    dx: int
    dy: int
    accumulate: int
    count: int
    sources: int
    map: int
    scatter: int
    targets: int
    otherwise: float

class Pair:
    x: int
    y: int
    dx: int
    dy: int
    accumulate: int
    count: int
    pairing: int
    second: int
    relu: int
    gradient_only: int

class Reduce:
    x: int
    y: int
    dx: int
    dy: int
    accumulate: int
    outputs: int
    each: int
    sources: int
    reduction: int
    map: int

class MatMul:
    x: int
    y: int
    dx: int
    dy: int
    accumulate: int
    groups: int
    p: int
    c: int
    q: int
    second: int
    gradient_only: int

class Resample:
    x: int
    y: int
    dx: int
    dy: int
    accumulate: int
    c: int
    h: int
    p: int
    w: int
    starts: int
    places: int
    shares: int
    otherwise: float

class Value:
    x: int
    y: int
    dx: int
    dy: int
    accumulate: int
    count: int
    weight: int
    state: int

class Relayout:
    x: int
    y: int
    c: int
    h: int
    w: int
    x_first: int
    x_c: int
    x_h: int
    x_w: int
    y_first: int
    y_c: int
    y_h: int
    y_w: int
    splat: int
    border: int
    framed: int

class ChannelConv:
    x: int
    x_first: int
    x_pitch: int
    x_row: int
    y: int
    y_first: int
    y_pitch: int
    y_row: int
    border: int
    c: int
    k: int
    p: int
    q: int
    r: int
    s: int
    stride_h: int
    stride_w: int
    dilation_h: int
    dilation_w: int
    groups: int
    weight: int
    bias: int
    relu: int
    most: float
    second: int
    second_first: int
    second_pitch: int
    second_row: int
    packed: int
    by_filters: int

class ChannelWinograd:
    x: int
    x_first: int
    x_pitch: int
    x_row: int
    y: int
    y_first: int
    y_pitch: int
    y_row: int
    border: int
    c: int
    h: int
    w: int
    k: int
    p: int
    q: int
    kernel: int
    before_h: int
    before_w: int
    weight: int
    bias: int
    relu: int
    most: float
    second: int
    second_first: int
    second_pitch: int
    second_row: int
    packed: int
    pooled: int
    block: int
    staged: int
    points: int

class ChannelDepthwise:
    x: int
    x_first: int
    x_pitch: int
    x_row: int
    y: int
    y_first: int
    y_pitch: int
    y_row: int
    border: int
    c: int
    p: int
    q: int
    r: int
    s: int
    stride_h: int
    stride_w: int
    dilation_h: int
    dilation_w: int
    weight: int
    bias: int
    relu: int
    most: float
    packed: int

class ChannelMaxPool:
    x: int
    x_first: int
    x_pitch: int
    x_row: int
    y: int
    y_first: int
    y_pitch: int
    y_row: int
    border: int
    c: int
    h: int
    w: int
    p: int
    q: int
    r: int
    s: int
    stride_h: int
    stride_w: int
    dilation_h: int
    dilation_w: int
    before_h: int
    before_w: int

class ChannelAveragePool:
    x: int
    x_first: int
    x_pitch: int
    x_row: int
    y: int
    y_first: int
    y_pitch: int
    y_row: int
    border: int
    c: int
    h: int
    w: int
    p: int
    q: int
    r: int
    s: int
    stride_h: int
    stride_w: int
    dilation_h: int
    dilation_w: int
    before_h: int
    before_w: int
    counts: int

class ChannelLinear:
    x: int
    y: int
    c: int
    k: int
    weight: int
    bias: int
    relu: int
    together: int

class ChannelSoftmax:
    x: int
    y: int
    c: int
    logarithm: int

class ChannelResponseNorm:
    x: int
    x_first: int
    x_pitch: int
    x_row: int
    y: int
    y_first: int
    y_pitch: int
    y_row: int
    border: int
    c: int
    h: int
    w: int
    size: int
    alpha: float
    beta: float
    k: float

class Plan:
    def __init__(
        self, isa: str, ops: list[Any], names: list[str], table: npt.NDArray[Any], frame: Frame, inputs: list[Port],
        outputs: list[Port],
    ) -> None: ...  # fmt: skip
    @property
    def isa(self) -> str: ...
    @property
    def lanes(self) -> int: ...
    @property
    def takes_feeds(self) -> bool: ...
    @property
    def trains(self) -> bool: ...
    @property
    def input_gradients(self) -> list[bool]: ...
    @property
    def prepared_bytes(self) -> int: ...
    def workspace_bytes(self, n: int, threads: int, halves: bool = False) -> int: ...
    def prepare(self, parameters: npt.NDArray[Any], packed: npt.NDArray[Any], threads: int) -> None: ...
    def predict(
        self, x: Any, parameters: npt.NDArray[Any], state: npt.NDArray[Any], packed: npt.NDArray[Any],
        outputs: list[npt.NDArray[Any]], workspace: npt.NDArray[Any], threads: int,
        seconds: npt.NDArray[Any] | None = None,
    ) -> None: ...  # fmt: skip
    def step(
        self, x: Any, parameters: npt.NDArray[Any], state: npt.NDArray[Any], scores: npt.NDArray[Any],
        workspace: npt.NDArray[Any], threads: int, training: dict[str, Any],
    ) -> float: ...  # fmt: skip
    def forward(
        self, x: Any, parameters: npt.NDArray[Any], state: npt.NDArray[Any], outputs: list[npt.NDArray[Any]],
        workspace: npt.NDArray[Any], threads: int, seed: int, step: int,
    ) -> None: ...  # fmt: skip
    def move_running(
        self, state: npt.NDArray[Any], n: int, workspace: npt.NDArray[Any], threads: int
    ) -> None: ...
    def backward(
        self, n: int, x: Any, parameters: npt.NDArray[Any], state: npt.NDArray[Any], d_outputs: list[npt.NDArray[Any] | None],
        d_inputs: list[npt.NDArray[Any] | None], gradients: npt.NDArray[Any], workspace: npt.NDArray[Any], threads: int,
        seed: int, step: int,
    ) -> None: ...  # fmt: skip

class Prepared:
    def __init__(
        self, plan: Plan, parameters: npt.NDArray[Any], state: npt.NDArray[Any], packed: npt.NDArray[Any]
    ) -> None: ...
    def predict(
        self, x: npt.NDArray[Any], y: npt.NDArray[Any], workspace: npt.NDArray[Any], threads: int
    ) -> None: ...
