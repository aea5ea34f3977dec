"""What the store does when the service fails: lost answers, bursts of errors, refusals, half an answer."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from duplexforge.errors import ConfigError, StoreError
from duplexforge.storage import Store, open_store
from tests.servers.s3_client import S3Server


class Faulty:
    """A store on a fresh bucket, and how to arm faults for it alone."""

    def __init__(self, server: S3Server, attempts: int = 6) -> None:
        self.server, self.bucket = server, server.fresh_bucket()
        self.store: Store = open_store(server.settings(self.bucket), attempts=attempts)

    def arm(self, action: str, key: str = "", **fault: object) -> None:
        self.server.arm(action, match=f"/{self.bucket}{key and '/' + key}", **fault)

    def count(self, kind: str) -> int:
        return self.server.requests(self.bucket).get(kind, 0)


@pytest.fixture
def faulty(s3_server: S3Server) -> Faulty:
    return Faulty(s3_server)


@pytest.fixture
def impatient(s3_server: S3Server) -> Faulty:
    return Faulty(s3_server, attempts=2)


@pytest.mark.parametrize("lost", [1, 2])
def test_a_lost_answer_is_resolved_by_reading_back(faulty: Faulty, lost: int) -> None:
    faulty.arm("lost", "k", method="PUT", times=lost)
    assert faulty.store.put_if_absent("k", b"mine") is True
    assert faulty.store.put_if_absent("k", b"other") is False


def test_a_lost_answer_of_a_loser_is_not_a_win(faulty: Faulty) -> None:
    faulty.store.put("k", b"theirs")
    faulty.arm("lost", "k", method="PUT")
    assert faulty.store.put_if_absent("k", b"mine") is False


def test_exactly_one_wins_although_a_third_of_the_answers_is_lost(s3_server: S3Server) -> None:
    faulty = Faulty(s3_server, attempts=12)
    faulty.arm("lost", method="PUT", times=10_000, p=0.3)
    try:
        with ThreadPoolExecutor(8) as pool:
            for number in range(3):
                bodies = [f"{number}-{writer}".encode() for writer in range(8)]
                won = list(pool.map(lambda body, key=f"r{number}": faulty.store.put_if_absent(key, body), bodies))
                mine = [body for body, won_it in zip(bodies, won, strict=True) if won_it]
                assert mine == [faulty.store.get(f"r{number}")]
    finally:
        s3_server.control(disarm=True)


def test_a_write_that_lands_late_harms_nobody(faulty: Faulty) -> None:
    faulty.arm("late", "k", method="PUT", delay=0.3)
    assert faulty.store.put_if_absent("k", b"mine") is True
    time.sleep(0.4)
    assert faulty.store.get("k") == b"mine"


def test_a_clash_is_tried_again(faulty: Faulty) -> None:
    # S3 answers 409 when a conditional write meets a removal: nothing is there, so "it was there" would lose a record.
    faulty.arm("error", "k", method="PUT", code="ConditionalRequestConflict", times=2)
    assert faulty.store.put_if_absent("k", b"mine") is True
    assert faulty.store.get("k") == b"mine"


@pytest.mark.parametrize("code", ["SlowDown", "TooManyRequests"])
def test_throttling_is_waited_for(faulty: Faulty, code: str) -> None:
    faulty.arm("error", code=code)
    assert faulty.store.put_if_absent("k", b"x") is True


def test_errors_of_any_request_are_ridden_out(faulty: Faulty) -> None:
    store = faulty.store
    store.put("d/a", b"a")
    for method, request, expected in (
        ("GET", lambda: store.get("d/a"), b"a"),
        ("HEAD", lambda: store.head("d/a") is not None, True),
        ("PUT", lambda: store.put_if_absent("d/b", b"b"), True),
        ("PUT", lambda: store.put("d/c", b"c"), None),
        ("POST", lambda: store.delete(["d/c"]), None),
        ("GET", lambda: [meta.key for meta in store.list("d/")], ["d/a", "d/b"]),
        ("GET", lambda: store.folders(""), ["d/"]),
    ):
        faulty.arm("error", method=method)
        assert request() == expected
    assert faulty.server.control()["armed"] == 0


def test_a_listing_goes_on_where_it_broke(faulty: Faulty) -> None:
    keys = [f"p/{number:05d}" for number in range(2_100)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: faulty.store.put(key, b""), keys))
    faulty.arm("error", method="GET", skip=1, times=2)
    assert [meta.key for meta in faulty.store.list("p/")] == keys


def test_an_outage_is_a_store_error(impatient: Faulty, tmp_path: Path) -> None:
    impatient.arm("error", times=10_000, code="SlowDown")
    file = tmp_path / "f"
    file.write_bytes(b"x")
    try:
        for request in (
            lambda: impatient.store.get("k"),
            lambda: impatient.store.put_if_absent("k", b"x"),
            lambda: list(impatient.store.list("k/")),
            lambda: impatient.store.delete("k"),
            lambda: impatient.store.upload(file, "k"),
            lambda: impatient.store.now(),
        ):
            with pytest.raises(StoreError, match="SlowDown"):
                request()
    finally:
        impatient.server.control(disarm=True)


def test_half_an_answer_is_fetched_again(faulty: Faulty, tmp_path: Path) -> None:
    body = bytes(range(256)) * 4096
    faulty.store.put("k", body)
    faulty.arm("cut", "k", method="GET", times=2)
    faulty.store.download("k", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == body
    faulty.arm("cut", "k", method="GET", times=1)
    assert faulty.store.get("k") == body


def test_half_answers_for_ever_are_a_store_error(impatient: Faulty, tmp_path: Path) -> None:
    impatient.store.put("k", b"0123456789" * 1000)
    impatient.arm("cut", "k", method="GET", times=2)
    with pytest.raises(StoreError):
        impatient.store.download("k", tmp_path / "file")


def test_send_folder_raises_when_one_file_cannot_be_sent(impatient: Faulty, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).write_bytes(b"x")
    impatient.arm("error", "s/b", method="PUT", times=2)
    with pytest.raises(StoreError):
        impatient.store.send_folder(tmp_path, "s/")
    assert [entry.name for entry in impatient.store.send_folder(tmp_path, "s/")] == ["a", "b", "c"]


def test_send_folder_raises_when_a_file_has_gone(impatient: Faulty, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    for name in ("a", "b"):
        (folder / name).write_bytes(b"x")
    impatient.arm("slow", "s/a", method="PUT", delay=1.0)
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(impatient.store.send_folder, folder, "s/", threads=1)
        while not impatient.count("put"):
            time.sleep(0.01)
        (folder / "b").unlink()
        with pytest.raises(FileNotFoundError):
            sending.result()


def test_a_failed_upload_in_parts_leaves_no_orphan(impatient: Faulty, tmp_path: Path) -> None:
    file = tmp_path / "big"
    file.write_bytes(bytes(12 << 20))
    impatient.arm("error", "big", method="PUT", times=1)
    assert impatient.store.upload(file, "big") is True
    assert impatient.count("begin") == 2
    assert impatient.count("abort") == 1


def test_refusals_are_the_configurations_fault(s3_server: S3Server) -> None:
    bucket = s3_server.fresh_bucket()
    stranger = open_store(s3_server.settings(bucket, access_key_id="somebody-else"))
    for request in (
        lambda: stranger.get("k"),
        lambda: stranger.put("k", b""),
        lambda: list(stranger.list("k/")),
        lambda: stranger.probe(),
    ):
        with pytest.raises(ConfigError, match="access key"):
            request()


def test_a_wrong_clock_is_named(faulty: Faulty) -> None:
    faulty.arm("error", code="RequestTimeTooSkewed")
    with pytest.raises(ConfigError, match="clock"):
        faulty.store.get("k")


def test_a_missing_bucket_is_named(moto_server: S3Server) -> None:
    store = open_store(moto_server.settings("no-such-bucket"))
    for request in (lambda: store.find("k"), lambda: store.put("k", b""), lambda: list(store.list("k/")), store.probe):
        with pytest.raises(ConfigError, match="bucket"):
            request()


def test_denied_prefix_only_denies_that_prefix(faulty: Faulty) -> None:
    faulty.store.put("open/a", b"a")
    faulty.server.control(deny=[f"{faulty.bucket}/closed/"])
    try:
        with pytest.raises(ConfigError, match="AccessDenied"):
            faulty.store.get("closed/a")
        assert faulty.store.get("open/a") == b"a"
    finally:
        faulty.server.control(deny=[])


def test_a_store_that_ignores_conditions_is_refused(faulty: Faulty) -> None:
    faulty.server.control(bucket=faulty.bucket, personality="ignores_conditions")
    with pytest.raises(ConfigError, match=r"create-if-absent.*use AWS S3, Cloudflare R2") as refused:
        faulty.store.probe()
    assert refused.value.exit_code == 78
    assert list(faulty.store.list("tasks/")) == []


def test_one_write_a_second_to_a_key_is_waited_for(faulty: Faulty) -> None:
    faulty.server.control(bucket=faulty.bucket, personality="r2")
    for body in (b"1", b"2", b"3"):
        faulty.store.put("lease", body)
    assert faulty.store.get("lease") == b"3"
    assert faulty.count("put") > 3


def test_no_signature_in_an_error(impatient: Faulty) -> None:
    impatient.arm("error", times=2)
    with pytest.raises(StoreError) as failed:
        impatient.store.get("k")
    assert "test-secret-key" not in str(failed.value)
    assert "Signature=" not in str(failed.value)
