"""Downloads from a server on this machine: resumed, verified, unpacked safely, licence first."""

import hashlib
import io
import logging
import random
import tarfile
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from histoquilt.datasets.studies import DOWNLOADS, RemoteFile, RemoteStudy, download
from histoquilt.datasets.studies._download import check_answer
from histoquilt.datasets.studies._unpack import unpack

pytest.importorskip("pooch", reason="the studies extra is not installed")
CONTENT = bytes(range(256)) * 4000
NOISE = random.Random(0).randbytes(300_000)  # that cannot be compressed


class Server(ThreadingHTTPServer):
    """Serves ``files``; ``cut`` ends an answer after so many bytes, once; ``asked`` lists the ranges asked for.

    ``begins`` makes it answer each range from that byte, ``kind`` is the type that it states, ``moved`` maps addresses
    to where they are now.
    """

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.cut, self.asked = {}, None, []
        self.begins, self.kind, self.moved, self.encodings = None, "application/octet-stream", {}, []
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        content, asked = self.server.files.get(self.path), self.headers.get("Range")
        self.server.asked.append(asked)
        self.server.encodings.append(self.headers.get("Accept-Encoding"))
        if self.path in self.server.moved:
            self.send_response(302)
            self.send_header("Location", self.server.moved[self.path])
            self.end_headers()
            return
        if content is None:
            self.send_error(404)
            return
        tag = f'"{hashlib.md5(content).hexdigest()}"'
        begin = int(asked[6:-1]) if asked and self.headers.get("If-Range") == tag else 0
        if begin > len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.end_headers()
            return
        partial, begin = bool(begin), begin and (begin if self.server.begins is None else self.server.begins)
        self.send_response(206 if partial else 200)
        if partial:
            self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Type", self.server.kind)
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


@pytest.mark.parametrize("checksum", ["right", None])
def test_a_server_that_sends_another_part_than_asked_for(server, tmp_path, checksum):
    study = study_of(server, CONTENT, checksum=checksum)
    server.cut, server.begins = 300_000, 7
    with pytest.raises(OSError, match="could not be downloaded"):
        download(study, tmp_path, progress=False)
    with pytest.raises(
        OSError, match=r"sent another part of .*data\.bin than was asked for\. The same call begins anew"
    ):
        download(study, tmp_path, progress=False)
    [path] = download(study, tmp_path, progress=False)
    assert path.read_bytes() == CONTENT
    assert set(server.encodings) == {"identity"}  # bytes are counted


def test_a_part_that_is_longer_than_the_file(server, tmp_path):
    study = study_of(server, CONTENT, checksum=None)
    (tmp_path / ".data.bin.part").write_bytes(CONTENT + b"more")
    (tmp_path / ".data.bin.etag").write_text(f'"{hashlib.md5(CONTENT).hexdigest()}"')
    with pytest.raises(OSError, match="another part"):
        download(study, tmp_path, progress=False)
    assert download(study, tmp_path, progress=False)[0].read_bytes() == CONTENT


def test_a_web_page_is_not_kept_as_the_file(server, tmp_path):
    server.kind = "text/html; charset=utf-8"
    study = study_of(server, b"<html>log in</html>", checksum=None)
    with pytest.raises(OSError, match=r"data\.bin could not be downloaded: a web page was sent in its place"):
        download(study, tmp_path, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_redirects(server, tmp_path):
    study = study_of(server, CONTENT)
    server.files["/there"], server.moved["/data.bin"] = server.files.pop("/data.bin"), f"{server.url}/there"
    folder = tmp_path / "a folder: of mine"
    assert download(study, folder, progress=False)[0].read_bytes() == CONTENT
    for target, told in (("/data.bin", "redirects"), ("file:///etc/hostname", "file:")):
        server.moved["/data.bin"] = target
        with pytest.raises(OSError, match=f"could not be downloaded: .*{told}"):
            download(study, tmp_path / "b", progress=False)
    assert list((tmp_path / "b").iterdir()) == []


def test_from_https_to_http_is_refused():
    requests = pytest.importorskip("requests")
    asked, answer = requests.Response(), requests.Response()
    asked.url, answer.url, answer.history = "https://example.org/a", "http://example.org/a", [asked]
    with pytest.raises(OSError, match="unencrypted"):
        check_answer(answer, "a.h5")


def test_a_file_that_is_there_with_another_size_than_published(server, tmp_path):
    (tmp_path / "data.bin").write_bytes(b"half")
    study = study_of(server, CONTENT, checksum=None, size=len(CONTENT))
    with pytest.raises(ValueError, match=r"data\.bin has 4 bytes, and 1,024,000 are published\. Delete it"):
        download(study, tmp_path, progress=False)


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


def test_the_folder_of_a_study_is_not_a_file(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(NotADirectoryError, match="is a file"):
        download("dlpfc", tmp_path / "file")


def test_a_missing_file_on_the_server(server, tmp_path):
    study = study_of(server, CONTENT)
    server.files.clear()
    with pytest.raises(OSError, match=r"404 .*\. Compare the address with the page of the study"):
        download(study, tmp_path, progress=False)


def zip_of(**members):
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return written.getvalue()


def tar_of(*members, kind="gz"):
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode=f"w:{kind}") as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    return written.getvalue()


def spoilt(packed, place):
    return packed[:place] + bytes(40) + packed[place + 40 :]


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
        (entry("bomb", 10**13).tobuf(), "improbably more than its own"),  # its end is not looked for
        (zip_of(**{"a": "1", "a/b": "2"}), "files that are also folders: 'a'"),
        (tar_of((entry(".", 1), b"2")), r"files that are also folders: '\.'"),
        (spoilt(tar_of((entry("a", 300_000), NOISE)), 150_000), "is damaged"),  # only the checksum knows
        (tar_of((entry("a", 9), b"123456789"))[:-8] + bytes(8), "is damaged"),
        (spoilt(tar_of((entry("a", 300_000), NOISE), kind="xz"), 150_000), "is damaged"),
        (spoilt(tar_of((entry("a", 1024), bytes(1024)), (entry("b", 9), b"123456789"), kind=""), 1536), "is damaged"),
        (zip_of(a="1").replace(b"\x14\x00\x00\x00\x08", b"\x14\x00\x00\x00\x09"), "is compressed in another way"),
    ],
    ids=["above", "absolute", "backslashes", "drive", "tar above", "link", "pipe", "text", "bomb", "tar bomb",
         "file and folder", "folder itself", "changed gz", "gz checksum", "changed xz", "second header", "compression"],
)  # fmt: skip
def test_an_archive_that_is_refused_writes_nothing(tmp_path, packed, told):
    archive = tmp_path / "archive"
    archive.write_bytes(packed)
    with pytest.raises(ValueError, match=told):
        unpack(archive, tmp_path / "in" / "side")
    assert [path.name for path in tmp_path.rglob("*")] == ["archive"]


def test_a_file_that_is_there_is_kept_only_if_it_is_the_same(tmp_path):
    archive, folder = tmp_path / "archive", tmp_path / "in a folder"
    archive.write_bytes(tar_of((entry("a", 3), b"old"), (entry("./a", 3), b"new"), (entry("b" * 250, 1), b"1")))
    [path, long] = unpack(archive, folder)
    assert (path.read_text(), long.read_text()) == ("new", "1")  # the last of one name
    before = path.stat().st_ino
    unpack(archive, folder)
    assert path.stat().st_ino == before
    path.write_text("bad")  # of the same size
    unpack(archive, folder)
    assert path.read_text() == "new"
    assert sorted(item.name for item in folder.iterdir()) == ["a", "b" * 250]


def test_a_member_of_another_size_than_declared(tmp_path):
    archive = tmp_path / "archive.zip"
    archive.write_bytes(zip_of(a=b"0" * 1000).replace((1000).to_bytes(4, "little"), (5000).to_bytes(4, "little")))
    with pytest.raises(ValueError, match="a does not have the size that its archive declares"):
        unpack(archive, tmp_path / "in")
    assert list((tmp_path / "in").iterdir()) == []


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
