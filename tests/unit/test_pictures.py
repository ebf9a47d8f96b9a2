"""Pictures on their way upstream: upright, without metadata, and else untouched to the last pixel."""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageCms, PngImagePlugin, features

from gateway.jobs.errors import InvalidField
from gateway.jobs.intake import ReferenceImage
from gateway.pictures.reader import LARGEST_BYTES, ImageReader
from gateway.pictures.redrawing import redrawn
from gateway.pictures.stripping import stripped

SECRETS = (b"GPS-IS-HERE", b"xmp-said-this", b"a comment of mine", b"camera-owner")
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
KINDS = ("PNG", "JPEG", "WEBP")


def scene(size: tuple[int, int] = (64, 48), mode: str = "RGB") -> Image.Image:
    """A picture in which no two corners look alike."""
    made = Image.new("RGB", size, "navy")
    for place, colour in (((0, 0), "red"), ((size[0] // 2, 0), "lime"), ((0, size[1] // 2), "white")):
        made.paste(colour, (*place, place[0] + size[0] // 2, place[1] + size[1] // 2))
    return made.convert(mode)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def exif(orientation: int | None = None) -> Image.Exif:
    made = Image.Exif()
    if orientation is not None:
        made[0x0112] = orientation
    made[0x010E] = SECRETS[0].decode()
    made[0xA430] = SECRETS[3].decode()
    return made


def full_of_metadata(kind: str, orientation: int | None = None, image: Image.Image | None = None) -> bytes:
    image = image or scene()
    xmp = b"<x:xmpmeta>" + SECRETS[1] + b"</x:xmpmeta>"
    if kind == "PNG":
        notes = PngImagePlugin.PngInfo()
        notes.add_text("Comment", SECRETS[2].decode())
        notes.add_itxt("XML:com.adobe.xmp", xmp.decode())
        notes.add_text("Compressed", SECRETS[3].decode() * 50, zip=True)
        return encoded(image, kind, pnginfo=notes, exif=exif(orientation), icc_profile=PROFILE)
    options: dict[str, object] = {"exif": exif(orientation), "xmp": xmp, "icc_profile": PROFILE}
    if kind == "JPEG":
        options["comment"] = SECRETS[2]
    return encoded(image, kind, **options, quality=90)


def read(data: bytes) -> ReferenceImage:
    return ImageReader(at_once=1).read(data)


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def alike(one: Image.Image, other: Image.Image) -> bool:
    """Whether two pictures are the same to the last pixel."""
    return one.size == other.size and ImageChops.difference(one.convert("RGB"), other.convert("RGB")).getbbox() is None


def same_scene(image: Image.Image, expected: Image.Image) -> bool:
    """Whether two pictures agree in the middles of their quarters, which no encoder smears."""
    wide, high = expected.size
    middles = [(wide * x // 4, high * y // 4) for x in (1, 3) for y in (1, 3)]
    pairs = [(image.convert("RGB").getpixel(at), expected.convert("RGB").getpixel(at)) for at in middles]
    return image.size == expected.size and all(
        abs(one - other) < 24 for pair in pairs for one, other in zip(*pair, strict=True)
    )


# -- metadata ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_without_metadata_goes_up_byte_for_byte(kind: str) -> None:
    data = encoded(scene(), kind, icc_profile=PROFILE)
    assert read(data).data == data


@pytest.mark.parametrize("kind", KINDS)
def test_metadata_are_dropped_and_no_pixel_changes(kind: str) -> None:
    data = full_of_metadata(kind)
    clean = read(data)
    assert [secret for secret in SECRETS[:3] if secret in data] != []
    assert [secret for secret in SECRETS if secret in clean.data] == []
    image = opened(clean.data)
    assert image.getexif() == {}
    assert not {"xmp", "comment", "Comment", "exif"} & set(image.info)
    assert image.tobytes() == opened(data).tobytes()
    assert clean.content_type == f"image/{kind.lower()}"


@pytest.mark.parametrize("kind", KINDS)
def test_the_colour_profile_stays(kind: str) -> None:
    assert opened(read(full_of_metadata(kind)).data).info["icc_profile"] == PROFILE
    assert opened(read(full_of_metadata(kind, 6)).data).info["icc_profile"] == PROFILE


@pytest.mark.parametrize("kind", KINDS)
def test_the_hash_that_tells_requests_apart_is_that_of_the_bytes_the_client_sent(kind: str) -> None:
    data = full_of_metadata(kind)
    assert read(data).sent_sha256 == hashlib.sha256(data).hexdigest()
    assert read(data).sha256 == hashlib.sha256(read(data).data).hexdigest() != read(data).sent_sha256


@pytest.mark.parametrize("kind", KINDS)
def test_what_hangs_on_behind_the_end_of_a_picture_is_dropped(kind: str) -> None:
    data = encoded(scene(), kind)
    assert read(data + b"a film of the same moment").data == data


def test_a_progressive_jpeg_is_stripped_through_all_of_its_scans() -> None:
    data = encoded(scene((200, 160)), "JPEG", progressive=True, comment=SECRETS[2])
    second_scan = data.rindex(b"\xff\xda")
    noted = data[:second_scan] + b"\xff\xfe\x00\x0c" + SECRETS[3][:10] + data[second_scan:]
    clean = read(noted).data
    assert b"comment" not in clean
    assert SECRETS[3][:10] not in clean
    assert opened(clean).tobytes() == opened(data).tobytes()


def test_the_thumbnail_in_a_jfif_head_is_dropped() -> None:
    data = encoded(scene(), "JPEG")
    head = data.index(b"JFIF\0")
    thumbnail = b"RGB" * 4
    fat = (
        data[: head - 2] + struct.pack(">H", 16 + 12) + data[head : head + 12] + b"\2\2" + thumbnail + data[head + 14 :]
    )
    assert opened(fat).size == (64, 48)
    assert read(fat).data == data


def test_a_jpeg_with_fill_bytes_and_restart_markers_is_read() -> None:
    data = encoded(scene((128, 128)), "JPEG", restart_marker_blocks=2, comment=SECRETS[2])
    assert b"\xff\xd1" in data
    filled = data.replace(b"\xff\xfe", b"\xff\xff\xff\xfe", 1)
    clean = read(filled).data
    assert SECRETS[2] not in clean
    assert opened(clean).tobytes() == opened(data).tobytes()


def test_a_jpeg_laid_out_unusually_is_drawn_anew() -> None:
    data = encoded(scene(), "JPEG", quality=95)
    tables = data.index(b"\xff\xdb")
    odd = data[:tables] + b"junk" + data[tables:]
    assert stripped(odd, "JPEG") is None
    image = opened(odd)
    drawn = redrawn(image, "JPEG", odd, largest=LARGEST_BYTES)
    assert drawn is not None
    assert same_scene(opened(drawn.data), image)


@settings(max_examples=300)
@given(kind=st.sampled_from(KINDS), data=st.data())
def test_whatever_is_damaged_the_stripper_answers_and_never_grows_a_file(kind: str, data: st.DataObject) -> None:
    whole = bytearray(full_of_metadata(kind))
    for place in data.draw(st.lists(st.integers(0, len(whole) - 1), max_size=4)):
        whole[place] = data.draw(st.integers(0, 255))
    found = stripped(bytes(whole[: data.draw(st.integers(16, len(whole)))]), kind)
    assert found is None or len(found) <= len(whole) + 1


# -- orientation -------------------------------------------------------------------------------------------------------


UPRIGHT: dict[int, Callable[[Image.Image], Image.Image]] = {
    1: lambda image: image,
    2: lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    3: lambda image: image.rotate(180),
    4: lambda image: image.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
    5: lambda image: image.rotate(-90, expand=True).transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    6: lambda image: image.rotate(-90, expand=True),
    7: lambda image: image.rotate(90, expand=True).transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    8: lambda image: image.rotate(90, expand=True),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_is_turned_as_its_exif_says(kind: str, orientation: int) -> None:
    clean = read(full_of_metadata(kind, orientation))
    expected = UPRIGHT[orientation](scene())
    image = opened(clean.data)
    assert same_scene(image, expected)
    assert (clean.width, clean.height) == image.size == expected.size
    assert image.getexif() == {}
    assert [secret for secret in SECRETS if secret in clean.data] == []


def test_a_png_and_a_lossless_webp_are_turned_exactly() -> None:
    for data in (full_of_metadata("PNG", 6), encoded(scene(), "WEBP", lossless=True, exif=exif(6))):
        clean = read(data)
        assert alike(opened(clean.data), scene().rotate(-90, expand=True))
        assert clean.content_type == "image/png"


def test_a_turned_webp_is_a_jpeg_or_where_parts_are_transparent_a_png() -> None:
    glass = scene(mode="RGBA")
    glass.putalpha(128)
    for image, kind in ((scene(), "image/jpeg"), (glass, "image/png")):
        clean = read(encoded(image, "WEBP", quality=95, exif=exif(6), icc_profile=PROFILE))
        assert clean.content_type == kind
        assert opened(clean.data).info["icc_profile"] == PROFILE
        assert opened(clean.data).mode == image.mode


@pytest.mark.parametrize("nonsense", [0, 9, 4711])
def test_an_orientation_that_is_none_turns_nothing(nonsense: int) -> None:
    assert (read(full_of_metadata("JPEG", nonsense)).width, read(full_of_metadata("PNG", nonsense)).width) == (64, 64)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_broken_metadata_are_no_reason_to_refuse_a_picture() -> None:
    data = encoded(scene(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff broken")
    assert opened(read(data).data).tobytes() == opened(data).tobytes()


def test_turning_keeps_the_colour_chunks_of_a_png() -> None:
    data = encoded(scene(), "PNG", exif=exif(8))
    gamma = b"gAMA" + struct.pack(">I", 45455)
    chunk = struct.pack(">I", 4) + gamma + struct.pack(">I", zlib.crc32(gamma))
    clean = read(data[:33] + chunk + data[33:]).data
    assert chunk in clean
    assert opened(clean).size == (48, 64)


def test_a_palette_keeps_its_colours_and_its_transparency() -> None:
    image = scene().quantize(8)
    for data in (encoded(image, "PNG", transparency=0), encoded(image, "PNG", transparency=0, exif=exif(6))):
        clean = opened(read(data).data)
        assert (clean.mode, clean.info["transparency"]) == ("P", 0)


def test_sixteen_bits_of_grey_stay_sixteen() -> None:
    image = Image.new("I;16", (64, 48), 4660)
    assert opened(read(encoded(image, "PNG", exif=exif(6))).data).getpixel((1, 1)) == 4660
    assert read(encoded(image, "PNG")).data == encoded(image, "PNG")


# -- kinds within kinds ------------------------------------------------------------------------------------------------


def test_of_an_animated_png_the_still_picture_is_left() -> None:
    still, moved = scene(), Image.new("RGB", (64, 48), "black")
    data = encoded(still, "PNG", save_all=True, append_images=[moved], duration=100)
    assert b"acTL" in data
    clean = read(data).data
    assert not any(name in clean for name in (b"acTL", b"fcTL", b"fdAT"))
    assert alike(opened(clean), still)


@pytest.mark.parametrize("lossless", [True, False])
def test_of_an_animated_webp_the_first_picture_is_left(lossless: bool) -> None:
    moved = Image.new("RGB", (64, 48), "black")
    data = encoded(scene(), "WEBP", save_all=True, append_images=[moved], duration=100, lossless=lossless)
    clean = read(data).data
    assert b"ANMF" not in clean
    assert alike(opened(clean), opened(data)) if lossless else same_scene(opened(clean), opened(data))


def test_of_a_camera_s_double_picture_the_first_one_is_left_as_a_plain_jpeg() -> None:
    data = encoded(scene(), "MPO", save_all=True, append_images=[scene().rotate(180)])
    assert opened(data).format == "MPO"
    clean = read(data)
    assert (clean.content_type, opened(clean.data).format) == ("image/jpeg", "JPEG")
    assert len(clean.data) < len(data) * 2 // 3
    assert opened(clean.data).tobytes() == opened(data).tobytes()


def test_a_picture_for_print_is_shown_in_the_colours_of_screens() -> None:
    data = encoded(scene(mode="CMYK"), "JPEG", quality=95)
    clean = opened(read(data).data)
    assert (clean.format, clean.mode) == ("JPEG", "RGB")
    assert same_scene(clean, opened(data))


def test_a_profile_that_does_not_fit_a_picture_for_print_is_left_out() -> None:
    assert features.check("littlecms2")
    data = encoded(scene(mode="CMYK"), "JPEG", quality=95, icc_profile=PROFILE)
    clean = opened(read(data).data)
    assert clean.mode == "RGB"
    assert "icc_profile" not in clean.info


# -- size --------------------------------------------------------------------------------------------------------------


def noise(kind: str, **options: object) -> bytes:
    return encoded(Image.effect_noise((400, 300), 90).convert("RGB"), kind, **options)


def test_a_jpeg_that_grows_by_turning_is_drawn_a_little_coarser_to_fit() -> None:
    data = noise("JPEG", quality=95, exif=exif(6))
    image = opened(data)
    fine = redrawn(image, "JPEG", data, largest=LARGEST_BYTES)
    assert fine is not None
    coarse = redrawn(opened(data), "JPEG", data, largest=len(fine.data) - 1)
    assert coarse is not None
    assert len(coarse.data) < len(fine.data)


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_that_cannot_be_turned_within_the_limit_is_refused_with_the_reason(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = noise(kind, exif=exif(6))
    monkeypatch.setattr("gateway.pictures.reader.LARGEST_BYTES", len(data))
    monkeypatch.setattr("gateway.pictures.reader.redrawn", lambda *args, largest: redrawn(*args, largest=1000))
    with pytest.raises(InvalidField) as caught:
        read(data)
    assert (caught.value.code, caught.value.param) == ("image_too_large", "input_reference")
    assert "Upright" in caught.value.message
