"""The CRC-32 is that of zip files, whatever computes it."""

import sys
import types
import zlib

import pytest

from milepost.archive import checksum


def test_the_known_value_and_its_continuation():
    # The check value of CRC-32/ISO-HDLC in https://reveng.sourceforge.io/crc-catalogue/17plus.htm
    assert checksum.crc32(b"123456789", 0) == 0xCBF43926
    assert checksum.crc32(memoryview(b"6789"), checksum.crc32(b"12345", 0)) == 0xCBF43926


def test_zlib_computes_it_where_isal_is_absent(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "isal", None)
    assert checksum._fastest() is zlib.crc32


def test_isal_computes_it_where_it_is_installed(monkeypatch: pytest.MonkeyPatch):
    module = types.ModuleType("isal")
    module.isal_zlib = types.SimpleNamespace(crc32=zlib.adler32)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "isal", module)
    assert checksum._fastest() is zlib.adler32
