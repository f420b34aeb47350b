import hashlib
import io
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from holdfast.data import DataError
from holdfast.data.download import retrieve_archive


def archive():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        content = b"rows" * 1000
        member = tarfile.TarInfo("batches/one.bin")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


ARCHIVE = archive()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked += 1
        self.send_response(200)
        self.send_header("Content-Length", str(len(ARCHIVE)))
        self.end_headers()
        self.wfile.write(ARCHIVE)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.asked = 0
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def test_an_archive_is_fetched_once_checked_and_unpacked(server):
    url = f"http://127.0.0.1:{server.server_port}/set.tar.gz"
    checksum = f"md5:{hashlib.md5(ARCHIVE, usedforsecurity=False).hexdigest()}"
    for _ in range(2):
        folder = retrieve_archive(url, checksum, "by hand")
        assert (folder / "batches" / "one.bin").read_bytes() == b"rows" * 1000
    assert server.asked == 1


def test_another_archive_than_published_is_refused(server):
    url = f"http://127.0.0.1:{server.server_port}/set.tar.gz"
    with pytest.raises(DataError, match="hash"):
        retrieve_archive(url, f"md5:{'0' * 32}", "by hand")


def test_without_a_network_the_message_says_what_to_do_instead(server):
    server.shutdown()
    server.server_close()
    with pytest.raises(DataError, match=r"could not download .*set.tar.gz .*Do it by hand"):
        retrieve_archive(f"http://127.0.0.1:{server.server_port}/set.tar.gz", f"md5:{'0' * 32}", "Do it by hand.")
