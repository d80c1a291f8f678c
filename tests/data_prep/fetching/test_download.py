import collections
import errno
import fcntl
import functools
import hashlib
import http.server
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from unittest import mock

import gdown
import numpy as np
import pytest

from data_prep.fetching.download import Mirror, fetch, has_hash
from data_prep.fetching.resumable import Patience
from fewshot.errors import InputError

BLOCK = 1 << 14  # transfers are kept in whole blocks
CONTENT = np.random.Generator(np.random.Philox(8)).bytes(20 * BLOCK)
HASH = "md5:" + hashlib.md5(CONTENT).hexdigest()
HALF = len(CONTENT) // 2
HURRIED = Patience(attempts=3, pause=0.01, timeout=0.5)


class Server(http.server.ThreadingHTTPServer):
    """Answers GET of a path with the path's next scripted answer; the last one is repeated."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers = collections.defaultdict(list)
        self.requests = []

    def at(self, path, *answers):
        self.answers[path] = list(answers)
        return Mirror(f"http://127.0.0.1:{self.server_port}{path}")

    def ranges(self):
        return [headers.get("Range") for _, headers in self.requests]

    def handle_error(self, request, client_address):
        """A client that hangs up is no news."""


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests.append((self.path, dict(self.headers)))
        answers = self.server.answers[self.path]
        (answers.pop(0) if len(answers) > 1 else answers[0])(self)

    def log_message(self, format, *args):
        """Keep quiet."""

    def reply(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in {"Content_Length": len(body), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(body)


def status(code, **headers):
    return lambda handler: handler.reply(code, b"busy", **headers)


def redirect(path):
    return lambda handler: handler.reply(302, Location=path)


def page(text=b"<!DOCTYPE html><title>Quota exceeded</title>"):
    return lambda handler: handler.reply(200, text, Content_Type="text/html")


def data(content=CONTENT, stop=None, etag=None, ranges=True):
    """Serve `content`, or what is asked of it; hang up after `stop` bytes of what was announced."""

    def answer(handler):
        extra = {"ETag": etag} if etag else {}
        wanted = handler.headers.get("Range") if ranges else None
        if handler.headers.get("If-Range") not in (None, etag):
            wanted = None
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        if start >= len(content):
            return handler.reply(416, Content_Range=f"bytes */{len(content)}")
        if wanted:
            extra["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        body = content[start:]
        return handler.reply(206 if wanted else 200, body[:stop], Content_Length=len(body), **extra)

    return answer


def silence(handler):
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    time.sleep(1)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = Server()
    thread = threading.Thread(target=functools.partial(server.serve_forever, poll_interval=0.01))
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def get(mirrors, folder, known_hash=HASH, patience=HURRIED):
    return fetch(mirrors, folder, known_hash, "data.tar", quiet=True, patience=patience)


def assert_complete(path, folder):
    assert path == folder / "data.tar"
    assert path.read_bytes() == CONTENT
    assert [entry.name for entry in folder.iterdir()] == ["data.tar"]


@pytest.mark.parametrize("known_hash", [None, HASH, "sha256:" + hashlib.sha256(CONTENT).hexdigest().upper()])
def test_a_file_is_fetched_once(server, tmp_path, known_hash):
    mirror = server.at("/f", data())
    assert_complete(get([mirror], tmp_path / "new" / "folder", known_hash), tmp_path / "new" / "folder")
    assert_complete(get([mirror], tmp_path / "new" / "folder", known_hash), tmp_path / "new" / "folder")
    assert len(server.requests) == 1


def test_redirects_are_followed(server, tmp_path):
    server.at("/b", redirect("/c"))
    server.at("/c", data())
    assert_complete(get([server.at("/a", redirect("/b"))], tmp_path), tmp_path)


def test_a_circle_of_redirects_ends(server, tmp_path):
    with pytest.raises(InputError, match="TooManyRedirects"):
        get([server.at("/a", redirect("/a"))], tmp_path)


@pytest.mark.parametrize(
    "answer", [status(404), status(403), status(410), page(), page(b'{"error": "gone"}'), page(b"")]
)
def test_the_next_mirror_is_tried_at_once(server, tmp_path, answer):
    assert_complete(get([server.at("/dead", answer), server.at("/f", data())], tmp_path), tmp_path)
    assert [path for path, _ in server.requests] == ["/dead", "/f"]


@pytest.mark.parametrize("code", [429, 500, 503])
def test_a_busy_server_is_asked_again(server, tmp_path, code):
    assert_complete(get([server.at("/f", status(code), status(code), data())], tmp_path), tmp_path)
    assert len(server.requests) == 3


def test_a_server_may_say_when_to_come_back(server, tmp_path):
    started = time.monotonic()
    assert_complete(get([server.at("/f", status(503, Retry_After=1), data())], tmp_path), tmp_path)
    assert time.monotonic() - started >= 1


def test_a_server_that_stays_busy_is_given_up(server, tmp_path):
    with pytest.raises(InputError, match=r"/f \(HTTP 503 Service Unavailable, 3 times in a row\)"):
        get([server.at("/f", status(503))], tmp_path)
    assert len(server.requests) == 3


@pytest.mark.parametrize(("known_hash", "etag"), [(HASH, None), (None, '"v1"')])
def test_a_broken_transfer_is_continued(server, tmp_path, known_hash, etag):
    mirror = server.at("/f", data(stop=HALF, etag=etag), data(stop=BLOCK, etag=etag), data(etag=etag))
    assert_complete(get([mirror], tmp_path, known_hash), tmp_path)
    assert server.ranges() == [None, f"bytes={HALF}-", f"bytes={HALF + BLOCK}-"]


@pytest.mark.parametrize(("known_hash", "etag"), [(HASH, None), (None, '"v1"')])
def test_a_later_call_continues(server, tmp_path, known_hash, etag):
    mirror = server.at("/f", data(stop=HALF, etag=etag), status(503))
    with pytest.raises(InputError, match="HTTP 503"):
        get([mirror], tmp_path, known_hash)
    assert not (tmp_path / "data.tar").exists()
    server.at("/f", data(etag=etag))
    server.requests.clear()
    assert_complete(get([mirror], tmp_path, known_hash), tmp_path)
    assert server.ranges() == [f"bytes={HALF}-"]


def test_with_a_known_hash_another_mirror_continues(server, tmp_path):
    mirrors = [server.at("/a", data(stop=HALF), status(404)), server.at("/b", data())]
    assert_complete(get(mirrors, tmp_path), tmp_path)
    assert server.ranges() == [None, f"bytes={HALF}-", f"bytes={HALF}-"]


def test_without_a_hash_another_mirror_starts_anew(server, tmp_path):
    mirrors = [
        server.at("/a", data(b"old" * BLOCK, stop=BLOCK, etag='"v1"'), status(404)),
        server.at("/b", data(etag='"v1"')),
    ]
    assert_complete(get(mirrors, tmp_path, known_hash=None), tmp_path)
    assert server.ranges() == [None, f"bytes={BLOCK}-", None]


def test_a_file_that_changed_meanwhile_is_fetched_anew(server, tmp_path):
    mirror = server.at("/f", data(b"old" * 99_999, stop=HALF, etag='"v1"'), data(etag='"v2"'))
    assert_complete(get([mirror], tmp_path, known_hash=None), tmp_path)
    assert server.requests[1][1]["If-Range"] == '"v1"'


def test_a_server_that_cannot_continue_sends_all(server, tmp_path):
    assert_complete(get([server.at("/f", data(stop=HALF), data(ranges=False))], tmp_path), tmp_path)


def test_what_arrived_survives_an_error_page(server, tmp_path):
    mirror = server.at("/f", data(stop=HALF), page())
    with pytest.raises(InputError, match="sent an HTML page instead of the file"):
        get([mirror], tmp_path)
    server.at("/f", data())
    assert_complete(get([mirror], tmp_path), tmp_path)
    assert server.ranges()[-1] == f"bytes={HALF}-"


def test_a_rotten_part_is_thrown_away(server, tmp_path):
    (tmp_path / ".data.tar.part").write_bytes(b"rotten")
    assert_complete(get([server.at("/f", data())], tmp_path), tmp_path)
    assert server.ranges() == ["bytes=6-", None]


@pytest.mark.parametrize("part", [CONTENT, CONTENT + b"and more"])
def test_a_part_that_was_complete_or_too_long(server, tmp_path, part):
    (tmp_path / ".data.tar.part").write_bytes(part)
    assert_complete(get([server.at("/f", data())], tmp_path), tmp_path)


def test_a_server_that_always_sends_too_little(server, tmp_path):
    with pytest.raises(InputError, match="the connection broke off or took too long, 3 times in a row"):
        get([server.at("/f", data(stop=0))], tmp_path)


def test_another_part_than_asked_for(server, tmp_path):
    (tmp_path / ".data.tar.part").write_bytes(CONTENT[:HALF])
    wrong = lambda handler: handler.reply(206, CONTENT, Content_Range=f"bytes 0-9/{len(CONTENT)}")  # noqa: E731
    with pytest.raises(InputError, match="sent another part of the file than asked for"):
        get([server.at("/f", wrong)], tmp_path)


def test_a_silent_server_is_given_up(server, tmp_path):
    started = time.monotonic()
    patience = Patience(attempts=2, pause=0.01, timeout=0.2)
    assert_complete(get([server.at("/slow", silence), server.at("/f", data())], tmp_path, patience=patience), tmp_path)
    assert time.monotonic() - started < 5


def test_a_slow_but_steady_server_is_waited_for(server, tmp_path):
    def drip(handler):
        handler.reply(200, Content_Length=len(CONTENT))
        for start in range(0, len(CONTENT), 50_000):
            handler.wfile.write(CONTENT[start : start + 50_000])
            time.sleep(0.15)

    assert_complete(get([server.at("/f", drip)], tmp_path), tmp_path)
    assert len(server.requests) == 1


def test_nobody_listens(tmp_path):
    with Server() as gone:
        mirror = gone.at("/f")
    with pytest.raises(InputError, match="the connection broke off or took too long, 3 times in a row"):
        get([mirror], tmp_path)


def test_a_wrong_hash_is_refused_and_another_mirror_asked(server, tmp_path):
    bad = server.at("/bad", data(CONTENT[:-1] + b"!"))
    with pytest.raises(InputError, match=rf"/bad \(sent a file that does not have the hash {HASH}\)"):
        get([bad], tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert_complete(get([bad, server.at("/f", data())], tmp_path), tmp_path)


def test_a_bad_file_is_replaced_only_by_a_good_one(server, tmp_path):
    (tmp_path / "data.tar").write_bytes(b"<html>saved by a browser</html>")
    with pytest.raises(InputError):
        get([server.at("/f", status(404))], tmp_path)
    assert (tmp_path / "data.tar").read_bytes() == b"<html>saved by a browser</html>"
    server.at("/f", data())
    assert_complete(get([server.at("/f", data())], tmp_path), tmp_path)


def test_the_error_tells_how_to_help_oneself(server, tmp_path):
    mirrors = [server.at("/a", status(404)), server.at("/b", page())]
    with pytest.raises(InputError) as caught:
        get(mirrors, tmp_path)
    message = str(caught.value)
    assert message.startswith("data.tar could not be downloaded")
    assert f"{mirrors[0].url} (HTTP 404 Not Found)" in message
    assert f"{mirrors[1].url} (sent an HTML page instead of the file)" in message
    assert (
        f"check that its hash is {HASH}, save it as {tmp_path / 'data.tar'}, and give the same command again" in message
    )
    assert "\n" not in message


def test_without_any_mirror(tmp_path):
    with pytest.raises(InputError, match="no address is known"):
        get([], tmp_path)


def test_a_wanted_json_file_is_no_error_page(server, tmp_path):
    mirror = server.at("/s", page(b'{"class_names": []}'))
    path = fetch([mirror], tmp_path, None, "split.json", quiet=True, patience=HURRIED)
    assert path.read_bytes() == b'{"class_names": []}'


def test_no_room_on_the_disk_is_noticed_first(server, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 1000))
    with pytest.raises(InputError, match="has 1000 bytes free of 327680 needed; make room"):
        get([server.at("/f", data())], tmp_path)


def test_a_folder_that_cannot_be_written(server, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match=r"cannot write .*data\.tar: File exists"):
        get([server.at("/f", data())], tmp_path / "file")


def test_two_downloads_of_one_file(server, tmp_path):
    with open(tmp_path / ".data.tar.part", "wb") as held:
        held.write(b"x")
        held.flush()
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(InputError, match=r"another process is downloading .*data\.tar; wait for it"):
            get([server.at("/f", data())], tmp_path)


_FETCH = """
import sys
from pathlib import Path
from data_prep.fetching.download import Mirror, fetch
fetch([Mirror(sys.argv[1])], Path(sys.argv[2]), None, "data.tar", quiet=True)
"""


def test_a_killed_download_leaves_nothing_under_the_name_and_is_continued(server, tmp_path):
    stall = threading.Event()

    def half(handler):
        data(stop=HALF, etag='"v1"')(handler)
        stall.wait(20)

    mirror = server.at("/f", half, data(etag='"v1"'))
    part = tmp_path / ".data.tar.part"
    with subprocess.Popen([sys.executable, "-c", _FETCH, mirror.url, str(tmp_path)]) as process:
        wait_until(lambda: part.exists() and part.stat().st_size > 0)
        process.send_signal(signal.SIGKILL)
    stall.set()
    assert not (tmp_path / "data.tar").exists()
    got = part.stat().st_size
    assert_complete(get([mirror], tmp_path, known_hash=None), tmp_path)
    assert server.ranges() == [None, f"bytes={got}-"]


def wait_until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_google_drive_goes_through_gdown(server, tmp_path, monkeypatch):
    def download(id, output, **options):
        assert (id, options["resume"]) == ("1abc", True)
        with open(output, "wb") as file:
            file.write(CONTENT)

    monkeypatch.setattr(gdown, "download", mock.create_autospec(gdown.download, side_effect=download))
    assert_complete(get([Mirror(drive_id="1abc")], tmp_path), tmp_path)


@pytest.mark.parametrize("answer", ["quota", "page"])
def test_google_drive_that_refuses(server, tmp_path, monkeypatch, answer):
    def download(id, output, **options):
        if answer == "quota":
            raise gdown.exceptions.FileURLRetrievalError("Cannot retrieve the public link.\nToo many users.")
        with open(output, "wb") as file:
            file.write(b"<!DOCTYPE html><title>Google Drive - Quota exceeded</title>")

    monkeypatch.setattr(gdown, "download", mock.create_autospec(gdown.download, side_effect=download))
    mirror = Mirror(drive_id="1abc")
    message = "Google Drive: Cannot retrieve" if answer == "quota" else "sent an HTML page"
    with pytest.raises(InputError, match=rf"https://drive\.google\.com/file/d/1abc/view \({message}"):
        get([mirror], tmp_path)
    assert_complete(get([mirror, server.at("/f", data())], tmp_path), tmp_path)


def test_google_drive_on_a_full_disk(tmp_path, monkeypatch):
    def download(**options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(gdown, "download", mock.create_autospec(gdown.download, side_effect=download))
    with pytest.raises(InputError, match="No space left on device; free space there"):
        get([Mirror(drive_id="1abc")], tmp_path)


def test_hashes(tmp_path):
    (tmp_path / "f").write_bytes(CONTENT)
    assert has_hash(tmp_path / "f", HASH)
    assert has_hash(tmp_path / "f", None)
    assert not has_hash(tmp_path / "f", "md5:" + "0" * 32)
