"""Print the lower bounds of the core dependencies as constraints: the oldest versions that have to work."""

import tomllib
from pathlib import Path

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LEFT_OUT = {"torch"}  # constraints.txt holds it

if __name__ == "__main__":
    for requirement in PROJECT["dependencies"]:
        name, _, bound = requirement.partition(">=")
        if bound and name not in LEFT_OUT:
            print(f"{name}=={bound}.0.*" if bound.isdigit() else f"{name}=={bound}.*")
