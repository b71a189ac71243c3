"""Which way imports point (docs/architecture.md): every import statement of the source is read."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("serl", "robot_servers", "envs", "launch")
JAX = ("jax", "jaxlib", "flax", "optax", "orbax", "chex")
VENDOR = (
    "viser",
    "playwright",
    "h5py",
    "pyarrow",
    "PIL",
    "google_crc32c",
    "mujoco",
    "numba",
    "franky",
    "rclpy",
    "pyspacemouse",
    "pygame",
    "hid",
    "pyrealsense2",
    "cv2",
    "av",
)
SHARED = ("serl.types", "serl.registry", "serl.rpc", "serl.errors")
ROBOT_PC_LIBRARIES = ("numpy", "grpc", "grpc_health", "google.protobuf", "tomllib", "tomli")


@dataclass(frozen=True)
class Import:
    """One imported module, and where."""

    file: str
    line: int
    module: str
    lazy: bool
    """Inside a function: it happens only when the function is called."""


@dataclass(frozen=True)
class Rule:
    text: str
    inside: tuple[str, ...]
    """Modules the rule speaks of, with everything below them."""
    forbidden: tuple[str, ...] = ()
    except_for: tuple[str, ...] = ()
    only: tuple[str, ...] | None = None
    """If given, nothing outside the standard library, `inside` and these may be imported."""
    lazy_is_fine: bool = False


RULES = (
    Rule(
        "serl knows no robot",
        inside=("serl",),
        forbidden=("robot_servers", "envs", "launch", "mujoco", "benchmarks"),
    ),
    Rule(
        "robot_servers knows no learning",
        inside=("robot_servers",),
        forbidden=(*JAX, "gymnasium", "envs", "launch", "serl", "benchmarks"),
        except_for=SHARED,
    ),
    Rule(
        "robot_servers needs only numpy and grpc to be imported",
        inside=("robot_servers",),
        only=(*ROBOT_PC_LIBRARIES, *SHARED),
        lazy_is_fine=True,
    ),
    Rule(
        "the rooms of serl that everyone may use import no JAX",
        inside=(*SHARED, "serl.data", "serl.channel"),
        forbidden=JAX,
    ),
    Rule(
        "envs knows arms and Gymnasium, not learning",
        inside=("envs",),
        forbidden=(*JAX, "launch", "serl", "benchmarks"),
        except_for=(*SHARED, "serl.data.demos"),
    ),
    Rule(
        "vendor libraries are imported where they are used, not with the module",
        inside=PACKAGES,
        forbidden=VENDOR,
        lazy_is_fine=True,
    ),
    Rule(
        "a command imports what it runs only when it runs",
        inside=("launch.main",),
        forbidden=(*JAX, *VENDOR, "gymnasium", "tyro", "rich", "numpy", "matplotlib"),
        lazy_is_fine=True,
    ),
)


def covers(prefixes: tuple[str, ...], module: str) -> bool:
    return any(module == p or module.startswith(p + ".") for p in prefixes)


def broken(rule: Rule, module: str, found: Import) -> bool:
    if not covers(rule.inside, module) or (found.lazy and rule.lazy_is_fine):
        return False
    if rule.only is not None:
        top = found.module.split(".")[0]
        return not (
            top in sys.stdlib_module_names or covers((*rule.only, *rule.inside), found.module)
        )
    return covers(rule.forbidden, found.module) and not covers(rule.except_for, found.module)


def imports(source: str, module: str, file: str) -> Iterator[Import]:
    """Every import of a module, relative ones resolved; TYPE_CHECKING blocks are left out."""
    tree = ast.parse(source)

    def visit(node: ast.AST, lazy: bool) -> Iterator[Import]:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if isinstance(node, ast.Import):
            for name in node.names:
                yield Import(file, node.lineno, name.name, lazy)
        if isinstance(node, ast.ImportFrom):
            parent = ".".join(module.split(".")[: -node.level]) if node.level else ""
            base = ".".join(part for part in (parent, node.module) if part)
            for name in node.names:
                yield Import(file, node.lineno, f"{base}.{name.name}", lazy)
        inner = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            yield from visit(child, inner)

    yield from visit(tree, False)


def source_files() -> list[Path]:
    return [file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))]


def module_name(file: Path) -> str:
    """Dotted; a package keeps its `__init__`, so that relative imports resolve alike."""
    return ".".join(file.relative_to(ROOT).with_suffix("").parts)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.text)
def test_imports_point_one_way(rule: Rule) -> None:
    """SERL's learner needed the robot's libraries because its configs imported them (D-S11)."""
    wrong = []
    for file in source_files():
        module = module_name(file)
        found = imports(file.read_text(), module, str(file.relative_to(ROOT)))
        wrong += [f"{i.file}:{i.line} imports {i.module}" for i in found if broken(rule, module, i)]
    assert not wrong, f"{rule.text}:\n" + "\n".join(wrong)


@pytest.mark.parametrize(
    ("module", "source", "breaks"),
    [
        ("serl.learner", "import robot_servers.types", "serl knows no robot"),
        ("serl.learner", "def f():\n    from envs import tasks", "serl knows no robot"),
        ("robot_servers.server", "from serl.agents import sac", "robot_servers knows no learning"),
        ("robot_servers.server", "from serl.types import Spec", None),
        ("robot_servers.client", "import scipy", "robot_servers needs only numpy and grpc"),
        ("robot_servers.client", "def f():\n    import scipy", None),
        ("robot_servers.backends.m", "import mujoco", "vendor libraries are imported where"),
        ("robot_servers.backends.m", "def f():\n    import mujoco", None),
        ("envs.tasks.reach", "from serl import learner", "envs knows arms and Gymnasium"),
        ("envs.tasks.reach", "from serl.data.demos import save_episode", None),
        ("serl.channel.spool", "import jax.numpy as jnp", "the rooms of serl that everyone"),
        ("serl.agents.sac", "import jax.numpy as jnp", None),
        ("serl.channel.client", "from . import codec", None),
        ("launch.main", "import jax", "a command imports what it runs"),
    ],
)
def test_the_rules_see_what_they_forbid(module: str, source: str, breaks: str | None) -> None:
    found = list(imports(source, module, "file.py"))
    texts = [rule.text for rule in RULES for i in found if broken(rule, module, i)]
    if breaks is None:
        assert not texts
    else:
        assert any(text.startswith(breaks) for text in texts)
