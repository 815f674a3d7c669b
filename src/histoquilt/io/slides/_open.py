"""Opening a slide of any format, recognised by its first bytes and its name."""

import gzip
from pathlib import Path

from histoquilt._base import check_mpp, is_installed
from histoquilt.io._files import CUT_OFF, PathLike, existing_file, guess_content
from histoquilt.io.slides._picture import PictureSlide
from histoquilt.io.slides._scanner import SCANNER_SUFFIXES, OpenSlideSlide, VipsSlide
from histoquilt.io.slides._slide import Slide
from histoquilt.io.slides._tiff import TiffSlide

_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# formats that are recognised and not read, by their first bytes
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
_WHAT = "an image of tissue (JPEG, PNG, TIFF, OME-TIFF; with the 'wsi' extra SVS, NDPI, MRXS, SCN, DICOM, CZI, ...)"


def open_slide(path: PathLike, *, mpp: float | None = None) -> Slide:
    """Open an H&E image of any size for reading by region.

    JPEG and PNG, gzip-compressed or not, are decoded once and held (600 million pixels at most). Of TIFF, OME-TIFF and
    scanners' formats only the requested tiles are read, from the required resolution, whatever the size of the slide.
    Of a TIFF with several images the scan is read: the pyramid, else the image with the finest pixels; never a macro
    image, label, thumbnail or overview.

    Parameters
    ----------
    path
        Path of a JPEG, PNG, TIFF or OME-TIFF in colour of 8 or 16 bits; 16 bits are converted to 8 (values of a 10-,
        12- or 14-bit camera by its own range, with a warning). With the ``wsi`` extra also SVS, NDPI, MRXS, SCN, BIF,
        DICOM, CZI (openslide), compressed TIFF (imagecodecs), and other images that libvips reads.
    mpp
        Microns per full-resolution pixel, instead of the file's metadata. Metadata that no microscope image can have
        (outside 0.05 to 20, as the 72 dpi of pictures) are ignored.

    Returns
    -------
    Slide
        A context manager with ``name``, ``width``, ``height``, ``mpp``, ``levels``, ``read_region`` and ``close``.

    Raises
    ------
    FileNotFoundError
        The file does not exist.
    ValueError
        The file is not an image, not RGB of 8 or 16 bits, of a format that is not read, too large to be decoded whole,
        or ``mpp`` is absurd.
    OSError
        The file is truncated or damaged.
    ImportError
        The format needs the ``wsi`` extra.

    Warns
    -----
    UserWarning
        The 16-bit values fill only part of their range.

    See Also
    --------
    attach_image, open_image : the image of a section.
    check_slide_mpp : compares ``mpp`` with the distance between spots.

    Examples
    --------
    >>> import histoquilt as hq
    >>> from PIL import Image
    >>> path = getfixture("tmp_path") / "slide.png"
    >>> Image.new("RGB", (400, 300), "pink").save(path)
    >>> with hq.io.open_slide(path, mpp=0.5) as slide:
    ...     slide.read_region(0, 0, 400, 300, out_px=(40, 30)).shape
    (30, 40, 3)
    """
    slide = open_header(path, mpp=mpp)
    try:
        slide.check()
    except BaseException:
        slide.close()
        raise
    return slide


def open_header(path: PathLike, *, mpp: float | None = None) -> Slide:
    """Open a slide without checking its pixels, for its size and ``mpp``."""
    if mpp is not None:
        mpp = check_mpp(mpp)
    path = existing_file(path, _WHAT)
    if path.suffix.lower() in SCANNER_SUFFIXES:
        return OpenSlideSlide(path, mpp)
    start = _first_bytes(path)
    if start.startswith(_JPEG):
        return PictureSlide(path, "jpeg", mpp)
    if start.startswith(_PNG):
        return PictureSlide(path, "png", mpp)
    vendor = _vendor(path)
    if start.startswith(_TIFF) and vendor in (None, "generic-tiff"):
        return TiffSlide(path, mpp)
    if vendor is not None:
        return OpenSlideSlide(path, mpp)
    return _other(path, start, mpp)


def _first_bytes(path: Path) -> bytes:
    """Return the first bytes of an image; of a gzip-compressed one (``.jpg.gz``, as GEO offers them) those inside."""
    try:
        with gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb") as stream:
            return stream.read(16)
    except CUT_OFF as error:
        raise OSError(f"{path} could not be unpacked (truncated?): {error}. Copy or download it again.") from error


def _vendor(path: Path) -> str | None:
    """Return the scanner format that openslide detects; None if it detects none or is not installed."""
    if not is_installed("openslide"):
        return None
    try:
        import openslide
    except (ImportError, OSError):  # installed without its C library
        return None
    return openslide.OpenSlide.detect_format(path)


def _other(path: Path, start: bytes, mpp: float | None) -> Slide:
    """Open a file with libvips, or raise an error that names its format."""
    text = start.lstrip()[:1] in (b"<", b"{") and path.suffix.lower() != ".svg"
    if start and not text and is_installed("pyvips"):
        try:
            return VipsSlide(path, mpp)
        except OSError:
            pass  # not an image: raised below
    if not start:
        raise ValueError(f"{path} is empty (0 bytes); expected {_WHAT}. Copy or download it again.")
    if name := _unread_format(start):
        raise ValueError(
            f"{path} is {name}, which is not read here. Convert it: vips tiffsave {path.name} {path.stem}.tif --tile "
            "--pyramid --compression jpeg"
        )
    more = "" if is_installed("pyvips") else " Further formats need: pip install 'histoquilt[wsi]'."
    raise ValueError(f"{path} is not an image that can be read; expected {_WHAT}. {guess_content(path)}{more}")


def _unread_format(start: bytes) -> str | None:
    """Return the name of a recognised format by the first 16 bytes of a file, or None."""
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "WebP"
    if start[4:8] == b"ftyp":
        return _BRANDS.get(start[8:12], "HEIC" if start[8:12] in _HEIF else None)
    return next((name for known, name in _STARTS if start.startswith(known)), None)
