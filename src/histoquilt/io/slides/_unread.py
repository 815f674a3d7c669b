"""Image formats that are known by their first bytes and not read."""

from pathlib import Path

_STARTS = (
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"\xff\x0a", "JPEG XL"),
    (b"II\xbc\x01", "JPEG XR"),
    (b"BM", "BMP"),
    (b"GIF8", "GIF"),
    (b"8BPS", "Photoshop"),
    (b"%PDF", "PDF"),
    (b"P6", "PPM"),
    (b"\0\0\x01\0", "ICO"),
    (b"v/1\x01", "OpenEXR"),
)
_BRANDS = {b"avif": "AVIF", b"avis": "AVIF"}
_HEIF = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")


def unread_format(start: bytes) -> str | None:
    """Return the name of an image format by the first 16 bytes of a file, or ``None``."""
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "WebP"
    if start[4:8] == b"ftyp":
        return _BRANDS.get(start[8:12], "HEIC" if start[8:12] in _HEIF else None)
    return next((name for known, name in _STARTS if start.startswith(known)), None)


def say_unread(path: Path, name: str) -> str:
    """Return the message for a file of such a format, with the command that converts it."""
    return (
        f"{path} is {name}, which is not read here. Convert it: vips tiffsave {path.name} {path.stem}.tif --tile "
        "--pyramid --compression jpeg"
    )
