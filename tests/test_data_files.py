"""The readers of files: right values, and for whatever is malformed an error, never other data."""

from __future__ import annotations

import gzip
import io
import math
import re
import struct
import tarfile
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from xpnn.data import _cifar, _numpy_files, read_csv, read_idx
from xpnn.errors import ConfigurationError, DataError

#: Code of a dtype in an IDX file -> its big-endian dtype.
IDX_DTYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}

FILES = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def idx_bytes(array, code):
    header = bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(IDX_DTYPES[code]).tobytes()


def mutations(content, changes=(0x01, 0x80, 0xFF)):
    """Yield a file with each byte changed in turn, in each of some ways."""
    for i in range(len(content)):
        for change in changes:
            damaged = bytearray(content)
            damaged[i] ^= change
            yield bytes(damaged)


class TestIdx:
    @pytest.mark.parametrize("code", sorted(IDX_DTYPES))
    @pytest.mark.parametrize("zipped", [False, True])
    @pytest.mark.parametrize("shape", [(5,), (2, 3), (2, 3, 4), (3, 1, 2, 1), (0, 4)])
    def test_every_dtype(self, tmp_path, code, zipped, shape):
        values = (np.arange(math.prod(shape)) * 5 - 3).reshape(shape).astype(IDX_DTYPES[code])
        content = idx_bytes(values, code)
        path = tmp_path / "file"
        path.write_bytes(gzip.compress(content) if zipped else content)
        array = read_idx(path)
        assert array.dtype == values.dtype.newbyteorder("=")
        assert array.dtype.isnative
        assert array.shape == shape
        assert (array == values).all()
        assert array.flags.writeable

    def test_known_bytes(self, tmp_path):
        path = tmp_path / "file"
        path.write_bytes(bytes.fromhex("00000b02 00000001 00000002 0102 fffe"))
        assert read_idx(path).tolist() == [[258, -2]]

    def test_shows_its_content(self, tmp_path):
        content = idx_bytes(np.arange(7), 8)
        (tmp_path / "file").write_bytes(gzip.compress(content))
        seen = []
        read_idx(tmp_path / "file", seen.append)
        assert b"".join(seen) == content

    @pytest.mark.parametrize("zipped", [False, True])
    def test_truncated_anywhere(self, tmp_path, zipped):
        content = idx_bytes(np.arange(24).reshape(2, 3, 4), 12)
        content = gzip.compress(content) if zipped else content
        path = tmp_path / "train-images"
        for length in range(len(content)):
            path.write_bytes(content[:length])
            with pytest.raises(DataError, match="train-images: "):
                read_idx(path)

    @pytest.mark.parametrize("extra", [b"\0", b"12345"])
    def test_trailing_bytes(self, tmp_path, extra):
        content = idx_bytes(np.arange(6), 8)
        path = tmp_path / "file"
        for damaged in (
            content + extra,
            gzip.compress(content + extra),
            gzip.compress(content) + gzip.compress(extra),
        ):
            path.write_bytes(damaged)
            with pytest.raises(DataError, match="further bytes"):
                read_idx(path)
        path.write_bytes(gzip.compress(content) + b"rubbish")
        with pytest.raises(DataError, match="damaged gzip file"):
            read_idx(path)

    @pytest.mark.parametrize("zipped", [False, True])
    def test_each_byte_damaged(self, tmp_path, zipped):
        values = np.arange(1, 13).reshape(3, 4)
        content = idx_bytes(values, 11)
        path = tmp_path / "file"
        for damaged in mutations(gzip.compress(content, mtime=0) if zipped else content):
            path.write_bytes(damaged)
            try:
                array = read_idx(path)
            except DataError as error:
                assert str(path) in str(error)  # noqa: PT017 - either outcome is right
                continue
            if zipped:  # what gzip's checksum does not cover does not matter
                assert (array == values).all()
            else:
                assert idx_bytes(array, damaged[2]) == damaged

    @pytest.mark.parametrize(
        ("start", "message"),
        [
            ("", "not an IDX file: begins with bytes []"),
            ("50 4b 03 04 00", "begins with bytes [50 4b 03 04]"),
            ("00 00 0a 01 00000000", "not an IDX file"),
            ("00 01 08 01 00000000", "not an IDX file"),
            ("00 00 08 00", "0 axes; expected 1 to 64"),
            ("00 00 08 41" + "00000001" * 65 + "07", "65 axes"),
            ("00 00 08 02 00000001", "truncated within its header of 12 bytes"),
            ("00 00 08 03" + "ffffffff" * 3, "takes 79228162458924105385300197375 bytes"),
            ("00 00 0e 02 80000000 80000000", "takes 36893488147419103232 bytes"),
            ("00 00 08 03 00000000 ffffffff ffffffff", "impossible shape"),
        ],
    )
    def test_headers(self, tmp_path, start, message):
        path = tmp_path / "file"
        for content in (bytes.fromhex(start), gzip.compress(bytes.fromhex(start))):
            if not content and not start:
                continue
            path.write_bytes(content)
            with pytest.raises(DataError, match=re.escape(message)):
                read_idx(path)

    def test_a_zipped_file_that_lies_about_its_length_costs_no_memory(self, tmp_path):
        """Three megabytes of zeros, 3 kB zipped, that claim to be three gigabytes."""
        import tracemalloc

        claim = bytes([0, 0, 8, 1]) + struct.pack(">I", 3_000_000_000)
        path = tmp_path / "file"
        path.write_bytes(gzip.compress(claim + bytes(3_000_000)))
        tracemalloc.start()
        with pytest.raises(DataError, match="cannot hold more than"):
            read_idx(path)
        claim = bytes([0, 0, 8, 1]) + struct.pack(">I", 3_010_000)
        path.write_bytes(gzip.compress(claim + bytes(3_000_000)))
        with pytest.raises(DataError, match="truncated: 3000000 bytes"):
            read_idx(path)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
        tracemalloc.stop()

    def test_no_file(self, tmp_path):
        for path in (tmp_path / "nowhere", tmp_path):
            with pytest.raises(DataError, match=re.escape(str(path))):
                read_idx(path)

    @FILES
    @given(content=st.binary(max_size=60).map(lambda rest: b"\0\0" + rest))
    def test_any_bytes(self, tmp_path, content):
        path = tmp_path / "file"
        path.write_bytes(content)
        try:
            array = read_idx(path)
        except DataError:
            return
        assert idx_bytes(array, content[2]) == content


class TestCifar10:
    @pytest.fixture(autouse=True)
    def ten_records_a_file(self, monkeypatch):
        monkeypatch.setattr(_cifar, "RECORDS_PER_FILE", 10)

    @pytest.fixture
    def contents(self):
        """Six files; image r of file f has the planes f, r and 255."""
        files = {}
        for f, name in enumerate(_cifar.FILES):
            records = [
                bytes([(r + f) % 10]) + bytes([f]) * 1024 + bytes([r]) * 1024 + b"\xff" * 1024
                for r in range(10)
            ]
            files[name] = b"".join(records)
        return files

    @staticmethod
    def write_folder(folder, contents):
        folder.mkdir(exist_ok=True)
        for name, content in contents.items():
            (folder / name).write_bytes(content)
        return folder

    @staticmethod
    def archive(contents, prefix="cifar-10-batches-bin/", extra=()):
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w") as archive:
            for name, content in [*contents.items(), *extra]:
                info = tarfile.TarInfo(prefix + name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        return stream.getvalue()

    @staticmethod
    def check(parts):
        (x_train, y_train), (x_test, y_test) = parts
        assert x_train.shape == (50, 3, 32, 32)
        assert x_test.shape == (10, 3, 32, 32)
        assert x_train.dtype == x_test.dtype == np.uint8
        assert y_train.dtype == y_test.dtype == np.int64
        f, r = np.divmod(np.arange(50), 10)
        assert (y_train == (r + f) % 10).all()
        assert (y_test == (np.arange(10) + 5) % 10).all()
        assert (x_train[:, 0] == f[:, None, None]).all()
        assert (x_train[:, 1] == r[:, None, None]).all()
        assert (x_train[:, 2] == 255).all()
        assert (x_test[:, 0] == 5).all()

    def test_folder(self, tmp_path, contents):
        self.check(_cifar.read_cifar10(self.write_folder(tmp_path, contents)))

    @pytest.mark.parametrize("zipped", [False, True])
    def test_archive(self, tmp_path, contents, zipped):
        path = tmp_path / "archive"
        extra = [("batches.meta.txt", b"airplane\n"), ("readme.html", b"")]
        content = self.archive(contents, extra=extra)
        path.write_bytes(gzip.compress(content) if zipped else content)
        self.check(_cifar.read_cifar10(path))
        assert [file.name for file in tmp_path.iterdir()] == ["archive"]

    def test_archive_that_would_escape(self, tmp_path, contents):
        """Names that lead elsewhere are only names; links and devices are not looked at."""
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w") as archive:
            for name in _cifar.FILES:
                link = tarfile.TarInfo(name)
                link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
                archive.addfile(link)
        path = tmp_path / "archive.tar"
        path.write_bytes(stream.getvalue())
        with pytest.raises(DataError, match=r"lacks data_batch_1\.bin, "):
            _cifar.read_cifar10(path)
        path.write_bytes(self.archive(contents, prefix="../../"))
        self.check(_cifar.read_cifar10(path))
        assert [file.name for file in tmp_path.iterdir()] == ["archive.tar"]

    def test_refuses(self, tmp_path, contents):
        name = "data_batch_3.bin"
        record = _cifar.RECORD_BYTES
        good = contents[name]
        cases = [
            (good[:-1], "30729 bytes; expected 30730"),
            (good + b"\0", "30731 bytes; expected 30730"),
            (b"", "0 bytes; expected 30730"),
            (good[: 4 * record] + b"\x0a" + good[4 * record + 1 :], "record 4 has the label 10"),
            (good[: 4 * record] + b"\x01" + good[4 * record + 1 :], "occur [5, 6, 5, 5, 5, 5, 4"),
        ]
        for content, message in cases:
            damaged = contents | {name: content}
            (tmp_path / "archive").write_bytes(gzip.compress(self.archive(damaged)))
            for path in (self.write_folder(tmp_path / "folder", damaged), tmp_path / "archive"):
                with pytest.raises(DataError, match=re.escape(message)) as caught:
                    _cifar.read_cifar10(path)
                assert str(path) in str(caught.value)

    def test_missing_twice_or_swapped(self, tmp_path, contents):
        path = tmp_path / "archive"
        few = {name: contents[name] for name in _cifar.FILES[1:]}
        path.write_bytes(self.archive(few))
        with pytest.raises(DataError, match=re.escape("lacks data_batch_1.bin of")):
            _cifar.read_cifar10(path)
        path.write_bytes(self.archive(contents, extra=[("test_batch.bin", b"")]))
        with pytest.raises(DataError, match=r"has test_batch\.bin twice"):
            _cifar.read_cifar10(path)
        with pytest.raises(DataError, match="No such file"):
            _cifar.read_cifar10(tmp_path / "nowhere")

    def test_truncated_anywhere(self, tmp_path, contents):
        content = gzip.compress(self.archive(contents))
        path = tmp_path / "archive"
        for length in range(len(content)):
            path.write_bytes(content[:length])
            with pytest.raises(DataError):
                _cifar.read_cifar10(path)

    def test_damaged_anywhere(self, tmp_path, contents):
        content = gzip.compress(self.archive(contents), mtime=0)
        path = tmp_path / "archive"
        for i in range(0, len(content)):
            damaged = bytearray(content)
            damaged[i] ^= 0x10
            path.write_bytes(damaged)
            try:
                parts = _cifar.read_cifar10(path)
            except DataError:
                continue
            self.check(parts)

    def test_damaged_header_of_a_plain_archive(self, tmp_path, contents):
        content = self.archive(contents)
        path = tmp_path / "archive"
        for i in range(512):
            damaged = bytearray(content)
            damaged[i] ^= 0x11
            path.write_bytes(damaged)
            try:
                parts = _cifar.read_cifar10(path)
            except DataError:
                continue
            self.check(parts)  # the padding of the checksum itself


class TestNumpyFiles:
    ARRAYS = (
        np.arange(6.0).reshape(2, 3),
        np.asfortranarray(np.arange(24, dtype=">i4").reshape(2, 3, 4)),
        np.array(["rose", "lily"]),
        np.array(5),
        np.zeros((0, 3), dtype=np.uint8),
    )

    @pytest.mark.parametrize("array", ARRAYS, ids=lambda a: f"{a.dtype}{a.shape}")
    def test_npy(self, tmp_path, array):
        path = tmp_path / "x.npy"
        np.save(path, array)
        read = _numpy_files.read_npy(path)
        assert read.dtype == array.dtype.newbyteorder("=")
        assert read.shape == array.shape
        assert (read == array).all()
        assert read.flags.c_contiguous

    @pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
    def test_versions(self, tmp_path, version):
        with open(tmp_path / "x.npy", "wb") as file:
            np.lib.format.write_array(file, np.arange(3), version=version)
        assert _numpy_files.read_npy(tmp_path / "x.npy").tolist() == [0, 1, 2]

    def test_never_a_pickle(self, tmp_path):
        class Trap:
            def __reduce__(self):
                return (pytest.fail, ("a pickle was read",))

        np.save(tmp_path / "x.npy", np.array([Trap()]), allow_pickle=True)
        with pytest.raises(DataError, match="holds Python objects"):
            _numpy_files.read_npy(tmp_path / "x.npy")
        np.savez(tmp_path / "a.npz", x=np.array([Trap()]), y=np.arange(1), allow_pickle=True)
        with pytest.raises(DataError, match=re.escape("a.npz: x: holds Python objects")):
            _numpy_files.read_npz(tmp_path / "a.npz")

    def test_npy_truncated_extended_damaged(self, tmp_path):
        path = tmp_path / "x.npy"
        np.save(path, np.arange(12, dtype=np.int16).reshape(3, 4))
        content = path.read_bytes()
        for length in range(len(content)):
            path.write_bytes(content[:length])
            with pytest.raises(DataError, match=re.escape(f"{path}: ")):
                _numpy_files.read_npy(path)
        path.write_bytes(content + b"\0")
        with pytest.raises(DataError, match="it has 25"):
            _numpy_files.read_npy(path)
        for damaged in mutations(content):
            path.write_bytes(damaged)
            try:
                read = _numpy_files.read_npy(path)
            except DataError:
                continue
            expected = np.load(path, allow_pickle=False)
            assert read.shape == expected.shape
            assert read.dtype == expected.dtype.newbyteorder("=")
            assert read.tobytes() == expected.astype(read.dtype).tobytes()

    def test_absurd_sizes(self, tmp_path):
        path = tmp_path / "x.npy"
        for shape in ("(10000000000000,)", "(99999999999, 99999999999)", "(-1,)", "(2.5,)"):
            header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}"
            header = header.ljust(117) + "\n"
            path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", 118) + header.encode())
            with pytest.raises(DataError, match=re.escape(f"{path}: ")):
                _numpy_files.read_npy(path)

    @pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
    def test_npz(self, tmp_path, save):
        path = tmp_path / "a.npz"
        save(path, x=np.eye(3), y=np.arange(3), other=np.arange(9))
        arrays = _numpy_files.read_npz(path)
        assert sorted(arrays) == ["x", "y"]
        assert (arrays["x"] == np.eye(3)).all()
        assert (arrays["y"] == np.arange(3)).all()

    @pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
    def test_npz_truncated_or_damaged(self, tmp_path, save):
        path = tmp_path / "a.npz"
        x, y = np.arange(6, dtype=np.int16).reshape(3, 2), np.arange(3, dtype=np.uint8)
        save(path, x=x, y=y)
        content = path.read_bytes()
        for length in range(len(content)):
            path.write_bytes(content[:length])
            with pytest.raises(DataError, match=re.escape(str(path))):
                _numpy_files.read_npz(path)
        for damaged in mutations(content, changes=[0x41]):
            path.write_bytes(damaged)
            try:
                arrays = _numpy_files.read_npz(path)
            except DataError:
                continue
            assert (arrays["x"] == x).all()
            assert (arrays["y"] == y).all()

    def test_npz_refusals(self, tmp_path):
        path = tmp_path / "a.npz"
        with pytest.raises(DataError, match="No such file"):
            _numpy_files.read_npz(path)
        np.savez(path, a=np.eye(3), x=np.eye(3))
        with pytest.raises(DataError, match=re.escape("x_test, y_test; found a, x")):
            _numpy_files.read_npz(path)
        np.savez(path, **dict.fromkeys(["x", "y", *_numpy_files.PARTS], np.eye(3)))
        with pytest.raises(DataError, match="which is meant"):
            _numpy_files.read_npz(path)
        np.savez(path, x=np.eye(3), y=np.eye(3))
        with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("x.npy", b"")
        with pytest.raises(DataError, match="two members of the same name"):
            _numpy_files.read_npz(path)


def naive_csv(text, target, header):
    """Read the simplest tables in the simplest way."""
    rows = [line.split(",") for line in re.split(r"\r\n|\r|\n", text) if line.strip()]
    rows = rows[1:] if header else rows
    y = [row.pop(target).strip() for row in rows]
    return [[float(cell) for cell in row] for row in rows], y


class TestCsv:
    @staticmethod
    def write(tmp_path, text, encoding="utf-8"):
        path = tmp_path / "table.csv"
        path.write_bytes(text.encode(encoding))
        return path

    FLOWERS = "length,width,kind\n1.5,2,rose\n3,-4e1,lily\n.5,6.,rose\n"

    @pytest.mark.parametrize("target", ["kind", 2, -1, "2", "-1", " kind "])
    def test_values(self, tmp_path, target):
        x, y, names = read_csv(self.write(tmp_path, self.FLOWERS), target)
        assert x.tolist() == [[1.5, 2.0], [3.0, -40.0], [0.5, 6.0]]
        assert x.dtype == np.float64
        assert y.tolist() == ["rose", "lily", "rose"]
        assert names == ("length", "width")

    def test_target_in_the_middle(self, tmp_path):
        x, y, names = read_csv(self.write(tmp_path, "a,b,c\n1,2,3\n4,5,6\n"), "b")
        assert (x.tolist(), y.tolist(), names) == ([[1.0, 3.0], [4.0, 6.0]], [2, 5], ("a", "c"))

    @pytest.mark.parametrize(
        "text",
        [
            "﻿a,b\n1,2\n3,4\n",  # a byte-order mark
            "a,b\r\n1,2\r\n3,4\r\n",
            "a,b\r1,2\r3,4",
            "\n\na,b\n\n1,2\n   \n3,4\n\n",
            "a;b\n1;2\n3;4\n",
            "a\tb\n1\t2\n3\t4\n",
            '"a","b"\n"1","2"\n"3","4"\n',
            "a, b\n 1, 2\n3 ,4 \n",
            '"a",b\n1,2\n3,4',
        ],
    )
    def test_dialects(self, tmp_path, text):
        x, y, names = read_csv(self.write(tmp_path, text), "b")
        assert (x.tolist(), y.tolist(), names) == ([[1.0], [3.0]], [2, 4], ("a",))

    def test_kinds_of_targets(self, tmp_path):
        for cells, dtype in (
            (["1", "-2", "+3"], "int64"),
            (["1", "2.0", "3"], "float64"),
            (["1e3", "2", "3"], "float64"),
            (["1" * 19, "2", "3"], "float64"),
            (["a", "b", "a b"], "<U3"),
        ):
            path = self.write(tmp_path, "\n".join(f"0.5,{cell}" for cell in cells))
            _, y, _ = read_csv(path, 1)
            assert y.dtype == dtype, cells
            assert y.tolist() == (cells if dtype[1] == "U" else [float(cell) for cell in cells])

    def test_without_a_header(self, tmp_path):
        x, y, names = read_csv(self.write(tmp_path, "5.1,3.5,setosa\n4.9,3,versicolor\n"), -1)
        assert x.tolist() == [[5.1, 3.5], [4.9, 3.0]]
        assert (y.tolist(), names) == (["setosa", "versicolor"], None)

    def test_header_of_numbers(self, tmp_path):
        """As pandas writes columns without names: refused unless the user says what it is."""
        for text in ("0,1,2\n5,6,7\n8,9,9\n", "0,1,label\n5,6,a\n8,9,b\n"):
            path = self.write(tmp_path, text)
            with pytest.raises(DataError, match="Say header=True or header=False"):
                read_csv(path, 2)
            x, _, names = read_csv(path, 2, header=True)
            assert (x.tolist(), names) == ([[5.0, 6.0], [8.0, 9.0]], ("0", "1"))
            x, y, names = read_csv(path, 2, header=False, task="classification")
            assert (x[0].tolist(), len(y), names) == ([0.0, 1.0], 3, None)
        assert read_csv(path, "label")[2] == ("0", "1")

    def test_a_typing_error_in_the_first_row_does_not_make_it_a_header(self, tmp_path):
        with pytest.raises(DataError, match="Say header=True or header=False"):
            read_csv(self.write(tmp_path, "1.5,x2,rose\n3,4,lily\n"), 2)
        with pytest.raises(DataError, match="line 1: column 1 has 'x2', not a number"):
            read_csv(self.write(tmp_path, "1.5,x2,rose\n3,4,lily\n"), 2, header=False)

    def test_a_target_of_digits_is_an_index_unless_it_is_a_name(self, tmp_path):
        _, y, names = read_csv(self.write(tmp_path, "5,2,9\n6,7,8\n"), "2")
        assert (y.tolist(), names) == ([9, 8], None)
        path = self.write(tmp_path, "2,1,0\n6,7,8\n")
        assert read_csv(path, "2", header=True)[1].tolist() == [6]
        assert read_csv(path, "2", header=False)[1].tolist() == [0, 8]

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "empty"),
            ("\n\n", "empty"),
            ("a,b\n", "a header and no rows"),
            ("b\n1\n", "one column"),
            ("a,b\n1,2\n3\n", "line 3: 1 cells; expected 2"),
            ("a,b\n1,2\n3,4,5\n", "line 3: 3 cells; expected 2"),
            ("a,b\n1,2\n\n\nx,4\n", "line 5: column 0 (a) has 'x', not a number"),
            ("a,b\n1,2\n,4\n", "line 3: column 0 (a) is empty"),
            ("a,b\n1,2\nnan,4\n", "line 3: column 0 (a) has 'nan', not a number"),
            ("a,b\n1,2\n-inf,4\n", "line 3: column 0 (a) has '-inf'"),
            ("a,b\n1,2\n1e999,4\n", "line 3: column 0 (a) has '1e999'"),
            ("a,b\n1,2\n1_0,4\n", "line 3: column 0 (a) has '1_0'"),
            ("a,b\n1,2\n0x1,4\n", "line 3: column 0 (a) has '0x1'"),
            ("a;b\n1,5;2\n", "line 2: column 0 (a) has '1,5'"),
            ("a,b\n1,2\n1,\n", "line 3: the target, column 1 (b), is empty"),
            ("a,b\n1,2.5\n1,nan\n", "line 3: the target, column 1 (b), is nan"),
            ("a,b\n1,2.5\n1,1e999\n", "line 3: the target, column 1 (b), is 1e999"),
            ("a,b\n1,2.5\n1,NA\n3,4\n", "line 3: the target, column 1 (b), has 'NA' among num"),
            ("a,b\n1,x\n1,y\n3,4\n", "line 4: the target, column 1 (b), has '4' among text"),
            ("a,b\n1,x\0\n1,y\n", "line 2: the target, column 1 (b), has a NUL"),
            ("a,b,b\n1,2,3\n", "two columns are named 'b'"),
            (",a,b\n0,1,2\n1,3,4\n", "column 0 has no name. If it is an index that pandas"),
            ('a,b\n1,"2\n3,4\n', "malformed: "),
            ('a,b\n1,"2"3\n', "line 2: malformed: "),
            ('a,b\n1,"' + "2" * 200_000 + '"\n', "line 2: malformed: field larger"),
        ],
    )
    def test_refuses(self, tmp_path, text, message):
        path = self.write(tmp_path, text)
        with pytest.raises(DataError, match=re.escape(message)) as caught:
            read_csv(path, "b")
        assert str(caught.value).startswith(f"{path}: ")

    def test_column_of_the_file_not_of_the_features(self, tmp_path):
        path = self.write(tmp_path, "a,b,c\n1,2,3\n1,2,x\n")
        with pytest.raises(DataError, match=re.escape("column 2 (c) has 'x'")):
            read_csv(path, "b")

    def test_a_mistake_after_many_rows(self, tmp_path):
        path = self.write(tmp_path, "a,b\n" + "1,2\n" * 10_000 + "1e,3\n")
        with pytest.raises(DataError, match="line 10002: "):
            read_csv(path, "b")
        path = self.write(tmp_path, "a,b\n" + "".join(f"{i},{-i}\n" for i in range(10_000)))
        x, y, _ = read_csv(path, "b")
        assert (x[:, 0] == np.arange(10_000)).all()
        assert (y == -np.arange(10_000)).all()

    def test_numbers_and_text_as_classes_if_the_user_says_so(self, tmp_path):
        path = self.write(tmp_path, "a,b\n1,2\n1,NA\n3,4\n")
        assert read_csv(path, "b", task="classification")[1].tolist() == ["2", "NA", "4"]

    def test_targets_that_are_not_there(self, tmp_path):
        path = self.write(tmp_path, self.FLOWERS)
        for target in ("colour", 3, -4, "3"):
            with pytest.raises(ConfigurationError, match="no column"):
                read_csv(path, target)
        with pytest.raises(ConfigurationError, match=re.escape("(columns: length, width, kind)")):
            read_csv(path, "colour")
        with pytest.raises(ConfigurationError, match=re.escape("(no header)")):
            read_csv(self.write(tmp_path, "1,2\n3,4\n"), "colour")
        with pytest.raises(ConfigurationError, match="task='guess'"):
            read_csv(path, "kind", task="guess")

    def test_other_encodings(self, tmp_path):
        for encoding in ("utf-16", "latin-1"):
            path = self.write(tmp_path, "a,bé\n1,2\n", encoding)
            with pytest.raises(DataError, match="not UTF-8 text"):
                read_csv(path, -1)
        x, _, names = read_csv(self.write(tmp_path, "größe,b\n1,2\n"), "b")
        assert (x.tolist(), names) == ([[1.0]], ("größe",))

    def test_no_file(self, tmp_path):
        with pytest.raises(DataError, match="No such file"):
            read_csv(tmp_path / "nowhere.csv", 0)

    @pytest.mark.parametrize("header", [True, None])
    def test_truncated_anywhere(self, tmp_path, header):
        for length in range(len(self.FLOWERS)):
            text = self.FLOWERS[:length]
            path = self.write(tmp_path, text)
            try:
                x, y, _ = read_csv(path, -1, header=header)
            except (DataError, ConfigurationError):
                continue
            assert (x.tolist(), y.tolist()) == naive_csv(text, -1, header=True)

    @pytest.mark.parametrize("header", [True, False, None])
    @pytest.mark.parametrize("replacement", [",", ";", "\n", "\r", " ", "0", "a", '"', "\0", "-"])
    def test_each_character_replaced(self, tmp_path, header, replacement):
        for i in range(len(self.FLOWERS)):
            text = self.FLOWERS[:i] + replacement + self.FLOWERS[i + 1 :]
            path = self.write(tmp_path, text)
            try:
                x, y, names = read_csv(path, -1, header=header)
            except (DataError, ConfigurationError):
                continue
            assert (x.tolist(), y.astype(str).tolist()) == naive_csv(text, -1, bool(names))
            assert header is not False or names is None

    @FILES
    @given(
        rows=st.lists(
            st.tuples(
                st.floats(allow_nan=False, allow_infinity=False),
                st.integers(-(10**18) + 1, 10**18 - 1),
                st.sampled_from(["red", "green", "deep blue", 'a "quoted" one', "x,y"]),
            ),
            min_size=1,
            max_size=20,
        )
    )
    @example(rows=[(0.1, 7, "x,y")])
    def test_round_trip(self, tmp_path, rows):
        import csv

        path = tmp_path / "table.csv"
        with open(path, "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("a", "b", "c"), *rows])
        x, y, _ = read_csv(path, "c")
        assert x.tolist() == [[row[0], float(row[1])] for row in rows]
        assert y.tolist() == [row[2] for row in rows]

    @FILES
    @given(content=st.text(alphabet='0123.,;\n"ab -e_', max_size=40), target=st.integers(-3, 3))
    def test_any_text(self, tmp_path, content, target):
        path = self.write(tmp_path, content)
        try:
            x, y, names = read_csv(path, target)
        except (DataError, ConfigurationError):
            return
        assert x.shape[0] == y.shape[0] > 0
        assert np.isfinite(x).all()
        if not set(content) & set('";'):
            rows, cells = naive_csv(content, target, bool(names))
            assert x.tolist() == rows
            assert [str(value) for value in y] == cells or y.tolist() == [float(c) for c in cells]
