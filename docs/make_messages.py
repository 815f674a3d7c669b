"""Write docs/messages.md: every error and warning in the code, with cause and remedy. Each build of the docs runs it.

Messages are string templates in the source: the first argument of an exception class or of ``warn_user``. What is
filled in when the message is raised stands as ``<name>``.
"""

import ast
import builtins
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PAGE = Path(__file__).parent / "messages.md"
ROOT = Path(__file__).parents[1] / "src" / "histoquilt"
WARNING = "Warning"
HEAD = """# Messages

Every error and warning of histoquilt by its words: search this documentation for a few words of a message, without the names and numbers of your data. What is filled in is shown as `<name>`. Arguments stand as in Python (`layer=`); commands name the option (`--layer`).

A message says what is wrong, what was found and what to do. On the command line it is one line and the exit code is 2; `--debug` adds the traceback. A message that begins with "unexpected" comes from another package and may be a fault in histoquilt: please report it with its traceback.

"""  # noqa: E501
# what the messages of a class have in common
CLASSES = {
    "ValueError": (
        "An argument, a file or the data has a value that cannot be used.",
        "Change what the message names.",
    ),
    "TypeError": ("An argument is of another kind than expected.", "Pass what the message asks for."),
    "KeyError": ("A column, key or gene is absent.", "Choose one of the names that the message lists."),
    "MissingKey": (
        "A key of `obs`, `obsm`, `layers` or `uns` is absent, often because a step was left out.",
        "Run the step that the message names, or pass the name of your key.",
    ),
    "FileNotFoundError": ("A path does not exist.", "Check it, and the folder that it is relative to."),
    "FileExistsError": ("Results exist already.", "Choose another folder, or pass `overwrite=True` (`--overwrite`)."),
    "NotADirectoryError": ("A file stands where a folder is expected.", "Pass the folder."),
    "PermissionError": ("A folder or file must not be read or written.", "Check its permissions."),
    "OSError": ("A file cannot be read: it is damaged, incomplete or of another format.", "Copy or convert it anew."),
    "ImportError": (
        "An optional package is not installed.",
        "Install the extra that the message names ({doc}`install`).",
    ),
    "ConnectionError": ("A worker, a scheduler or a download cannot be reached.", "Check address and network."),
    "RuntimeError": ("A computation failed, or a step is called before another.", "Follow the message."),
    "NotImplementedError": ("A method does not offer what was asked for.", "Choose another method or option."),
    "AttributeError": ("A name does not exist in its room.", "See {doc}`api`."),
    "MissingCountsError": (
        "A model needs raw counts, and too few training sections have them.",
        "Pass `layer=` of the raw counts, or choose a method that does not need them ({doc}`expression`).",
    ),
    "JobError": (
        "A command, or a function of {mod}`histoquilt.jobs`, cannot be carried out.",
        "Correct the argument or input that the message names. With several inputs, `--skip-bad` goes on without it.",
    ),
    "WriteError": ("Results cannot be written.", "Free space or check permissions, then run again with `--resume`."),
    "WorkerError": (
        "A process that worked on an input was lost, often for lack of memory.",
        "Use fewer workers or threads, or a machine with more memory ({ref}`dask`).",
    ),
    "Interrupted": ("Ctrl-C during work that can be resumed.", "Run the same command again with `--resume`."),
    WARNING: ("Work goes on, and its result may not be what you expect.", "Check what the message names."),
}
# words of a message: cause, remedy. Words that no message has any more are an error.
COMMON = {
    "is not a section that can be read": (
        "The path is a slide, a count matrix without positions, or a folder above or below the output of the platform.",
        "Pass the folder that holds the files named in the message; see {func}`histoquilt.io.read_section`.",
    ),
    "Cannot determine microns per pixel": (
        "The files hold no microns per pixel, and the spots form no lattice of known pitch, as single cells do not.",
        "Pass `mpp=` (`--mpp`) or fill the column `mpp` of `samples.csv` ({doc}`concepts/units`).",
    ),
    "spots lie on the tissue of": (
        "Coordinates belong to an image of another size (`hires`, `lowres`), x and y are exchanged, or the slide is "
        "another one.",
        "Look at {func}`histoquilt.pl.spots_on_tissue`; set `image_scale` in `samples.csv` as the message suggests.",
    ),
    "and their spots lie in the same places": (
        "Several sections are in one AnnData, each with coordinates of its own.",
        "Name the column that distinguishes them (`section_key=`), or pass `one_section=True` if it is one tissue.",
    ),
    "is declared counts, but looks log-transformed": (
        "`X` was normalised after it was read, while its record says counts.",
        "Keep raw counts in `layers['counts']`, or declare the new scale.",
    ),
    "is on different scales": (
        "Some sections hold counts, others normalised expression.",
        "Use raw counts for all: put them into `layers['counts']`.",
    ),
    "Are genes named alike": (
        "Sections share few genes: symbols in one and Ensembl identifiers in another, or panels or species differ.",
        "Bring all to one kind of name, e.g. with {func}`histoquilt.io.annotate_genes`.",
    ),
    "could be distinguished in the embedding": (
        "The section is small, or its expression has fewer distinct parts than domains were asked for.",
        "Ask for fewer domains, or let {func}`histoquilt.tl.choose_n_domains` choose.",
    ),
    "will take about": (
        "The estimated memory exceeds what is free.",
        "See {doc}`scale`; `check_memory=False` (`--ignore-memory`) tries all the same.",
    ),
    "truncated": (
        "A copy or download stopped early, or a placeholder of Git LFS was copied in place of the file.",
        "Compare the size with the original and copy again.",
    ),
    "unlike the tissue that the model was trained on": (
        "Another organ, stain, scanner or focus than in training.",
        "Do not interpret the prediction there; train on sections that resemble it ({doc}`howto/report`).",
    ),
    "is gated, and access was refused": (
        "The owner of the weights gives access on request.",
        "Accept the licence with your own account ({doc}`howto/encoders`).",
    ),
    "already holds results": ("The results folder of an earlier run is there.", "`--overwrite`, or another `--out`."),
    "another run works on": (
        "Two runs have the same results folder, or one was killed on another machine.",
        "Wait for it, or delete `owner.json` in the partial folder ({ref}`resume`).",
    ),
}


class Message(NamedTuple):
    """A message with the class that raises it."""

    raised: str
    text: str


def messages(room: str) -> list[Message]:
    """Return the messages of a room, sorted, each once."""
    found = {
        Message(raised, text)
        for path in sorted((ROOT / room).rglob("*.py"))
        for raised, text in _of_module(ast.parse(path.read_text(encoding="utf-8")))
        if re.search(r"\w \w", re.sub("<[^>]*>", "", text))  # words of its own, not only those of another error
    }
    return sorted(found, key=lambda one: (one.raised == WARNING, one.raised, one.text.strip("'<").casefold()))


def page() -> str:
    """Return the text of the page."""
    by_room = {path.parent.name: messages(path.parent.name) for path in sorted(ROOT.glob("*/__init__.py"))}
    everything = [one for found in by_room.values() for one in found]
    raised = {one.raised for one in everything}
    if unknown := raised - set(CLASSES):
        raise ValueError(f"CLASSES of {Path(__file__).name} has no cause and remedy of {sorted(unknown)}.")
    lines = [HEAD, "## Classes\n\n| class | cause | what to do |\n|---|---|---|\n"]
    lines += [f"| `{name}` | {cause} | {remedy} |\n" for name, (cause, remedy) in CLASSES.items() if name in raised]
    lines.append("\n## Frequent messages\n\n| words | cause | what to do |\n|---|---|---|\n")
    for words, (cause, remedy) in COMMON.items():
        if not any(words in one.text for one in everything):
            raise ValueError(f"COMMON of {Path(__file__).name} explains {words!r}, and no message has these words.")
        lines.append(f"| {words} | {cause} | {remedy} |\n")
    for room, found in by_room.items():
        heading = ""
        if found:
            doc = ast.get_docstring(ast.parse((ROOT / room / "__init__.py").read_text(encoding="utf-8"))) or ""
            lines.append(f"\n## histoquilt.{room}\n\n{doc.splitlines()[0]}\n")
        for one in found:
            if one.raised != heading:
                heading = one.raised
                lines.append(f"\n### {heading} in {room}\n\n")
            lines.append(f"- {_literal(one.text)}\n")
    return "".join(lines)


def _of_module(tree: ast.AST, values: dict[str, ast.expr] | None = None) -> Iterator[tuple[str, str]]:
    """Yield class and text of all messages; ``values`` are what names were set to around the tree."""
    values = values or {}
    if isinstance(tree, ast.FunctionDef):
        assigned = [node for node in ast.walk(tree) if isinstance(node, ast.Assign)]
        values = values | {to.id: node.value for node in assigned for to in node.targets if isinstance(to, ast.Name)}
    if isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name) and tree.args:
        yield from _of_call(tree.func.id, tree, values)
    for node in ast.iter_child_nodes(tree):
        yield from _of_module(node, values)


def _of_call(name: str, node: ast.Call, values: dict[str, ast.expr]) -> Iterator[tuple[str, str]]:
    if name == "MissingKey":
        key, where, *rest = [*node.args, *(keyword.value for keyword in node.keywords)]
        remedy = _template(rest[1]) if len(rest) > 1 else ""
        yield name, f"'{_template(key)}' is not in {_template(where)} (found: <...>). {remedy}".strip()
    elif name == "warn_user" or _is_exception(name):
        for one in _alternatives(node.args[0], values):
            yield (WARNING if name == "warn_user" else name), _template(one)


def _is_exception(name: str) -> bool:
    known = getattr(builtins, name, None)
    return name in CLASSES or (isinstance(known, type) and issubclass(known, Exception))


def _alternatives(node: ast.expr, values: dict[str, ast.expr]) -> list[ast.expr]:
    """Return the nodes that may be the message: both ends of a choice, and what a name was set to."""
    if isinstance(node, ast.IfExp):
        return [*_alternatives(node.body, values), *_alternatives(node.orelse, values)]
    value = values.get(node.id) if isinstance(node, ast.Name) else None
    if isinstance(value, ast.JoinedStr | ast.Constant | ast.BinOp | ast.IfExp):
        return _alternatives(value, {})
    return [node]


def _template(node: ast.expr) -> str:
    """Return the text of a string expression."""
    match node:
        case ast.Constant(value=str() as text):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(_template(part) for part in parts)
        case ast.FormattedValue(value=value):
            return _template(value)
        case ast.BinOp(left=left, op=ast.Add(), right=right) if _is_text(left) or _is_text(right):
            return _template(left) + _template(right)
        case ast.Call(func=ast.Name(id="argument"), args=[ast.Constant(value=name), *rest]):
            return f"{name}=" + (_template(rest[0]) if rest else "")
        case ast.Call(func=ast.Name(id="either"), args=[python, _]):
            return _template(python)
        case _:
            return f"<{_name(node)}>"


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def _name(node: ast.expr) -> str:
    """Return a short name of what is filled in."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name.strip("_")
        case ast.Call(func=ast.Name(id="len")):
            return "number"
        case ast.Call(func=ast.Name(id="listed" | "str" | "repr" | "sorted" | "type"), args=[first, *_]):
            return _name(first)
        case ast.Subscript(value=value) | ast.FormattedValue(value=value) | ast.Await(value=value):
            return _name(value)
        case _:
            return "..."


def _literal(text: str) -> str:
    """Return text as a code span of Markdown, on one line."""
    text = " ".join(text.split())
    return f"`` {text} ``" if "`" in text else f"`{text}`"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
