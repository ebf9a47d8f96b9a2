"""Cutting a source into bodies and parts."""

from __future__ import annotations

import hashlib

import pytest

from gateway.bucket.port import BucketError
from gateway.bucket.source import Body, Held, Source
from gateway.bucket.upload import MOST_PARTS, SMALLEST_PART, part_size

MIB = 1 << 20


def source_of(
    data: bytes, *, most: int = 3, clock: list[float] | None = None, alive: list[int] | None = None
) -> Source:
    at = 0
    ticks = clock if clock is not None else [0.0]

    def readinto(view: memoryview) -> int:
        nonlocal at
        piece = data[at : at + min(len(view), most)]
        view[: len(piece)] = piece
        at += len(piece)
        ticks[0] += 0.4
        return len(piece)

    calls = alive if alive is not None else []
    return Source(
        readinto=readinto, alive=lambda: calls.append(1), clock=lambda: ticks[0] if clock is not None else 0.0
    )


def body_of(source: Source, length: int, *, last: bool = True) -> Body:
    return Body(source, length=length, block=bytearray(4), last=last)


def read_all(body: Body | Held) -> bytes:
    whole = b""
    while block := bytes(body.read(65536)):
        whole += block
    return whole


@pytest.mark.parametrize(
    "length", [1, 65 * MIB, SMALLEST_PART * MOST_PARTS, SMALLEST_PART * MOST_PARTS + 1, 123_456_789_012, 5 << 40]
)
def test_parts_are_few_enough_and_of_whole_mebibytes(length: int) -> None:
    size = part_size(length)
    assert size >= SMALLEST_PART
    assert size % MIB == 0
    assert -(-length // size) <= MOST_PARTS


def test_bodies_share_a_source_and_its_hash() -> None:
    source = source_of(b"0123456789")
    first, second = body_of(source, 6, last=False), body_of(source, 4)
    assert (len(first), len(second)) == (6, 4)
    assert (read_all(first), read_all(second)) == (b"012345", b"6789")
    assert (source.size, source.sha256) == (10, hashlib.sha256(b"0123456789").hexdigest())


def test_a_body_fails_for_good_when_its_source_ends_early() -> None:
    body = body_of(source_of(b"0123"), 6)
    with pytest.raises(BucketError, match="ended after 4 bytes"):
        read_all(body)
    assert isinstance(body.failure, BucketError)
    with pytest.raises(BucketError, match="ended after 4 bytes"):
        body.read()


def test_the_last_block_is_held_back_when_the_source_has_more_than_it_named() -> None:
    body = body_of(source_of(b"01234567"), 6)
    assert bytes(body.read(65536)) == b"012"
    with pytest.raises(BucketError, match="more than the 6 bytes"):
        body.read(65536)


def test_a_body_reads_no_more_than_it_is_asked_for() -> None:
    body = body_of(source_of(b"0123456789", most=100), 10)
    assert bytes(body.read(2)) == b"01"
    assert bytes(body.read(65536)) == b"2345"


def test_held_bytes_are_a_body_too() -> None:
    held = Held(memoryview(b"0123456"))
    assert (len(held), bytes(held.read(3)), bytes(held.read()), bytes(held.read())) == (7, b"012", b"3456", b"")
    assert held.left == 0


def test_signs_of_life_come_about_once_a_second_when_the_source_is_slow() -> None:
    alive: list[int] = []
    source = source_of(b"x" * 30, clock=[0.0], alive=alive)
    source.fill(memoryview(bytearray(30)))
    assert len(alive) == 3


def test_signs_of_life_come_every_eight_mebibytes_when_the_source_is_fast() -> None:
    alive: list[int] = []
    source = source_of(b"x" * (25 * MIB), most=MIB, alive=alive)
    source.fill(memoryview(bytearray(25 * MIB)))
    assert len(alive) == 3
