"""``fanin data fetch``: what it prints, its JSON, its exit codes."""

import io

import pytest
from cli_session import fanin
from dataset_cases import make_tiny_entry
from mirror_server import serve

from fanin import data
from fanin.progress import download_progress


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A registered data set with a mirror that lacks it and one that has it, the server, and its
    folder.
    """
    monkeypatch.setenv("FANIN_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.delenv("FANIN_OFFLINE", raising=False)
    with serve(make_tiny_entry()[1]) as server:
        entry, _ = make_tiny_entry(mirrors=(server.mirror("404"), server.mirror("good")))
        # Past `add`, so that the entry is gone after the test.
        monkeypatch.setitem(data.REGISTRY._entries, "tiny", entry)
        yield server, tmp_path / "tiny"


def make_event(state, **facts):
    return data.DownloadProgress(
        dataset="tiny", state=state, url="https://example.org/files/train.raw", **facts
    )


def test_fetch_downloads_and_says_from_where(tiny):
    server, folder = tiny
    done = fanin("data", "fetch", "tiny")
    assert (done.code, str(folder) in "".join(done.out.split())) == (0, True)  # long lines wrap
    host = server.root.removeprefix("http://")
    assert f"tiny: train.raw from {host}: failed: answered 404 Not Found" in done.err
    assert f"tiny: train.raw from {host}: done, 60.0 kB" in done.err
    assert "\x1b" not in done.err
    assert fanin("data", "verify", "tiny").code == 0


def test_json_lists_what_was_downloaded_and_the_second_time_nothing_is(tiny):
    server, folder = tiny
    done = fanin("data", "fetch", "tiny", "--json")
    (found,) = done.record["datasets"]
    assert (done.code, done.record["complete"], found["state"], found["error"]) == (
        0,
        True,
        "available",
        "",
    )
    assert (found["name"], found["where"]) == ("tiny", str(folder))
    assert found["downloaded"] == [
        f"{server.root}/good/{name}" for name in ("train.raw", "test.raw")
    ]
    assert fanin("data", "fetch", "tiny", "--json").record["datasets"] == [
        {**found, "downloaded": []}
    ]


def test_a_failure_exits_4_and_names_mirrors_and_the_way_by_hand(tiny, monkeypatch):
    server, folder = tiny
    server.contents.clear()
    done = fanin("data", "fetch", "tiny")
    assert done.code == 4
    for part in (
        "Error: tiny could not be downloaded",
        f"{server.root}/404/train.raw",
        str(folder),
        "fanin data add tiny FILE.npz",
    ):
        assert part in done.err
    error = fanin("data", "fetch", "tiny", "--json").record["error"]
    assert (error["type"], error["exit_code"]) == ("DataUnavailable", 4)
    monkeypatch.setenv("FANIN_OFFLINE", "1")
    assert "FANIN_OFFLINE is set" in fanin("data", "fetch", "tiny").err


def test_one_failure_does_not_keep_the_others_from_being_fetched(tiny, monkeypatch):
    server, _ = tiny
    broken, _ = make_tiny_entry("broken", mirrors=(server.mirror("403"),))
    monkeypatch.setitem(data.REGISTRY._entries, "broken", broken)
    done = fanin("data", "fetch", "broken", "tiny", "digits", "--json")
    states = {
        record["name"]: (record["state"], bool(record["error"]))
        for record in done.record["datasets"]
    }
    assert (done.code, done.record["complete"]) == (4, False)
    assert states == {
        "broken": ("missing", True),
        "tiny": ("available", False),
        "digits": ("available", False),
    }
    assert fanin("data", "fetch", "broken", "tiny").code == 4


def test_without_names_all_that_can_be_downloaded_is(tiny, monkeypatch):
    monkeypatch.setattr(data, "list_fetchable", lambda: ("tiny",))
    assert [record["name"] for record in fanin("data", "fetch", "--json").record["datasets"]] == [
        "tiny"
    ]


def test_a_misspelt_name_is_found_before_anything_is_downloaded(tiny):
    server, _ = tiny
    done = fanin("data", "fetch", "tiny", "fashon-mnist")
    assert (done.code, server.asked) == (2, [])
    assert "fashion-mnist" in done.err


def test_verify_names_the_published_sha1_where_there_is_no_other(tiny):
    _, folder = tiny
    (folder.parent / "cifar100").mkdir()
    (folder.parent / "cifar100" / "train.bin").write_bytes(b"cut short")
    done = fanin("data", "verify", "cifar100")
    assert done.code == 4
    assert "SHA-1" in done.out
    assert "e207cd2e05b73b1393c74c7f5e7bea451d63e08e" in done.out
    assert "None" not in done.out


def test_lines_off_a_terminal_tell_size_speed_and_time_left_now_and_then(monkeypatch):
    times = iter([100.0, 101.0, 107.0, 108.0, 109.0, 110.0])
    monkeypatch.setattr(download_progress.time, "monotonic", lambda: next(times))
    out = io.StringIO()
    with download_progress.show_downloads(out) as handle:
        handle(make_event("started"))
        for received in (1_000_000, 4_000_000, 5_000_000):
            handle(make_event("receiving", received=received, total=9_900_000, speed=2e6))
        handle(make_event("done", received=9_900_000, total=9_900_000))
        handle(data.DownloadProgress(dataset="tiny", state="waiting"))
    assert out.getvalue().splitlines() == [
        "tiny: train.raw from example.org: started",
        "tiny: train.raw from example.org: 4.0 MB of 9.9 MB, 2.0 MB/s, 3 s to go",
        "tiny: train.raw from example.org: done, 9.9 MB",
        "tiny: waiting for another process that downloads it",
    ]


def test_a_terminal_gets_a_bar_and_what_is_sent_to_it_is_harmless(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "160")
    for variable in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(variable, raising=False)
    out = Terminal()
    with download_progress.show_downloads(out) as handle:
        handle(make_event("started"))
        handle(make_event("receiving", received=4_000_000, total=9_900_000, speed=2e6))
        handle(make_event("failed", reason="answered \x1b]0;title\x07 [red]nonsense[/red]"))
        handle(make_event("receiving", received=9_900_000, total=None, speed=0.0))
        handle(make_event("done", received=9_900_000, total=9_900_000))
    text = out.getvalue()
    assert "4.0 MB of 9.9 MB, 2.0 MB/s, 3 s to go" in text
    assert "[red]nonsense[/red]" in text
    assert "\x1b]0;" not in text
    assert "done, 9.9 MB" in text
