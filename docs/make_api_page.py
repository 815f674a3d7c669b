"""Write docs/api.md: every public name of every room, from the rooms' ``__all__``. Run by ``make api``."""

import ast
from pathlib import Path

PAGE = Path(__file__).parent / "api.md"
ROOT = Path(__file__).parents[1] / "src" / "histoquilt"
FOR_USERS = [
    "io", "datasets", "pp", "gr", "im", "models", "tl", "evaluate", "metrics", "pl", "report", "jobs", "train", "nn",
]  # fmt: skip
FOR_DEVELOPERS = ["_base", "runtime", "study", "cluster", "align", "draw", "cli"]
HEAD = """# API

```python
import histoquilt as hq
```

Rooms load on first use: `hq.io`, `hq.tl` and the others need no import of their own. A name links to its page.

## Rooms

```{eval-rst}
.. autosummary::
   :toctree: generated
   :template: room.rst

"""


def page() -> str:
    """Return the text of the page."""
    text = HEAD + "".join(f"   histoquilt.{room}\n" for room in FOR_USERS + FOR_DEVELOPERS) + "```\n\n## For users\n\n"
    text += "".join(map(section, FOR_USERS))
    text += "## For developers\n\nRooms that the others stand on. They may change between minor versions.\n\n"
    return text + "".join(map(section, FOR_DEVELOPERS)).rstrip() + "\n"


def section(room: str) -> str:
    """Return the section on one room: its names with links, and its constants."""
    tree = ast.parse((ROOT / room / "__init__.py").read_text(encoding="utf-8"))
    [listed] = [node.value for node in tree.body if isinstance(node, ast.Assign) and node.targets[0].id == "__all__"]
    names = [element.value for element in listed.elts]
    constants = [name for name in names if name.isupper() or name in ("Scale", "Slot")]
    text = f"### histoquilt.{room}\n\n{ast.get_docstring(tree).splitlines()[0]}\n\n```{{eval-rst}}\n"
    text += f".. currentmodule:: histoquilt.{room}\n.. autosummary::\n\n"
    text += "".join(f"   {name}\n" for name in names if name not in constants) + "```\n\n"
    if constants:
        text += f"Constants and types: {', '.join(f'`{name}`' for name in constants)}.\n\n"
    return text


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
