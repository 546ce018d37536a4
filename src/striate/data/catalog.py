"""Data sets by name: where they may lie, how to read them, where to fetch them.

Looked for, in this order: the folder that STRIATE_DATA names; the cache folder (XDG_CACHE_HOME or ~/.cache,
then striate/data). Nothing is ever fetched unless fetch_dataset is called.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..errors import DataError, DownloadError
from ..files import held
from .dataset import Dataset
from .readers import read_cifar10, read_digits, read_folder, read_mnist, read_npz

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_FASHION_CLASSES = (
    "T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip
_CIFAR_FOLDER = "cifar-10-batches-bin"
_CIFAR_JPEG = "cifar10_jpeg_bytes.npz"


@dataclass(frozen=True)
class Source:
    """A data set that can be named.

    Fields:  name, title, origin
             base_url    files are at base_url + file name; "" when it comes with a package
             files       (file name, MD5) pairs
    """

    name: str
    title: str
    origin: str
    base_url: str = ""
    files: tuple[tuple[str, str], ...] = ()


SOURCES: dict[str, Source] = {
    source.name: source
    for source in (
        Source("digits", "1,797 handwritten digits, 8×8", "scikit-learn's copy of UCI optdigits; installed with it"),
        Source(
            "mnist", "70,000 handwritten digits, 28×28", "LeCun, Cortes & Burges",
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            (
                ("train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
                ("train-labels-idx1-ubyte.gz", "d53e105ee54ea40749a09fcbcd1e9432"),
                ("t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3"),
                ("t10k-labels-idx1-ubyte.gz", "ec29112dd5afa0611ce80d1b7f02629c"),
            ),
        ),
        Source(
            "fashion-mnist", "70,000 articles of clothing, 28×28", "Zalando Research, MIT license",
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            (
                ("train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
                ("train-labels-idx1-ubyte.gz", "25c81989df183df01b3e8a0aad5dffbe"),
                ("t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79"),
                ("t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310"),
            ),
        ),
        Source(
            "cifar10", "60,000 photographs of 10 kinds of things, 32×32", "Krizhevsky 2009",
            "https://www.cs.toronto.edu/~kriz/",
            (("cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530"),),
        ),
    )
}  # fmt: skip


def cache_folder() -> Path:
    """Where fetched data sets are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "striate" / "data"


def find(name: str) -> Path | None:
    """The folder that holds a data set's files, or None."""
    local = os.environ.get("STRIATE_DATA")
    folders = [*([Path(local)] if local else []), cache_folder()]
    for folder in folders:
        if name == "cifar10":
            for base in (folder / name, folder, folder / "cifar10-first5000"):
                if (base / _CIFAR_FOLDER / "test_batch.bin").exists():
                    return base / _CIFAR_FOLDER
        elif SOURCES[name].files and all((folder / name / file).exists() for file, _ in SOURCES[name].files):
            return folder / name
    return None


def load_dataset(
    which: str, *, size: tuple[int, int] | None = None, channels: int | None = None, resize: int | None = None
) -> tuple[Dataset, Dataset | None]:
    """(training data, test data or None) of a named data set, a folder of class folders, or an .npz.

    Args:     which a name in SOURCES, or a path; size, channels and resize for folders (see read_folder).
    Raises:   DataError when it is not here, with the command that fetches it.

    >>> train, test = load_dataset("digits")
    >>> len(train), test
    (1797, None)
    """
    if which == "digits":
        return read_digits(), None
    if which in SOURCES:
        folder = find(which)
        if folder is None:
            raise DataError(
                f"{which} is not on this machine. Fetch it with `striate data fetch {which}`, or point "
                f"STRIATE_DATA at a folder that holds {which}/."
            )
        return _read_named(which, folder)
    path = Path(which)
    if path.is_dir():
        packed = path / _CIFAR_JPEG
        return read_npz(packed) if packed.exists() else (read_folder(path, size, channels, resize), None)
    if path.suffix == ".npz" and path.exists():
        return read_npz(path)
    local = os.environ.get("STRIATE_DATA")
    if local and (Path(local) / which).is_dir():
        return load_dataset(str(Path(local) / which), size=size, channels=channels, resize=resize)
    raise DataError(
        f"there is no data set {which!r}: expected {', '.join(SOURCES)}, a folder of class folders, or an .npz file."
    )


def _read_named(which: str, folder: Path) -> tuple[Dataset, Dataset]:
    if which == "cifar10":
        batches = sorted(folder.glob("data_batch_*.bin"))
        if not batches:
            raise DataError(f"{folder} holds no data_batch_1.bin … data_batch_5.bin.")
        return (
            read_cifar10(batches, which, CIFAR10_CLASSES),
            read_cifar10([folder / "test_batch.bin"], f"{which} (test)", CIFAR10_CLASSES),
        )
    classes = _FASHION_CLASSES if which == "fashion-mnist" else tuple("0123456789")
    return read_mnist(folder, "train", which, classes), read_mnist(folder, "t10k", f"{which} (test)", classes)


def verify(name: str) -> list[str]:
    """What is wrong with the local copy of a data set; files whose published MD5 does not match."""
    from .download import md5_of

    folder = find(name)
    if folder is None or name == "cifar10":
        return []
    return [
        f"{folder / file}: MD5 is not the published {md5}"
        for file, md5 in SOURCES[name].files
        if md5_of(folder / file) != md5
    ]


def fetch_dataset(
    name: str, progress: Callable[[str, int, int | None], None] | None = None, base_url: str | None = None
) -> Path:
    """Download a data set into the cache folder and check it; its folder.

    Args:     progress(file, bytes so far, bytes in all or None); base_url a mirror.
    Raises:   DataError for an unknown name; DownloadError as in download.fetch, and while another process fetches it.
    """
    from .download import fetch

    if name not in SOURCES:
        raise DataError(f"there is no data set {name!r} to fetch; there are {', '.join(SOURCES)}.")
    source = SOURCES[name]
    folder = cache_folder() / name
    folder.mkdir(parents=True, exist_ok=True)
    with held(folder / ".lock", f"{folder}", DownloadError):
        for file, md5 in source.files:
            report = None if progress is None else lambda have, total, file=file: progress(file, have, total)
            fetch((base_url or source.base_url) + file, folder / file, md5, report)
        if name == "cifar10":
            _unpack(folder / source.files[0][0], folder)
    return folder


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack into a temporary name first, so that a half-unpacked folder is never taken for a whole one."""
    import shutil
    import tarfile

    temporary = folder / ".unpacking"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        with tarfile.open(archive) as tar:
            tar.extractall(temporary, filter="data")
    except (tarfile.TarError, OSError, EOFError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise DataError(f"{archive} cannot be unpacked: {error}.") from None
    if (folder / _CIFAR_FOLDER).exists():  # set aside, not removed file by file under whoever reads it
        (folder / _CIFAR_FOLDER).replace(temporary / "before")
    (temporary / _CIFAR_FOLDER).replace(folder / _CIFAR_FOLDER)
    shutil.rmtree(temporary)
