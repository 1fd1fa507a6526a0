"""Downloads: mirrors in turn, whatever a mirror may do wrong, and what is never kept."""

import itertools
import logging
import os
import re
import socket
import stat
import sys
import time

import mirror_server
import numpy as np
import pytest
from dataset_cases import make_tiny_entry
from mirror_server import DRIPS, serve

from fanin import data
from fanin.errors import DataUnavailable, MissingExtra, OutputError, UnknownName, UsageError

# Bytes/s and seconds, small enough for a test.
QUICK = data.DownloadLimits(speed=50_000.0, slowest=20_000.0, window=0.3, total=5.0)

# How a mirror misbehaves, and what is said of it.
FAULTS = {
    "cut": "broke off after 59,000 of 60,000 bytes|could not be read",
    "cut-without-length": "broke off after 59,000 bytes; expected 60,000",
    "empty": "announced 0 bytes; expected 60,000",
    "empty-without-length": "sent nothing",
    "empty-202": "answered 202 Accepted",
    "page": "answered with a web page",
    "page-as-data": "answered with a web page",
    "403": "answered 403 Forbidden",
    "404": "answered 404 Not Found",
    "503": "answered 503 Service Unavailable",
    "206": "answered 206 Partial Content",
    "circle": "redirected more than 5 times",
    "other-bytes": "hash of downloaded file .* expected (sha256:)?{expected} but got [0-9a-f]{64}",
    "too-much": "sent more than the 60,000 bytes that the file has",
    "announces-too-much": "announced 1,000,000,000,000,000 bytes; expected 60,000",
    "announces-too-little": "announced 10 bytes; expected 60,000",
    "half-then-silent": "was silent for 0.3 s",
    "nothing-at-all": "was silent for 0.3 s",
    **dict.fromkeys(DRIPS, "sent no data for 0.6 s, though it was not silent"),
    "1-kB-a-second": r"sent \d\.\d kB/s, less than 20.0",
}


@pytest.fixture
def root(root, monkeypatch):
    """An empty folder of data sets, for downloads from this machine."""
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.delenv("FANIN_OFFLINE", raising=False)
    return root


@pytest.fixture
def tiny(root, monkeypatch):
    """A registered data set of two files, a server that has them, and the folder in which they
    should come to lie.
    """
    entry, contents = make_tiny_entry()
    with serve(contents) as server:
        # The entry is put in place past `add`, so that it is gone after the test.
        monkeypatch.setitem(data.REGISTRY._entries, "tiny", entry)
        yield entry, server, root / "tiny"


def fetch(server, *answers, **options):
    return data.fetch(
        "tiny", mirrors=[server.mirror(answer) for answer in answers], limits=QUICK, **options
    )


def list_kept(folder):
    """The files in the folder, but for the lock that stays."""
    return {
        file.name: file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file() and file.name != ".fetching.lock"
    }


@pytest.mark.parametrize(
    "answer", ["good", "without-length", "chunked", "redirect-to-good", "more-than-announced"]
)
def test_files_come_whole_and_load(tiny, answer):
    _, server, folder = tiny
    assert fetch(server, answer) == folder
    assert list_kept(folder) == server.contents
    dataset = data.load("tiny")
    assert (dataset.published, len(dataset.x_train)) == (True, 2000)
    assert all(check.ok for check in data.verify("tiny"))


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_mirror_is_passed_over_for_the_next(tiny, fault):
    _, server, folder = tiny
    seen = []
    fetch(server, fault, "good", on_progress=seen.append)
    assert list_kept(folder) == server.contents
    failed = [event for event in seen if event.state == "failed"]
    assert [(event.url, event.dataset) for event in failed] == [
        (f"{server.root}/{fault}/train.raw", "tiny")
    ]
    # The one that works is asked first for the second file.
    assert [path for path in server.asked if fault not in path] == [
        "/good/train.raw",
        "/good/test.raw",
    ]


@pytest.mark.parametrize(("fault", "reason"), FAULTS.items())
def test_what_a_bad_mirror_sends_is_never_kept_and_the_reason_is_said(tiny, fault, reason):
    entry, server, folder = tiny
    with pytest.raises(DataUnavailable) as caught:
        fetch(server, fault)
    text = str(caught.value)
    assert list_kept(folder) == {}
    for part in (
        "train.raw (60,000 bytes",
        f"{server.root}/{fault}/train.raw",
        str(folder),
        "fanin data add tiny FILE.npz",
    ):
        assert part in text
    assert re.search(reason.replace("{expected}", entry.published.files[0].sha256), text)


def test_a_refused_connection_and_a_failed_tls_are_said_in_few_words(tiny):
    _, server, folder = tiny
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        closed = data.Mirror(url=f"http://127.0.0.1:{unused.getsockname()[1]}/")
        plain = data.Mirror(url=server.root.replace("http:", "https:") + "/good/")
        with pytest.raises(DataUnavailable) as caught:
            data.fetch("tiny", mirrors=[closed, plain], limits=QUICK)
    text = str(caught.value)
    assert "could not be read: Connection refused" in text
    assert "has no trusted TLS connection" in text
    assert max(map(len, text.splitlines())) < 400
    assert list_kept(folder) == {}


def test_a_stalling_mirror_is_given_up_within_its_window(tiny):
    _, server, _ = tiny
    start = time.monotonic()
    fetch(server, "1-kB-a-second", "good")
    assert time.monotonic() - start < 2


@pytest.mark.parametrize("drip", DRIPS)
def test_a_mirror_that_drips_is_given_up_for_the_next_whatever_drips(tiny, drip):
    _, server, folder = tiny
    start = time.monotonic()
    fetch(server, drip, "good")
    assert list_kept(folder) == server.contents
    assert time.monotonic() - start < 4
    with pytest.raises(DataUnavailable, match=r"was not done after 0\.2 s"):
        data.fetch(
            "tiny",
            folder=folder.parent / "other",
            mirrors=[server.mirror(drip)],
            limits=data.DownloadLimits(speed=1.0, window=60.0, total=0.2),
        )


def test_where_all_mirrors_are_slow_the_slow_line_is_put_up_with(tiny):
    _, server, folder = tiny
    slow = data.DownloadLimits(speed=1e9, slowest=1000.0, window=0.1, total=5.0)
    data.fetch(
        "tiny", mirrors=[server.mirror("404"), server.mirror("100-kB-a-second")], limits=slow
    )
    assert list_kept(folder) == server.contents
    assert server.asked.count("/100-kB-a-second/train.raw") == 2
    assert server.asked.count("/404/train.raw") == 1


def test_the_total_time_is_limited(tiny):
    _, server, _ = tiny
    with pytest.raises(DataUnavailable, match=r"was not done after 0\.2 s"):
        data.fetch(
            "tiny",
            mirrors=[server.mirror("100-kB-a-second")],
            limits=data.DownloadLimits(speed=1.0, window=5.0, total=0.2),
        )


def test_a_jumping_wall_clock_disturbs_nothing(tiny, monkeypatch):
    _, server, folder = tiny
    jumps = itertools.cycle([0.0, 86_400.0])
    monkeypatch.setattr(time, "time", lambda: 1.7e9 + next(jumps))
    seen = []
    fetch(server, "good", on_progress=seen.append)
    assert list_kept(folder) == server.contents
    assert all(event.speed >= 0 for event in seen)


def test_whole_files_are_not_asked_for_again(tiny):
    _, server, _ = tiny
    fetch(server, "good")
    server.asked.clear()
    fetch(server, "good")
    assert server.asked == []


@pytest.mark.parametrize("damage", [b"", b"cut short", bytes(60_000)])
def test_only_what_is_missing_or_damaged_is_fetched(tiny, damage):
    _, server, folder = tiny
    fetch(server, "good")
    server.asked.clear()
    (folder / "train.raw").write_bytes(damage)
    fetch(server, "good")
    assert server.asked == ["/good/train.raw"]
    assert list_kept(folder) == server.contents


def test_what_came_before_a_failure_is_kept(tiny):
    _, server, folder = tiny
    server.contents["test.raw"] = b"something else"
    with pytest.raises(DataUnavailable, match=r"Wanted: test\.raw") as caught:
        fetch(server, "good")
    assert "train.raw" not in str(caught.value)
    assert list(list_kept(folder)) == ["train.raw"]


def test_offline_nothing_is_contacted(tiny, monkeypatch):
    _, server, folder = tiny
    monkeypatch.setenv("FANIN_OFFLINE", "1")
    with pytest.raises(
        DataUnavailable,
        match=r"(?s)train\.raw.*test\.raw.*FANIN_OFFLINE is set.*fanin data add tiny",
    ):
        fetch(server, "good")
    assert not folder.exists()
    monkeypatch.setenv("FANIN_OFFLINE", "0")
    fetch(server, "good")
    server.asked.clear()
    monkeypatch.setenv("FANIN_OFFLINE", "yes")
    fetch(server, "good")
    assert server.asked == []
    assert data.load("tiny").published


def test_progress_names_mirror_size_speed_and_time_left(tiny):
    _, server, _ = tiny
    seen = []
    fetch(server, "100-kB-a-second", on_progress=seen.append)
    first = [event for event in seen if event.file == "train.raw"]
    assert [event.state for event in first][:1] + [event.state for event in first][-1:] == [
        "started",
        "done",
    ]
    under_way = [event for event in first if event.state == "receiving"]
    assert len(under_way) > 2
    assert {(event.mirror, event.total) for event in under_way} == {
        (server.root.removeprefix("http://"), 60_000)
    }
    received = [event.received for event in under_way]
    assert received == sorted(received)
    assert received[-1] == first[-1].received == first[-1].total == 60_000
    middle = under_way[len(under_way) // 2]
    assert 20_000 < middle.speed < 400_000
    assert middle.seconds_left == pytest.approx((60_000 - middle.received) / middle.speed)


def test_pooch_says_nothing_of_its_own(tiny, capfd):
    _, server, _ = tiny
    level = logging.getLogger("pooch").level
    fetch(server, "good")
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger("pooch").level == level


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of POSIX")
def test_fetched_files_can_be_read_by_everybody(tiny):
    _, server, folder = tiny
    fetch(server, "good")
    assert {stat.S_IMODE((folder / name).stat().st_mode) for name in server.contents} == {0o644}


def test_another_folder_can_be_named(tiny, tmp_path):
    _, server, folder = tiny
    assert fetch(server, "good", folder=tmp_path / "else where") == tmp_path / "else where" / "tiny"
    assert list_kept(tmp_path / "else where" / "tiny") == server.contents
    assert not folder.exists()


def test_a_folder_that_cannot_be_made_and_a_full_disk_are_clear_errors(tiny, monkeypatch):
    _, server, folder = tiny
    folder.write_text("a file in its place")
    with pytest.raises(
        OutputError, match=r"cannot be written: .*Check FANIN_DATA_DIR, or free space"
    ):
        fetch(server, "good")
    folder.unlink()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="cannot be written: No space left on device"):
        fetch(server, "good", "good")
    assert list_kept(folder) == {}
    assert server.asked == ["/good/train.raw"]  # another mirror would not help


def test_an_interruption_leaves_nothing_behind(tiny):
    _, server, folder = tiny

    def interrupt(event):
        if event.state == "receiving":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(server, "good", on_progress=interrupt)
    assert list_kept(folder) == {}


def test_ensure_downloads_what_is_missing_and_only_that(tiny, monkeypatch):
    _, server, folder = tiny
    registered = make_tiny_entry(mirrors=(server.mirror("404"), server.mirror("good")))[0]
    monkeypatch.setitem(data.REGISTRY._entries, "tiny", registered)
    assert "tiny" in data.list_fetchable()
    with pytest.raises(DataUnavailable, match="fanin data fetch tiny"):
        data.load("tiny")
    data.ensure("tiny")
    assert list_kept(folder) == server.contents
    server.asked.clear()
    data.ensure("tiny")
    data.ensure("digits")
    assert server.asked == []


def test_a_users_own_copy_wins_and_is_never_downloaded_over(tiny):
    _, server, folder = tiny
    folder.mkdir()
    x, y = np.zeros((4, 30), np.float32), np.zeros(4, np.float32)
    np.savez(folder / "tiny.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    data.ensure("tiny")
    (folder.parent / "mine").mkdir()
    (folder / "tiny.npz").rename(folder.parent / "mine" / "mine.npz")
    assert data.fetch("mine") == folder.parent / "mine"
    (folder.parent / "mine" / "mine.npz").rename(folder / "tiny.npz")
    assert server.asked == []
    fetch(server, "good")
    dataset = data.load("tiny")
    assert (dataset.published, len(dataset.x_train)) == (False, 4)


@pytest.mark.usefixtures("tiny")
def test_ensure_and_fetch_of_what_has_no_mirror_or_no_entry(root):
    with pytest.raises(DataUnavailable, match="no mirror is known"):
        data.fetch("tiny")
    with pytest.raises(
        DataUnavailable, match=r"tiny is missing\. Looked in .* Put the files there"
    ):
        data.ensure("tiny")
    for use in (data.fetch, data.ensure):
        with pytest.raises(UnknownName, match="fashion-mnist"):
            use("fashon-mnist")
        with pytest.raises(UnknownName):
            use("../../etc")
    data.fetch("digits")
    assert list(root.iterdir()) == []


def test_without_pooch_the_extra_is_named(tiny, monkeypatch):
    _, server, _ = tiny
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(
        MissingExtra, match=r'Downloading data needs pooch.*pip install "\.\[study\]"'
    ):
        fetch(server, "good")


@pytest.mark.parametrize("name", data.list_fetchable())
def test_registered_mirrors_are_well_formed(name):
    published = data.REGISTRY.get(name).published
    assert len({mirror.url for mirror in published.mirrors}) == len(published.mirrors) >= 2
    for mirror in published.mirrors:
        assert mirror.url.startswith(("https://", "http://fashion-mnist.s3-website"))
        assert mirror.url.endswith("/") == (mirror.unpack is None)
        assert "yann.lecun.com" not in mirror.url
    for file in published.files:
        assert len(file.checksum) == {"SHA-256": 64, "SHA-1": 40}[file.algorithm]


@pytest.mark.parametrize(
    "name", ["mnist", "fashion-mnist", "cifar10", "cifar100", "california-housing"]
)
def test_the_case_studys_data_sets_can_be_fetched_and_errors_say_how(root, name):
    assert name in data.list_fetchable()
    for use in (data.load, data.require):
        with pytest.raises(DataUnavailable, match=f"Download it: fanin data fetch {name}"):
            use(name)


def test_a_file_without_checksum_and_an_exact_archive_without_one_are_refused():
    with pytest.raises(UsageError, match="has no checksum"):
        data.PublishedFile(name="a", bytes=1)
    with pytest.raises(UsageError, match="Give its SHA-256"):
        data.Mirror(url="https://example.org/a.tgz", exact=True)


def test_every_answer_of_the_server_is_tested():
    good = {
        "good",
        "leisurely",
        "without-length",
        "chunked",
        "redirect-to-good",
        "more-than-announced",
        "100-kB-a-second",
    }
    assert set(mirror_server.ANSWERS) == good | set(FAULTS)
