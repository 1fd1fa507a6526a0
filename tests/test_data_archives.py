"""Archives of unknown origin, the pickles inside CIFAR's Python version, and data sets that come
out of archives.
"""

import gzip
import hashlib
import io
import pickle
import struct
import tarfile
import tracemalloc
from typing import ClassVar

import numpy as np
import pytest
import torch
from dataset_cases import make_entry, to_published_files
from mirror_server import serve

from fanin import data, seeds
from fanin.data.datasets import california_housing
from fanin.data.formats import cifar, unpickling
from fanin.data.formats.cifar import CIFAR10, CIFAR100
from fanin.data.sources import archives
from fanin.errors import DataInvalid, DataUnavailable

PIXELS = 3 * 32 * 32
WANTED = {"a.bin": b"contents of a", "b.bin": b"contents of b, longer"}


def make_member(name, content=b"", kind=tarfile.REGTYPE, **fields):
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def make_tar_gz(members, form=tarfile.PAX_FORMAT):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
    return gzip.compress(stream.getvalue(), 1, mtime=0)


def make_good_archive(folder="d/"):
    return [make_member(folder + name, content) for name, content in WANTED.items()]


@pytest.fixture
def unpack(tmp_path):
    """Reads the wanted members of an archive; checks that nothing but the archive itself is
    anywhere near.
    """
    outer = tmp_path / "outer" / "inner"
    outer.mkdir(parents=True)

    def read(archive):
        file = outer / "some.tar.gz"
        file.write_bytes(archive)
        try:
            return {
                file.name: content
                for file, content in archives.unpack(
                    file, to_published_files(WANTED), folders=("d", "")
                )
            }
        finally:
            assert [path for path in tmp_path.rglob("*") if path.is_file()] == [file]

    return read


@pytest.mark.parametrize("folder", ["d/", "./d/", "", "./"])
@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_wanted_members_are_read_wherever_they_may_lie(unpack, folder, form):
    others = [
        make_member("d", kind=tarfile.DIRTYPE),
        make_member("d/readme.html", b"<html>"),
        make_member("e/a.bin", b"elsewhere"),
    ]
    assert unpack(make_tar_gz([*others, *make_good_archive(folder)], form)) == WANTED


def test_what_macos_adds_is_passed_over(unpack):
    resource_forks = [
        make_member("d/._a.bin", b"contents of a"),
        make_member("._b.bin", b"Mac OS X"),
    ]
    assert unpack(make_tar_gz([*resource_forks, *make_good_archive()])) == WANTED
    with pytest.raises(DataInvalid, match=r"lacks a\.bin"):
        unpack(make_tar_gz([*resource_forks, make_good_archive()[1]]))


STRANGE = {
    "a path upwards": make_member("../x", b"x"),
    "a path upwards inside": make_member("d/../../x", b"x"),
    "an absolute path": make_member("/tmp/x", b"x"),
    "a backslash": make_member("..\\x", b"x"),
    "a symlink": make_member("d/x", kind=tarfile.SYMTYPE, linkname="/etc/passwd"),
    "a hard link": make_member("d/x", kind=tarfile.LNKTYPE, linkname="d/a.bin"),
    "a character device": make_member("d/x", kind=tarfile.CHRTYPE, devmajor=1, devminor=3),
    "a block device": make_member("d/x", kind=tarfile.BLKTYPE),
    "a pipe": make_member("d/x", kind=tarfile.FIFOTYPE),
}


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("strange", STRANGE.values(), ids=STRANGE)
def test_an_archive_with_links_devices_or_paths_out_of_it_is_refused(unpack, strange, first):
    with pytest.raises(
        DataInvalid,
        match=r"a path that leads out of it|is not a plain file but a link, a device",
    ):
        unpack(
            make_tar_gz(
                [strange, *make_good_archive()] if first else [*make_good_archive(), strange]
            )
        )


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE]
)
def test_a_wanted_member_that_is_no_plain_file_is_refused(unpack, kind):
    with pytest.raises(DataInvalid, match=r"no.* plain file"):
        unpack(
            make_tar_gz(
                [make_member("d/a.bin", kind=kind, linkname="/etc/passwd"), make_good_archive()[1]]
            )
        )


@pytest.mark.parametrize("name", ["d/a.bin", "a.bin", "./a.bin"])
def test_a_wanted_member_that_is_there_twice_is_refused(unpack, name):
    with pytest.raises(DataInvalid, match=r"a\.bin twice"):
        unpack(make_tar_gz([*make_good_archive(), make_member(name, b"contents of A")]))


@pytest.mark.parametrize("content", [b"", b"contents of", b"contents of a and more"])
def test_a_wanted_member_of_another_size_is_refused(unpack, content):
    with pytest.raises(
        DataInvalid, match=rf"a\.bin' of some.tar.gz has {len(content)} bytes; expected 13"
    ):
        unpack(make_tar_gz([make_member("d/a.bin", content), make_good_archive()[1]]))


def test_a_truncated_archive_is_refused_wherever_it_ends(unpack):
    noise = seeds.make_numpy_generator(0, "noise").bytes(3000)
    whole = make_tar_gz([make_member("d/readme", noise), *make_good_archive()])
    for end in [0, 1, 5, 11, *range(20, len(whole) - 120, 97)]:
        with pytest.raises(DataInvalid, match=r"cut short|lacks"):
            unpack(whole[:end])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>",
        b"\x1f\x8b",
        gzip.compress(b"", mtime=0),
        gzip.compress(b"x" * 5000, mtime=0),
        b"PK\x03\x04" + bytes(600),
    ],
)
def test_what_is_no_archive_is_refused(unpack, content):
    with pytest.raises(DataInvalid, match=r"not a complete gzipped tar|lacks"):
        unpack(content)


def make_ten_gigabytes(name):
    """A gzipped tar of 10 MB whose member holds 10 GB of zeros: a header, then one compressed block
    over and over.
    """
    info = tarfile.TarInfo(name)
    info.size = 10 << 30
    header = gzip.compress(info.tobuf(tarfile.GNU_FORMAT), mtime=0)
    return header + gzip.compress(bytes(1 << 24), 9, mtime=0) * (info.size >> 24)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("d/other", "far more bytes than were published"), ("d/a.bin", "expected 13")],
)
def test_a_bomb_is_refused_in_little_memory(unpack, name, reason):
    bomb = make_ten_gigabytes(name)
    tracemalloc.start()
    with pytest.raises(DataInvalid, match=reason):
        unpack(bomb)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * archives.SLACK


def test_a_header_that_claims_gigabytes_of_names_is_refused_in_little_memory(unpack):
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 4 << 30
    bomb = gzip.compress(info.tobuf(tarfile.GNU_FORMAT)) + gzip.compress(bytes(1 << 24), 9) * 64
    tracemalloc.start()
    with pytest.raises(DataInvalid, match="far more bytes"):
        unpack(bomb)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 * archives.SLACK


def test_thousands_of_members_and_of_chained_headers_are_refused(unpack):
    with pytest.raises(DataInvalid, match="more than 1,000 members"):
        unpack(make_tar_gz([make_member(f"d/{i}") for i in range(1100)]))
    chained = make_member("././@LongLink", b"n\0", tarfile.GNUTYPE_LONGNAME)
    with pytest.raises(DataInvalid, match="not a complete gzipped tar"):
        unpack(make_tar_gz([chained] * 3000, tarfile.GNU_FORMAT))


def test_damaged_archives_raise_nothing_else(unpack):
    rng = seeds.make_numpy_generator(0, "damage")
    whole = bytearray(gzip.decompress(make_tar_gz(make_good_archive())))
    for _ in range(300):
        damaged = bytearray(whole)
        for position in rng.integers(0, 1600, 3):
            damaged[position] = rng.integers(256)
        for start in (
            0,
            1024,
        ):  # with a right checksum of the header, so that the numbers in it are believed
            header = damaged[start : start + 148] + b" " * 8 + damaged[start + 156 : start + 512]
            damaged[start + 148 : start + 156] = b"%06o\0 " % sum(header)
        try:
            unpack(gzip.compress(bytes(damaged), 1))
        except DataInvalid:
            continue


# CIFAR, 5 × 4 and 4 images rather than 5 × 10,000 and 10,000.


def make_cifar_arrays(rows, classes):
    rng = seeds.make_numpy_generator(0, "cifar", rows, classes)
    return rng.integers(0, 256, (rows, 3, 32, 32), dtype=np.uint8), rng.integers(
        0, classes, rows, dtype=np.uint8
    )


class Python2Pickler(pickle._Pickler):
    """Writes bytes as Python 2 wrote its strings, as in CIFAR's Python archives."""

    def save_bytes(self, content):
        self.write(b"T" + struct.pack("<i", len(content)) + content)
        self.memoize(content)

    dispatch: ClassVar = {**pickle._Pickler.dispatch, bytes: save_bytes}


def pickle_for_python2(value):
    stream = io.BytesIO()
    Python2Pickler(stream, 2).dump(value)
    return stream.getvalue()


class SmallCifar:
    """A small CIFAR-10 or CIFAR-100: its arrays, the files of both versions, and its entry."""

    def __init__(self, layout, classes):
        self.layout = layout
        files = [*layout.train, layout.test]
        self.arrays = {name: make_cifar_arrays(4 + i, classes) for i, name in enumerate(files)}
        self.contents = {name: self._records(*self.arrays[name]) for name in files}
        n = sum(len(self.arrays[name][1]) for name in layout.train)
        self.info = data.DataInfo(
            name="small",
            task="classification",
            input_shape=(3, 32, 32),
            outputs=classes,
            n_train=n,
            n_test=len(self.arrays[files[-1]][1]),
        )
        self.files = to_published_files(self.contents, "sha1")

    def entry(self, *mirrors):
        return make_entry(
            self.info,
            self.files,
            lambda info, contents: cifar.parse(info, self.layout, contents),
            mirrors=mirrors,
            divisor=255.0,
        )

    def binary(self, folder=None, **changed):
        folder = self.layout.folder + "/" if folder is None else folder
        contents = {**self.contents, **changed}
        return make_tar_gz(
            [
                make_member(folder + "readme.html", b"<p>"),
                *(make_member(folder + name, contents[name]) for name in contents),
            ]
        )

    def python(self, **changed):
        """The Python archive; `changed` replaces batches by other pickles."""
        batches = {name.removesuffix(".bin"): self.batch(name) for name in self.contents}
        pickles = {name: pickle_for_python2(batch) for name, batch in batches.items()} | changed
        meta = make_member(
            f"{self.layout.python_folder}/batches.meta",
            pickle_for_python2({b"label_names": [b"x"]}),
        )
        return make_tar_gz(
            [
                meta,
                *(
                    make_member(f"{self.layout.python_folder}/{name}", content)
                    for name, content in pickles.items()
                ),
            ]
        )

    def batch(self, name):
        x, y = self.arrays[name]
        labels = {
            key: values.tolist()
            for key, values in zip(self.layout.labels, self._labels(y), strict=True)
        }
        return {
            b"batch_label": b"a test",
            b"data": x.reshape(len(x), -1),
            **labels,
            b"filenames": [b"x.png"] * len(x),
        }

    def _records(self, x, y):
        return np.column_stack([*self._labels(y), x.reshape(len(x), -1)]).tobytes()

    def _labels(self, y):
        """The labels of a record: coarse ones, where there are any, and the classes."""
        return [y // 5, y][-len(self.layout.labels) :]


@pytest.fixture(params=[(CIFAR10, 10), (CIFAR100, 100)], ids=["cifar10", "cifar100"])
def small(request):
    return SmallCifar(*request.param)


@pytest.fixture
def fetched(tmp_path, monkeypatch):
    """Fetches a small set from archives, in the order given; returns what `load` makes of it."""
    monkeypatch.setenv("FANIN_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.delenv("FANIN_OFFLINE", raising=False)

    def fetch(small, *mirrors, on_progress=None):
        served = {f"{i}.tar.gz": content for i, (content, _) in enumerate(mirrors)}
        with serve(served) as server:
            described = [
                data.Mirror(url=f"{server.root}/good/{i}.tar.gz", **fields)
                for i, (_, fields) in enumerate(mirrors)
            ]
            monkeypatch.setitem(data.REGISTRY._entries, "small", small.entry(*described))
            data.fetch("small", on_progress=on_progress)
        return data.load("small")

    return fetch


def make_exact_mirror(archive, small):
    """A mirror of the Python version."""
    return archive, {
        "unpack": small.layout.unpack_python,
        "exact": True,
        "sha256": hashlib.sha256(archive).hexdigest(),
    }


def assert_right(dataset, small):
    train = [small.arrays[name] for name in small.layout.train]
    assert torch.equal(dataset.x_train, torch.from_numpy(np.concatenate([x for x, _ in train])))
    assert torch.equal(
        dataset.y_train, torch.from_numpy(np.concatenate([y for _, y in train])).long()
    )
    assert torch.equal(dataset.x_test, torch.from_numpy(small.arrays[small.layout.test][0]))
    assert torch.equal(dataset.y_test, torch.from_numpy(small.arrays[small.layout.test][1]).long())
    assert (dataset.x_train.dtype, dataset.x_train.is_contiguous()) == (torch.uint8, True)
    assert (dataset.published, dataset.divisor) == (True, 255.0)


def test_the_binary_version_loads_as_it_was_written(small, fetched, tmp_path):
    assert_right(fetched(small, (small.binary(), {"unpack": small.layout.unpack})), small)
    assert {file.name for file in (tmp_path / "small").iterdir()} == {
        *small.contents,
        ".fetching.lock",
    }
    checks = data.verify("small")
    assert all(check.ok for check in checks)
    assert [(check.expected_sha256, check.expected_sha1) for check in checks] == [
        (None, file.sha1) for file in small.files
    ]


def test_a_repack_whose_members_are_right_is_accepted(small, fetched):
    repack = make_tar_gz(
        [
            pair
            for name, content in small.contents.items()
            for pair in (make_member(f"._{name}", b"Mac"), make_member(name, content))
        ]
    )
    assert_right(
        fetched(small, (repack, {"unpack": small.layout.unpack, "sha256": "0" * 64, "bytes": 1})),
        small,
    )


def test_the_python_version_becomes_the_binary_one(small, fetched, tmp_path):
    assert_right(fetched(small, make_exact_mirror(small.python(), small)), small)
    assert {
        name: (tmp_path / "small" / name).read_bytes() for name in small.contents
    } == small.contents


def test_an_archive_with_a_wrong_member_is_passed_over_and_both_checksums_are_named(
    small, fetched, tmp_path
):
    name = small.layout.test
    wrong = small.binary(**{name: bytes(len(small.contents[name]))})
    described = {"unpack": small.layout.unpack, "sha256": "f" * 64}
    seen = []
    assert_right(
        fetched(small, (wrong, described), (small.binary(), described), on_progress=seen.append),
        small,
    )
    (reason,) = [event.reason for event in seen if event.state == "failed"]
    assert (
        f"{name} is not the published file: its SHA-1 is "
        f"{hashlib.sha1(bytes(len(small.contents[name]))).hexdigest()}" in reason
    )
    assert f"expected {small.files[-1].sha1}" in reason
    assert (
        f"The archive's SHA-256 is {hashlib.sha256(wrong).hexdigest()}; expected {'f' * 64}"
        in reason
    )


def test_of_a_bad_archive_no_member_is_kept(small, fetched, tmp_path):
    wrong = small.binary(**{small.layout.test: b"short"})
    with pytest.raises(DataUnavailable, match=r"has 5 bytes; expected"):
        fetched(small, (wrong, {"unpack": small.layout.unpack}))
    assert [file.name for file in (tmp_path / "small").iterdir()] == [".fetching.lock"]


def test_one_missing_member_brings_the_archive_again(small, fetched, tmp_path):
    fetched(small, (small.binary(), {"unpack": small.layout.unpack}))
    (tmp_path / "small" / small.layout.test).unlink()
    assert_right(fetched(small, (small.binary(), {"unpack": small.layout.unpack})), small)


class Payload:
    """Unpickled, it writes its marker file."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (open, (str(self.marker), "w"))


def make_hostile_pickles(marker):
    system = f"cos\nsystem\n(S'touch {marker}'\ntR.".encode()
    return {
        "reduce": pickle_for_python2({b"data": Payload(marker)}),
        "protocol 0": system,
        "protocol 5": pickle.dumps(Payload(marker), 5),
        "eval": b'c__builtin__\neval\n(S\'open("%s", "w")\'\ntR.' % str(marker).encode(),
        "getattr of numpy": b"cnumpy\nload\n(S'x'\ntR.",
        "numpy's own loader": b"cnumpy.core.multiarray\nscalar\n(S'x'\ntR.",
        "dotted": b"\x80\x04\x8c\x05numpy\x8c\x0ddtype.__doc__\x93.",
        "persistent": b"Pmarker\n.",
        "extension": b"\x80\x02\x82\x01.",
    }


@pytest.mark.parametrize("kind", make_hostile_pickles("x"))
def test_a_pickle_with_a_payload_is_never_executed_even_where_the_archive_is_the_published_one(
    small, fetched, tmp_path, kind
):
    marker = tmp_path / "marker"
    content = make_hostile_pickles(marker)[kind]
    with pytest.raises(DataInvalid, match=r"not allowed|not a complete pickle"):
        unpickling.load(content, "a batch")
    name = small.layout.test
    padding = (
        pickle_for_python2(bytes(len(small.contents[name])))[2:-1] + b"0"
    )  # a string of the right size, and POP
    padded = (content[:2] + padding + content[2:]) if content[:1] == b"\x80" else padding + content
    archive = small.python(**{name.removesuffix(".bin"): padded})
    with pytest.raises(DataUnavailable, match=r"not allowed|not a complete pickle"):
        fetched(small, make_exact_mirror(archive, small))
    assert not marker.exists()


def test_the_payload_of_these_tests_works_where_it_is_unpickled(tmp_path):
    pickle.loads(make_hostile_pickles(tmp_path / "marker")["protocol 5"]).close()
    assert (tmp_path / "marker").exists()


def test_a_python_archive_with_another_checksum_is_never_opened(small, fetched, monkeypatch):
    def opened(*_):
        pytest.fail("opened")

    monkeypatch.setattr(archives, "read_members", opened)
    archive, described = make_exact_mirror(small.python(), small)
    described["sha256"] = "0" * 64
    with pytest.raises(DataUnavailable, match=r"expected sha256:0{64} but got"):
        fetched(small, (archive, described))


WRONG_BATCHES = {
    "not a dict": [1, 2],
    "no data": {b"data": None},
    "data of another type": {b"data": np.zeros((4, PIXELS), np.int16)},
    "data of another shape": {b"data": np.zeros((4, PIXELS - 1), np.uint8)},
    "objects": {b"data": np.array([None, b"x"], object)},
    "labels out of range": {b"labels": [0, 1, 2, 256]},
    "negative labels": {b"labels": [0, 1, 2, -1]},
    "too few labels": {b"labels": [0]},
    "labels of another type": {b"labels": [0.0, 1.0, 2.0, 3.0]},
}


@pytest.mark.parametrize("wrong", WRONG_BATCHES.values(), ids=WRONG_BATCHES)
def test_a_batch_that_is_none_is_refused(wrong, fetched):
    small = SmallCifar(CIFAR10, 10)
    name = CIFAR10.train[0]
    batch = {**small.batch(name), **wrong} if isinstance(wrong, dict) else wrong
    batch = (
        {**batch, b"padding": bytes(4 * PIXELS)}
        if isinstance(batch, dict)
        else [batch, bytes(4 * PIXELS + 1000)]
    )
    archive = small.python(**{name.removesuffix(".bin"): pickle_for_python2(batch)})
    with pytest.raises(
        DataUnavailable,
        match=r"is not a dict|is not a uint8 array|has shape|are not 4 class numbers",
    ):
        fetched(small, make_exact_mirror(archive, small))


def test_arrays_in_column_order_come_out_right():
    array = np.asfortranarray(np.arange(12, dtype=np.uint8).reshape(3, 4))
    stored = unpickling.load(pickle_for_python2(array), "a pickle")
    assert np.array_equal(unpickling.to_uint8_array(stored, (3, 4), "it"), array)


def test_records_that_are_not_whole_are_refused(small):
    contents = dict(small.contents)
    contents[small.layout.test] = contents[small.layout.test][:-1]
    with pytest.raises(DataInvalid, match="the size of a record"):
        cifar.parse(small.info, small.layout, contents)


@pytest.mark.parametrize(("name", "layout"), [("cifar10", CIFAR10), ("cifar100", CIFAR100)])
def test_the_registered_files_hold_as_many_records_as_the_data_set_has_images(name, layout):
    entry = data.REGISTRY.get(name)
    sizes = {file.name: file.bytes for file in entry.published.files}
    record = len(layout.labels) + PIXELS
    assert sum(sizes[file] for file in layout.train) == 50_000 * record
    assert sizes[layout.test] == 10_000 * record
    assert set(sizes) == {*layout.train, layout.test}


# California Housing out of Keras' NPZ file.


def make_housing_table():
    rng = seeds.make_numpy_generator(0, "housing")
    places, incomes = rng.uniform(-124, -114, 50).round(2), rng.uniform(0, 15, 50).round(4)
    return np.column_stack([places, incomes, rng.integers(1, 500_001, 50)])


def format_housing(table):
    return "".join(",".join(f"{value:.6f}" for value in row) + "\n" for row in table).encode()


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("shape", [(50,), (50, 1)])
def test_keras_housing_gives_the_published_table_byte_for_byte(tmp_path, dtype, shape):
    table = make_housing_table()
    np.savez(
        tmp_path / "housing.npz",
        x=table[:, :-1].astype(dtype),
        y=table[:, -1].astype(dtype).reshape(shape),
    )
    files = to_published_files({"cal_housing.data": format_housing(table)})
    ((file, content),) = california_housing.unpack_keras_copy(tmp_path / "housing.npz", files)
    assert (file, content) == (files[0], format_housing(table))


@pytest.mark.parametrize(
    "arrays",
    [
        {"x": np.zeros((3, 2))},
        {"x": np.zeros((3, 2)), "y": np.zeros(4)},
        {"x": np.zeros(3), "y": np.zeros(3)},
    ],
)
def test_another_npz_is_not_keras_housing(tmp_path, arrays):
    np.savez(tmp_path / "housing.npz", **arrays)
    with pytest.raises(DataInvalid, match=r"lacks the arrays|expected a float table"):
        list(
            california_housing.unpack_keras_copy(
                tmp_path / "housing.npz", to_published_files({"cal_housing.data": b"x"})
            )
        )


def test_a_pickle_inside_keras_housing_is_never_executed(tmp_path):
    marker = tmp_path / "marker"
    hostile = np.array([Payload(marker)], object)
    np.savez(tmp_path / "housing.npz", x=hostile, y=hostile)
    with pytest.raises(DataInvalid, match="never loaded"):
        list(
            california_housing.unpack_keras_copy(
                tmp_path / "housing.npz", to_published_files({"cal_housing.data": b"x"})
            )
        )
    assert not marker.exists()
