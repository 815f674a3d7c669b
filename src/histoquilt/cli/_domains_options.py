"""What ``histoquilt domains`` can be asked for, checked before anything is imported."""

import re
from difflib import get_close_matches

from histoquilt.cli._device import check_device
from histoquilt.cli._errors import CommandError

LINKS = ("auto", "stack", "expression", "stitched", "none")
RANGE = re.compile(r"\s*(\d+)\s*[-,:]\s*(\d+)\s*")


def parse_n_domains(text: str) -> int | tuple[int, int] | None:
    """Read ``--n-domains``: a number, a range, or ``auto``.

    Examples
    --------
    >>> parse_n_domains("7"), parse_n_domains("5-12"), parse_n_domains("auto")
    (7, (5, 12), None)
    """
    text = text.strip()
    if text.lower() == "auto":
        return None
    if between := RANGE.fullmatch(text):
        return int(between[1]), int(between[2])
    try:
        return int(text)
    except ValueError:
        raise CommandError(f"--n-domains is a number (7), a range (5-12) or auto, got {text!r}.") from None


def check_arguments(n_domains: int | tuple[int, int] | None, device: str) -> None:
    """Raise for what can be seen to be wrong before anything is imported."""
    if isinstance(n_domains, tuple) and not 2 <= n_domains[0] <= n_domains[1]:
        raise CommandError(f"a range of --n-domains goes from 2 up, e.g. 5-12, got {n_domains[0]}-{n_domains[1]}.")
    if isinstance(n_domains, int) and n_domains < 2:
        raise CommandError(
            f"--n-domains must be at least 2, got {n_domains}: a single domain is the whole section. Ask for "
            "2 or more, a range (5-12) or auto."
        )
    check_device(device)


def check_links(links: str, *, separate: bool) -> None:
    """Raise for a name of links that there is none of, or that ``separate`` contradicts."""
    if links not in LINKS:
        close = get_close_matches(links, LINKS, n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
        raise CommandError(f"unknown --links {links!r}. Use {', '.join(LINKS[:-1])} or {LINKS[-1]}.{hint}")
    if separate and links != "auto":
        raise CommandError(f"--links {links} joins sections, and --separate keeps them apart. Leave one of them out.")
