"""Repair the wheel of one directory into another, and check it: ``make wheel``."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

MOST_BYTES = 3_000_000


def main() -> None:
    """Repair, then check what is inside and how large it is."""
    made, house = Path(sys.argv[1]), Path(sys.argv[2])
    (wheel,) = made.glob("*.whl")
    for old in house.glob("*.whl"):
        old.unlink()
    if sys.platform == "linux":
        command = [sys.executable, "-m", "auditwheel"]
        subprocess.run([*command, "repair", "--wheel-dir", str(house), str(wheel)], check=True)
        (wheel,) = house.glob("*.whl")
        subprocess.run([*command, "show", str(wheel)], check=True)
    else:
        wheel = Path(shutil.copy(wheel, house))
    check(wheel)


def check(wheel: Path) -> None:
    """Raise SystemExit where the wheel is too large, or lacks or has what it should not."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    cores = [name for name in names if "/_core." in name and not name.endswith(".pyi")]
    faults = []
    if wheel.stat().st_size > MOST_BYTES:
        faults.append(f"it has {wheel.stat().st_size:,} bytes, more than {MOST_BYTES:,}")
    if len(cores) != 1:
        faults.append(f"it has {len(cores)} cores: {cores}")
    faults += [
        f"it lacks {name}" for name in ("shoal/py.typed", "shoal/_core.pyi") if name not in names
    ]
    top = {name.split("/")[0] for name in names}
    faults += [f"it has {name}" for name in top if name != "shoal" and ".dist-info" not in name]
    if faults:
        raise SystemExit(f"{wheel.name}: " + "; ".join(faults))
    print(f"{wheel.name}: {wheel.stat().st_size:,} bytes, {len(names)} files")


if __name__ == "__main__":
    main()
