"""Runs a script with the packages of the project's Python environment.

`scripts/setup.sh` makes `.venv` at the root of the project. A user calls
`bench/make-model` or `examples/stories260K/convert.py` with whatever `python3`
is; if that one lacks a package, the script starts again with `.venv`'s.
"""

from __future__ import annotations

import importlib.util
import os
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def require(*packages: str) -> None:
    """Returns if every package can be imported, else starts again or exits with 1."""
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if not missing:
        return
    environment = ROOT / ".venv"
    python = environment / "bin" / "python"
    if python.exists() and pathlib.Path(sys.prefix).resolve() != environment.resolve():
        sys.stdout.flush()
        os.execv(python, [str(python), *sys.argv])
    script = pathlib.Path(sys.argv[0]).name
    print(
        f"{script}: error: this Python ({sys.executable}) lacks {', '.join(missing)}: "
        f"run scripts/setup.sh, which makes {environment}",
        file=sys.stderr,
    )
    sys.exit(1)
