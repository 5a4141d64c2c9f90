"""Where the program is that the other scripts run."""

import os
import pathlib
import shutil
import sys


def find_votive(given):
    """The program: as given, else of the newest release build here, else from the path."""
    if given:
        return str(pathlib.Path(given).resolve())
    root = pathlib.Path(__file__).resolve().parent.parent
    targets = [pathlib.Path(p) for p in [os.environ.get("CARGO_TARGET_DIR")] if p] + [root / "target"]
    for target in targets:
        for name in ("votive", "votive.exe"):
            if (target / "release" / name).is_file():
                return str((target / "release" / name).resolve())
    return shutil.which("votive") or sys.exit("no votive: build it with `cargo build --release`, or name it with --votive")
