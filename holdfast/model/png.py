"""What a PNG's pixels need of its chunks, without decoding it (ISO/IEC 15948)."""

SIGNATURE = b"\x89PNG\r\n\x1a\n"
NEEDED = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"eXIf"}


def without_metadata(encoded: bytes) -> bytes:
    """Return the PNG with header, palette, transparency, pixels and EXIF alone: no texts, profiles or animation.

    Bytes that are no PNG come back as they are, and so does what follows a chunk that is cut short.
    """
    if encoded[:8] != SIGNATURE:
        return encoded
    kept, position = bytearray(SIGNATURE), 8
    while position + 12 <= len(encoded):
        end = position + 12 + int.from_bytes(encoded[position : position + 4])
        if encoded[position + 4 : position + 8] in NEEDED:
            kept += encoded[position:end]
        position = end
    return bytes(kept + encoded[position:])
