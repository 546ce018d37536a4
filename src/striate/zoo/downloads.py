"""Public files of weights, each with the SHA-256 that its host publishes. None is shipped, and none is fetched unasked.

Leaves out: networks whose files are pickles, or of which no checksum is published: their entries have no download.
"""

from __future__ import annotations

from .entries import Download

_HOST = "https://huggingface.co/timm"
_TORCHVISION = "torchvision's weights, trained on ImageNet-1k, as timm publishes them"
_BSD = "BSD-3-Clause"


def _timm(name: str, revision: str, sha256: str, megabytes: float, license_name: str = _BSD) -> Download:
    url = f"{_HOST}/{name}.tv_in1k/resolve/{revision}/model.safetensors"
    return Download(url, sha256, megabytes, license_name, _TORCHVISION)


# The files' pages, …/blob/main/model.safetensors, gave revisions and checksums in 2026-11.
DOWNLOADS: dict[str, Download] = {
    "vgg11": _timm("vgg11", "38b46049b490ec2bdb6d4d32b8354c74977f3347", "682c023808812148d4e60c76d80ad83dbeaf5d50eb1a952a0b836895003151e5", 531),
    "vgg16": _timm(
        "vgg16", "3394518cba29aee1ea82a49d971be90d2dd1dab7",
        "57b026918159a6bf9faf8405c3a551903768e7138989d9c6224a14227203fad8", 553,
    ),
    "vgg16-bn": _timm(
        "vgg16_bn", "e00c01e7cee168262dcba6428dc4a8f41e27e965",
        "88bbedbc8e780413736db38ac4efd41b06fc0e93fd5b8879b584bba63a950129", 554,
    ),
    "vgg19": _timm("vgg19", "main", "11aea017b543ff59233749d8f1cf544cda749378f5790d2fedab841fb86b7669", 575),
    "vgg19-bn": _timm(
        "vgg19_bn", "5df00d8510c2b1bd2ab67da8b2ef47034f30a7fa",
        "f8249087e63bae61c6166bb23d7c26efe1b2a43fd9fb5cd60ac6ce00535ba312", 575,
    ),
    "inception-v3": _timm(
        "inception_v3", "main", "9c452c63a67fd03a38a78c401ba12d4be0e926df63c93403de3a29f6df20fefb", 95.5, "Apache-2.0",
    ),
    "resnet18": _timm(
        "resnet18", "a987fd6b60f845221bfff84b6f0191273ba56ead",
        "694f673df6520a3158624e8a89af086f59923ee4cd7436fe5bc3bc71d295ad81", 46.8,
    ),
    "resnet50": _timm(
        "resnet50", "aa6c2d36d56bc0209040c02b5a7b7d7bf11d57b8",
        "5d061a3c593d795bfe682d9b152bafbcf550579873492def3515b46db1189888", 102,
    ),
    "resnet152": _timm(
        "resnet152", "2a9b5c2460893a2ab13d8625db2383f3094d704f",
        "15897077afdf4d6334dc0c3f8e6fb483afb3faa9298c139f3c6eb29bca6ae5b2", 241,
    ),
}  # fmt: skip
