"""The wheel holds the package, the templates it reads and its licence, and no tests."""

import sys
import zipfile
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[1] / "src"


def main(folder: Path) -> int:
    """Return 1 where something is missing from the wheel in a folder, or too much."""
    [wheel] = folder.glob("histoquilt-*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {
        path.relative_to(SOURCE).as_posix()
        for path in SOURCE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    missing = sorted(wanted - names)
    foreign = sorted(name for name in names if not name.startswith("histoquilt"))
    if not any(name.endswith("licenses/LICENSE") for name in names):
        missing.append("LICENSE")
    print(f"{wheel.name}: {len(names)} files, missing {missing or 'none'}, foreign {foreign or 'none'}")
    return bool(missing or foreign)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
