"""Draw the rooms of the house from the imports of the code, and list them: ``make architecture``.

A room stands above all rooms that it imports. An arrow is left out where a longer way says the same.
"""

import ast
import sys
from pathlib import Path

DOCS = Path(__file__).parent
ROOT = DOCS.parent / "src" / "histoquilt"
PICTURE, PAGE = DOCS / "_static" / "architecture.svg", DOCS / "architecture.md"
BEGIN, END = "<!-- rooms: written by make architecture -->\n", "<!-- end of rooms -->\n"
_BOX_WIDTH, _BOX_HEIGHT, _GAP_ACROSS, _GAP_DOWN, _MARGIN = 104, 34, 26, 44, 16
_STYLE = (
    "text{font:13px system-ui,sans-serif;text-anchor:middle;fill:#1d2a33}"
    "rect{fill:#f4f7f9;stroke:#5b7486;rx:5}path{fill:none;stroke:#9fb3c0}marker path{fill:#9fb3c0;stroke:none}"
)


def imports() -> dict[str, set[str]]:
    """Return room -> rooms that its files import anywhere, in functions too, but not for type checkers only."""
    rooms = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    found: dict[str, set[str]] = {room: set() for room in sorted(rooms)}  # one order in every run
    for path in ROOT.rglob("*.py"):
        here = path.relative_to(ROOT).parts[0]
        if here not in rooms:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for_types = {
            id(inside)
            for node in ast.walk(tree)
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
            for inside in ast.walk(node)
        }
        for node in ast.walk(tree):
            if not isinstance(node, ast.ImportFrom) or id(node) in for_types or not node.module:
                continue
            names = (
                [f"histoquilt.{alias.name}" for alias in node.names] if node.module == "histoquilt" else [node.module]
            )
            found[here] |= {name.split(".")[1] for name in names if name.startswith("histoquilt.")} & rooms - {here}
    return found


def levels(graph: dict[str, set[str]]) -> dict[str, int]:
    """Return room -> length of the longest way down from it."""
    known: dict[str, int] = {}

    def level(room: str) -> int:
        if room not in known:
            known[room] = 1 + max(map(level, graph[room]), default=-1)
        return known[room]

    for room in sorted(graph):
        level(room)
    return known


def shortest(graph: dict[str, set[str]]) -> dict[str, set[str]]:
    """Return the graph without arrows that a longer way implies."""

    def below(room: str) -> set[str]:
        return graph[room].union(*(below(other) for other in graph[room]))

    return {room: {other for other in to if not any(other in below(way) for way in to)} for room, to in graph.items()}


def places(graph: dict[str, set[str]]) -> dict[str, tuple[float, float]]:
    """Return room -> middle of its box; rooms of a level lie under the middle of those that they are imported by."""
    level = levels(graph)
    rows = [sorted(room for room in graph if level[room] == number) for number in range(max(level.values()) + 1)]
    width = max(map(len, rows)) * (_BOX_WIDTH + _GAP_ACROSS) - _GAP_ACROSS + 2 * _MARGIN
    found: dict[str, tuple[float, float]] = {}
    for number, row in reversed(list(enumerate(rows))):
        users = {room: [found[other][0] for other in graph if room in graph[other] and other in found] for room in row}
        row = sorted(row, key=lambda room: (sum(users[room]) / len(users[room]) if users[room] else width / 2, room))
        step = (width - 2 * _MARGIN) / len(row)
        y = _MARGIN + (len(rows) - 1 - number) * (_BOX_HEIGHT + _GAP_DOWN) + _BOX_HEIGHT / 2
        found |= {room: (_MARGIN + step * (at + 0.5), y) for at, room in enumerate(row)}
    return found


def picture(graph: dict[str, set[str]]) -> str:
    """Return the SVG."""
    arrows = shortest(graph)
    place = places(arrows)
    width = max(x for x, _ in place.values()) + _BOX_WIDTH / 2 + _MARGIN
    height = max(y for _, y in place.values()) + _BOX_HEIGHT / 2 + _MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" role="img" '
        'aria-label="Rooms of histoquilt and what they import">',
        f"<style>{_STYLE}</style>",
        '<rect x="0" y="0" width="100%" height="100%" style="fill:#fff;stroke:none"/>',
        '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0L8 4L0 8z"/></marker>',
    ]
    for room in sorted(arrows):
        x, y = place[room]
        for other in sorted(arrows[room]):
            to_x, to_y = place[other]
            start, end = y + _BOX_HEIGHT / 2, to_y - _BOX_HEIGHT / 2
            middle = (start + end) / 2
            curve = f"M{x:.0f} {start:.0f}C{x:.0f} {middle:.0f} {to_x:.0f} {middle:.0f} {to_x:.0f} {end:.0f}"
            parts.append(f'<path d="{curve}" marker-end="url(#tip)"/>')
    for room in sorted(place):
        x, y = place[room]
        corner = f'x="{x - _BOX_WIDTH / 2:.0f}" y="{y - _BOX_HEIGHT / 2:.0f}"'
        parts.append(f'<rect {corner} width="{_BOX_WIDTH}" height="{_BOX_HEIGHT}"/>')
        parts.append(f'<text x="{x:.0f}" y="{y + 4.5:.0f}">{room}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def table(graph: dict[str, set[str]]) -> str:
    """Return the table of rooms, the highest first."""
    level = levels(graph)
    lines = ["| room | what is there | imports |", "|---|---|---|"]
    for room in sorted(graph, key=lambda room: (-level[room], room)):
        doc = ast.get_docstring(ast.parse((ROOT / room / "__init__.py").read_text(encoding="utf-8")))
        first = doc.splitlines()[0].replace("|", "\\|")
        lines.append(f"| `{room}` | {first} | {', '.join(f'`{other}`' for other in sorted(graph[room])) or '–'} |")
    return "\n".join(lines) + "\n"


def page(graph: dict[str, set[str]]) -> str:
    """Return the text of the page with the table of today."""
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n{table(graph)}\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    drawn = imports()
    wanted = {PICTURE: picture(drawn), PAGE: page(drawn)}
    stale = [
        path.name for path, text in wanted.items() if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    if "--check" in sys.argv[1:]:
        sys.exit(f"not current: {', '.join(stale)}. Run: make architecture" if stale else 0)
    for path, text in wanted.items():
        path.write_text(text, encoding="utf-8")
