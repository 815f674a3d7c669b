"""``python -m histoweave`` is the same program as ``histoweave``."""

from histoweave.cli import main

if __name__ == "__main__":
    main()
