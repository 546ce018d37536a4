"""The table: every named network, once. Everything that lists, builds or loads one reads it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from ..data import Preprocessing
from . import alexnet, first, inception, mobilenet, resnet, squeezenet, vgg
from .downloads import DOWNLOADS
from .entries import Entry

_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_VGG = "Simonyan & Zisserman 2014"
_HE = "He, Zhang, Ren & Sun 2015"


def _imagenet(size: int, resize: int, **more: Any) -> dict[str, Any]:
    """The fields of a network for the 1,000 classes of ImageNet, pictures as torchvision's weights expect them."""
    usual = {"mean": _IMAGENET_MEAN, "std": _IMAGENET_STD}
    return {
        "input_shape": (3, size, size),
        "classes": 1000,
        "labels": "imagenet",
        "preprocessing": Preprocessing(3, size, size, resize=resize, **{**usual, **more}),
    }


def _first() -> Iterator[Entry]:
    yield Entry("linear", "the lecture's linear score function, 3072 → 10", (3, 32, 32), first.linear)
    yield Entry("two-layer", "the lecture's 2-layer network, 3072 → 100 → 10", (3, 32, 32), first.two_layer)
    yield Entry("digits", "Striate's default for 8×8 digits", (1, 8, 8), first.digits)
    yield Entry(
        "lenet5", "LeCun, Bottou, Bengio & Haffner 1998 (ReLU, max pooling); also 1×28×28", (1, 32, 32), first.lenet5
    )  # fmt: skip
    yield Entry("convnetjs-mnist", "Karpathy, ConvNetJS MNIST demo", (1, 24, 24), first.convnetjs_mnist)
    yield Entry(
        "convnetjs-cifar10", "Karpathy, ConvNetJS CIFAR-10 demo", (3, 32, 32), first.convnetjs_cifar10
    )
    yield Entry(
        "vgg-cifar", "after Simonyan & Zisserman 2014: 3×3 filters, two a stage", (3, 32, 32), vgg.vgg_cifar
    )


def _cifar_resnets() -> Iterator[Entry]:
    """Option B by the plain name; option A, of which there are published weights, with -a."""
    pictures = Preprocessing(3, 32, 32, mean=_IMAGENET_MEAN, std=_IMAGENET_STD)
    for depth in (20, 32, 44, 56, 110):
        source = f"{_HE}, CIFAR-10 network"
        make = partial(resnet.cifar_resnet, depth=depth)
        yield Entry(f"resnet{depth}", source, (3, 32, 32), make, labels="cifar10")
        yield Entry(
            f"resnet{depth}-a", f"{source}, option A", (3, 32, 32), partial(make, option="A"), labels="cifar10",
            preprocessing=pictures, files=(f"resnet{depth}-cifar10",), names=(resnet.idelbayev,),
        )  # fmt: skip


def _large() -> Iterator[Entry]:
    yield Entry(
        "alexnet", "Krizhevsky, Sutskever & Hinton 2012: groups, response norm", make=alexnet.alexnet,
        **_imagenet(227, 256),
    )  # fmt: skip
    yield Entry(
        "alexnet-one", "Krizhevsky 2014, one column, with torchvision's filters", make=alexnet.alexnet_one,
        files=("alexnet-imagenet",), names=(alexnet.torchvision,), **_imagenet(224, 256),
    )  # fmt: skip
    for depth, configuration in ((11, "A"), (13, "B"), (16, "D"), (19, "E")):
        for batch_norm in (False, True):
            name = f"vgg{depth}{'-bn' * batch_norm}"
            source = f"{_VGG}, configuration {configuration}{', with batch norm' * batch_norm}"
            make = partial(vgg.vgg, depth=depth, batch_norm=batch_norm)
            yield Entry(
                name, source, make=make, files=(f"{name}-imagenet", f"vgg{depth}{'_bn' * batch_norm}-imagenet"),
                names=(vgg.torchvision, vgg.timm), download=DOWNLOADS.get(name), **_imagenet(224, 256),
            )  # fmt: skip
    # torchvision's weights of these two were TensorFlow's: pictures on −1…1.
    yield Entry(
        "googlenet", "Szegedy et al. 2014, with batch norm, as torchvision", make=inception.googlenet,
        files=("googlenet-imagenet",), names=(inception.googlenet_torchvision,), ignored=("aux1.", "aux2."),
        **_imagenet(224, 256, mean=(0.5,) * 3, std=(0.5,) * 3),
    )  # fmt: skip
    yield Entry(
        "inception-v3", "Szegedy et al. 2015", make=inception.inception_v3,
        files=("inception-v3-imagenet", "inception_v3-imagenet"), names=(inception.inception_torchvision,),
        ignored=("AuxLogits.",), download=DOWNLOADS["inception-v3"], **_imagenet(299, 342, mean=(0.5,) * 3, std=(0.5,) * 3),
    )  # fmt: skip
    for depth in (18, 34, 50, 101, 152):
        stride = "; stride in the 3×3" if depth >= 50 else ""
        yield Entry(
            f"resnet{depth}", f"{_HE}, ImageNet{stride}", make=partial(resnet.resnet, depth=depth),
            files=(f"resnet{depth}-imagenet",), names=(resnet.torchvision,), download=DOWNLOADS.get(f"resnet{depth}"),
            **_imagenet(224, 256),
        )  # fmt: skip
    yield Entry(
        "squeezenet", "Iandola et al. 2016, version 1.0", make=squeezenet.squeezenet,
        files=("squeezenet1.0-imagenet", "squeezenet1_0-imagenet"),
        names=(squeezenet.authors, squeezenet.torchvision),
        **_imagenet(227, 256, mean=(104.0, 117.0, 123.0), std=(1.0,), white=255.0, channel_order="BGR"),
    )  # fmt: skip
    yield Entry(
        "mobilenetv2", "Sandler, Howard, Zhu, Zhmoginov & Chen 2018, width 1", make=mobilenet.mobilenetv2,
        files=("mobilenetv2-imagenet", "mobilenet_v2-imagenet"), names=(mobilenet.torchvision,), **_imagenet(224, 256),
    )  # fmt: skip


ZOO: dict[str, Entry] = {entry.name: entry for part in (_first, _cifar_resnets, _large) for entry in part()}
