"""Read pytest's JUnit file: how many tests on real tissue ran, and whether one was skipped though the data is there."""

import os
import sys
import xml.etree.ElementTree as ET
from pathlib import Path


def outcome(case: ET.Element) -> str:
    """Return how a test ended, in pytest's words."""
    for name in ("failure", "error", "skipped"):
        if case.find(name) is not None:
            return {"failure": "failed", "error": "errors"}.get(name, name)
    return "passed"


def needs_real_data(case: ET.Element) -> bool:
    """Tell by the property that tests/conftest.py gives to tests with the ``real_data`` marker."""
    return any(p.get("name") == "marker" and p.get("value") == "real_data" for p in case.iter("property"))


def count(cases: list[ET.Element]) -> dict[str, int]:
    """Count tests by outcome."""
    found = dict.fromkeys(("passed", "failed", "errors", "skipped"), 0)
    for case in cases:
        found[outcome(case)] += 1
    return found


def main(arguments: list[str]) -> int:
    """Print the counts; return 1 where the data is there and a test on it was skipped."""
    path = Path(arguments[-1])
    if not path.exists():
        print("the tests left no result file: they did not run to their end")
        return 1
    cases = list(ET.parse(path).iter("testcase"))
    if "--summary" in arguments:
        found = count(cases)
        print(", ".join(f"{n} {word}" for word, n in found.items()))
        return 0
    real = [case for case in cases if needs_real_data(case)]
    found = count(real)
    print(f"{len(real)} tests on real tissue: {', '.join(f'{n} {word}' for word, n in found.items())}")
    if not os.environ.get("HISTOQUILT_DATA"):
        print("HISTOQUILT_DATA is not set, so they skip")
        return 0
    if not real or found["skipped"]:
        for case in real:
            if outcome(case) == "skipped":
                print(f"  skipped though the data is there: {case.get('classname')}.{case.get('name')}")
        print("the data is there, and tests on it did not run")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
