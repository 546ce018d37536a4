"""Arithmetic: sizes, rounding, what is unread, fixes that work, receptive fields."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as hyp

import striate as st
from striate.shapes import ReceptiveField, WindowAxis, output_size, transposed_axes, window_axes

sizes = hyp.integers(1, 40)
small = hyp.integers(1, 6)
sides = hyp.integers(0, 4)


def count_windows(size: int, kernel: int, stride: int, before: int, after: int, dilation: int) -> int:
    """How many windows lie inside the padded axis, by putting them down one after another."""
    span, at, found = dilation * (kernel - 1) + 1, 0, 0
    while at + span <= before + size + after:
        found, at = found + 1, at + stride
    return found


@given(sizes, small, small, sides, sides, hyp.integers(1, 3))
def test_floor_counts_windows(
    size: int, kernel: int, stride: int, before: int, after: int, dilation: int
) -> None:
    expected = count_windows(size, kernel, stride, before, after, dilation)
    assume(expected > 0)
    assert output_size(size, kernel, stride, (before, after), dilation, "floor") == expected


@given(sizes, small, small, sides, hyp.integers(1, 3))
def test_exact_is_floor_with_nothing_left(
    size: int, kernel: int, stride: int, pad: int, dilation: int
) -> None:
    try:
        found = output_size(size, kernel, stride, pad, dilation)
    except st.ShapeError:
        assert (size + 2 * pad - dilation * (kernel - 1) - 1) % stride or dilation * (
            kernel - 1
        ) >= size + 2 * pad
        return
    assert (found - 1) * stride + dilation * (kernel - 1) + 1 == size + 2 * pad


@given(sizes, small, small, sides)
def test_ceil_never_starts_in_the_trailing_padding(size: int, kernel: int, stride: int, pad: int) -> None:
    assume(size + 2 * pad >= kernel)
    (axis,) = window_axes((size,), kernel, stride, pad, rounding="ceil")
    floor = output_size(size, kernel, stride, pad, rounding="floor")
    assert floor <= axis.output_size <= floor + 1
    if axis.output_size > floor:
        assert (axis.output_size - 1) * stride < size + pad


@given(sizes, small, small)
def test_same_keeps_the_ceiling(size: int, kernel: int, stride: int) -> None:
    (axis,) = window_axes((size,), kernel, stride, "same")
    assert axis.output_size == -(-size // stride)
    assert axis.after - axis.before in (0, 1)


def test_same_puts_the_odd_pixel_at_the_end() -> None:
    (axis,) = window_axes((7,), 4, 1, "same")
    assert (axis.before, axis.after) == (1, 2)


@given(sizes, small, small, sides, hyp.integers(1, 3))
def test_unread_pixels_are_those_no_window_touches(
    size: int, kernel: int, stride: int, pad: int, dilation: int
) -> None:
    try:
        (axis,) = window_axes((size,), kernel, stride, pad, dilation, "floor")
    except st.ShapeError:
        return
    read = set()
    for p in range(axis.output_size):
        for tap in range(kernel):
            read.add(p * stride + tap * dilation - pad)
    assert set(axis.unread) == set(range(size)) - read


@given(
    hyp.tuples(sizes, sizes), hyp.one_of(small, hyp.tuples(small, small)), hyp.one_of(small, hyp.tuples(small, small)),
    hyp.one_of(sides, hyp.tuples(sides, sides, sides, sides)), hyp.integers(1, 2),
)  # fmt: skip
def test_every_suggested_fix_works(size: Any, kernel: Any, stride: Any, padding: Any, dilation: int) -> None:
    arguments = {"kernel_size": kernel, "stride": stride, "padding": padding, "dilation": dilation}
    try:
        output_size(size, **arguments)
        return
    except st.ShapeError as error:
        fixes = error.fixes
    assert fixes, "a misfit without a way out"
    for fix in fixes:
        assert output_size(size, **{**arguments, fix.argument: fix.value}) == fix.output
        assert str(fix.value) in str(fix)


def test_the_error_of_the_style_guide() -> None:
    with pytest.raises(st.ShapeError) as caught:
        st.Sequential([("conv1", st.Conv2d(4, 3, stride=3))], input_shape=(1, 7, 7))
    assert str(caught.value) == (
        "conv1 (Conv2d): a 3×3 filter at stride 3 does not fit a 7×7 input.\n"
        "  (7 + 2·0 − 3)/3 + 1 = 2.33\n"
        "  Try: stride=1 → 5×5; stride=2 → 3×3; padding=1 → 3×3;\n"
        '  or rounding="floor" → 2×2, which leaves the last row and column unread.\n'
        "  The network up to here:\n"
        "    input           1×7×7\n"
        "    conv1 (Conv2d)  ✗"
    )


def test_a_filter_larger_than_its_input() -> None:
    with pytest.raises(st.ShapeError) as caught:
        output_size((3, 3), 5)
    assert "(3 + 2·0 − 5)/1 + 1 = -1" in str(caught.value)
    assert [str(fix) for fix in caught.value.fixes] == ["padding=1 → 1×1"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"stride": 0}, "stride must be at least 1, got 0."),
        ({"kernel_size": 0}, "kernel_size must be at least 1, got 0."),
        ({"padding": -1}, "padding must be at least 0, got -1."),
        ({"dilation": 1.5}, "dilation must be a whole number, got 1.5."),
        ({"stride": True}, "stride must be a whole number, got True."),
        ({"rounding": "round"}, 'rounding must be "exact", "floor" or "ceil", got \'round\'.'),
        ({"padding": "valid"}, "padding takes one number, (height, width), (top, bottom, left, right)"),
        ({"kernel_size": (3, 3, 3)}, "kernel_size takes one number or (height, width), got (3, 3, 3)."),
    ],
)
def test_arguments_out_of_range(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(st.OptionError) as caught:
        output_size((7, 7), **{"kernel_size": 3, **arguments})
    assert message in str(caught.value)


@given(sizes, small, small, hyp.integers(0, 2), hyp.integers(1, 2))
def test_transposed_sizes_read_the_formula_backwards(
    size: int, kernel: int, stride: int, pad: int, dilation: int
) -> None:
    """A convolution of the transposed output gives back the input's size."""
    try:
        (axis,) = transposed_axes((size,), kernel, stride, pad, 0, dilation)
    except st.ShapeError:
        return
    assert output_size(axis.output_size, kernel, stride, pad, dilation) == size


def test_transposed_same_multiplies_by_the_stride() -> None:
    for kernel in range(1, 6):
        for stride in range(1, 4):
            assert transposed_axes((5,), kernel, stride, "same")[0].output_size == 5 * stride


def test_transposed_output_padding_is_checked() -> None:
    with pytest.raises(st.OptionError, match=r"output_padding \(2\) must be less than the stride \(2\)"):
        transposed_axes((5,), 3, 2, 0, 2)


# ── receptive fields, against what really changes ────────────────────────────────────────────────


def chain(*axes: WindowAxis) -> ReceptiveField:
    seen = ReceptiveField()
    for axis in axes:
        seen = seen.through(axis)
    return seen


def test_two_5x5_see_9_and_three_3x3_see_7() -> None:
    three = [window_axes((9 - 2 * i,), 3)[0] for i in range(3)]
    assert chain(*three).size == 7
    assert chain(window_axes((32,), 5)[0], window_axes((28,), 5)[0]).size == 9


def test_strides_multiply_and_padding_moves_the_first_center() -> None:
    field = chain(window_axes((32,), 5, 1, 2)[0], window_axes((32,), 2, 2)[0], window_axes((16,), 3, 1, 1)[0])
    assert (field.size, field.stride) == (10, Fraction(2))
    assert field.first == -4
    assert field.center == 0.5


@given(hyp.lists(hyp.tuples(small, hyp.integers(1, 3), sides, hyp.integers(1, 2)), min_size=1, max_size=3))
def test_the_field_is_what_an_output_depends_on(layers: list[tuple[int, int, int, int]]) -> None:
    size, axes = 60, []
    for kernel, stride, pad, dilation in layers:
        try:
            (axis,) = window_axes((size,), kernel, stride, pad, dilation, "floor")
        except st.ShapeError:
            return
        axes.append(axis)
        size = axis.output_size
    field = chain(*axes)
    for output in {0, size - 1}:
        reached = {output}
        for axis in reversed(axes):
            reached = {
                p * axis.stride + tap * axis.dilation - axis.before
                for p in reached
                for tap in range(axis.kernel_size)
            }
        first = field.first + output * field.stride
        assert (min(reached), max(reached)) == (first, first + field.size - 1)


def test_fields_along_the_paths_of_a_dag() -> None:
    build = st.GraphBuilder(input_shape=(3, 16, 16))
    one = build.add(st.Conv2d(4, 1), build.input, name="one")
    three = build.add(st.Conv2d(4, 3, padding=1), build.input, name="three")
    five = build.chain([("a", st.Conv2d(4, 3, padding=1)), ("b", st.Conv2d(4, 3, padding=1))], build.input)
    build.add(st.Concat(), one, three, five, name="joined")
    net = build.build()
    assert net.receptive_field("joined")[0] == ReceptiveField(5, Fraction(1), Fraction(-2))
    assert net.receptive_field("joined", ["input", "one", "joined"])[0].size == 1
    assert net.receptive_field("joined", ["three", "joined"])[0].size == 3
    assert net.receptive_field("joined", ["a", "b", "joined"])[0].size == 5
    with pytest.raises(st.GraphError, match="b does not read input; it reads a"):
        net.receptive_field("joined", ["b", "joined"])
    with pytest.raises(st.GraphError, match="the path must end at 'joined'"):
        net.receptive_field("joined", ["a", "b"])


def test_upsampling_divides_the_stride() -> None:
    net = st.Sequential(
        [st.Conv2d(4, 2, stride=2), st.ConvTranspose2d(4, 2, stride=2)], input_shape=(1, 8, 8)
    )
    field, _ = net.receptive_field("upconv1")
    assert (field.size, field.stride) == (2, Fraction(1))


def rows_that_matter(net: st.Graph) -> list[set[int]]:
    """For each output row, the input rows that change it."""
    model, height = st.Model(net, engine="reference"), net.input_shape[1]
    with model.edit() as p:
        p.flat[...] = 1.0
    still = model.predict(np.ones((1, *net.input_shape), np.float32))[0]
    changed = np.ones((height, *net.input_shape), np.float32)
    changed[np.arange(height), :, np.arange(height)] = 2.0
    differs = (model.predict(changed) != still).any(axis=(1, 3))  # (input row, output row)
    return [set(map(int, np.flatnonzero(column))) for column in differs.T]


L = st.layers


@pytest.mark.parametrize(
    ("body", "shape"),
    [
        (
            [st.Conv2d(1, 3, padding=1), L.Resize((1, 24, 12), "linear"), st.Conv2d(1, 3, padding=1)],
            (1, 12, 12),
        ),
        ([st.AvgPool2d(2), L.Resize((1, 12, 12), "nearest"), st.Conv2d(1, 3, padding=1)], (1, 12, 12)),
        ([L.Resize((1, 12, 6), "cubic"), st.Conv2d(1, 3)], (1, 18, 18)),
        ([L.Resize((1, 4, 4), "nearest"), st.Conv2d(1, 3)], (1, 12, 12)),
        (
            [L.Pad(((0, 0), (2, 1), (0, 0))), st.Conv2d(1, 4), L.Slice(1, 3, None, 2), st.Conv2d(1, 2)],
            (1, 12, 12),
        ),
        ([st.Conv2d(1, 3), L.Transpose((0, 2, 1)), st.Conv2d(1, (1, 2)), L.Transpose((0, 2, 1))], (1, 9, 7)),
    ],
    ids=lambda value: "-".join(getattr(one, "kind", str(one)) for one in value),
)
def test_layers_of_tensors_see_what_changes_them(body: list[Any], shape: tuple[int, int, int]) -> None:
    net = st.Sequential(body, input_shape=shape)
    field, _ = net.receptive_field(net.output)
    found = rows_that_matter(net)
    inner = [rows for rows in found if min(rows) > 0 and max(rows) < shape[1] - 1]
    assert max(max(rows) - min(rows) + 1 for rows in inner) == field.size
    phases = 2 if any(layer.kind == "Resize" for layer in body) else 0  # the widest field stands for all
    for i, rows in enumerate(found):
        first = field.first + i * field.stride
        assert first - phases <= min(rows)
        assert max(rows) <= first + field.size - 1 + phases


def test_a_gate_sees_everything_and_what_it_opens_sees_on_from_its_place() -> None:
    build = st.GraphBuilder(input_shape=(2, 16, 12))
    body = build.add(st.Conv2d(4, 3, padding=1), build.input)
    gate = build.chain(
        [L.Reduce("mean", (1, 2), keep_axes=True), st.Conv2d(4, 1), L.Expand((4, 16, 12))], body
    )
    gated = build.add(L.Multiply(), body, gate)
    bias = build.add(L.Parameter((4, 16, 12)), build.input)
    build.chain(
        [("after", st.Conv2d(1, 3, padding=1)), ("norm", L.InstanceNorm2d())],
        build.add(st.Add(), gated, bias),
    )
    net = build.build()
    assert [axis.size for axis in net.receptive_field(gate)] == [16, 12]
    assert net.receptive_field(gated)[0] == ReceptiveField(17, 1, -1)  # everything, and the padding before it
    assert net.receptive_field(bias)[0].size == 0
    assert [axis.size for axis in net.receptive_field("after")] == [19, 15]
    assert [axis.size for axis in net.receptive_field("norm")] == [16, 12]
