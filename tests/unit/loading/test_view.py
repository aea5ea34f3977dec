"""A view reads and seeks as a file does, whatever is asked of it, and copies nothing before."""

from __future__ import annotations

import io

from hypothesis import given
from hypothesis import strategies as st

from duplexforge.loading.view import View

STEPS = st.one_of(
    st.tuples(st.just("read"), st.integers(-1, 40), st.just(0)),
    st.tuples(st.just("seek"), st.integers(0, 60), st.just(io.SEEK_SET)),
    st.tuples(st.just("seek"), st.integers(-10, 10), st.sampled_from([io.SEEK_CUR, io.SEEK_END])),
)


@given(body=st.binary(max_size=50), steps=st.lists(STEPS, max_size=20))
def test_as_a_file_of_the_same_bytes(body: bytes, steps: list[tuple[str, int, int]]) -> None:
    view, file = View(memoryview(body)), io.BytesIO(body)
    for step, number, whence in steps:
        if step == "read":
            assert view.read(number) == file.read(number)
        else:
            assert view.seek(number, whence) == file.seek(number, whence)
        assert view.tell() == file.tell()


def test_it_reads_where_the_bytes_lie() -> None:
    body = bytearray(b"before")
    view = View(memoryview(body))
    body[:] = b"behind"
    assert view.read() == b"behind"
    assert view.readable()
    assert view.seekable()
    assert not view.writable()
