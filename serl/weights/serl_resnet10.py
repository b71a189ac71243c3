"""SERL's published ResNet-10, converted once to a file of ours.

The file is the asset `resnet10_params.pkl` of the release `resnet10` of rail-berkeley/serl: a
pickle of nested dicts of jax.Array. Its names and shapes are those of `serl.networks.trunks.resnet`
and decide whether it is taken; the digest below is a third party's, so another one only warns.
"""

from __future__ import annotations

import hashlib
import logging
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from serl.errors import UserError, writing
from serl.trunk import check_layout, make_trunk, read_trunk, save_trunk
from serl.weights import SUFFIX, imported_folder
from serl.weights.plain_pickle import read_arrays

log = logging.getLogger(__name__)

URL = "https://github.com/rail-berkeley/serl/releases/download/resnet10/resnet10_params.pkl"
SHA256 = "175745d43d30233eb01b5369465d1c24c11b8ee71ccb734cc1c1bca13e07f57b"
"""As a project that uses the file states it; we had no copy to compare."""

NAME = "serl"
"""What the converted set is called: image.weights "serl"."""
TRUNK = "resnet10"
UNUSED = "output_head"
"""The classifier of ImageNet's thousand classes, which the file also holds."""
LARGEST_BYTES = 200_000_000
TIMEOUT_S = 30.0


def import_file(path: str | Path, name: str = NAME) -> Path:
    """Convert SERL's pickle, or check and copy a safetensors file of ours; returns the new file,
    which takes the place of a set of that name."""
    path = Path(path).expanduser()
    return _import(path, name, ours=path.suffix == SUFFIX)


def fetch(url: str = URL, name: str = NAME) -> Path:
    """Download and import. Raises UserError, one line, where that is not possible."""
    if not url.startswith(("https://", "http://")):
        raise UserError(f"{url} is not an address that begins with https:// or http://.")
    part = imported_folder() / "download.part"
    with writing(part):
        part.parent.mkdir(parents=True, exist_ok=True)
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer, part.open("wb") as file:
            while block := answer.read(1 << 20):
                if file.tell() + len(block) > LARGEST_BYTES:
                    raise UserError(f"{url} has more than {LARGEST_BYTES} bytes: no ResNet-10.")
                file.write(block)
        return _import(part, name, ours=urllib.parse.urlsplit(url).path.endswith(SUFFIX))
    except (urllib.error.URLError, TimeoutError, OSError) as error:
        reason = getattr(error, "reason", None) or error
        raise UserError(
            f"cannot fetch {url}: {' '.join(str(reason).split())}. Fetch it on a machine with a "
            "network and use `serl weights import FILE` here."
        ) from error
    finally:
        part.unlink(missing_ok=True)


def _import(path: Path, name: str, *, ours: bool) -> Path:
    if not name.isidentifier() or name in ("pretrained", "random"):
        raise UserError(f"a set of weights cannot be called {name!r}: give --name a plain word.")
    if ours:
        trunk = read_trunk(path)
    else:
        data = _content(path)
        _compare_digest(data, str(path))
        arrays = read_arrays(data, str(path))
        kept = {key: a for key, a in arrays.items() if key.split("/")[0] != UNUSED}
        check_layout(TRUNK, kept, str(path))
        trunk = make_trunk(TRUNK, _nested(kept), source=str(path))
    out = imported_folder() / f"{name}{SUFFIX}"
    if out.exists():
        log.warning("%s is replaced; --name gives the set another name", out)
    save_trunk(trunk, out)
    return out


def _content(path: Path) -> bytes:
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise UserError(f"{path} has {path.stat().st_size} bytes: it is no ResNet-10.")
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}.") from error


def _compare_digest(data: bytes, source: str) -> None:
    digest = hashlib.sha256(data).hexdigest()
    if digest != SHA256:
        log.warning(
            "%s has SHA-256 %s, not %s as SERL's file is said to have; its layout decides.",
            source,
            digest,
            SHA256,
        )


def _nested(arrays: dict) -> dict:
    """{'a/b': x} to {'a': {'b': x}}."""
    tree: dict = {}
    for path, array in arrays.items():
        *parents, leaf = path.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = array
    return tree
