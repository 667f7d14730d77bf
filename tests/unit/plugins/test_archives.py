"""Archives that are whole, and in which ways they are not; made with Python's own."""

import bz2
import gzip
import io
import lzma
import shutil
import struct
import subprocess
import tarfile
import zipfile

import pytest

from lib.plugins import archives
from lib.plugins.archives import Damaged, Source
from lib.plugins.base import CheckUnknown

TEXT = b"".join(b"line %d of a dump\n" % number for number in range(20_000))
PACKED = {"gzip": gzip.compress, "xz": lzma.compress, "bzip2": bz2.compress}


def tar(count=3, end=True):
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for number in range(count):
            member = tarfile.TarInfo(f"{'long' * 40}{number}.txt")
            member.size = 3000 + number
            archive.addfile(member, io.BytesIO(b"x" * member.size))
        whole = archive.offset
    return made.getvalue() if end else made.getvalue()[:whole]


def zipped(names=("a", "b")):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, TEXT)
    return made.getvalue()


def by(program, data):
    if not shutil.which(program):
        pytest.skip(f"there is no {program}")
    words = [program, "-c", *(["-9"] if program == "lz4" else ["--check"])]
    return subprocess.run(words, input=data, capture_output=True, check=True).stdout


def found(tmp_path, data, wanted="auto", ats=None):
    path = tmp_path / "file"
    path.write_bytes(data)
    with path.open("rb", buffering=0) as file:
        source = Source(file, lambda it: ats.append(it.at) if ats is not None else None)
        try:
            return archives.check(source, wanted)
        except Damaged as error:
            return f"damaged: {error}"
        except CheckUnknown as error:
            return f"unknown: {error}"


@pytest.mark.parametrize("name", PACKED)
def test_what_is_whole_is_told_from_what_is_not(tmp_path, name):
    data = PACKED[name](TEXT)
    assert found(tmp_path, data) == name
    assert found(tmp_path, data, name) == name
    assert found(tmp_path, data + data) == name
    assert "cut" in found(tmp_path, data[:-1])
    assert "cut" in found(tmp_path, data[: len(data) // 2])
    assert "cut" in found(tmp_path, data + data[:-5])
    assert "holds nothing" in found(tmp_path, PACKED[name](b""))
    middle = len(data) // 2
    changed = data[:middle] + bytes([data[middle] ^ 255]) + data[middle + 1 :]
    assert found(tmp_path, changed).startswith("damaged: it is ")


@pytest.mark.parametrize("name", PACKED)
def test_zeros_may_follow_and_nothing_else(tmp_path, name):
    data = PACKED[name](TEXT)
    assert found(tmp_path, data + bytes(10_240)) == name
    assert found(tmp_path, data + bytes(1_000_001)) == name
    assert f"10 bytes that are no {name}" in found(tmp_path, data + b"0123456789")
    assert f"1 bytes that are no {name}" in found(tmp_path, data + b"0")
    assert found(tmp_path, data + bytes(512) + b"tail") != name


@pytest.mark.parametrize("program", ["zstd", "lz4"])
def test_formats_of_other_programs_are_read_by_these(tmp_path, program):
    data = by(program, TEXT)
    assert found(tmp_path, data) == program
    assert found(tmp_path, data + data) == program
    # Both programs say 1 of that.
    assert found(tmp_path, data + bytes(10_240)) == program
    assert "cut" in found(tmp_path, data[:-1])
    assert "cut" in found(tmp_path, data + data[: len(data) // 2])
    assert "4 bytes that are no" in found(tmp_path, data + b"tail")
    # lz4 says 0 of a file of 0 bytes, and of one that holds nothing.
    assert "holds nothing" in found(tmp_path, by(program, b""))
    middle = len(data) // 2
    changed = data[:middle] + bytes([data[middle] ^ 255]) + data[middle + 1 :]
    assert found(tmp_path, changed).startswith("damaged: it is ")


def test_a_skippable_frame_is_no_damage(tmp_path):
    skipped = struct.pack("<II", 0x184D2A50, 5) + b"notes"
    for program in ("zstd", "lz4"):
        assert found(tmp_path, skipped + by(program, TEXT)) == program
        assert found(tmp_path, by(program, TEXT) + skipped) == program


def test_without_the_program_it_is_unknown(tmp_path, monkeypatch):
    data = by("zstd", TEXT)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "install the package zstd" in found(tmp_path, data)
    # Its frames tell that much.
    assert "cut" in found(tmp_path, data[:-1])


def test_an_empty_file_is_never_whole(tmp_path):
    for wanted in ("auto", *archives.FORMATS):
        assert found(tmp_path, b"", wanted) == "damaged: it is empty (0 bytes)"


def test_a_tar_archive_must_end_as_archives_end(tmp_path):
    whole, cut = tar(), tar(end=False)
    assert found(tmp_path, whole) == "tar"
    # tar and tarfile say nothing of that.
    assert "behind its member 3: the two empty blocks" in found(tmp_path, cut)
    assert "cut" in found(tmp_path, cut + bytes(512))
    assert found(tmp_path, cut + bytes(1024)) == "tar"
    assert "within its member 3" in found(tmp_path, cut[:-1000])
    assert "something follows" in found(tmp_path, whole + whole)
    assert "holds no file" in found(tmp_path, tar(0), "tar")
    middle = whole.index(b"ustar")
    changed = whole[:middle] + b"\xff" + whole[middle + 1 :]
    assert found(tmp_path, changed, "tar") != "tar"
    second = whole.rindex(b"ustar")
    changed = whole[:second] + b"\xff" + whole[second + 1 :]
    assert "bad checksum" in found(tmp_path, changed, "tar")


def test_a_tar_archive_of_a_header_alone_holds_no_file(tmp_path):
    made = io.BytesIO()
    # As of an empty commit of git.
    headers = {"comment": "5ec4019"}
    tarfile.open(
        fileobj=made, mode="w", format=tarfile.PAX_FORMAT, pax_headers=headers
    ).close()
    assert made.getvalue()[156:157] == b"g"
    assert found(tmp_path, made.getvalue()) == "damaged: the tar archive holds no file"


def test_a_tar_archive_within_a_good_file_is_checked(tmp_path):
    assert found(tmp_path, gzip.compress(tar())) == "tar in gzip"
    assert "empty blocks" in found(tmp_path, gzip.compress(tar(end=False)))
    assert found(tmp_path, lzma.compress(tar()), "tar") == "tar in xz"
    assert "no tar archive" in found(tmp_path, gzip.compress(TEXT), "tar")
    assert "holds no file" in found(tmp_path, gzip.compress(tar(0)), "tar")


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_sizes_in_extended_headers_count(tmp_path, form):
    member = tarfile.TarInfo("big" * 60)
    member.size = 9 * 1024**3
    header = member.tobuf(form)
    stream = archives.Tar()
    stream.feed(header)
    assert stream._skip == 9 * 1024**3 and stream.members == 1


@pytest.mark.parametrize("size", [1, 100, 511, 512, 1000, 100_000])
def test_a_tar_archive_is_read_in_pieces_of_any_size(size):
    data, stream = tar(), archives.Tar()
    for at in range(0, len(data), size):
        stream.feed(data[at : at + size])
    stream.end()
    assert stream.members == 3


def test_a_zip_archive_is_read_to_its_end(tmp_path):
    data = zipped()
    assert found(tmp_path, data) == found(tmp_path, data, "zip") == "zip"
    assert "damaged or cut" in found(tmp_path, data[:-30])
    assert "holds no file" in found(tmp_path, zipped(()))
    changed = bytearray(data)
    changed[100] ^= 255
    assert "damaged or cut" in found(tmp_path, bytes(changed))
    # A program that unpacks itself has its archive behind it.
    assert found(tmp_path, b"#!/bin/sh\n" + data, "zip") == "zip"


def test_nothing_but_zeros_follows_an_archive(tmp_path):
    for data, words in ((zipped(), "bytes that are no zip follow"), (tar(), "follows")):
        for zeros in (b"", bytes(512), bytes(10_240)):
            assert not found(tmp_path, data + zeros).startswith("damaged")
            assert words in found(tmp_path, data + zeros + b"something tar")
    # unzip reads the second only.
    assert "another one is before" in found(tmp_path, zipped() + zipped())
    assert found(tmp_path, b"#!/bin/sh\n" + zipped(), "zip") == "zip"
    commented = io.BytesIO(zipped())
    with zipfile.ZipFile(commented, "a") as archive:
        archive.comment = b"made by us PK"
    assert found(tmp_path, commented.getvalue()) == "zip"


def test_how_far_frames_are_looked_at_is_told(tmp_path):
    ats = []
    found(tmp_path, by("zstd", TEXT) * 3, ats=ats)
    assert len(set(ats)) > 3


def test_another_format_is_named(tmp_path):
    assert found(tmp_path, gzip.compress(TEXT), "xz") == "damaged: it is gzip, not xz"
    assert "does not begin as gzip does" in found(tmp_path, TEXT, "gzip")
    assert "any of gzip, xz" in found(tmp_path, TEXT)


@pytest.mark.long
def test_what_unpacks_to_much_is_not_held_in_memory(tmp_path):
    import tracemalloc

    packer = gzip.compress(bytes(100_000_000), 9)
    tracemalloc.start()
    assert found(tmp_path, packer + packer) == "gzip"
    assert tracemalloc.get_traced_memory()[1] < 12_000_000
    tracemalloc.stop()


def test_how_far_it_is_read_is_told(tmp_path):
    ats = []
    data = gzip.compress(TEXT, 0)
    found(tmp_path, data, ats=ats)
    assert ats == sorted(ats) and ats[-1] == len(data)
