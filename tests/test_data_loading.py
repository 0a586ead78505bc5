"""`load`: each set and each kind of file, and what it says where it cannot."""

from __future__ import annotations

import functools
import gzip
import hashlib
import http.server
import io
import re
import shutil
import struct
import sys
import tarfile
import threading
import types
from pathlib import Path

import numpy as np
import pytest

from xpnn.data import _cifar, _download, _images, load, names
from xpnn.data._targets import encode_target
from xpnn.errors import ConfigurationError, DataError, ShapeError

DEBIAN = Path("/usr/share/datasets/fashion-mnist")


@pytest.fixture(autouse=True)
def nothing_from_outside(tmp_path, monkeypatch):
    """A cache of its own, no system folders, no network, a clean working directory."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("XPNN_DATA_DIR", str(tmp_path / "cache"))
    monkeypatch.setitem(sys.modules, "pooch", None)


@pytest.fixture
def work(tmp_path):
    return tmp_path / "work"


class TestBundled:
    @pytest.fixture(autouse=True)
    def scikit_learn(self):
        pytest.importorskip("sklearn", reason="scikit-learn is not installed")

    @pytest.mark.parametrize(
        ("name", "rows", "features", "per_class", "test_per_class"),
        [
            (
                "digits",
                1797,
                64,
                [178, 182, 177, 183, 181, 182, 181, 179, 174, 180],
                [36, 36, 35, 37, 36, 36, 36, 36, 35, 36],
            ),
            ("wine", 178, 13, [59, 71, 48], [12, 14, 10]),
            ("breast-cancer", 569, 30, [212, 357], [42, 72]),
            ("iris", 150, 4, [50, 50, 50], [10, 10, 10]),
        ],
    )
    def test_classifications(self, name, rows, features, per_class, test_per_class):
        data = load(name)
        assert data.name == name
        assert data.task == "classification"
        assert data.class_count == len(per_class) == len(set(data.class_names))
        assert len(data.feature_names) == features
        assert data.x_train.shape[1:] == data.x_test.shape[1:] == (features,)
        assert len(data.x_train) + len(data.x_test) == rows
        assert np.bincount([*data.y_train, *data.y_test]).tolist() == per_class
        assert np.bincount(data.y_test).tolist() == test_per_class
        assert data.description

    def test_split_is_the_same_on_every_machine(self):
        data = load("iris")
        assert "".join(map(str, data.y_test)) == "102022001001202222221101001111"
        assert (load("iris", seed=1).y_test != data.y_test).any()
        assert (load("iris", seed=0).x_train == data.x_train).all()

    def test_parts_are_the_original_rows(self):
        from sklearn.datasets import load_digits

        original = load_digits()
        data = load("digits", test_fraction=0.25)
        assert len(data.x_test) == 449
        rows = {(*x, y) for x, y in zip(original.data, original.target, strict=True)}
        parts = np.concatenate([data.x_train, data.x_test])
        labels = np.concatenate([data.y_train, data.y_test])
        assert {(*x, y) for x, y in zip(parts, labels, strict=True)} == rows
        assert data.standardization == "set"
        assert data.class_names == tuple("0123456789")

    def test_diabetes_is_as_measured(self):
        data = load("diabetes")
        assert (data.task, data.class_names, data.class_count) == ("regression", None, 0)
        assert data.x_train.shape == (354, 10)
        assert data.x_test.shape == (88, 10)
        assert data.y_train.dtype == np.float64
        age = np.concatenate([data.x_train[:, 0], data.x_test[:, 0]])
        assert (age.min(), age.max()) == (19.0, 79.0)

    @pytest.mark.parametrize("name", ["Breast_Cancer", "BREAST-CANCER"])
    def test_spelling(self, name):
        assert load(name).name == "breast-cancer"

    def test_without_scikit_learn(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "sklearn", None)
        with pytest.raises(DataError, match=r"^digits comes with scikit-learn: pip install scikit"):
            load("digits")


class TestArguments:
    def test_names(self):
        assert names() == (
            "breast-cancer",
            "cifar-10",
            "diabetes",
            "digits",
            "fashion-mnist",
            "iris",
            "mnist",
            "wine",
        )

    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            ({"name_or_path": "digit"}, ConfigurationError, "did you mean 'digits'? Known: breast"),
            ({"name_or_path": "iris", "target": "x"}, ConfigurationError, "target='x' means noth"),
            ({"name_or_path": "iris", "task": "regression"}, ConfigurationError, "means nothing"),
            ({"name_or_path": "iris", "header": True}, ConfigurationError, "means nothing"),
            ({"name_or_path": "iris", "task": "x"}, ConfigurationError, "task='x'"),
            ({"name_or_path": "iris", "test_fraction": 0.0}, ConfigurationError, "test_fraction"),
            ({"name_or_path": "iris", "test_fraction": 1.0}, ConfigurationError, "test_fraction"),
            ({"name_or_path": "mnist", "data_dir": "nowhere"}, DataError, "no such folder"),
            ({"name_or_path": "table.xlsx"}, ConfigurationError, "neither a folder nor a file"),
            ({"name_or_path": "a/b"}, ConfigurationError, "neither a folder nor a file"),
            ({"name_or_path": Path("digits")}, ConfigurationError, "neither a folder nor a file"),
            ({"name_or_path": "a.npz", "target": 0}, ConfigurationError, "target=0 means nothing"),
            ({"name_or_path": "a.npz"}, DataError, "a.npz: No such file"),
            ({"name_or_path": "x.npy"}, ConfigurationError, "expected a pair, 'x.npy,y.npy'"),
            ({"name_or_path": "x.npy,y.npy"}, DataError, "x.npy: No such file"),
            ({"name_or_path": "a.csv"}, DataError, "a.csv: No such file"),
            ({"name_or_path": "a.csv", "target": 0}, DataError, "a.csv: No such file"),
            ({"name_or_path": "."}, DataError, "no .npy files in this folder"),
        ],
    )
    def test_refuses(self, arguments, error, message):
        with pytest.raises(error, match=re.escape(message)):
            load(**arguments)

    def test_asks_for_the_target_of_a_table_that_is_there(self, tmp_path):
        (tmp_path / "a.csv").write_text("length,width\n1,2\n")
        with pytest.raises(ConfigurationError, match="say which column is the target"):
            load(tmp_path / "a.csv")


def write_idx(path, array, zipped):
    content = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    content += array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content, mtime=0) if zipped else content)
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def idx_set(tmp_path, monkeypatch):
    """A small set of four IDX files, known by its hashes."""
    folder = tmp_path / "original"
    folder.mkdir()
    arrays = (
        np.arange(24).reshape(6, 2, 2),
        np.array([0, 1, 2, 0, 1, 2]),
        np.arange(100, 108).reshape(2, 2, 2),
        np.array([2, 1]),
    )
    hashes = tuple(
        write_idx(folder / f"{name}.gz", array, zipped=True)
        for name, array in zip(_images.IDX_FILES, arrays, strict=True)
    )
    small = _images.IdxSet("mnist", "small", ("a", "b", "c"), hashes, ("http://127.0.0.1:9/",))
    monkeypatch.setattr(_images, "MNIST", small)
    return folder, arrays


class TestIdxSets:
    @staticmethod
    def check(data, arrays):
        for found, expected in zip(
            (data.x_train, data.y_train, data.x_test, data.y_test), arrays, strict=True
        ):
            assert (found == expected).all()
        assert data.x_train.dtype == np.uint8
        assert data.y_train.dtype == np.int64
        assert data.standardization == "set"

    def test_places(self, idx_set, tmp_path):
        """data_dir, its subfolder of the set's name, the cache; plain and zipped; two spellings."""
        folder, arrays = idx_set
        self.check(load("mnist", folder), arrays)
        shutil.copytree(folder, tmp_path / "cache" / "mnist")
        self.check(load("mnist"), arrays)
        empty = tmp_path / "empty"
        empty.mkdir()
        self.check(load("mnist", empty), arrays)
        (tmp_path / "parent").mkdir()
        folder.rename(tmp_path / "parent" / "mnist")
        data = load("mnist", tmp_path / "parent")
        self.check(data, arrays)
        assert data.class_names == ("a", "b", "c")
        assert str(tmp_path / "parent" / "mnist") in data.description
        for name in _images.IDX_FILES:
            path = tmp_path / "parent" / "mnist" / f"{name}.gz"
            content = gzip.decompress(path.read_bytes())
            path.with_name(name.replace("-idx", ".idx")).write_bytes(content)
            path.unlink()
        self.check(load("mnist", tmp_path / "parent"), arrays)

    def test_the_order_of_places(self, idx_set, tmp_path):
        """A damaged file in data_dir is an error; the good one in the cache is not used instead."""
        folder, _ = idx_set
        shutil.copytree(folder, tmp_path / "cache" / "mnist")
        (folder / f"{_images.TEST_LABELS}.gz").write_bytes(b"\x1f\x8b")
        with pytest.raises(DataError, match=re.escape(f"{folder / _images.TEST_LABELS}.gz: damag")):
            load("mnist", folder)
        (folder / f"{_images.TEST_LABELS}.gz").unlink()
        with pytest.raises(DataError, match=f"{folder}: has 3 of the four.*{_images.TEST_LABELS}"):
            load("mnist", folder)

    def test_other_content_is_refused(self, idx_set):
        folder, arrays = idx_set
        changed = arrays[0].copy()
        changed[3, 1, 1] += 1
        write_idx(folder / f"{_images.TRAIN_IMAGES}.gz", changed, zipped=True)
        with pytest.raises(DataError, match="not the known file of that name: SHA-256"):
            load("mnist", folder)
        data = load(folder)  # as somebody's images
        assert (data.x_train == changed).all()
        assert data.class_names == ("0", "1", "2")
        assert data.name == "original"

    @pytest.mark.parametrize(
        ("name", "array", "error", "message"),
        [
            (_images.TRAIN_LABELS, np.zeros((6, 2)), DataError, "expected labels"),
            (_images.TRAIN_LABELS, np.zeros(5), DataError, "x_train has 6 rows, y_train has 5"),
            (_images.TRAIN_LABELS, np.zeros(0), DataError, "empty: its shape is (0,)"),
            (_images.TEST_IMAGES, np.zeros((2, 3, 2)), ShapeError, "x_test has (3, 2)"),
        ],
    )
    def test_folders_of_ones_own(self, idx_set, name, array, error, message):
        folder, _ = idx_set
        write_idx(folder / f"{name}.gz", array, zipped=True)
        with pytest.raises(error, match=re.escape(message)):
            load(folder)

    def test_folder_with_everything(self, idx_set):
        folder, _ = idx_set
        with pytest.raises(ConfigurationError, match="IDX files are a classification"):
            load(folder, task="regression")
        np.save(folder / "x.npy", np.eye(3))
        with pytest.raises(DataError, match="which are meant"):
            load(folder)

    def test_nowhere(self, idx_set, tmp_path):
        message = (
            f"mnist is in none of: {tmp_path / 'cache' / 'mnist'}. Put there: "
            f"{', '.join(_images.IDX_FILES)} (plain or .gz); to download it, pip install pooch"
        )
        with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
            load("mnist")
        assert not (tmp_path / "cache").exists()


class Pooch(types.ModuleType):
    """Stands for pooch: copies from a folder instead of the network, and keeps what is there."""

    def __init__(self, source):
        super().__init__("pooch")
        self.source, self.asked = source, []

    def retrieve(self, url, known_hash, fname, path):
        self.asked.append(url)
        target = Path(path) / fname
        source = self.source / url.rpartition("/")[2]
        if "broken" in url:
            raise OSError("no route to host")
        if not target.exists():
            target.write_bytes(b"<html>moved</html>" if "moved" in url else source.read_bytes())
        return str(target)


class TestDownload:
    @pytest.fixture
    def pooch(self, idx_set, monkeypatch):
        module = Pooch(idx_set[0])
        monkeypatch.setitem(sys.modules, "pooch", module)
        return module

    @staticmethod
    def use_mirrors(monkeypatch, *mirrors):
        small = _images.MNIST
        changed = _images.IdxSet("mnist", "", small.class_names, small.hashes, mirrors)
        monkeypatch.setattr(_images, "MNIST", changed)

    def test_into_the_cache_and_only_once(self, pooch, idx_set, tmp_path):
        TestIdxSets.check(load("mnist"), idx_set[1])
        files = sorted(file.name for file in (tmp_path / "cache" / "mnist").iterdir())
        assert files == sorted(f"{name}.gz" for name in _images.IDX_FILES)
        assert pooch.asked == [f"http://127.0.0.1:9/{name}.gz" for name in _images.IDX_FILES]
        TestIdxSets.check(load("mnist"), idx_set[1])
        assert len(pooch.asked) == 4

    @pytest.mark.usefixtures("pooch")
    def test_into_data_dir(self, idx_set, tmp_path):
        (tmp_path / "here").mkdir()
        TestIdxSets.check(load("mnist", tmp_path / "here"), idx_set[1])
        assert len(list((tmp_path / "here" / "mnist").iterdir())) == 4
        assert not (tmp_path / "cache").exists()

    def test_next_mirror(self, pooch, idx_set, monkeypatch):
        self.use_mirrors(monkeypatch, "http://broken/", "http://moved/", "http://good/")
        TestIdxSets.check(load("mnist"), idx_set[1])
        assert len(pooch.asked) == 12

    @pytest.mark.usefixtures("pooch")
    def test_no_good_mirror(self, monkeypatch, tmp_path):
        self.use_mirrors(monkeypatch, "http://broken/", "http://moved/")
        with pytest.raises(DataError, match=r"Put there: .*no route to host; http.*not an IDX fil"):
            load("mnist")
        assert list((tmp_path / "cache" / "mnist").iterdir()) == []

    @pytest.mark.usefixtures("pooch")
    def test_a_place_that_cannot_be_written(self, tmp_path):
        (tmp_path / "cache").write_text("in the way")
        with pytest.raises(DataError, match="Not a directory"):
            load("mnist")

    def test_with_the_real_pooch(self, idx_set, monkeypatch):
        monkeypatch.delitem(sys.modules, "pooch")
        pytest.importorskip("pooch", reason="pooch is not installed")
        folder, arrays = idx_set
        handler = functools.partial(QuietHandler, directory=str(folder))
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            good = f"http://127.0.0.1:{server.server_port}/"
            self.use_mirrors(monkeypatch, "http://127.0.0.1:9/", f"{good}missing/", good)
            try:
                TestIdxSets.check(load("mnist"), arrays)
            finally:
                server.shutdown()

    @pytest.mark.parametrize("variable", ["XDG_CACHE_HOME", "HOME"])
    def test_cache_folder(self, monkeypatch, tmp_path, variable):
        monkeypatch.delenv("XPNN_DATA_DIR")
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
        monkeypatch.setattr(sys, "platform", "linux")
        monkeypatch.setenv(variable, str(tmp_path))
        under = tmp_path if variable == "XDG_CACHE_HOME" else tmp_path / ".cache"
        assert _download.cache_folder() == under / "xpnn"


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


class TestCifar10:
    @pytest.fixture
    def archive(self, monkeypatch):
        """CIFAR-10 with ten images a file."""
        monkeypatch.setattr(_cifar, "RECORDS_PER_FILE", 10)
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w:gz") as archive:
            for f, name in enumerate(_cifar.FILES):
                content = b"".join(bytes([r]) + bytes([f + r]) * 3072 for r in range(10))
                info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        return stream.getvalue()

    @staticmethod
    def check(data):
        assert data.x_train.shape == (50, 3, 32, 32)
        assert data.x_test.shape == (10, 3, 32, 32)
        assert (data.y_test == np.arange(10)).all()
        assert (data.x_test == 5 + np.arange(10)[:, None, None, None]).all()
        assert data.class_names[:2] == ("airplane", "automobile")
        assert data.standardization == "set"

    def test_places(self, archive, tmp_path, work):
        (work / _cifar.ARCHIVE).write_bytes(archive)
        self.check(load("cifar-10", work))
        with tarfile.open(work / _cifar.ARCHIVE) as opened:
            opened.extractall(work, filter="data")
        (work / _cifar.ARCHIVE).unlink()
        self.check(load("cifar_10", data_dir="."))
        self.check(load("cifar-10", work / "cifar-10-batches-bin"))
        (work / "cifar-10-batches-bin").rename(work / "cifar-10")
        self.check(load("cifar-10", work))
        (tmp_path / "cache").mkdir()
        (work / "cifar-10").rename(tmp_path / "cache" / "cifar-10")
        self.check(load("cifar-10"))

    def test_download(self, archive, tmp_path, monkeypatch):
        source = tmp_path / "source"
        source.mkdir()
        (source / _cifar.ARCHIVE).write_bytes(archive)
        monkeypatch.setitem(sys.modules, "pooch", Pooch(source))
        with pytest.raises(DataError, match="not the known file of that name"):
            load("cifar-10")
        digest = hashlib.sha256(archive).hexdigest()
        monkeypatch.setattr(_images, "CIFAR10_ARCHIVE_HASH", digest)
        self.check(load("cifar-10"))
        assert (tmp_path / "cache" / "cifar-10" / _cifar.ARCHIVE).read_bytes() == archive

    def test_nowhere(self):
        with pytest.raises(DataError, match=r"cifar-10 is in none of: .*never read\); to download"):
            load("cifar-10")


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="Debian's dataset-fashion-mnist is not installed")
class TestFashionMnist:
    def test_values(self):
        data = load("fashion-mnist")
        assert data.x_train.shape == (60000, 28, 28)
        assert data.x_test.shape == (10000, 28, 28)
        assert data.x_train.dtype == np.uint8
        assert np.bincount(data.y_train).tolist() == [6000] * 10
        assert np.bincount(data.y_test).tolist() == [1000] * 10
        assert data.class_names[9] == "Ankle boot"
        assert data.y_train[:3].tolist() == [9, 0, 0]
        # Mean and standard deviation of the pixels that the literature gives: 0.2860, 0.3530.
        assert round(float(data.x_train.mean()) / 255, 4) == 0.2860
        assert round(float(data.x_train.std()) / 255, 4) == 0.3530
        assert str(DEBIAN) in data.description

    def test_one_changed_pixel_is_noticed(self, tmp_path):
        folder = tmp_path / "copy"
        shutil.copytree(DEBIAN, folder)
        path = folder / f"{_images.TEST_IMAGES}.gz"
        content = bytearray(gzip.decompress(path.read_bytes()))
        content[5000] ^= 1
        path.with_suffix("").write_bytes(content)
        path.unlink()
        with pytest.raises(DataError, match="not the known file of that name"):
            load("fashion-mnist", folder)


class TestOwnFiles:
    X = np.arange(60.0).reshape(20, 3)
    Y = np.arange(20) % 2

    def check(self, data):
        """Rows and labels are together, whatever part they are in."""
        x = np.concatenate([data.x_train, data.x_test])
        y = np.concatenate([data.y_train, data.y_test])
        order = np.argsort(x[:, 0])
        assert (x[order] == self.X).all()
        assert (y[order] == self.Y).all()
        assert np.bincount(data.y_test).tolist() == [2, 2]

    def test_npz(self, work):
        np.savez(work / "mine.npz", x=self.X, y=self.Y)
        for path in ("mine.npz", work / "mine.npz", str(work / "mine.npz")):
            data = load(path)
            self.check(data)
        assert (data.name, data.task) == ("mine", "classification")
        assert data.class_names == ("0", "1")
        assert data.standardization == "feature"

    def test_relative_to_data_dir(self, tmp_path):
        (tmp_path / "there").mkdir()
        np.savez(tmp_path / "there" / "mine.npz", x=self.X, y=self.Y)
        self.check(load("mine.npz", data_dir=tmp_path / "there"))

    def test_npy_pair_and_folder(self, work):
        np.save(work / "a.npy", self.X)
        np.save(work / "b.npy", self.Y)
        data = load("a.npy,b.npy")
        self.check(data)
        assert data.name == "a"
        self.check(load(f"{work}/a.npy, {work}/b.npy"))
        (work / "a.npy").rename(work / "x.npy")
        (work / "b.npy").rename(work / "y.npy")
        self.check(load(work))
        data = load(".")
        self.check(data)
        assert data.name == "work"

    def test_csv(self, work):
        lines = [
            f"{a},{b},{'yes' if y else 'no'},{c}"
            for (a, b, c), y in zip(self.X, self.Y, strict=True)
        ]
        (work / "t.csv").write_text("\n".join(["a,b,kind,c", *lines]))
        data = load("t.csv", target="kind")
        self.check(data)
        assert data.class_names == ("no", "yes")
        assert data.feature_names == ("a", "b", "c")

    def test_four_arrays(self, work):
        """They stay as they are; labels are encoded together."""
        arrays = {"x_train": self.X, "x_test": self.X[:2]}
        arrays |= {"y_train": np.resize([3, 7, 5], 20), "y_test": np.array([7, 9])}
        np.savez(work / "mine.npz", **arrays)
        data = load("mine.npz")
        assert (data.x_train == self.X).all()
        assert data.class_names == ("3", "5", "7", "9")
        assert data.y_train[:4].tolist() == [0, 2, 1, 0]
        assert data.y_test.tolist() == [2, 3]

    def test_images(self, work):
        np.savez(work / "a.npz", x=np.zeros((20, 4, 4)), y=self.Y)
        assert load("a.npz").standardization == "set"
        np.savez(work / "a.npz", x=np.zeros((20, 16), dtype=np.uint8), y=self.Y)
        assert load("a.npz").standardization == "set"

    @pytest.mark.parametrize(
        ("x", "y", "message"),
        [
            (np.eye(4), np.zeros(3, dtype=int), "x has 4 rows, a.npz: y has 3"),
            (np.eye(4) * 1j, np.zeros(4, dtype=int), "x has dtype complex128"),
            (np.array(["a"] * 4), np.zeros(4, dtype=int), "x has dtype <U1"),
            (np.eye(4), np.array([b"a"] * 4), "y has dtype |S1"),
            (np.eye(4), np.array([0.5, np.nan, 1, 1]), "y has nan at row 1"),
            (np.diag([1.0, 2.0, np.inf]), np.arange(3), "x has inf at row 2, column 2"),
            (np.eye(4), np.array(["a", "b", "c", "d"]), "4 different texts in 4 rows"),
            (np.eye(4), np.arange(8).reshape(4, 2), "neither labels (N,) nor one-hot"),
            (np.zeros((0, 2)), np.zeros(0), "x is empty"),
            (np.eye(4), np.array(1), "y is a single number"),
            (np.eye(4), np.array("a"), "y has dtype <U1"),
        ],
    )
    def test_refuses(self, work, x, y, message):
        np.savez(work / "a.npz", x=x, y=y)
        with pytest.raises(DataError, match=re.escape(message)):
            load("a.npz")

    def test_four_arrays_that_differ(self, work):
        good = {"x_train": self.X, "y_train": self.Y, "x_test": self.X, "y_test": self.Y}
        for changed, message in (
            ({"y_test": self.Y[:2]}, "x_test has 20 rows, a.npz: y_test has 2"),
            ({"y_test": self.Y.astype("U")}, "differ in kind"),
            ({"y_test": self.Y[:, None]}, "differ in kind or in the shape"),
            ({"x_test": self.X[:, :2]}, "x_test has (2,)"),
        ):
            np.savez(work / "a.npz", **(good | changed))
            with pytest.raises((DataError, ShapeError), match=re.escape(message)):
                load("a.npz")


class TestTargets:
    @pytest.mark.parametrize(
        ("y", "task", "expected", "chosen", "class_names"),
        [
            ([0, 1, 2, 0, 1, 2], None, [0, 1, 2, 0, 1, 2], "classification", ("0", "1", "2")),
            ([-1, 1, 1, -1], None, [0, 1, 1, 0], "classification", ("-1", "1")),
            (["b", "a", "b", "a"], None, [1, 0, 1, 0], "classification", ("a", "b")),
            ([True, False, False], None, [1, 0, 0], "classification", ("False", "True")),
            ([[1], [0], [1], [0]], None, [1, 0, 1, 0], "classification", ("0", "1")),
            ([[0.0, 1.0], [1.0, 0.0]], None, [1, 0], "classification", ("0", "1")),
            ([[False, True], [True, False]], None, [1, 0], "classification", ("0", "1")),
            ([0.0, 1.0, 1.0], None, [0.0, 1.0, 1.0], "regression", None),
            ([0.0, 1.0, 1.0], "classification", [0, 1, 1], "classification", ("0", "1")),
            ([[0.5, 1.0], [1.0, 0.0]], None, [[0.5, 1.0], [1.0, 0.0]], "regression", None),
            ([[0, 1], [1, 0]], "regression", [[0.0, 1.0], [1.0, 0.0]], "regression", None),
            ([0, 1, 2], None, [0.0, 1.0, 2.0], "regression", None),
            ([0, 1, 2], "classification", [0, 1, 2], "classification", ("0", "1", "2")),
            ([0, 0, 1, 1], "regression", [0.0, 0.0, 1.0, 1.0], "regression", None),
            (list(range(101)) * 3, None, [float(k) for k in range(101)] * 3, "regression", None),
            (
                np.array([2**63, 5] * 2, dtype=np.uint64),
                None,
                [1, 0] * 2,
                "classification",
                ("5", str(2**63)),
            ),
        ],
    )
    def test_values(self, y, task, expected, chosen, class_names):
        labels, found, found_names = encode_target(np.array(y), task, "y")
        assert labels.tolist() == expected
        assert labels.dtype == (np.int64 if chosen == "classification" else np.float64)
        assert (found, found_names) == (chosen, class_names)

    @pytest.mark.parametrize(
        ("y", "task", "message"),
        [
            ([0.0, 1.5], "classification", "the fractional label 1.5 at row 1"),
            (["a", "b"], "regression", "text such as 'a'"),
            ([[0.3, 0.7]], "classification", "expected one label per row, or one-hot rows"),
            ([0.0, np.inf], "classification", "inf at row 1"),
        ],
    )
    def test_refuses(self, y, task, message):
        with pytest.raises(DataError, match=re.escape(message)):
            encode_target(np.array(y), task, "y")
