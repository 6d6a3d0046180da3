"""Jobs on a real cluster of Ray: two nodes on this machine, each with a store of objects and a scheduler of its own."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from hetsearch.cli.index import app
from hetsearch.data.images import ImageSet
from hetsearch.data.sources import open_source
from hetsearch.errors import HetsearchError, ImageError, MissingExtra, UsageError
from hetsearch.gallery import RayRunner, build_gallery, verify_gallery
from hetsearch.gallery.embedding import ray_embed
from hetsearch.gallery.embedding.embed import Embedding, Tally
from hetsearch.gallery.embedding.ray_worker import Order, Sent, Worker, versions
from hetsearch.gallery.manifest import Manifest, Plan, weights_of
from hetsearch.runtime import OnnxEncoder, load_encoder
from tests.gallery.scripted import Deadly, Scripted, snapshot
from tests.support import OTHER_SPACE, SPACE, linear_bundle

ROOT = Path(__file__).parents[3]
# A node that is gone is known after some seconds, not after half a minute.
WATCH = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 8}
NODE = {"num_cpus": 1, "object_store_memory": 80_000_000}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    pytest.importorskip("ray", reason="ray is not installed")
    from ray.cluster_utils import Cluster

    # A short path: Ray's sockets lie in it, and their names may have 107 characters.
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory("", "ray-", ignore_cleanup_errors=True) as folder:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_TMPDIR", folder)  # whose ray/ also tells which cluster is the current one
        patch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)  # the nodes import the tests' workers
        for attempt in (1, 2):  # Ray gives a node half a minute, which a busy machine may need twice
            cluster = Cluster()
            try:
                cluster.add_node(include_dashboard=False, _system_config=WATCH, **NODE)
                cluster.add_node(**NODE)
                break
            except Exception as error:  # noqa: BLE001  whatever keeps Ray from running here
                cluster.shutdown()
                if attempt == 2:
                    pytest.skip(f"Ray cannot run on this machine: {error}")
        yield cluster
        cluster.shutdown()


@pytest.fixture(scope="module")
def connected(cluster: Any) -> Iterator[Any]:
    """The cluster, joined once for several jobs: half of a small job's time is the joining."""
    import ray

    ray.init(cluster.address, log_to_driver=False, logging_level="ERROR")
    yield cluster
    ray.shutdown()


@pytest.fixture(scope="module")
def whole(encoder: OnnxEncoder, images: ImageSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("local") / "whole"
    build_gallery(encoder, images, out, shard_rows=50, progress=False)
    return out


def run(*arguments: object) -> object:
    return app([str(word) for word in arguments], result_action="return_value", exit_on_error=False)


def embedded(folder: Path) -> Counter[int]:
    """How often each shard was made on the cluster."""
    lines = (line.split() for line in (folder / "notes").read_text().splitlines())
    return Counter(int(number) for number, how in lines if how == "made")


def test_no_cluster(encoder: OnnxEncoder, images: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        for address in (f"127.0.0.1:{port}", f"ray://127.0.0.1:{port}", "127.0.0.1:port"):
            with pytest.raises(UsageError, match=f"there is no Ray cluster at '{address}'.*ray start --head"):
                build_gallery(encoder, images, tmp_path / "g", progress=False, runner=RayRunner(address))
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra, match=r"'ray' is not installed.*hetsearch\[distributed\]"):
        build_gallery(encoder, images, tmp_path / "g", progress=False, runner=RayRunner("auto"))
    assert build_gallery(encoder, images, tmp_path / "g", progress=False).rows == 300


def test_the_commands_on_a_cluster(
    cluster: Any, fashion_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = Path(shutil.copytree(fashion_folder, tmp_path / "pictures"))
    (pictures / "class-0" / "000.png").write_bytes(b"no picture")
    bundle = linear_bundle(tmp_path / "bundle", space=SPACE)
    for name, where in (("here", ()), ("there", ("--ray", cluster.address))):
        words = ("--encoder", bundle, "--images", pictures, "--threads", 1, *where, "--json")
        assert run("build", *words, "--out", tmp_path / name, "--shard-rows", 60) == 3
        document = json.loads(capsys.readouterr().out)
        assert (document["rows"], document["embedded"]) == (199, 200)
        assert [failure["key"] for failure in document["failures"]] == ["class-0/000.png"]
    assert snapshot(tmp_path / "there") == snapshot(tmp_path / "here")
    for path in sorted(fashion_folder.glob("class-0/*"))[:3]:
        shutil.copy(path, pictures / "class-1" / f"more-{path.name}")
        path = pictures / "class-2" / path.name
        path.write_bytes(next(fashion_folder.glob("class-3/*")).read_bytes() + path.name.encode())
    for name, where in (("here", ()), ("there", ("--ray", cluster.address))):
        assert run("update", tmp_path / name, "--encoder", bundle, "--images", pictures, "--threads", 1, *where) == 3
        assert "3 new, 3 changed" in capsys.readouterr().out
    assert snapshot(tmp_path / "there") == snapshot(tmp_path / "here")


def test_a_worker_killed_while_it_writes(
    connected: Any,
    encoder: OnnxEncoder,
    images: ImageSet,
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from tests.gallery.workers import MortalInTheMiddle

    monkeypatch.setattr(ray_embed, "Worker", MortalInTheMiddle)
    lines: list[str] = []
    report = build_gallery(
        encoder, images, tmp_path / "g", shard_rows=50, progress=False, say=lines.append, runner=RayRunner("auto")
    )
    assert (report.rows, report.embedded, report.failures) == (300, 300, ())
    assert (tmp_path / "killed").exists()
    assert [line.split(",")[0].rpartition(" ")[0] for line in lines] == ["a worker was lost at shard"]
    assert embedded(tmp_path) == Counter(range(6))
    assert snapshot(tmp_path / "g") == snapshot(whole)  # no temporary file either
    assert verify_gallery(tmp_path / "g").recall == 1


def test_a_job_begun_here_is_finished_there_where_a_worker_is_killed_after_it_has_written(
    connected: Any,
    encoder: OnnxEncoder,
    images: ImageSet,
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from tests.gallery.workers import Mortal

    monkeypatch.setattr(ray_embed, "Worker", Mortal)
    with pytest.raises(KeyboardInterrupt):
        build_gallery(Scripted(encoder, die_at=3), images, tmp_path / "g", shard_rows=50, progress=False)
    assert len(list((tmp_path / "g" / "embeddings").glob("shard-*"))) == 2
    report = build_gallery(encoder, images, tmp_path / "g", progress=False, runner=RayRunner("auto"))
    assert (report.reused, report.embedded) == (2, 200)
    assert embedded(tmp_path) == Counter(range(2, 6))
    assert (tmp_path / "notes").read_text().count("kept") == 1
    assert snapshot(tmp_path / "g") == snapshot(whole)


def test_a_job_begun_there_is_finished_here(
    connected: Any, encoder: OnnxEncoder, images: ImageSet, whole: Path, tmp_path: Path
) -> None:
    def interrupted(job: Embedding, missing: Sequence[int], tally: Tally) -> Iterator[Any]:
        shards = RayRunner("auto")(job, missing, tally)
        yield next(shards)
        shards.close()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_gallery(encoder, images, tmp_path / "g", shard_rows=50, progress=False, runner=interrupted)
    report = build_gallery(encoder, images, tmp_path / "g", progress=False)
    assert report.reused >= 1
    assert snapshot(tmp_path / "g") == snapshot(whole)


def test_a_node_is_lost(
    connected: Any,
    encoder: OnnxEncoder,
    images: ImageSet,
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from tests.gallery.workers import Stranded

    monkeypatch.setattr(ray_embed, "Worker", Stranded)
    node = connected.add_node(**NODE)
    (tmp_path / "lost").write_text(node.node_id)
    ended = threading.Event()

    def lose() -> None:
        while not (tmp_path / "stranded").exists() and not ended.is_set():
            ended.wait(0.02)
        connected.remove_node(node, allow_graceful=False)

    thread = threading.Thread(target=lose)
    thread.start()
    lines: list[str] = []
    try:
        build_gallery(
            encoder, images, tmp_path / "g", shard_rows=50, progress=False, say=lines.append, runner=RayRunner("auto")
        )
    finally:
        ended.set()
        thread.join()
    (lost,) = told(lines)
    assert lost.startswith("a worker was lost at shard")
    assert embedded(tmp_path) == Counter(range(6))
    assert snapshot(tmp_path / "g") == snapshot(whole)


def told(lines: list[str]) -> list[str]:
    """What a job said, but for workers that were about to start on a node which is gone: a cluster learns that late."""
    return [line for line in lines if not line.startswith("a worker could not be started")]


def test_a_picture_that_kills_every_worker(
    connected: Any, encoder: OnnxEncoder, images: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_embed, "ATTEMPTS", 2)
    bad = replace(images, read=lambda row: Deadly() if row == 120 else images.read(row))
    message = "shard 2 has lost 2 workers.*among the images 'test-00100' to 'test-00149'.*same command goes on"
    with pytest.raises(HetsearchError, match=message):
        build_gallery(encoder, bad, tmp_path / "g", shard_rows=50, progress=False, runner=RayRunner("auto"))
    assert not list((tmp_path / "g").rglob("*.tmp"))


def test_a_picture_that_ends_its_decoder_is_dealt_with_as_by_a_job_here(
    connected: Any, encoder: OnnxEncoder, images: ImageSet, tmp_path: Path
) -> None:
    from tests.gallery.workers import Explosive

    few = images.subset(range(30))
    bad = replace(few, read=lambda row: Explosive() if row == 12 else few.read(row))

    def outcome(name: str, **where: Any) -> tuple[object, dict[str, bytes]]:
        try:
            report = build_gallery(encoder, bad, tmp_path / name, shard_rows=10, progress=False, **where)
        except HetsearchError as error:
            return error.what, {}
        return report.failures, snapshot(tmp_path / name)

    lines: list[str] = []
    assert outcome("there", runner=RayRunner("auto"), say=lines.append) == outcome("here", workers=1)
    assert [line.partition(",")[0] for line in told(lines)] == ["a worker was lost at shard 1"]


def test_a_job_on_a_cluster_may_stop_at_errors(
    connected: Any, encoder: OnnxEncoder, images: ImageSet, tmp_path: Path
) -> None:
    bad = replace(images, read=lambda row: b"" if row == 120 else images.read(row))
    with pytest.raises(ImageError, match=r"the job stopped at an image that cannot be read .'test-00120'"):
        build_gallery(
            encoder, bad, tmp_path / "g", shard_rows=50, on_error="fail", progress=False, runner=RayRunner("auto")
        )


def test_no_worker_can_be_started(
    connected: Any, encoder: OnnxEncoder, images: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unborn(Worker):
        def __init__(self, order: Order) -> None:
            raise ImportError("no module named 'anything'")

    monkeypatch.setattr(ray_embed, "Worker", Unborn)
    monkeypatch.setattr(ray_embed, "ATTEMPTS", 2)
    with pytest.raises(HetsearchError, match=r"no worker can be started.*no module named 'anything'.*pip install"):
        build_gallery(encoder, images, tmp_path / "g", progress=False, runner=RayRunner("auto"))


def test_what_a_worker_says_is_the_jobs_error(
    connected: Any, encoder: OnnxEncoder, images: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_embed, "versions", lambda: {"pyarrow": "0.1"})
    with pytest.raises(UsageError, match=r"the node '.*' has another version of 'pyarrow'.*expected 0\.1") as caught:
        build_gallery(encoder, images, tmp_path / "g", progress=False, runner=RayRunner("auto"))
    assert type(caught.value) is UsageError


@pytest.fixture
def order(encoder: OnnxEncoder, tmp_path: Path) -> Order:
    plan = Plan(listing="", rows=2, shard_rows=2, batch_size=2, weights=weights_of(encoder))
    manifest = Manifest(space=SPACE, encoder="linear", dim=16, images="some", plan=plan)
    (tmp_path / "probe").touch()
    return Order(encoder.folder, 1, tmp_path, manifest, tmp_path / "probe", versions())


def test_a_node_that_cannot_do_the_job(order: Order, images: ImageSet, tmp_path: Path) -> None:
    assert Worker(order).start() == socket.gethostname()
    with pytest.raises(UsageError, match=r"does not see the folder of the gallery.*same path"):
        Worker(replace(order, probe=tmp_path / "elsewhere")).start()
    with pytest.raises(UsageError, match=r"another version of 'hetsearch': observed .*, expected 9\.9"):
        Worker(replace(order, versions={"hetsearch": "9.9"})).start()
    with pytest.raises(UsageError, match=r"another version of 'torchdata': observed none, expected 1"):
        Worker(replace(order, versions={"torchdata": "1"})).start()
    with pytest.raises(UsageError, match=r"is not an encoder bundle"):
        Worker(replace(order, bundle=tmp_path / "nothing")).start()
    with pytest.raises(UsageError, match=r"has another encoder in"):
        Worker(replace(order, bundle=linear_bundle(tmp_path / "b", space=OTHER_SPACE, seed=3))).start()
    with pytest.raises(UsageError, match=r"does not see the images: observed no '.*gone\.png'"):
        Worker(order).embed(0, images.subset(range(2)), str(tmp_path / "gone.png"), 0)


def test_paths_are_sent_whole_and_errors_as_they_are(
    tmp_path: Path, fashion_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(fashion_folder.parent)
    images = open_source(fashion_folder.name)
    few = ray_embed.sent(images, range(5, 8))
    assert (few.keys, few.labels) == (images.keys[5:8], images.labels[5:8])
    assert [few.read(row) for row in range(3)] == [str(fashion_folder / key) for key in images.keys[5:8]]
    with pytest.raises(ImageError, match="why not"):
        Sent((ImageError("why not"),))(0)


def test_an_encoder_without_a_bundle_stays_here(encoder: OnnxEncoder, images: ImageSet, tmp_path: Path) -> None:
    job = Embedding(load_encoder(encoder.folder), images, tmp_path, None)
    monkeyed = replace(job, encoder=type("Bare", (), {"name": "bare"})())
    with pytest.raises(UsageError, match="the encoder 'bare' cannot be sent to a cluster"):
        ray_embed._order(monkeyed, 1, tmp_path / "probe")
