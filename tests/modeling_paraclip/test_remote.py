import io
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import datasets
import pytest
from PIL import Image

from modeling_paraclip import InputError, add_image_embeds, remote
from modeling_paraclip.pictures import read_file, shown
from modeling_paraclip.remote import is_public, read_file_or_url


@pytest.fixture
def server():
    """A server on loopback; `requests` are the paths that were asked for."""
    picture = io.BytesIO()
    Image.new("RGB", (40, 40), "red").save(picture, "PNG")
    requests: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            requests.append(self.path)
            if self.path.startswith("/to-local"):
                self.send_response(302)
                self.send_header("Location", f"http://127.0.0.2:{self.server.server_port}/secret")
                self.end_headers()
            elif self.path.startswith("/missing"):
                self.send_error(404)
            else:
                self.send_response(200)
                self.end_headers()
                data = picture.getvalue()
                for i in range(0, len(data), 16):
                    self.wfile.write(data[i : i + 16])
                    time.sleep(self.path.startswith("/drip") * 0.2)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        http.requests, http.url, http.picture = requests, f"http://127.0.0.1:{http.server_port}", picture.getvalue()
        yield http
        http.shutdown()


@pytest.fixture
def as_if_public(monkeypatch):
    """127.0.0.1 stands for the internet; 127.0.0.2 stays local."""
    monkeypatch.setattr(remote, "is_public", lambda host: host == "127.0.0.1")


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "10.0.0.1", "172.16.3.4", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
     "::1", "::", "fe80::1%eth0", "fd00::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "ff02::1"],
)  # fmt: skip
def test_private_addresses(host):
    assert not is_public(host)


def test_public_addresses():
    assert is_public("93.184.215.14") and is_public("2606:2800:21f:cb07:6820:80da:af6b:8b2c")


def test_nothing_is_requested_by_default(server, model, image_processor, tmp_path):
    rows = {"image_id": ["a"], "image": [f"{server.url}/a.png"]}
    dataset = datasets.Dataset.from_dict(rows).cast_column("image", datasets.Image())
    with pytest.raises(
        InputError, match=r"a\.png: it is a URL, and nothing is requested unless --allow_remote_images"
    ):
        add_image_embeds(dataset, model, image_processor, cache_dir=tmp_path)
    assert server.requests == []


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0.0.0.0", "2130706433"])
def test_local_addresses_are_never_connected_to(name, server):
    with pytest.raises((OSError, ValueError)):
        read_file_or_url(f"http://{name}:{server.server_port}/a.png")
    assert server.requests == []


def test_asked_for_it_is_read_as_a_file_is(server, as_if_public, model, image_processor, tmp_path):
    assert read_file_or_url(f"{server.url}/a.png") == server.picture
    (tmp_path / "a.png").write_bytes(server.picture)
    assert read_file_or_url(str(tmp_path / "a.png")) == server.picture
    rows = {"image_id": ["a", "b"], "image": [f"{server.url}/a.png", str(tmp_path / "a.png")]}
    dataset = datasets.Dataset.from_dict(rows).cast_column("image", datasets.Image())
    embeds = add_image_embeds(dataset, model, image_processor, cache_dir=tmp_path, allow_remote_images=True)
    assert embeds["image_embeds"][0] == embeds["image_embeds"][1]


def test_a_redirection_to_a_local_address_is_not_followed(server, as_if_public):
    with pytest.raises(OSError, match=r"127\.0\.0\.2"):
        read_file_or_url(f"{server.url}/to-local")
    assert server.requests == ["/to-local"]


def test_time_and_size_are_bounded(server, as_if_public, monkeypatch):
    with pytest.raises(OSError, match="the server answers 404"):
        read_file_or_url(f"{server.url}/missing.png")
    monkeypatch.setattr(remote, "SECONDS", 0.3)
    with pytest.raises(OSError, match=r"not there within 0\.3 seconds"):
        read_file_or_url(f"{server.url}/drip.png")
    monkeypatch.undo()
    monkeypatch.setattr(remote, "is_public", lambda host: True)
    monkeypatch.setattr(remote, "MAX_BYTES", 20)
    with pytest.raises(ValueError, match="more than 20 bytes"):
        read_file_or_url(f"{server.url}/a.png")


def test_no_key_of_a_url_is_shown():
    assert shown("https://me:secret@example.org/a/b.png?sig=secret") == "https://example.org/a/b.png"
    assert shown("pictures/who?.png") == "pictures/who?.png"
    with pytest.raises(ValueError, match="it is a URL"):
        read_file("HTTP://example.org/a.png")
