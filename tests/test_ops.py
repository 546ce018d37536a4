"""Every op of the table: gradients against differences, loops against im2col, PyTorch in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from striate import check_gradients, jacobian
from striate import reference as ref

from .cases import CASES, UNDRAWABLE, Case

by_name = {case.name: case for case in CASES}
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def drawn(case: Case, data: Any) -> tuple[list[Any], dict[str, Any]]:
    try:
        return case.draw(data.draw)
    except UNDRAWABLE:
        assume(False)
        raise


@every_case
@settings(max_examples=12)
@given(data=st.data())
def test_gradients_match_differences(case: Case, data: Any) -> None:
    arrays, options = drawn(case, data)
    given_arrays = [a for a in arrays if a is not None]
    report = check_gradients(
        case.bound(options), case.backward, *given_arrays, names=["x", "w", "b"], tolerance=1e-6
    )
    assert report.passed, str(report)
    assert report.checked == sum(a.size for a in given_arrays)
    assert not report.kinks


@every_case
@settings(max_examples=8)
@given(data=st.data())
def test_backward_is_the_jacobian_times_upstream(case: Case, data: Any) -> None:
    arrays, options = drawn(case, data)
    x, rest = arrays[0], [a for a in arrays[1:] if a is not None]
    y, cache = case.forward(x, *rest, **options)
    dy = np.random.default_rng(0).standard_normal(y.shape)
    found = case.backward(dy, cache)
    dx = found[0] if isinstance(found, tuple) else found
    explicit = jacobian(lambda moved: case.forward(moved, *rest, **options), x) @ dy.ravel()
    assert dx.shape == x.shape
    np.testing.assert_allclose(dx.ravel(), explicit, atol=1e-7 * max(1.0, np.abs(explicit).max()))


@every_case
@settings(max_examples=6)
@given(data=st.data())
def test_types_are_kept(case: Case, data: Any) -> None:
    arrays, options = drawn(case, data)
    single = [None if a is None else a.astype(np.float32) for a in arrays]
    options = {k: v.astype(np.float32) if isinstance(v, np.ndarray) else v for k, v in options.items()}
    y, cache = case.forward(*single, **options)
    assert y.dtype == np.float32
    found = case.backward(np.ones_like(y), cache)
    for gradient in found if isinstance(found, tuple) else (found,):
        assert gradient is None or gradient.dtype == np.float32


@pytest.mark.torch
@pytest.mark.parametrize("case", [case for case in CASES if case.torch], ids=lambda case: case.name)
@settings(max_examples=150)
@given(data=st.data())
def test_agrees_with_torch(case: Case, data: Any) -> None:
    import torch

    arrays, options = drawn(case, data)
    tensors = [None if a is None else torch.tensor(a, requires_grad=True) for a in arrays]
    try:
        expected = case.torch(tensors, options)  # type: ignore[misc]
    except UNDRAWABLE:
        assume(False)
        raise
    y, cache = case.forward(*arrays, **options)
    np.testing.assert_allclose(y, expected.detach().numpy(), rtol=1e-10, atol=1e-10)
    dy = np.random.default_rng(1).standard_normal(y.shape)
    expected.backward(torch.from_numpy(dy))
    found = case.backward(dy, cache)
    for gradient, tensor in zip(found if isinstance(found, tuple) else (found,), tensors, strict=True):
        if tensor is not None:
            np.testing.assert_allclose(gradient, tensor.grad.numpy(), rtol=1e-10, atol=1e-10)


# ── the plain loops ──────────────────────────────────────────────────────────────────────────────


@given(data=st.data())
def test_convolution_equals_its_loops(data: Any) -> None:
    (x, w, b), options = drawn(by_name["conv2d"], data)
    assume(options.pop("padding_mode") == "zeros")
    y, cache = ref.conv2d(x, w, b, **options)
    np.testing.assert_allclose(y, ref.conv2d_loops(x, w, b, **options), atol=1e-12)
    dy = np.random.default_rng(2).standard_normal(y.shape)
    dx, dw, db = ref.conv2d_backward(dy, cache)
    loop_dx, loop_dw, loop_db = ref.conv2d_loops_backward(dy, x, w, **options)
    np.testing.assert_allclose(dx, loop_dx, atol=1e-12)
    np.testing.assert_allclose(dw, loop_dw, atol=1e-12)
    if b is not None:
        np.testing.assert_allclose(db, loop_db, atol=1e-12)


@given(data=st.data())
def test_max_pooling_equals_its_loops(data: Any) -> None:
    (x,), options = drawn(by_name["max_pool2d"], data)
    y, cache = ref.max_pool2d(x, **options)
    loop_y, winners = ref.max_pool2d_loops(x, **options)
    np.testing.assert_array_equal(y, loop_y)
    dy = np.random.default_rng(3).standard_normal(y.shape)
    np.testing.assert_allclose(
        ref.max_pool2d_backward(dy, cache), ref.max_pool2d_loops_backward(dy, winners, x.shape), atol=1e-14
    )


@given(data=st.data())
def test_average_pooling_equals_its_loops(data: Any) -> None:
    (x,), options = drawn(by_name["avg_pool2d"], data)
    np.testing.assert_allclose(
        ref.avg_pool2d(x, **options)[0], ref.avg_pool2d_loops(x, **options), atol=1e-14
    )


def test_transposed_convolution_is_the_transpose() -> None:
    """⟨conv(x), y⟩ = ⟨x, convᵀ(y)⟩ with the same filters."""
    rng = np.random.default_rng(4)
    x, w = rng.standard_normal((2, 3, 9, 9)), rng.standard_normal((5, 3, 3, 3))
    y, _ = ref.conv2d(x, w, stride=2, padding=1)
    other = rng.standard_normal(y.shape)
    back, _ = ref.conv_transpose2d(other, w, stride=2, padding=1)
    assert back.shape == x.shape
    np.testing.assert_allclose((y * other).sum(), (x * back).sum(), rtol=1e-12)


# ── ties, NaN, extremes ──────────────────────────────────────────────────────────────────────────


def test_of_equal_numbers_the_first_wins() -> None:
    x = np.array([[2.0, 2.0], [2.0, 1.0]])[None, None]
    _, cache = ref.max_pool2d(x, 2)
    dx = ref.max_pool2d_backward(np.ones((1, 1, 1, 1)), cache)
    np.testing.assert_array_equal(dx[0, 0], [[1, 0], [0, 0]])


def test_nan_passes_through_relu_and_pooling() -> None:
    x = np.array([[1.0, np.nan], [2.0, 3.0]])[None, None]
    assert np.isnan(ref.relu(x)[0][0, 0, 0, 1])
    assert np.isnan(ref.max_pool2d(x, 2)[0]).all()


def test_sigmoid_and_softmax_do_not_overflow() -> None:
    x = np.array([[-1e4, 0.0, 1e4]])
    np.testing.assert_array_equal(ref.sigmoid(x)[0], [[0.0, 0.5, 1.0]])
    np.testing.assert_array_equal(ref.softmax(x)[0], [[0.0, 0.0, 1.0]])


def test_a_kink_is_named_and_a_wrong_gradient_is_found() -> None:
    x = np.array([1.0, -2.0, 0.0, 3.0])
    report = check_gradients(ref.relu, ref.relu_backward, x)
    assert report.passed
    assert [entry.index for entry in report.kinks] == [(2,)]
    assert "kink   x[2]" in str(report)
    tie = np.array([[4.0, 4.0], [1.0, 0.0]])[None, None]
    pooled = check_gradients(lambda a: ref.max_pool2d(a, 2), ref.max_pool2d_backward, tie)
    assert pooled.passed
    assert {entry.index for entry in pooled.kinks} == {(0, 0, 0, 0), (0, 0, 0, 1)}
    wrong = check_gradients(ref.tanh, lambda dy, y: dy * (1.0 - y), np.array([0.5, -0.3]))
    assert not wrong.passed
    assert len(wrong.failures) == 2
    assert "wrong  x[0]" in str(wrong)


def test_a_kink_does_not_excuse_a_wrong_slope() -> None:
    """At 0 ReLU's slopes are 0 and 1; a backward pass that says 5 is wrong there too."""
    report = check_gradients(ref.relu, lambda dy, mask: np.where(mask, dy, 5.0 * dy), np.array([0.0]))
    assert not report.passed


# ── ops without a gradient of their own ──────────────────────────────────────────────────────────


def test_a_parameter_is_the_same_for_every_image() -> None:
    value = np.arange(6.0).reshape(2, 3)
    y, cache = ref.parameter(np.zeros((4, 7)), value)
    np.testing.assert_array_equal(y, np.stack([value] * 4))
    dx, dvalue = ref.parameter_backward(np.ones((4, 2, 3)), cache)
    assert dx is None
    np.testing.assert_array_equal(dvalue, np.full((2, 3), 4.0))


def test_positions_pass_no_gradient() -> None:
    x = np.array([[1.0, 5.0, 5.0], [9.0, 2.0, 3.0]])[None]
    for options, expected in (
        ({"axis": 1}, [[1, 0]]),
        ({"axis": 1, "last": True}, [[2, 0]]),
        ({"axis": 0, "keep_axes": True}, [[[1, 0, 0]]]),
    ):
        y, cache = ref.argmax(x, **options)
        assert y.dtype == np.int64
        np.testing.assert_array_equal(y, expected)
        assert ref.no_gradient(y, cache) is None
    whole, kind = ref.cast(np.array([[1.9, -1.9, 0.0]]), to="int32")
    np.testing.assert_array_equal(whole, [[1, -1, 0]])
    assert ref.cast_backward(whole, kind) is None
    same, kind = ref.cast(np.ones((1, 2)), to="float32")
    assert same.dtype == np.float64
    assert ref.cast_backward(same, kind) is same


def test_pool_positions_count_through_the_batch() -> None:
    x = np.arange(32.0).reshape(2, 1, 4, 4)
    rows, _ = ref.max_pool_indices2d(x, 2)
    columns, _ = ref.max_pool_indices2d(x, 2, column_major=True)
    np.testing.assert_array_equal(rows.ravel(), [5, 7, 13, 15, 21, 23, 29, 31])
    np.testing.assert_array_equal(columns.ravel(), [5, 13, 7, 15, 21, 29, 23, 31])
    np.testing.assert_array_equal(x.ravel()[rows], ref.max_pool2d(x, 2)[0])
