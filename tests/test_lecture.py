"""The numbers of the lecture (CS231n, "Convolutional Neural Networks: basic operations"), each by name."""

from __future__ import annotations

import numpy as np
import pytest

import striate as st

IMAGE = (3, 32, 32)


def test_32x32x3_image_with_a_5x5_filter_gives_a_28x28_map() -> None:
    assert st.shapes.output_size(32, kernel_size=5) == 28


def test_six_filters_give_28x28x6_then_ten_5x5x6_give_24x24x10() -> None:
    net = st.Sequential([st.Conv2d(6, 5), st.ReLU(), st.Conv2d(10, 5), st.ReLU()], input_shape=IMAGE)
    assert net["conv1"].output_shape == (6, 28, 28)
    assert net["conv2"].output_shape == (10, 24, 24)
    assert net.parameter_specs["conv2.weight"].shape == (10, 6, 5, 5)


@pytest.mark.parametrize(("stride", "output"), [(1, 5), (2, 3)])
def test_7x7_with_3x3(stride: int, output: int) -> None:
    assert st.shapes.output_size(7, 3, stride) == output


def test_7x7_with_3x3_at_stride_3_does_not_fit() -> None:
    with pytest.raises(st.ShapeError, match=r"does not fit") as caught:
        st.shapes.output_size((7, 7), 3, 3)
    assert "(7 + 2·0 − 3)/3 + 1 = 2.33" in str(caught.value)


def test_7x7_with_3x3_at_stride_1_and_pad_1_stays_7x7() -> None:
    assert st.shapes.output_size(7, 3, 1, padding=1) == 7


@pytest.mark.parametrize(("size", "pad"), [(3, 1), (5, 2), (7, 3)])
def test_padding_of_half_the_filter_preserves_size(size: int, pad: int) -> None:
    assert st.shapes.output_size(7, size, 1, padding=pad) == 7
    assert st.Conv2d(4, size, padding="same").output_shape(IMAGE) == (4, 32, 32)


def test_5x5_filters_shrink_32_to_28_to_24() -> None:
    assert st.shapes.output_size(st.shapes.output_size(32, 5), 5) == 24


def test_ten_5x5_filters_stride_1_pad_2_on_32x32x3_give_32x32x10_and_760_parameters() -> None:
    net = st.Sequential([st.Conv2d(10, 5, stride=1, padding=2)], input_shape=IMAGE)
    assert net.output_shape == (10, 32, 32)
    assert net.parameter_count == 760 == st.shapes.conv2d_parameters(3, 10, 5)
    assert st.Model(net).parameters.flat.size == 760


def test_one_filter_is_a_75_dimensional_dot_product_plus_bias() -> None:
    layer = st.Conv2d(1, 5)
    assert layer.parameter_specs(IMAGE)["weight"].fan_in == 75
    assert st.shapes.conv2d_parameters(3, 1, 5) == 76


def test_1x1_convolution_with_32_filters_on_56x56x64() -> None:
    net = st.Sequential([st.Conv2d(32, 1)], input_shape=(64, 56, 56))
    assert net.output_shape == (32, 56, 56)
    assert net.parameter_specs["conv1.weight"].fan_in == 64


def test_common_settings_preserve_or_fit() -> None:
    assert st.shapes.output_size(32, 3, 1, padding=1) == 32
    assert st.shapes.output_size(32, 5, 1, padding=2) == 32
    assert st.shapes.output_size(32, 1, 1, padding=0) == 32
    with pytest.raises(st.ShapeError) as caught:  # F = 5, S = 2, P = ? (whatever fits)
        st.shapes.output_size(32, 5, 2)
    whatever_fits = next(fix for fix in caught.value.fixes if fix.argument == "padding")
    assert st.shapes.output_size(32, 5, 2, padding=tuple(whatever_fits.value)) == whatever_fits.output[0]


def test_max_pooling_of_the_single_depth_slice() -> None:
    x = np.array([[1, 1, 2, 4], [5, 6, 7, 8], [3, 2, 1, 0], [1, 2, 3, 4]], float)
    y, _ = st.reference.max_pool2d(x[None, None], 2)
    np.testing.assert_array_equal(y[0, 0], [[6, 8], [3, 4]])


def test_max_pooling_has_no_parameters() -> None:
    assert st.Sequential([st.MaxPool2d(2)], input_shape=(1, 4, 4)).parameter_count == 0


def test_fully_connected_3072_to_10() -> None:
    net = st.Sequential([st.Flatten(), st.Linear(10)], input_shape=IMAGE)
    assert net["flatten1"].output_shape == (3072,)
    assert net.parameter_specs["fc1.weight"].shape == (10, 3072)
    assert net.parameter_count == 30_720 + 10
    assert net.receptive_field("fc1")[0].size == 32


def test_two_layer_network_3072_100_10() -> None:
    net = st.zoo.build("two-layer")
    assert net.parameter_specs["fc1.weight"].shape == (100, 3072)
    assert net.parameter_specs["fc2.weight"].shape == (10, 100)


def test_the_3d_grid_of_neurons_28x28x5() -> None:
    net = st.Sequential([st.Conv2d(5, 5)], input_shape=IMAGE)
    assert net.output_shape == (5, 28, 28)
    field, _ = net.receptive_field("conv1")
    assert field.size == 5
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((1, *IMAGE)), rng.standard_normal((5, 3, 5, 5))
    before, _ = st.reference.conv2d(x, w)
    x[0, :, 10:15, 20:25] += 1.0
    after, _ = st.reference.conv2d(x, w)
    assert (after[0, :, 10, 20] != before[0, :, 10, 20]).all()  # five neurons look at one region
    assert (after[0, :, 15:, :] == before[0, :, 15:, :]).all()


def test_relu_backward_and_its_jacobian() -> None:
    x, dz = np.array([1.0, -2.0, 3.0, -1.0]), np.array([4.0, -1.0, 5.0, 9.0])
    z, cache = st.reference.relu(x)
    np.testing.assert_array_equal(z, [1, 0, 3, 0])
    dx = st.reference.relu_backward(dz, cache)
    np.testing.assert_array_equal(dx, [4, 0, 5, 0])
    jacobian = st.jacobian(st.reference.relu, x)
    np.testing.assert_array_equal(jacobian, np.diag([1.0, 0.0, 1.0, 0.0]))
    np.testing.assert_array_equal(jacobian @ dz, dx)


def test_downstream_gradients_have_the_shape_of_their_variables() -> None:
    rng = np.random.default_rng(1)
    x, w, b = rng.standard_normal((2, *IMAGE)), rng.standard_normal((6, 3, 5, 5)), rng.standard_normal(6)
    y, cache = st.reference.conv2d(x, w, b, stride=3)
    dx, dw, db = st.reference.conv2d_backward(np.ones_like(y), cache)
    assert (dx.shape, dw.shape, db.shape) == (x.shape, w.shape, b.shape)


def test_the_stacked_architecture() -> None:
    net = st.pattern(
        "[(CONV-RELU)*N-POOL?]*M-(FC-RELU)*K,SOFTMAX", input_shape=IMAGE, classes=10, filters=(32, 64, 128),
        hidden=256, N=2, M=3, K=1,
    )  # fmt: skip
    kinds = [node.layer.kind for node in net.nodes]
    stage = ["Conv2d", "ReLU", "Conv2d", "ReLU", "MaxPool2d"]
    assert kinds == [*stage * 3, "Flatten", "Linear", "ReLU", "Linear", "Softmax"]
    assert net["pool3"].output_shape == (128, 4, 4)


def test_the_home_exercise() -> None:
    image = "1 2 3 4 5; 2 2 1 1 1; 3 2 1 1 1; 4 1 1 1 1; 5 1 1 1 1"
    x = np.array([[float(n) for n in row.split()] for row in image.split(";")], np.float32)
    w = np.array([[0, -1, 0], [1, 1, 1], [0, -1, 0]], np.float32)
    net = st.Sequential(
        [st.Conv2d(1, 3, stride=2, bias=False), st.ReLU(), st.MaxPool2d(2)], input_shape=(1, 5, 5)
    )
    model = st.Model(net)
    with model.edit() as p:
        p["conv1.weight"][...] = w
    np.testing.assert_array_equal(
        st.reference.conv2d(x[None, None], w[None, None], stride=2)[0][0, 0], [[1, -2], [3, 1]]
    )
    np.testing.assert_array_equal(model.predict(x[None, None]), [[[[3.0]]]])


def test_lenet5_in_the_papers_shapes() -> None:
    net = st.zoo.build("lenet5")
    shapes = {name: net[name].output_shape for name in ("c1", "s2", "c3", "s4", "c5", "f6", "output")}
    assert shapes == {
        "c1": (6, 28, 28), "s2": (6, 14, 14), "c3": (16, 10, 10), "s4": (16, 5, 5), "c5": (120, 1, 1),
        "f6": (84,), "output": (10,),
    }  # fmt: skip
    assert st.zoo.build("lenet5", input_shape=(1, 28, 28))["c1"].output_shape == (6, 28, 28)


def test_convnetjs_cifar10_network_has_22466_parameters() -> None:
    assert st.zoo.build("convnetjs-cifar10").parameter_count == 22_466
