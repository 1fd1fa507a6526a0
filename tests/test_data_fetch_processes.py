"""Downloads by several processes: one that is killed, and two at once."""

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from dataset_cases import make_tiny_entry
from mirror_server import serve

from fanin import data
from fanin.data.sources import staging

# Fetches the tiny data set from the mirror given.
CHILD = """
import sys
sys.path.insert(0, sys.argv[2])
from dataset_cases import make_tiny_entry
from fanin import data
entry, _ = make_tiny_entry(mirrors=(data.Mirror(url=sys.argv[1]),))
data.REGISTRY.add(entry)
print("ready", flush=True)
sys.stdin.readline()
data.fetch("tiny", limits=data.DownloadLimits(window=20.0))
assert data.load("tiny").published
"""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and locks of POSIX")


@pytest.fixture
def root(root, monkeypatch):
    """An empty folder of data sets, for downloads from this machine."""
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.delenv("FANIN_OFFLINE", raising=False)
    return root


def start_fetching(mirror):
    """A process that fetches as soon as it gets a line."""
    command = [sys.executable, "-c", CHILD, mirror.url, str(Path(__file__).parent)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def release(*children):
    for child in children:
        assert child.stdout.readline() == "ready\n"
    for child in children:
        child.stdin.write("\n")
        child.stdin.flush()


def wait_until(condition, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def list_parts(folder):
    """Files under half-done downloads."""
    return [file for file in folder.glob(".fetching-*/**/*") if file.is_file()]


def test_after_a_kill_nothing_half_done_has_a_name_and_the_next_fetch_starts_clean(
    root, monkeypatch
):
    entry, contents = make_tiny_entry()
    folder = root / "tiny"
    with serve(contents) as server, start_fetching(server.mirror("half-then-silent")) as child:
        release(child)
        wait_until(lambda: any(part.stat().st_size for part in list_parts(folder)))
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
        assert list_parts(folder)
        assert not any((folder / name).exists() for name in contents)
        monkeypatch.setitem(data.REGISTRY._entries, "tiny", entry)
        data.fetch("tiny", mirrors=[server.mirror("good")])
    assert list_parts(folder) == []
    assert {file.name for file in folder.iterdir()} == {*contents, ".fetching.lock"}
    assert data.load("tiny").published


def test_two_processes_at_once_take_turns_and_download_once(root):
    _, contents = make_tiny_entry()
    with (
        serve(contents) as server,
        start_fetching(server.mirror("leisurely")) as one,
        start_fetching(server.mirror("leisurely")) as other,
    ):
        release(one, other)
        assert (one.wait(30), other.wait(30)) == (0, 0)
    assert sorted(server.asked) == ["/leisurely/test.raw", "/leisurely/train.raw"]


def test_where_the_file_system_has_no_locks_two_workspaces_do_not_meet(tmp_path, monkeypatch):
    def none(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(staging.fcntl, "flock", none)
    with (
        staging.open_workspace(tmp_path, lambda: None) as one,
        staging.open_workspace(tmp_path, lambda: None) as other,
    ):
        (one / "part").write_bytes(b"1")
        assert one != other
        assert list(other.iterdir()) == []
        assert (one / "part").exists()
    assert [file.name for file in tmp_path.iterdir()] == [".fetching.lock"]


def test_one_that_waits_for_its_turn_says_so(tmp_path):
    waits, enters = threading.Event(), threading.Event()

    def second():
        with staging.open_workspace(tmp_path, waits.set):
            enters.set()

    with staging.open_workspace(tmp_path, lambda: None):
        thread = threading.Thread(target=second)
        thread.start()
        assert waits.wait(10)
        assert not enters.is_set()
    thread.join(10)
    assert enters.is_set()
