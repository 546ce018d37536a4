"""Layers, graphs, patterns, the table, parameters: structure without training."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as hyp

import striate as st
from striate.errors import PatternError
from striate.graph import Graph
from striate.layers import LAYERS, layer_from_dict
from striate.parameters import RULES

from .layers import REQUIRED

CIFAR = (3, 32, 32)
LECTURE = "[(CONV-RELU)*N-POOL?]*M-(FC-RELU)*K,SOFTMAX"


def residual() -> Graph:
    build = st.GraphBuilder(input_shape=(4, 8, 8))
    main = build.chain(
        [st.Conv2d(4, 3, padding=1), st.BatchNorm2d(), st.ReLU(), st.Conv2d(4, 3, padding=1)], build.input
    )
    at = build.add(st.Add(), main, build.input)
    wide = build.add(st.Conv2d(2, 1), at, name="one")
    three = build.add(st.Conv2d(3, 3, padding=1), at, name="three")
    build.chain(
        [st.GlobalAvgPool2d(), st.Flatten(), st.Linear(3), st.Softmax()],
        build.add(st.Concat(), wide, three, at),
    )
    return build.build()


# ── layers ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: st.Conv2d(6, 3, groups=4), "out_channels (6) must be a multiple of groups (4)."),
        (lambda: st.Conv2d(6, 3, padding_mode="wrap"), 'padding_mode must be "zeros", "reflect" or "replicate", got \'wrap\'.'),
        (lambda: st.Dropout(1.0), "p must be a number in [0, 1), got 1.0."),
        (lambda: st.Linear(0), "out_features must be at least 1, got 0."),
        (lambda: st.MaxPool2d(0), "kernel_size must be at least 1, got 0."),
        (lambda: st.BatchNorm2d(epsilon=-1), "epsilon must be a number at least 0, got -1."),
        (lambda: st.LocalResponseNorm(size=0), "size must be at least 1, got 0."),
        (lambda: st.layers.Reduce("max", (1, 1)), "axes must name each axis once, got (1, 1)."),
        (lambda: st.MaxPool2d(2, rounding="up"), 'rounding must be "exact", "floor" or "ceil", got \'up\'.'),
    ],
)  # fmt: skip
def test_hyperparameters_are_checked_when_a_layer_is_made(make, message) -> None:
    with pytest.raises(st.OptionError) as caught:
        make()
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([st.Linear(10)], "fc1 (Linear): Linear takes a vector, and its input is 3×32×32. Put Flatten() before it: 3×32×32 → 3072 features."),
        ([st.Flatten(), st.Conv2d(4, 3)], "conv1 (Conv2d): Conv2d takes images (C, H, W), and its input is a vector of 3072 features."),
        ([st.Conv2d(6, 3, groups=2)], "conv1 (Conv2d): 3 input channels cannot be split into 2 groups (3/2 is not whole). Groups that work: 1, 3."),
        ([st.MaxPool2d(2, stride=1, padding=2)], "lets the window at output row 0 see padding alone"),
        ([st.Conv2d(1, 3, padding=32, padding_mode="reflect")], "reflect padding of 32 needs an input larger than that, and it has 32 rows"),
    ],
)  # fmt: skip
def test_shapes_that_do_not_go_together(layers, message) -> None:
    with pytest.raises(st.ShapeError) as caught:
        st.Sequential(layers, input_shape=CIFAR)
    assert message in str(caught.value)


@pytest.mark.parametrize("kind", LAYERS)
def test_every_layer_survives_its_dictionary(kind: str) -> None:
    every = (
        (3, 8, 8),
        "linear",
        "half_pixel",
        "floor",
        -0.5,
        False,
        True,
        (1.0, 2.0, 2.0),
        ((0.0, 1.0),) * 3,
    )
    required = REQUIRED | {"Resize": every}
    layer = getattr(st.layers, kind)(*required.get(kind, ()))
    assert layer_from_dict(json.loads(json.dumps(layer.to_dict()))) == layer


def test_unknown_layers_and_hyperparameters_are_named() -> None:
    with pytest.raises(st.GraphError, match="unknown layer 'Conv3d'; known are Conv2d"):
        layer_from_dict({"kind": "Conv3d"})
    with pytest.raises(st.GraphError, match="ReLU: .*'slope'"):
        layer_from_dict({"kind": "ReLU", "slope": 1})


# ── graphs ───────────────────────────────────────────────────────────────────────────────────────


def test_names_are_made_up_in_order_and_may_be_given() -> None:
    net = st.Sequential([("first", st.Conv2d(2, 3)), st.ReLU(), st.Conv2d(2, 3)], input_shape=CIFAR)
    assert [node.name for node in net.nodes] == ["first", "relu1", "conv1"]


def test_wiring_mistakes_are_named() -> None:
    build = st.GraphBuilder(input_shape=(1, 4, 4))
    build.add(st.ReLU(), name="a")
    with pytest.raises(st.GraphError, match="there are two layers named 'a'"):
        build.add(st.ReLU(), name="a")
    with pytest.raises(
        st.GraphError, match="relu1 reads 'b', which does not exist before it; there are input, a"
    ):
        build.add(st.ReLU(), "b")
    with pytest.raises(st.GraphError, match=r"add1 \(Add\) takes two or more inputs, got 1"):
        build.add(st.Add(), "a")
    with pytest.raises(st.GraphError, match=r"relu\d \(ReLU\) takes 1 input, got 2"):
        build.add(st.ReLU(), "a", "input")
    with pytest.raises(st.GraphError, match="the output 'z' is not a layer"):
        build.build("z")
    with pytest.raises(st.GraphError, match="there is no layer 'z'; there are a"):
        build.build()["z"]
    with pytest.raises(st.GraphError, match="expected a layer such as ReLU"):
        build.add("relu")  # type: ignore[arg-type]
    with pytest.raises(st.GraphError, match=r"input_shape takes \(C, H, W\) or \(features,\), got 28×28"):
        st.GraphBuilder(input_shape=(28, 28))


def test_add_names_the_projection_that_would_help() -> None:
    build = st.GraphBuilder(input_shape=(16, 8, 8))
    main = build.add(st.Conv2d(32, 3, stride=2, padding=1, rounding="floor"))
    with pytest.raises(st.ShapeError) as caught:
        build.add(st.Add(), "input", main)
    assert (
        "Conv2d(out_channels=32, kernel_size=1, stride=2, rounding='floor') on the first input makes it 32×4×4"
        in str(caught.value)
    )
    skip = build.add(st.Conv2d(32, 1, stride=2, rounding="floor"), "input")
    assert build.shape_of(build.add(st.Add(), skip, main)) == (32, 4, 4)


def test_the_chain_of_a_break_follows_its_own_branch() -> None:
    build = st.GraphBuilder(input_shape=(1, 9, 9))
    build.add(st.Conv2d(1, 5), name="elsewhere")
    with pytest.raises(st.ShapeError) as caught:
        build.chain([st.Conv2d(2, 3), st.MaxPool2d(2)], build.input)
    assert [line.split()[0] for line in caught.value.chain] == ["input", "conv1", "pool1"]
    assert caught.value.where == "pool1 (MaxPool2d)"


def test_rounding_of_a_network_reaches_layers_without_their_own() -> None:
    layers = [st.Conv2d(2, 3, stride=2), st.MaxPool2d(2, rounding="ceil")]
    net = st.Sequential(layers, input_shape=(1, 8, 8), rounding="floor")
    assert net["conv1"].output_shape == (2, 3, 3)
    assert net["pool1"].output_shape == (2, 2, 2)
    with pytest.raises(st.ShapeError):
        st.Sequential(layers, input_shape=(1, 8, 8))


def test_a_graph_survives_json() -> None:
    for net in (residual(), st.zoo.build("resnet20"), st.zoo.build("lenet5")):
        assert Graph.from_dict(json.loads(json.dumps(net.to_dict()))).to_dict() == net.to_dict()


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({}, "this is no network description"),
        ({"input_shape": [1, 4, 4], "nodes": [{"name": "a", "inputs": ["b"], "kind": "ReLU"}, {"name": "b", "inputs": ["a"], "kind": "ReLU"}], "output": "b"}, "a reads 'b', which does not exist before it"),
        ({"input_shape": [1, 4, 4], "nodes": [5], "output": "b"}, "this is no network description"),
    ],
)  # fmt: skip
def test_descriptions_that_make_no_sense(record, message) -> None:
    with pytest.raises(st.GraphError, match=message):
        Graph.from_dict(record)


def test_summary_adds_up() -> None:
    summary = st.zoo.build("convnetjs-cifar10").summary()
    assert summary.parameters == sum(row.parameters for row in summary.rows) == 22_466
    macs = 16 * 32 * 32 * 75 + 20 * 16 * 16 * 400 + 20 * 8 * 8 * 500 + 3200
    assert summary.macs == macs
    floats = 3072 + 2 * 16 * 1024 + 4096 + 2 * 20 * 256 + 1280 + 2 * 20 * 64 + 320 + 10 + 10
    assert summary.training_bytes == 4 * floats
    assert summary.inference_bytes == 4 * 2 * 16 * 1024  # conv1 and relu1 alive together
    text = str(summary)
    assert "22,466" in text
    assert f"{macs:,}" in text
    assert "20×8×8" in text


# ── patterns ─────────────────────────────────────────────────────────────────────────────────────


@given(hyp.integers(1, 3), hyp.integers(1, 3), hyp.integers(0, 2), hyp.booleans())
def test_the_lecture_s_grammar_and_back(n: int, m: int, k: int, pool: bool) -> None:
    net = st.pattern(LECTURE, input_shape=CIFAR, classes=10, filters=4, hidden=8, pool=pool, N=n, M=m, K=k)
    kinds = [node.layer.kind for node in net.nodes]
    assert kinds.count("Conv2d") == n * m
    assert kinds.count("MaxPool2d") == (m if pool else 0)
    assert kinds.count("Linear") == k + 1
    written = st.pattern_of(net)
    again = st.pattern(written, input_shape=CIFAR, classes=10, filters=4, hidden=8)
    assert again.to_dict() == net.to_dict()


def test_both_separators_spaces_and_small_letters() -> None:
    one = st.pattern("conv - relu , pool-fc,softmax", input_shape=CIFAR, classes=5)
    two = st.pattern("CONV-RELU-POOL-FC-SOFTMAX", input_shape=CIFAR, classes=5)
    assert one.to_dict() == two.to_dict()
    assert one.output_shape == (5,)


def test_values_per_stage_and_options_in_the_pattern() -> None:
    net = st.pattern(
        "[CONV-RELU-POOL?]*2-CONV(filters=7, kernel=1)-FC-RELU,SOFTMAX", input_shape=CIFAR, classes=3,
        filters=(4, 6, 99), kernel_size=(5, 3, 9), padding=(2, 1, 0), stride=1, pool=(True, False, True), hidden=(11,),
    )  # fmt: skip
    convs = [node.layer for node in net.nodes if node.layer.kind == "Conv2d"]
    assert [(c.out_channels, c.kernel_size, c.padding) for c in convs] == [(4, 5, 2), (6, 3, 1), (7, 1, 0)]
    assert [node.layer.kind for node in net.nodes].count("MaxPool2d") == 1
    assert net["fc1"].output_shape == (11,)


def test_the_linear_classifier_and_the_two_layer_network_are_patterns() -> None:
    linear = st.pattern("SOFTMAX", input_shape=CIFAR, classes=10)
    assert [node.layer.kind for node in linear.nodes] == ["Flatten", "Linear", "Softmax"]
    two = st.pattern("FC-RELU,SOFTMAX", input_shape=(3072,), classes=10, hidden=100)
    assert two.parameter_count == 3072 * 100 + 100 + 1010
    assert st.pattern_of(st.zoo.build("two-layer")) == "FC-RELU,SOFTMAX"


@pytest.mark.parametrize(
    ("text", "position", "message"),
    [
        ("[(CONV-RELU)*2-POOLX]*3", 15, "unknown layer 'POOLX'; did you mean POOL?"),
        ("(CONV-RELU*2", 12, "expected ) to close the bracket opened at 1."),
        ("CONV-RELU]", 9, "unexpected ']': there is no bracket to close."),
        ("CONV--RELU", 5, "expected a layer or a bracket, got '-'."),
        ("CONV-", 5, "expected a layer or a bracket, but the pattern ends."),
        ("CONV RELU", 5, 'unexpected \'RELU\': expected "-" or "," between layers.'),
        ("(CONV)*", 7, 'expected a number or a letter after "*".'),
        ("[CONV]*M", 0, "how many is M? Give M=… beside the pattern."),
        ("CONV-SOFTMAX", 5, "how many classes? Give classes=… beside the pattern."),
        ("CONV(colour=3)", 0, "CONV has no option 'colour'; it has out_channels"),
        ("CONV(stride)", 5, "options are written name=value."),
        ("CONV(stride=0)", 0, "CONV: stride must be at least 1, got 0."),
        ("", 0, "expected a layer or a bracket, but the pattern ends."),
    ],
)
def test_typos_are_pointed_at(text: str, position: int, message: str) -> None:
    with pytest.raises(PatternError) as caught:
        st.pattern(text, input_shape=CIFAR)
    assert message in str(caught.value)
    assert caught.value.position == position
    assert str(caught.value).splitlines()[-1] == "  " + " " * position + "^"


def test_values_that_do_not_match_the_stages() -> None:
    with pytest.raises(st.OptionError, match=r"filters has 2 entries, and the pattern has 3 stage\(s\)"):
        st.pattern("[CONV-POOL]*3", input_shape=CIFAR, filters=(1, 2))
    with pytest.raises(st.OptionError, match="hidden has 2 entries, and the pattern has 1 hidden FC"):
        st.pattern("FC-RELU,SOFTMAX", input_shape=CIFAR, classes=2, hidden=(1, 2))
    with pytest.raises(st.OptionError, match=r"pattern\(\) has no argument 'filter'"):
        st.pattern("CONV", input_shape=CIFAR, filter=3)
    with pytest.raises(st.OptionError, match="the pattern has no Q"):
        st.pattern("CONV", input_shape=CIFAR, Q=3)
    with pytest.raises(PatternError, match="more than 10,000 layers"):
        st.pattern("[[RELU]*1000]*1000", input_shape=CIFAR)


def test_networks_without_a_pattern() -> None:
    assert st.pattern_of(residual()) is None
    assert st.pattern_of(st.Sequential([st.ConvTranspose2d(1, 2)], input_shape=(1, 2, 2))) is None


# ── parameters ───────────────────────────────────────────────────────────────────────────────────


def test_parameters_are_views_of_one_flat_buffer_in_node_order() -> None:
    model = st.Model(residual())
    names = list(model.parameters)
    assert names[:6] == [
        "conv1.weight",
        "conv1.bias",
        "bn1.weight",
        "bn1.bias",
        "bn1.running_mean",
        "bn1.running_var",
    ]
    trained = [name for name in names if "running" not in name]
    np.testing.assert_array_equal(
        np.concatenate([model.parameters[n].ravel() for n in trained]), model.parameters.flat
    )
    with model.edit() as p:
        p["conv1.weight"][...] = 7.0
    assert (model.parameters.flat[:144] == 7.0).all()


@pytest.mark.parametrize("engine", ["reference", None])
def test_parameters_are_read_and_changed_through_edit_and_assign(engine: str | None) -> None:
    """(11: 4)"""
    model = st.Model(st.Sequential([st.Conv2d(4, 3), st.BatchNorm2d()], input_shape=(1, 5, 5)), engine=engine)
    parameters, x = model.parameters, np.ones((2, 1, 5, 5), np.float32)
    before, version = model.predict(x), parameters.version
    for array in (*parameters.values(), parameters.flat, parameters.state):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 1.0
    with pytest.raises(st.ParameterError, match=r"with model.edit\(\) as p: p\['conv1.bias'\] = …"):
        parameters["conv1.bias"] = np.zeros(4)  # type: ignore[index]
    assert parameters.version == version
    with model.edit() as p:
        p["conv1.bias"] += 1.0
        p["bn1.running_mean"] = 0.5
        kept = p["conv1.bias"]
        with pytest.raises(st.ParameterError, match="conv1.bias is 3, expected 4"):
            p["conv1.bias"] = np.zeros(3)
        with pytest.raises(st.ParameterError, match="there is no parameter 'conv2.bias'"):
            p["conv2.bias"] = 0.0
        assert list(p) == list(parameters)
    assert (changed := parameters.version) > version
    with pytest.raises(ValueError, match="read-only"):
        kept[...] = 0.0
    np.testing.assert_allclose(model.predict(x), before + 0.5, rtol=1e-4)
    parameters.assign({**parameters, "conv1.bias": np.zeros(4, np.float32)})
    assert parameters.version > changed
    np.testing.assert_allclose(model.predict(x), before - 0.5, rtol=1e-4, atol=1e-6)


def test_what_is_wrong_within_an_edit_ends_it() -> None:
    """And others get their turn. (11: 4)"""
    model = st.Model(st.Sequential([st.Conv2d(4, 3)], input_shape=(1, 5, 5)))
    with pytest.raises(ZeroDivisionError), model.edit() as p:
        p["conv1.bias"][...] = 1 / 0
    with pytest.raises(ValueError, match="read-only"):
        p.flat[...] = 0.0
    assert model.predict(np.zeros((1, 1, 5, 5), np.float32)).shape == (1, 4, 3, 3)


@pytest.mark.parametrize(
    ("rule", "deviation"),
    [("he", (2 / 400) ** 0.5), ("glorot", (2 / (400 + 3200)) ** 0.5), ("lecun", 400**-0.5), ("lecture", 0.01), ("convnetjs", 400**-0.5)],
)  # fmt: skip
def test_initialization_has_the_published_spread(rule, deviation) -> None:
    net = st.Sequential([st.Conv2d(128, 5), st.ReLU()], input_shape=(16, 8, 8))
    parameters = st.initialize(net, seed=3, rule=rule)
    assert parameters["conv1.weight"].std() == pytest.approx(deviation, rel=0.02)
    assert abs(parameters["conv1.weight"].mean()) < deviation / 50
    assert (parameters["conv1.bias"] == (np.float32(0.1) if rule == "convnetjs" else 0.0)).all()


def test_he_has_gain_one_where_no_relu_follows() -> None:
    net = st.Sequential(
        [st.Conv2d(128, 5), st.BatchNorm2d(), st.MaxPool2d(2), st.ReLU(), st.Conv2d(256, 2)],
        input_shape=(16, 8, 8),
    )
    parameters = st.initialize(net)
    assert parameters["conv1.weight"].std() == pytest.approx((2 / 400) ** 0.5, rel=0.02)
    assert parameters["conv2.weight"].std() == pytest.approx((1 / 512) ** 0.5, rel=0.02)
    assert (parameters["bn1.weight"] == 1).all()


def test_initialization_depends_on_the_seed_alone() -> None:
    net = residual()
    np.testing.assert_array_equal(st.initialize(net, 5).flat, st.initialize(net, 5).flat)
    assert (st.initialize(net, 5).flat != st.initialize(net, 6).flat).any()
    with pytest.raises(st.OptionError, match="initialization must be one of " + ", ".join(RULES)):
        st.initialize(net, rule="xavier")  # type: ignore[arg-type]


def test_assign_says_everything_that_differs_and_changes_nothing() -> None:
    parameters = st.initialize(st.Sequential([st.Conv2d(2, 3)], input_shape=(1, 4, 4)))
    before = parameters.flat.copy()
    with pytest.raises(st.ParameterError) as caught:
        parameters.assign(
            {"conv1.weight": np.zeros((2, 1, 5, 5), np.float32), "other": np.zeros(3, np.float32)}
        )
    assert "missing conv1.bias 2" in str(caught.value)
    assert "conv1.weight is 2×1×5×5, expected 2×1×3×3" in str(caught.value)
    assert "unexpected other 3" in str(caught.value)
    with pytest.raises(st.ParameterError, match="conv1.bias is float64, expected float32"):
        parameters.assign({"conv1.weight": parameters["conv1.weight"], "conv1.bias": np.zeros(2)})
    np.testing.assert_array_equal(parameters.flat, before)
