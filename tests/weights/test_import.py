"""`serl weights`: SERL's published ResNet-10 becomes a file of ours, or one line says why not."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from weights import pickles

from launch.main import main
from serl.agents.image_config import ImageConfig
from serl.errors import UserError
from serl.trunk import layout, load_trunk, read_trunk
from serl.weights import imported, serl_resnet10
from serl.weights.serl_resnet10 import SHA256, fetch, import_file


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Imported sets of these tests alone."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "serl" / "weights"


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        path: rng.standard_normal(shape, np.float32) * 0.05
        for path, shape in layout("resnet10").items()
    }


@pytest.fixture(scope="module")
def published(arrays: dict[str, np.ndarray]) -> bytes:
    """A file of the published form, with its classifier."""
    head = {"kernel": np.ones((512, 1000), np.float32), "bias": np.zeros(1000, np.float32)}
    return pickles.dumps(_tree(arrays) | {"output_head": head})


def _tree(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path, array in arrays.items():
        *parents, leaf = path.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = array
    return tree


def _file(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "resnet10_params.pkl"
    path.write_bytes(data)
    return path


def test_serls_file_becomes_a_set_with_its_numbers(tmp_path, published, arrays, cache) -> None:
    out = import_file(_file(tmp_path, published))
    assert out == cache / "serl.safetensors"
    trunk = load_trunk(ImageConfig(trunk="resnet10", weights="serl"))
    np.testing.assert_array_equal(
        trunk.params["ResNetBlock_3"]["conv_proj"]["kernel"],
        arrays["ResNetBlock_3/conv_proj/kernel"],
    )
    assert "output_head" not in trunk.params


def test_another_digest_warns_and_names_both(tmp_path, published, caplog) -> None:
    """The known digest is a third party's word: the layout decides, not it."""
    with caplog.at_level(logging.WARNING):
        import_file(_file(tmp_path, published))
    assert SHA256 in caplog.text
    assert hashlib.sha256(published).hexdigest() in caplog.text


def test_the_known_digest_does_not_warn(tmp_path, published, caplog, monkeypatch) -> None:
    monkeypatch.setattr(serl_resnet10, "SHA256", hashlib.sha256(published).hexdigest())
    with caplog.at_level(logging.WARNING):
        import_file(_file(tmp_path, published))
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"conv_init/kernel": None}, "conv_init/kernel must be .*, it is missing"),
        ({"norm_init/scale": (32,)}, r"norm_init/scale must be \(64,\), it is \(32,\)"),
        ({"ResNetBlock_4/Conv_0/kernel": (1, 1, 1, 1)}, "no place for ResNetBlock_4/Conv_0/kernel"),
    ],
)
def test_a_wrong_layout_is_refused_by_name(tmp_path, arrays, change, says) -> None:
    (path, shape), *_ = change.items()
    wrong = {k: v for k, v in arrays.items() if k != path}
    if shape is not None:
        wrong[path] = np.zeros(shape, np.float32)
    with pytest.raises(UserError, match=rf"resnet10_params.pkl is not a resnet10: .*{says}"):
        import_file(_file(tmp_path, pickles.dumps(_tree(wrong))))
    assert imported() == {}


def test_a_malicious_file_is_refused_in_one_line(tmp_path: Path, capsys) -> None:
    touched = tmp_path / "touched"
    path = _file(tmp_path, pickles.call("os", "system", f"touch {touched}"))
    assert main(["weights", "import", str(path)]) == 2
    said = capsys.readouterr().err
    assert "it asks for os.system" in said
    assert said.count("\n") == 1
    assert not touched.exists()


def test_import_and_list_from_the_command_line(tmp_path, published, capsys) -> None:
    assert main(["weights", "import", str(_file(tmp_path, published)), "--name", "lab"]) == 0
    assert "--agent.image.weights lab" in capsys.readouterr().out
    assert main(["weights", "list"]) == 0
    rows = [line.split()[:2] for line in capsys.readouterr().out.splitlines()]
    assert ["resnet10", "lab"] in rows
    assert ["small", "pretrained"] in rows


def test_a_file_of_ours_can_be_imported_too(tmp_path, published) -> None:
    first = import_file(_file(tmp_path, published))
    second = import_file(first, "again")
    assert read_trunk(second).id == read_trunk(first).id


@pytest.mark.parametrize("name", ["pretrained", "random", "a/b", "../x", ""])
def test_a_set_gets_a_plain_name(tmp_path, published, name: str) -> None:
    with pytest.raises(UserError, match="cannot be called"):
        import_file(_file(tmp_path, published), name)


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read .*none.pkl: No such file"):
        import_file(tmp_path / "none.pkl")


OFFERED: dict[str, bytes] = {}
"""What the server below has besides."""


@pytest.fixture
def served(published: bytes) -> Iterator[str]:
    """A server on this machine that has the file, and nothing else."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = {"/resnet10_params.pkl": published, **OFFERED}.get(self.path)
            self.send_response(404 if data is None else 200)
            self.end_headers()
            if data is not None:
                with contextlib.suppress(ConnectionError):
                    self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.mark.usefixtures("no_proxy")
def test_fetch_downloads_and_imports(served: str, cache: Path) -> None:
    out = fetch(f"{served}/resnet10_params.pkl")
    assert out == cache / "serl.safetensors"
    assert [path.name for path in cache.iterdir()] == ["serl.safetensors"]


@pytest.mark.usefixtures("no_proxy")
def test_a_file_of_ours_can_be_fetched_too(served: str, cache: Path, tmp_path, published) -> None:
    first = import_file(_file(tmp_path, published), "first")
    OFFERED["/lab.safetensors"] = first.read_bytes()
    out = fetch(f"{served}/lab.safetensors", "lab")
    assert read_trunk(out).id == read_trunk(first).id


@pytest.mark.usefixtures("no_proxy")
def test_a_download_that_does_not_end_is_cut_off(served: str, cache: Path, monkeypatch) -> None:
    monkeypatch.setattr(serl_resnet10, "LARGEST_BYTES", 3 << 20)
    with pytest.raises(UserError, match="has more than 3145728 bytes"):
        fetch(f"{served}/resnet10_params.pkl")
    assert list(cache.iterdir()) == []


def test_a_set_that_is_replaced_is_named(tmp_path, published, caplog) -> None:
    for _ in range(2):
        import_file(_file(tmp_path, published))
    assert "serl.safetensors is replaced" in caplog.text


@pytest.mark.usefixtures("no_proxy")
def test_without_the_file_or_the_network_fetch_is_one_line(served: str, cache: Path) -> None:
    for url in (f"{served}/other", "http://127.0.0.1:1/x"):
        with pytest.raises(UserError, match=r"cannot fetch .*`serl weights import FILE`"):
            fetch(url)
    assert list(cache.iterdir()) == []
    with pytest.raises(UserError, match="begins with https"):
        fetch("file:///etc/passwd")


@pytest.mark.parametrize(
    "words",
    [["import"], ["fetch", "x.pkl"], ["list", "--url", "http://127.0.0.1:1/"], ["remove"]],
)
def test_a_wrong_command_line_is_one_line(words: list[str], capsys) -> None:
    assert main(["weights", *words]) == 2
    assert capsys.readouterr().err.count("\n") == 1
