"""`serl` and `python -m serl`: hands the words to the commands in `launch`.

ROS 2 has a package named `launch` too, and a sourced ROS puts it first on the path: ours is taken
from beside this package, whatever the path says.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path


def main() -> int:
    """Run one command; its exit code."""
    folder = Path(__file__).resolve().parent.parent / "launch"
    spec = importlib.util.spec_from_file_location(
        "launch", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None
    assert spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules["launch"] = package
    spec.loader.exec_module(package)
    return importlib.import_module("launch.main").main()


if __name__ == "__main__":
    sys.exit(main())
