"""What a JPEG's headers say, without decoding it (ITU-T T.81, annex B)."""

from dataclasses import dataclass

START = b"\xff\xd8"
END = b"\xff\xd9"
START_OF_SCAN = 0xDA
SCAN = bytes((0xFF, START_OF_SCAN))
COMMENT = 0xFE
EXIF = b"Exif\0\0"
LENGTHLESS = {0x01, *range(0xD0, 0xD9)}  # TEM, RST0 to RST7, SOI
NOT_FRAMES = {0xC4, 0xC8, 0xCC}  # DHT, JPG, DAC lie among SOF0 to SOF15
PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
CODES = bytes.fromhex("b52c96d35a3369ca") * 32  # of some pixels, whatever the tables; none is a marker


@dataclass(frozen=True, slots=True)
class JpegHeader:
    """A JPEG as its headers describe it.

    Attributes:
        width, height: in pixels.
        components: of a pixel: 1 of grey, 3 of colour, 4 of print.
        buffered: the decoder has to hold the coefficients of the whole picture, since it comes in several scans.
        scan: where the first scan's data begins, in bytes from the start.

    """

    width: int
    height: int
    components: int
    buffered: bool
    scan: int


def read_header(encoded: bytes) -> JpegHeader | None:
    """Walk the segments from the start to the first scan; None where they do not lead there."""
    position, frame = 2, None
    while position + 4 <= len(encoded) and encoded[position] == 0xFF:
        marker = encoded[position + 1]
        if marker == 0xFF or marker in LENGTHLESS:
            position += 1 if marker == 0xFF else 2  # any number of 0xFF may stand before a marker
            continue
        end = position + 2 + int.from_bytes(encoded[position + 2 : position + 4])
        if 0xC0 <= marker <= 0xCF and marker not in NOT_FRAMES and position + 10 <= len(encoded):
            height, width = (int.from_bytes(encoded[position + i : position + i + 2]) for i in (5, 7))
            frame = (width, height, encoded[position + 9], marker in PROGRESSIVE)
        elif marker == START_OF_SCAN:
            if frame is None or end > len(encoded):
                return None
            width, height, components, progressive = frame
            return JpegHeader(width, height, components, progressive or encoded[position + 4] < components, end)
        position = end
    return None


def lacks_end(encoded: bytes, header: JpegHeader) -> bool:
    """Whether no end marker follows the first scan. In a scan's data 0xFF is never followed by 0xD9."""
    return encoded.find(END, header.scan) < 0


def has_all_scans(encoded: bytes, header: JpegHeader) -> bool:
    """Whether every coefficient of every component is coded to its last bit, going by the scans' headers."""
    missing: dict[int, set[int]] = {}
    position = encoded.rfind(SCAN, 0, header.scan)
    while position >= 0:
        parameters = encoded[position + 4 : position + 2 + int.from_bytes(encoded[position + 2 : position + 4])]
        count = parameters[0] if parameters else 0
        if len(parameters) != 4 + 2 * count:
            return False
        first, last, precision = parameters[-3:]
        for component in parameters[1 : 1 + 2 * count : 2]:
            coded = set(range(first, last + 1)) if precision & 0x0F == 0 else set()
            missing[component] = missing.get(component, set(range(64))) - coded
        position = encoded.find(SCAN, position + 2)
    return len(missing) == header.components and not any(missing.values())


def count_scans(encoded: bytes, header: JpegHeader) -> int:
    """How many scans the picture comes in. Each costs a pass over the whole picture, however few bytes it has."""
    end = encoded.find(END, header.scan)
    return 1 + encoded.count(SCAN, header.scan, end if end > 0 else len(encoded))


def filler(encoded: bytes) -> bytes:
    """Return bytes to stand for what may be missing at the end: codes of pixels, and again after the restart marker due."""
    last = max((encoded.rfind(bytes((0xFF, marker))), marker) for marker in range(0xD0, 0xD8))
    within_scan = last[0] > encoded.rfind(SCAN)
    due = 0xD0 + (last[1] + 1) % 8 if within_scan else 0xD0
    return CODES + bytes((0xFF, due)) + CODES


def without_metadata(encoded: bytes) -> bytes:
    """Return the JPEG without its comments and application segments, but for JFIF, EXIF and Adobe's colour transform.

    What the pixels and their orientation depend on stays. Bytes that are no JPEG come back as they are.
    """
    kept, position = bytearray(encoded[:2]), 2
    while position + 4 <= len(encoded) and encoded[position] == 0xFF:
        marker = encoded[position + 1]
        if marker in {START_OF_SCAN, 0xFF, *LENGTHLESS}:
            break
        end = position + 2 + int.from_bytes(encoded[position + 2 : position + 4])
        application = 0xE0 <= marker <= 0xEF or marker == COMMENT
        needed = marker in {0xE0, 0xEE} or encoded[position + 4 : position + 10] == EXIF
        if not application or needed:
            kept += encoded[position:end]
        position = end
    return bytes(kept + encoded[position:])
