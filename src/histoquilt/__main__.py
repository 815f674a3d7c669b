"""``python -m histoquilt`` is the same program as ``histoquilt``."""

from histoquilt.cli import main

if __name__ == "__main__":
    main()
