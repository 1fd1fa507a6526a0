"""Images: MNIST, Fashion-MNIST, CIFAR-10, CIFAR-100."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fanin.data.dataset import Arrays, DataInfo, Mirror, PublishedFile
from fanin.data.datasets import cifar_mirrors
from fanin.data.datasets.dataset_entry import PrimaryEntry
from fanin.data.datasets.dataset_registry import REGISTRY
from fanin.data.formats import cifar, idx
from fanin.data.sources.published_files import PublishedFiles

TRAIN_IMAGES = "train-images-idx3-ubyte.gz"
TRAIN_LABELS = "train-labels-idx1-ubyte.gz"
TEST_IMAGES = "t10k-images-idx3-ubyte.gz"
TEST_LABELS = "t10k-labels-idx1-ubyte.gz"


def read_idx(info: DataInfo, contents: Mapping[str, bytes]) -> Arrays:
    """The arrays in the four gzipped IDX files of a set of grey images.

    Raises `DataInvalid` if a file does not fit `info`.
    """

    def read_images(file: str, n: int) -> np.ndarray:
        return idx.parse(contents[file], (n, *info.input_shape[1:]), file)[:, None]

    def read_labels(file: str, n: int) -> np.ndarray:
        return idx.parse(contents[file], (n,), file)

    return Arrays(
        x_train=read_images(TRAIN_IMAGES, info.n_train),
        y_train=read_labels(TRAIN_LABELS, info.n_train),
        x_test=read_images(TEST_IMAGES, info.n_test),
        y_test=read_labels(TEST_LABELS, info.n_test),
    )


def _describe_images(
    name: str, shape: tuple[int, int, int], outputs: int, n_train: int
) -> DataInfo:
    return DataInfo(
        name=name,
        task="classification",
        input_shape=shape,
        outputs=outputs,
        n_train=n_train,
        n_test=10_000,
    )


_MNIST = _describe_images("mnist", (1, 28, 28), 10, 60_000)
_FASHION = _describe_images("fashion-mnist", (1, 28, 28), 10, 60_000)
_CIFAR10 = _describe_images("cifar10", (3, 32, 32), 10, 50_000)
_CIFAR100 = _describe_images("cifar100", (3, 32, 32), 100, 50_000)

REGISTRY.add(
    PrimaryEntry(
        name="mnist",
        title="handwritten digits, grey, 28 × 28",
        reference="LeCun, Cortes, Burges: The MNIST database of handwritten digits (1998)",
        describe=lambda _: _MNIST,
        read=lambda _, contents: read_idx(_MNIST, contents),
        divisor=255.0,
        origin=PublishedFiles(
            dataset="mnist",
            # The site of its first author has refused downloads for years.
            mirrors=(
                Mirror(url="https://ossci-datasets.s3.amazonaws.com/mnist/"),
                Mirror(url="https://storage.googleapis.com/cvdf-datasets/mnist/"),
                Mirror(url="https://dataset.bj.bcebos.com/mnist/"),
            ),
            files=(
                PublishedFile(
                    name=TRAIN_IMAGES,
                    bytes=9_912_422,
                    sha256="440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
                ),
                PublishedFile(
                    name=TRAIN_LABELS,
                    bytes=28_881,
                    sha256="3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
                ),
                PublishedFile(
                    name=TEST_IMAGES,
                    bytes=1_648_877,
                    sha256="8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
                ),
                PublishedFile(
                    name=TEST_LABELS,
                    bytes=4_542,
                    sha256="f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
                ),
            ),
        ),
    )
)

REGISTRY.add(
    PrimaryEntry(
        name="fashion-mnist",
        title="articles of clothing, grey, 28 × 28",
        reference="Xiao, Rasul, Vollgraf: Fashion-MNIST (2017), arXiv:1708.07747",
        describe=lambda _: _FASHION,
        read=lambda _, contents: read_idx(_FASHION, contents),
        divisor=255.0,
        origin=PublishedFiles(
            dataset="fashion-mnist",
            mirrors=(
                Mirror(url="http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"),
                Mirror(url="https://storage.googleapis.com/tensorflow/tf-keras-datasets/"),
                Mirror(url="https://dataset.bj.bcebos.com/fashion_mnist/"),
                Mirror(
                    url="https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/"
                ),
            ),
            files=(
                PublishedFile(
                    name=TRAIN_IMAGES,
                    bytes=26_421_880,
                    sha256="3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
                ),
                PublishedFile(
                    name=TRAIN_LABELS,
                    bytes=29_515,
                    sha256="a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
                ),
                PublishedFile(
                    name=TEST_IMAGES,
                    bytes=4_422_102,
                    sha256="346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
                ),
                PublishedFile(
                    name=TEST_LABELS,
                    bytes=5_148,
                    sha256="67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
                ),
            ),
        ),
    )
)

REGISTRY.add(
    PrimaryEntry(
        name="cifar10",
        title="photographs of 10 kinds of things, colour, 32 × 32",
        reference="Krizhevsky: Learning multiple layers of features from tiny images (2009)",
        describe=lambda _: _CIFAR10,
        read=lambda _, contents: cifar.parse(_CIFAR10, cifar.CIFAR10, contents),
        divisor=255.0,
        origin=PublishedFiles(
            dataset="cifar10",
            mirrors=cifar_mirrors.CIFAR10,
            # The only published checksums of the members: those of Apache MXNet's source.
            files=tuple(
                PublishedFile(name=name, bytes=30_730_000, sha1=sha1)
                for name, sha1 in {
                    "data_batch_1.bin": "aadd24acce27caa71bf4b10992e9e7b2d74c2540",
                    "data_batch_2.bin": "c0ba65cce70568cd57b4e03e9ac8d2a5367c1795",
                    "data_batch_3.bin": "1dd00a74ab1d17a6e7d73e185b69dbf31242f295",
                    "data_batch_4.bin": "aab85764eb3584312d3c7f65fd2fd016e36a258e",
                    "data_batch_5.bin": "26e2849e66a845b7f1e4614ae70f4889ae604628",
                    "test_batch.bin": "67eb016db431130d61cd03c7ad570b013799c88c",
                }.items()
            ),
        ),
    )
)

REGISTRY.add(
    PrimaryEntry(
        name="cifar100",
        title="photographs of 100 kinds of things (the fine classes), colour, 32 × 32",
        reference="Krizhevsky: Learning multiple layers of features from tiny images (2009)",
        describe=lambda _: _CIFAR100,
        read=lambda _, contents: cifar.parse(_CIFAR100, cifar.CIFAR100, contents),
        divisor=255.0,
        origin=PublishedFiles(
            dataset="cifar100",
            mirrors=cifar_mirrors.CIFAR100,
            files=(
                PublishedFile(
                    name="train.bin",
                    bytes=153_700_000,
                    sha1="e207cd2e05b73b1393c74c7f5e7bea451d63e08e",
                ),
                PublishedFile(
                    name="test.bin",
                    bytes=30_740_000,
                    sha1="8fb6623e830365ff53cf14adec797474f5478006",
                ),
            ),
        ),
    )
)
