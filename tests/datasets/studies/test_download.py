"""Downloads from a server on this machine: resumed, verified, unpacked safely, licence first."""

import hashlib
import io
import logging
import tarfile
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from histoquilt.datasets.studies import DOWNLOADS, RemoteFile, RemoteStudy, download
from histoquilt.datasets.studies._unpack import unpack

pytest.importorskip("pooch", reason="the studies extra is not installed")
CONTENT = bytes(range(256)) * 4000


class Server(ThreadingHTTPServer):
    """Serves ``files``; ``cut`` ends an answer after so many bytes, once; ``asked`` lists the ranges asked for."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.cut, self.asked = {}, None, []
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        content, asked = self.server.files.get(self.path), self.headers.get("Range")
        self.server.asked.append(asked)
        if content is None:
            self.send_error(404)
            return
        tag = f'"{hashlib.md5(content).hexdigest()}"'
        begin = int(asked[6:-1]) if asked and self.headers.get("If-Range") == tag else 0
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(content) - begin))
        self.send_header("ETag", tag)
        self.end_headers()
        end, self.server.cut = self.server.cut, None
        self.wfile.write(content[begin:end])

    def log_message(self, *arguments):
        """Print nothing."""


@pytest.fixture
def server():
    with Server() as made:
        Thread(target=made.serve_forever, daemon=True).start()
        yield made
        made.shutdown()


def study_of(server, content, *, name="data.bin", checksum="right", size=None, unpacked=None):
    server.files[f"/{name}"] = content
    known = f"sha256:{hashlib.sha256(content).hexdigest()}" if checksum == "right" else checksum
    file = RemoteFile(f"{server.url}/{name}", name, known, size, unpacked)
    return RemoteStudy("Toy study", "https://example.org", "CC0", (file,))


def test_the_licence_comes_first_and_the_file_is_verified(server, tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "histoquilt"):
        [path] = download(study_of(server, CONTENT, size=len(CONTENT)), tmp_path, progress=False)
    assert path.read_bytes() == CONTENT
    assert "downloading Toy study, 1 files, size 0.001 GB, from https://example.org. Licence: CC0." in caplog.text
    assert [item.name for item in tmp_path.iterdir()] == ["data.bin"]
    download(study_of(server, CONTENT), tmp_path, progress=False)
    assert len(server.asked) == 1  # it is there and right


def test_a_truncated_download_is_resumed(server, tmp_path):
    study = study_of(server, CONTENT)
    server.cut = 300_000
    with pytest.raises(OSError, match=r"data\.bin could not be downloaded: .* goes on from there"):
        download(study, tmp_path, progress=False)
    assert not (tmp_path / "data.bin").exists()
    [path] = download(study, tmp_path, progress=False)
    assert path.read_bytes() == CONTENT
    assert server.asked[0] is None
    assert server.asked[1].startswith("bytes=")
    assert [item.name for item in tmp_path.iterdir()] == ["data.bin"]


def test_a_file_that_changed_meanwhile_is_fetched_from_its_start(server, tmp_path):
    study = study_of(server, CONTENT, checksum=None)
    server.cut = 300_000
    with pytest.raises(OSError, match="could not be downloaded"):
        download(study, tmp_path, progress=False)
    [path] = download(study_of(server, CONTENT[::-1], checksum=None), tmp_path, progress=False)
    assert path.read_bytes() == CONTENT[::-1]


def test_a_tampered_file_is_not_kept(server, tmp_path):
    study = study_of(server, CONTENT)
    server.files["/data.bin"] = CONTENT[:-1] + b"!"
    with pytest.raises(ValueError, match=r"does not have the published checksum sha256:.*Nothing was kept"):
        download(study, tmp_path, progress=False)
    assert list(tmp_path.iterdir()) == []
    server.files["/data.bin"] = CONTENT
    assert download(study, tmp_path, progress=False)[0].read_bytes() == CONTENT


def test_a_file_shorter_or_longer_than_published(server, tmp_path):
    with pytest.raises(OSError, match=r"ended after 1,024,000 of 1,024,001 bytes"):
        download(study_of(server, CONTENT, size=len(CONTENT) + 1), tmp_path / "a", progress=False)
    with pytest.raises(ValueError, match=r"larger than the 1,023,999 bytes that are expected"):
        download(study_of(server, CONTENT, size=len(CONTENT) - 1), tmp_path / "b", progress=False)
    with pytest.raises(ValueError, match=r"larger than the 1,000 bytes"):
        download(study_of(server, CONTENT), tmp_path / "c", progress=False, most_bytes=1000)
    assert not any(path.is_file() and path.name == "data.bin" for path in tmp_path.rglob("*"))


def test_no_published_checksum_is_said(server, tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "histoquilt"):
        download(study_of(server, CONTENT, checksum=None), tmp_path, progress=False)
    assert f"no checksum is published; SHA-256 {hashlib.sha256(CONTENT).hexdigest()}" in caplog.text


def test_a_missing_file_on_the_server(server, tmp_path):
    study = study_of(server, CONTENT)
    server.files.clear()
    with pytest.raises(OSError, match="404"):
        download(study, tmp_path, progress=False)


def zip_of(**members):
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return written.getvalue()


def tar_of(*members):
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w:gz") as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    return written.getvalue()


def entry(name, size=0, kind=tarfile.REGTYPE, target=""):
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = size, kind, target
    return info


def test_archives_are_unpacked(server, tmp_path):
    packed = zip_of(**{"a/b.txt": "one", "c.txt": "two"})
    files = download(study_of(server, packed, name="d.zip", unpacked="in"), tmp_path, progress=False)
    assert [path.relative_to(tmp_path).as_posix() for path in files] == ["in/a/b.txt", "in/c.txt"]
    assert (tmp_path / "in/a/b.txt").read_text() == "one"
    packed = tar_of((entry("x/y.txt", 3), b"abc"))
    files = download(study_of(server, packed, name="e.tar.gz", unpacked="."), tmp_path, progress=False)
    assert (tmp_path / "x/y.txt").read_bytes() == b"abc"


@pytest.mark.parametrize(
    ("packed", "told"),
    [
        (zip_of(**{"good.txt": "1", "../evil.txt": "2"}), r"would write outside .*'\.\./evil\.txt'"),
        (zip_of(**{"/etc/evil.txt": "2"}), "would write outside"),
        (zip_of(**{"a\\..\\..\\evil.txt": "2"}), "would write outside"),
        (zip_of(**{"C:/evil.txt": "2"}), "would write outside"),
        (tar_of((entry("../../evil.txt", 1), b"2")), "would write outside"),
        (tar_of((entry("link", 0, tarfile.SYMTYPE, "/etc"), b"")), "holds links or devices: 'link'"),
        (tar_of((entry("pipe", 0, tarfile.FIFOTYPE), b"")), "holds links or devices"),
        (b"no archive at all", "neither a zip nor a tar archive"),
        (zip_of(**{"bomb": bytes(150 * 1024**2)}), "improbably more than its own"),
    ],
    ids=["above", "absolute", "backslashes", "drive", "tar above", "link", "pipe", "text", "bomb"],
)
def test_an_archive_that_is_refused_writes_nothing(tmp_path, packed, told):
    archive = tmp_path / "archive"
    archive.write_bytes(packed)
    with pytest.raises(ValueError, match=told):
        unpack(archive, tmp_path / "in" / "side")
    assert [path.name for path in tmp_path.rglob("*")] == ["archive"]


def test_an_archive_larger_than_allowed(tmp_path):
    archive = tmp_path / "archive.zip"
    archive.write_bytes(zip_of(a="0123456789"))
    with pytest.raises(ValueError, match="is refused"):
        unpack(archive, tmp_path / "in", most_bytes=9)


def test_the_studies_that_can_be_downloaded_say_what_is_known():
    for name, study in DOWNLOADS.items():
        assert study.page.startswith("https://"), name
        assert study.licence, name
        assert bool(study.files) != bool(study.by_hand), name
        assert len({file.path for file in study.files}) == len(study.files)
        for file in study.files:
            assert file.checksum is None or file.checksum.split(":")[0] in ("sha256", "md5")
    with pytest.raises(ValueError, match=r"Unknown study 'wu'\..*Known: her2st, dlpfc"):
        download("wu", "nowhere")


def test_nothing_is_downloaded_unless_asked_for(make, monkeypatch, tmp_path):
    import socket

    from histoquilt.jobs import describe_study

    def refuse(*arguments, **options):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    describe_study(make("cscc"), tmp_path / "samples.csv", progress=False)
