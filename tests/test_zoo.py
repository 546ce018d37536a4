"""The zoo's networks held to what was published of them: parameters, multiply-adds of each layer, shapes, names."""

from __future__ import annotations

import hashlib
import json
import time
from typing import Any

import numpy as np
import pytest

import striate as st
from striate.errors import GraphError

# Parameters as torchvision's documentation has them (GoogLeNet and Inception-v3 without auxiliary classifiers), AlexNet's of the
# Caffe reference, and, for CIFAR-10, those of the option-A networks whose weights are published.
PARAMETERS = {
    "alexnet": 60_965_224, "alexnet-one": 61_100_840, "vgg11": 132_863_336, "vgg13": 133_047_848, "vgg16": 138_357_544,
    "vgg19": 143_667_240, "vgg11-bn": 132_868_840, "vgg13-bn": 133_053_736, "vgg16-bn": 138_365_992, "vgg19-bn": 143_678_248,
    "googlenet": 6_624_904, "inception-v3": 23_834_568, "resnet18": 11_689_512, "resnet34": 21_797_672, "resnet50": 25_557_032,
    "resnet101": 44_549_160, "resnet152": 60_192_808, "squeezenet": 1_248_424, "mobilenetv2": 3_504_872, "resnet20": 272_474,
    "resnet20-a": 269_722, "resnet32-a": 464_154, "resnet44-a": 658_586, "resnet56-a": 853_018, "resnet110-a": 1_727_962,
}  # fmt: skip
# Billions of multiply-adds, as torchvision's documentation rounds them.
GIGAMACS = {
    "alexnet-one": 0.71, "vgg11": 7.61, "vgg13": 11.31, "vgg16": 15.47, "vgg19": 19.63, "googlenet": 1.50, "inception-v3": 5.71,
    "resnet18": 1.81, "resnet34": 3.66, "resnet50": 4.09, "resnet101": 7.80, "resnet152": 11.51, "mobilenetv2": 0.30,
    "vgg16-bn": 15.47,
}  # fmt: skip


def layer_macs(name: str) -> dict[str, int]:
    return {node.name: node.macs for node in st.zoo.build(name).nodes if node.macs}


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_are_the_published_ones(name: str) -> None:
    """(12: 5)"""
    assert st.zoo.build(name).parameter_count == PARAMETERS[name]


@pytest.mark.parametrize("name", GIGAMACS)
def test_multiply_adds_are_the_published_ones(name: str) -> None:
    """(12: 5)"""
    assert round(st.zoo.build(name).macs / 1e9, 2) == pytest.approx(GIGAMACS[name], abs=0.011)


def test_alexnet_layer_by_layer() -> None:
    """The multiply-adds that papers on accelerators list for the grouped network. (12: 5)"""
    assert layer_macs("alexnet") == {
        "conv1": 105_415_200, "conv2": 223_948_800, "conv3": 149_520_384, "conv4": 112_140_288, "conv5": 74_760_192,
        "fc6": 37_748_736, "fc7": 16_777_216, "fc8": 4_096_000,
    }  # fmt: skip
    net = st.zoo.build("alexnet")
    assert [net[f"conv{i}"].output_shape for i in range(1, 6)] == [(96, 55, 55), (256, 27, 27), (384, 13, 13), (384, 13, 13), (256, 13, 13)]  # fmt: skip
    assert [net[f"conv{i}"].parameter_count for i in range(1, 6)] == [
        34_944,
        307_456,
        885_120,
        663_936,
        442_624,
    ]


def test_vgg16_layer_by_layer() -> None:
    """As CS231n's notes add it up: 224×224 halved five times, 3·3·C weights a filter. (12: 5)"""
    expected, channels, size = {}, 3, 224
    for stage, (filters, count) in enumerate(((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)), start=1):
        for number in range(1, count + 1):
            expected[f"conv{stage}_{number}"] = 9 * channels * filters * size * size
            channels = filters
        size //= 2
    expected |= {"fc6": 7 * 7 * 512 * 4096, "fc7": 4096 * 4096, "fc8": 4096 * 1000}
    assert layer_macs("vgg16") == expected
    assert st.zoo.build("vgg16")["fc6"].parameter_count == 102_764_544


@pytest.mark.parametrize(("depth", "blocks"), [(18, (2, 2, 2, 2)), (50, (3, 4, 6, 3)), (152, (3, 8, 36, 3))])
def test_resnets_stage_by_stage(depth: int, blocks: tuple[int, ...]) -> None:
    """Table 1 of the paper: 56, 28, 14 and 7 pixels, so many blocks, filters doubled. (12: 5)"""
    net = st.zoo.build(f"resnet{depth}")
    wide = 4 if depth >= 50 else 1
    for stage, count in enumerate(blocks, start=1):
        filters, size = 32 << stage, 112 >> stage
        last = net[f"layer{stage}_{count - 1}_relu"]
        assert last.output_shape == (filters * wide, size, size)
        assert (
            sum(node.name.startswith(f"layer{stage}_") and node.layer.kind == "Add" for node in net.nodes)
            == count
        )
        macs = 9 * filters * filters * size * size + 2 * filters * filters * wide * size * size
        found = sum(
            node.macs or 0 for node in net.nodes if node.name.startswith(f"layer{stage}_{count - 1}_")
        )
        assert found == (macs if wide == 4 else 2 * 9 * filters * filters * size * size)
    assert layer_macs(f"resnet{depth}")["conv1"] == 49 * 3 * 64 * 112 * 112


def test_squeezenet_fire_by_fire() -> None:
    """Table 1 of the paper: 111, 55, 27 and 13 pixels, and the parameters of each module. (12: 5)"""
    net = st.zoo.build("squeezenet")
    sizes = {
        "conv1": 111,
        "pool1": 55,
        "fire2_concat": 55,
        "pool4": 27,
        "fire8_concat": 27,
        "pool8": 13,
        "conv10": 13,
    }
    assert {name: net[name].output_shape[1] for name in sizes} == sizes
    published = {2: 11_920, 3: 12_432, 4: 45_344, 5: 49_440, 6: 104_880, 7: 111_024, 8: 188_992, 9: 197_184}
    found = {
        n: sum(node.parameter_count for node in net.nodes if node.name.startswith(f"fire{n}_"))
        for n in published
    }
    assert found == published
    assert (net["conv1"].parameter_count, net["conv10"].parameter_count) == (14_208, 513_000)


def test_mobilenetv2_block_by_block() -> None:
    """Table 2 of the paper: t, c, n, s; every multiply-add from it. (12: 5)"""
    expected = {"stem": 27 * 32 * 112**2}
    channels, size, number = 32, 112, 0
    for t, c, n, s in ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)):  # fmt: skip
        for block in range(n):
            number += 1
            if t > 1:
                expected[f"block{number}_expand"] = channels * channels * t * size**2
            size //= s if block == 0 else 1
            expected[f"block{number}_depthwise"] = 9 * channels * t * size**2
            expected[f"block{number}_project"] = channels * t * c * size**2
            channels = c
    expected |= {"head": 320 * 1280 * 49, "fc": 1280 * 1000}
    assert layer_macs("mobilenetv2") == expected
    assert sum(node.layer.kind == "Add" for node in st.zoo.build("mobilenetv2").nodes) == 10


def test_googlenet_block_by_block() -> None:
    """Table 1 of the paper: channels and pixels after each block; with 3×3 in place of 5×5, as torchvision has it. (12: 5)"""
    net = st.zoo.build("googlenet")
    shapes = {
        "pool1": (64, 56, 56), "pool2": (192, 28, 28), "inception3a": (256, 28, 28), "inception3b": (480, 28, 28),
        "inception4a": (512, 14, 14), "inception4b": (512, 14, 14), "inception4c": (512, 14, 14), "inception4d": (528, 14, 14),
        "inception4e": (832, 14, 14), "inception5a": (832, 7, 7), "inception5b": (1024, 7, 7),
    }  # fmt: skip
    assert {name: net[name].output_shape for name in shapes} == shapes
    block = sum(node.macs or 0 for node in net.nodes if node.name.startswith("inception3a_"))
    assert block == 28 * 28 * (192 * 64 + 192 * 96 + 9 * 96 * 128 + 192 * 16 + 9 * 16 * 32 + 192 * 32)


def test_inception_v3_block_by_block() -> None:
    """Table 1 of the paper: 35×35×288, 17×17×768, 8×8×2048. (12: 5)"""
    net = st.zoo.build("inception-v3")
    shapes = {
        "pool2": (192, 35, 35), "Mixed_5b": (256, 35, 35), "Mixed_5d": (288, 35, 35), "Mixed_6a": (768, 17, 17),
        "Mixed_6e": (768, 17, 17), "Mixed_7a": (1280, 8, 8), "Mixed_7c": (2048, 8, 8),
    }  # fmt: skip
    assert {name: net[name].output_shape for name in shapes} == shapes


@pytest.mark.parametrize("depth", [20, 32, 44, 56, 110])
def test_cifar_resnets_differ_in_their_shortcuts_alone(depth: int) -> None:
    """Option B adds two 1×1 convolutions with batch norm; option A adds nothing. (12: 5)"""
    a, b = st.zoo.build(f"resnet{depth}-a"), st.zoo.build(f"resnet{depth}")
    assert b.parameter_count - a.parameter_count == 16 * 32 + 2 * 32 + 32 * 64 + 2 * 64
    assert b.macs - a.macs == 2 * 262_144 // 2
    for net in (a, b):
        kinds = [node.layer.kind for node in net.nodes]
        assert kinds.count("Add") == (depth - 2) // 2
        assert kinds.count("Linear") + kinds.count("Conv2d") == depth + 2 * (net is b)


def test_option_a_takes_every_other_pixel_and_adds_zeros() -> None:
    """y[8:24, p, q] = x[:, 2p, 2q], zeros around, beside a main path that is 0. (12: 5)"""
    model = st.Model(st.zoo.build("resnet20-a"), seed=1)
    with model.edit() as p:
        p["bn9.weight"][...] = p["bn9.bias"][...] = (
            0.0  # the main path of the fourth block: the skip alone is left
        )
    x = np.random.default_rng(0).standard_normal((1, 3, 32, 32)).astype(np.float32)
    adds = [node.name for node in model.graph.nodes if node.layer.kind == "Add"]
    after = model.graph.consumers[adds[2]][0]
    before, there = model.session([after, adds[3]]).forward(x, training=False)
    np.testing.assert_array_equal(there[:, 8:24], before[:, :, ::2, ::2])
    assert not there[:, :8].any()
    assert not there[:, 24:].any()


def test_resnet20_is_what_it_was() -> None:
    """Names, layers and parameters of the commit before the zoo grew, by their digest. (12: 5)"""
    text = json.dumps(st.zoo.build("resnet20").to_dict(), sort_keys=True)
    assert (
        hashlib.sha256(text.encode()).hexdigest()
        == "90bf11ec82f259c670077ff6c59c7983a223f288121053fc8e2392aa6ee58f3d"
    )


@pytest.mark.parametrize("name", st.zoo.ZOO)
def test_building_is_fast_and_makes_no_weights(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """(12: 5)"""
    monkeypatch.setattr("striate.parameters.Parameters.__init__", lambda *_: pytest.fail("weights were made"))
    started = time.process_time()
    net = st.zoo.build(name)
    assert time.process_time() - started < 0.2
    entry = st.zoo.ZOO[name]
    assert net.input_shape == entry.input_shape
    assert net.output_shape == (entry.classes,)
    assert net.ends_in_softmax
    if entry.preprocessing is not None:
        assert entry.preprocessing.input_shape == entry.input_shape
    assert st.Graph.from_dict(json.loads(json.dumps(net.to_dict()))).to_dict() == net.to_dict()


@pytest.mark.parametrize(
    "name", ["alexnet-one", "vgg11", "googlenet", "resnet50", "mobilenetv2", "squeezenet", "resnet56-a"]
)
def test_other_classes_and_sizes(name: str) -> None:
    net = st.zoo.build(name, input_shape=(1, 96, 96), classes=7)
    assert (net.input_shape, net.output_shape) == ((1, 96, 96), (7,))


@pytest.mark.parametrize("name", [name for name, entry in st.zoo.ZOO.items() for _ in entry.names[:1]])
def test_every_naming_names_each_array_once(name: str) -> None:
    """(12: 5)"""
    net = st.zoo.build(name)
    layers = {full.rpartition(".")[0] for full in net.parameter_specs}
    for naming in st.zoo.ZOO[name].names:
        names = naming(net)
        assert layers <= set(names)
        assert len({names[layer] for layer in layers}) == len(layers)


@pytest.mark.parametrize(
    ("typo", "near"),
    [("resnet-50", "resnet50"), ("VGG16_BN", "vgg16-bn"), ("sqeezenet", "squeezenet"), ("mobilenet_v2", "mobilenetv2"),
     ("inceptionv3", "inception-v3"), ("alexnet1", "alexnet"), ("lenet", "lenet5")],
)  # fmt: skip
def test_a_typo_brings_the_nearest_names(typo: str, near: str, striate: Any, here: Any) -> None:
    """In Python and in every command that takes a name. (12: bad input)"""
    for call in (st.zoo.build, st.zoo.load, st.zoo.fetch, st.zoo.find):
        with pytest.raises(
            GraphError, match=f"there is no network '{typo}' in the zoo. The nearest: .*{near}"
        ):
            call(typo)
    for words in (["predict", typo, "a.png"], ["zoo", "get", typo], ["evaluate", typo, "digits"]):
        done = striate(*words)
        assert done.status == 2
        assert f"there is no network '{typo}' in the zoo. The nearest: " in done.err
        assert near in done.err
    if typo.islower():
        done = striate("train", "digits", "--net", typo)
        assert (done.status, near in done.err) == (2, True)
