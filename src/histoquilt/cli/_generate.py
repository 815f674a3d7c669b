"""Commands generated from the option classes of jobs, so that an option is declared once."""

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, get_args

import typer

from histoquilt.jobs import Option, RunConfig, options_of

Place = tuple[Any, Any, Any]  # type, typer's declaration and default (... if there is none)


def add_command(
    app: typer.Typer,
    name: str,
    config: type[RunConfig],
    places: Mapping[str, Place],
    run: Callable[[dict[str, Any], RunConfig], None],
    *,
    help: str,
) -> None:
    """Add a command to an app.

    Parameters
    ----------
    app
        The app.
    name
        Name of the command.
    config
        Class whose fields become options.
    places
        Name -> declaration of inputs and output.
    run
        Function that is called with the values of ``places`` and an object of ``config``.
    help
        Help text.
    """
    known = list(options_of(config))

    def command(**values: Any) -> None:
        where = {place: values.pop(place) for place in places}
        for one, option in known:
            if option.flag:
                values[one.name] = not values[one.name]
            if option.repeatable:
                given = values[one.name] or [None]
                values[one.name] = given[0] if len(given) == 1 else given
        run(where, config(**values))

    parameters = [_parameter(place, kind, declared, default) for place, (kind, declared, default) in places.items()] + [
        _option(one.name, one.type, one.default, option) for one, option in known
    ]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {one.name: one.annotation for one in parameters}
    app.command(name, help=help)(command)


def _option(name: str, declared: Any, default: Any, option: Option) -> inspect.Parameter:
    kind = list[str] if option.repeatable else _type_of(declared)
    positive = option.flag or "--" + name.replace("_", "-")
    if kind is bool and option.negatable:
        positive = f"{positive}/--no-{positive[2:]}"
    names = [positive, option.short] if option.short else [positive]
    annotation = kind if kind is bool or default is not None else kind | None
    declaration = typer.Option(
        *names, help=option.text, metavar=option.metavar, min=option.least, max=option.most,
        show_default=option.show_default,
    )  # fmt: skip
    return _parameter(name, annotation, declaration, False if option.flag else default)


def _parameter(name: str, kind: Any, declaration: Any, default: Any) -> inspect.Parameter:
    default = inspect.Parameter.empty if default is ... else default
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, declaration]
    )


def _type_of(declared: Any) -> Any:
    """Return the type that the command line reads: a path if it may be one, else text if it may be text."""
    kinds = [kind for kind in get_args(declared) if kind is not NoneType] or [declared]
    return next((kind for kind in (Path, str) if kind in kinds), kinds[0])
