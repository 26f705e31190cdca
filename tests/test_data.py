"""Data: what the sets hold, and that a bad or missing file is never hidden."""

import functools
import gzip
import hashlib
import http.server
import threading
import urllib.error
import urllib.request
import warnings

import numpy as np
import pytest
import torch
import torchvision

from adamtut import data

SHAPES = {
    "train-images-idx3-ubyte": (7, 28, 28),
    "train-labels-idx1-ubyte": (7,),
    "t10k-images-idx3-ubyte": (3, 28, 28),
    "t10k-labels-idx1-ubyte": (3,),
}


@pytest.fixture
def tiny(monkeypatch):
    """Contents of a small MNIST; adamtut is told their checksums."""
    rng = np.random.default_rng(0)
    contents, table = {}, {}
    for name, shape in SHAPES.items():
        magic = 2051 if "images" in name else 2049
        header = b"".join(k.to_bytes(4, "big") for k in (magic, *shape))
        high = 256 if "images" in name else 10
        values = rng.integers(0, high, shape, dtype=np.uint8)
        contents[name] = header + values.tobytes()
        md5 = hashlib.md5(contents[name]).hexdigest()
        table[name] = (len(contents[name]), magic, md5)
    monkeypatch.setattr(data, "MNIST_FILES", table)
    return contents


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise urllib.error.URLError("no network in this test")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)


@pytest.fixture
def no_download(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a download was tried")

    monkeypatch.setattr(torchvision.datasets.MNIST, "download", refuse)


def put(root, contents, packed=False):
    folder = root / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for name, content in contents.items():
        if packed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / name).write_bytes(content)
    return folder


def listing(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def test_digits_are_those_of_scikit_learn_in_a_fixed_split():
    from sklearn.datasets import load_digits

    d = data.digits()
    assert d.name == "digits" and d.classes == tuple("0123456789")
    assert d.x_train.shape == (1500, 1, 8, 8) and d.x_test.shape == (297, 1, 8, 8)
    assert d.x_train.dtype == torch.float32 and d.y_train.dtype == torch.int64
    assert d.x_train.min() == 0 and d.x_train.max() == 1
    # Together the two parts are the whole set, each image with its own label.
    ours = torch.cat([d.x_train, d.x_test]).flatten(1).numpy() * 16
    ours = np.column_stack([ours, torch.cat([d.y_train, d.y_test])])
    bunch = load_digits()
    theirs = np.column_stack([bunch.data, bunch.target])
    assert sorted(map(tuple, ours)) == sorted(map(tuple, theirs))
    assert all(torch.equal(a, b) for a, b in zip(d[:4], data.digits()[:4], strict=True))
    assert set(d.y_test.tolist()) == set(range(10))


def test_normalise_uses_mean_and_deviation_of_the_training_set():
    raw, d = data.digits(), data.digits(normalise=True)
    assert abs(d.x_train.double().mean()) < 1e-6
    assert abs(d.x_train.double().std() - 1) < 1e-4
    pixels = raw.x_train.double()
    expected = (raw.x_test - pixels.mean()) / pixels.std(correction=0)
    torch.testing.assert_close(d.x_test, expected.float())


def test_real_mnist(no_download, capfd):
    try:
        d = data.mnist(download=False)
    except FileNotFoundError as error:
        pytest.skip(str(error))
    assert capfd.readouterr() == ("", "")
    assert d.name == "mnist"
    assert d.x_train.shape == (60000, 1, 28, 28) and d.x_test.shape == (
        10000,
        1,
        28,
        28,
    )
    # Published facts about MNIST, not computed here.
    assert d.y_train[:5].tolist() == [5, 0, 4, 1, 9]
    counts = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert d.y_test.bincount().tolist() == counts
    assert round(d.x_train.double().mean().item(), 4) == 0.1307
    assert round(d.x_train.double().std().item(), 4) == 0.3081


@pytest.mark.parametrize("packed", [False, True])
def test_mnist_is_read_silently_and_without_network(
    tiny, packed, tmp_path, no_download, capfd, monkeypatch
):
    folder = put(tmp_path, tiny, packed)
    before = listing(folder)
    monkeypatch.setenv("ADAMTUT_DATA", str(tmp_path))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        d = data.mnist()
    assert capfd.readouterr() == ("", "")
    assert listing(folder) == before
    expected = np.frombuffer(tiny["train-images-idx3-ubyte"][16:], np.uint8)
    expected = expected.reshape(7, 1, 28, 28).astype(np.float32) / 255
    assert np.array_equal(d.x_train.numpy(), expected)
    assert d.y_test.tolist() == list(tiny["t10k-labels-idx1-ubyte"][8:])
    assert d.y_test.dtype == torch.int64
    with pytest.raises(FileNotFoundError):  # the argument goes before the variable
        data.mnist(tmp_path / "elsewhere", download=False)


def one_bit_off(content):
    return content[:-1] + bytes([content[-1] ^ 1])


@pytest.mark.parametrize(
    "name, spoil, words",
    [
        ("train-images-idx3-ubyte", lambda c: c[:1000], ["1000 bytes", "5504"]),
        ("t10k-labels-idx1-ubyte", lambda c: b"", ["0 bytes", "11"]),
        ("t10k-images-idx3-ubyte", lambda c: c + b"x", ["2369 bytes", "2368"]),
        (
            "train-labels-idx1-ubyte",
            lambda c: b"\0\0\x08\x03" + c[4:],
            ["2051 as magic number", "2049"],
        ),
        ("train-labels-idx1-ubyte", lambda c: c[:8] + c[:7:-1], ["as md5", "expected"]),
        ("train-images-idx3-ubyte", one_bit_off, ["as md5", "expected"]),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_a_wrong_file_is_named_and_survives(
    name, spoil, words, packed, tiny, tmp_path, no_download
):
    tiny[name] = spoil(tiny[name])
    folder = put(tmp_path, tiny, packed)
    before = listing(folder)
    with pytest.raises(ValueError) as caught:
        data.mnist(tmp_path)
    message = str(caught.value)
    assert str(folder / name) in message and "\n" not in message
    assert all(word in message for word in words)
    assert listing(folder) == before


def test_train_and_test_labels_swapped(tiny, tmp_path, no_download):
    a, b = "train-labels-idx1-ubyte", "t10k-labels-idx1-ubyte"
    tiny[a], tiny[b] = tiny[b], tiny[a]
    put(tmp_path, tiny)
    with pytest.raises(ValueError, match="train-labels-idx1-ubyte has 11 bytes"):
        data.mnist(tmp_path)


def test_a_truncated_gz_is_named(tiny, tmp_path, no_download):
    folder = put(tmp_path, tiny, packed=True)
    path = folder / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-100])
    before = listing(folder)
    with pytest.raises(ValueError, match=r"t10k-images-idx3-ubyte\.gz cannot be unp"):
        data.mnist(tmp_path)
    assert listing(folder) == before


def test_no_network_falls_back_visibly(tiny, tmp_path, no_network, capfd):
    del tiny["t10k-labels-idx1-ubyte"]
    folder = put(tmp_path, tiny)
    before = listing(folder)
    with pytest.warns(UserWarning) as caught:
        d = data.mnist(tmp_path)
    message = str(caught[0].message)
    for word in ("digits of scikit-learn", "ADAMTUT_DATA", "no network", str(folder)):
        assert word in message
    assert "\n" not in message and caught[0].filename == __file__
    assert d.name == "digits"
    assert d.x_train.shape == (1500, 1, 28, 28) and d.x_test.shape == (297, 1, 28, 28)
    assert 0 <= d.x_train.min() and d.x_train.max() <= 1
    # Enlarged, not rearranged: shrunk again, the images are nearly the digits.
    small = torch.nn.functional.adaptive_avg_pool2d(d.x_test, 8)
    both = torch.stack([small.flatten(), data.digits().x_test.flatten()])
    assert both.corrcoef()[0, 1] > 0.95
    assert torch.equal(d.y_train, data.digits().y_train)
    assert listing(folder) == before


def test_a_folder_that_cannot_be_made_falls_back_visibly(tiny, tmp_path, no_download):
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="digits of scikit-learn"):
        assert data.mnist(tmp_path / "file").name == "digits"


def test_without_download_a_missing_file_is_an_error(tiny, tmp_path, no_download):
    with pytest.raises(FileNotFoundError, match=r"download=False.*ADAMTUT_DATA"):
        data.mnist(tmp_path, download=False)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def mirror(tiny, tmp_path, monkeypatch):
    """A server of the packed files on this machine, in place of torchvision's."""
    folder = put(tmp_path / "server", tiny, packed=True)
    resources = [
        (p.name, hashlib.md5(p.read_bytes()).hexdigest())
        for p in sorted(folder.iterdir())
    ]

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=folder)
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    mnist = torchvision.datasets.MNIST
    address = f"http://127.0.0.1:{server.server_port}/"
    monkeypatch.setattr(mnist, "mirrors", [address])
    monkeypatch.setattr(mnist, "resources", resources)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield folder
    server.shutdown()
    server.server_close()


def test_missing_files_are_downloaded_into_place(mirror, tiny, tmp_path, capfd):
    kept = tmp_path / "root" / "MNIST" / "raw" / "t10k-labels-idx1-ubyte"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(tiny[kept.name])
    inode = kept.stat().st_ino
    d = data.mnist(tmp_path / "root")
    assert d.name == "mnist" and len(d.x_train) == 7
    assert listing(kept.parent) == tiny  # and no temporary folder is left
    assert kept.stat().st_ino == inode
    assert capfd.readouterr().err == ""  # no bar: stderr is no terminal here


def test_a_spoilt_download_is_not_kept(mirror, tmp_path):
    (mirror / "t10k-labels-idx1-ubyte.gz").write_text("<html>log in first</html>")
    with pytest.warns(UserWarning, match="digits of scikit-learn"):
        assert data.mnist(tmp_path / "root").name == "digits"
    assert listing(tmp_path / "root" / "MNIST" / "raw") == {}


def test_batches_hold_each_example_once_and_depend_on_seed_and_epoch():
    got = data.batches(103, 20, seed=3, epoch=5)
    assert [len(b) for b in got] == [20, 20, 20, 20, 20, 3]
    together = np.concatenate(got)
    assert sorted(together) == list(range(103))
    assert np.array_equal(together, np.random.default_rng([3, 5]).permutation(103))
    others = [data.batches(103, 20, s, e)[0] for s, e in ((3, 6), (4, 5), (5, 3))]
    assert not any(np.array_equal(got[0], other) for other in others)
    assert [len(b) for b in data.batches(40, 20)] == [20, 20]


@pytest.mark.parametrize(
    "arguments, name",
    [
        ((0, 1), "n=0"),
        ((10, 0), "batch_size=0"),
        ((10, 11), "batch_size=11"),
        ((10, 2.5), "batch_size=2.5"),
        ((10, "2"), "batch_size='2'"),
        ((10, 2, -1), "seed=-1"),
        ((10, 2, 0, -1), "epoch=-1"),
    ],
)
def test_batches_refuse_what_cannot_be(arguments, name):
    with pytest.raises(ValueError, match=name):
        data.batches(*arguments)
