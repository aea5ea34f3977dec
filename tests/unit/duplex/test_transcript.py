"""The line parser: each line is an utterance, a known non-text or a problem, and each decision is as its docstring says."""

from __future__ import annotations

import codecs

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duplexforge.duplex.corpus import Utterance
from duplexforge.duplex.transcript import TAGS, Transcript, parse_transcript

SPEAKER = "G0001"


def read(*lines: str | bytes, seconds: float | None = 60.0, speaker: str = SPEAKER) -> Transcript:
    body = b"\n".join(line.encode() if isinstance(line, str) else line for line in lines)
    return parse_transcript(body, file="TXT/a.txt", speaker=speaker, seconds=seconds)


def told(found: Transcript) -> list[tuple[int | None, str, bool]]:
    return [(problem.line, problem.reason, problem.kept) for problem in found.problems]


@pytest.mark.parametrize(
    "line",
    [
        "[1.500,2.250]\tG0001\tmale\thello there",
        "[1.500,2.250] G0001 male hello there",
        "[1.500,2.250]   G0001\tmale   hello there  ",
        "[1.500,2.250]\t G0001 \t male \t hello   there \t",
        "[1,500,2,250]\tG0001\tmale\thello there",
        "[1,500, 2,250] G0001 M hello there",
        "  [ 1.5 , 2.25 ]\tG0001\tMale\thello\tthere\r",
        "[1.5,2.25]\tG0001\tmale\t[SONANT] hello[*]there [pii] [ENS]",
        "[1.5,2.25]\tG0001\tmale\thello\u00a0there",
        "[1.5,2.25] G0001 male \thello\tthere\t",
    ],
)
def test_one_utterance_in_many_spellings(line: str) -> None:
    found = read(line)
    assert found.utterances == [Utterance(1.5, 2.25, "hello there")]
    assert (found.gender, found.problems) == ("male", [])


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("hello", "bad_times"),
        ("[1.0,2.0", "bad_times"),
        ("1.0,2.0\tG0001\tmale\thello", "bad_times"),
        ("[1.0 2.0]\tG0001\tmale\thello", "bad_times"),
        ("[1,0,2]\tG0001\tmale\thello", "bad_times"),
        ("[nan,2.0]\tG0001\tmale\thello", "bad_times"),
        ("[1.0,inf]\tG0001\tmale\thello", "bad_times"),
        ("[1e3,2e3]\tG0001\tmale\thello", "bad_times"),
        ("[+1.0,2.0]\tG0001\tmale\thello", "bad_times"),
        ("[0:01,0:02]\tG0001\tmale\thello", "bad_times"),
        ("[١.٥,٢.٥]\tG0001\tmale\thello", "bad_times"),
        ("[,]\tG0001\tmale\thello", "bad_times"),
        ("[-1.0,2.0]\tG0001\tmale\thello", "negative_time"),
        ("[2.0,1.0]\tG0001\tmale\thello", "end_before_start"),
        ("[2.0,2.0]\tG0001\tmale\thello", "end_before_start"),
        ("[60.0,61.0]\tG0001\tmale\thello", "beyond_audio"),
        ("[1.0,2.0]\tG0002\tmale\thello", "unknown_speaker"),
        ("[1.0,2.0]\tg0001\tmale\thello", "unknown_speaker"),
        ("[1.0,2.0]", "missing_field"),
        ("[1.0,2.0]\tG0001", "missing_field"),
        ("[1.0,2.0]\tG0001\tmale", "missing_field"),
        ("[1.0,2.0]\tG0001\tmale\t", "missing_field"),
        ("[1.0,2.0]\t\tmale\thello", "missing_field"),
        ("[1.0,2.0] G0001 hello you there", "missing_field"),
        ("[1.0,2.0]\tG0001\thello you there", "missing_field"),
        ("[1.0,2.0]G0001\tmale\thello", "missing_field"),
        ("[1.0,2.0]\tG0001\tmale\t...", "no_words"),
    ],
)
def test_what_is_left_out(line: str, reason: str) -> None:
    found = read("[0.5,0.9]\tG0001\tmale\tbefore", line, "[3.0,4.0]\tG0001\tmale\tbehind")
    assert told(found) == [(2, reason, False)]
    assert [one.text for one in found.utterances] == ["before", "behind"]
    assert (found.lines, found.left_out) == (3, 1)
    assert found.problems[0].file == "TXT/a.txt"


@pytest.mark.parametrize(
    "tags", ["[*]", "[NPS]", "[PII]", "[SONANT]", "[MUSIC]", "[SYSTEM]", "[ENS]", "[*][*] [NPS]", "[ENS]."]
)
def test_lines_of_nothing_but_tags_carry_no_text(tags: str) -> None:
    found = read(f"[1.0,2.0]\tG0001\tmale\t{tags}", f"[2.0,2.0] G0001 male {tags}")
    assert (found.utterances, found.problems, found.non_text) == ([], [], 2)
    assert not found.tags


def test_tags_inside_a_text_are_counted() -> None:
    found = read(
        *[f"[{index}.0,{index}.9]\tG0001\tmale\t[{tag}]word[{tag}] more" for index, tag in enumerate(sorted(TAGS))]
    )
    assert {one.text for one in found.utterances} == {"word more"}
    assert found.tags == {f"[{tag}]": 2 for tag in TAGS}
    assert found.problems == []


def test_noise_and_blank_lines_are_no_problem() -> None:
    found = read("[1.0,2.0]\t0\tnone\t[ENS]", "", "[9.0,9.0]\tNone\t0\twhatever it was", "   \t ", "[1,2] 0 0 [SYSTEM]")
    assert (found.noise, found.blank, found.lines, found.problems, found.utterances) == (3, 2, 5, [], [])


def test_ends_are_cut_to_the_audio_and_rounding_is_not_told() -> None:
    found = read("[58.0,59.0] G0001 male a", "[59.0,60.009] G0001 male b", "[59.5,61.0] G0001 male c")
    assert [one.end for one in found.utterances] == [59.0, 60.0, 60.0]
    assert told(found) == [(3, "end_beyond_audio", True), (3, "overlaps_itself", True)]
    assert read("[58.0,9999.0] G0001 male a", seconds=None).utterances == [Utterance(58.0, 9999.0, "a")]


def test_disorder_overlap_and_twins() -> None:
    found = read(
        "[5.0,6.0] G0001 male five",
        "[1.0,2.0] G0001 male one",
        "[5.0,6.0] G0001 male five",
        "[1.5,1.8] G0001 male inside",
        "[2.0,3.0] G0001 male two",
        "[5.0,6.0] G0001 male other words",
    )
    assert [one.text for one in found.utterances] == ["one", "inside", "two", "five", "other words"]
    assert told(found) == [
        (2, "out_of_order", True),
        (3, "duplicate_line", False),
        (4, "out_of_order", True),
        (4, "overlaps_itself", True),
        (5, "out_of_order", True),
        (6, "overlaps_itself", True),
    ]
    assert "line 1" in found.problems[1].message


def test_two_lines_inside_a_long_one_both_overlap_it() -> None:
    found = read(
        "[1,9] G0001 male on and on", "[2,3] G0001 male first", "[4,5] G0001 male second", "[9,10] G0001 male then"
    )
    assert told(found) == [(2, "overlaps_itself", True), (3, "overlaps_itself", True)]


def test_doubtful_lines_are_kept() -> None:
    found = read(
        "[1.0,2.0]\tG0001\trobot\thello",
        "[2.0,3.0]\tG0001\t\thello",
        "[3.0,4.0]\tG0001\tmale\tis it [GIGGLE] you",
        "[4.0,5.0]\tG0001\tmale\tan [open bracket",
        "[5.0,6.0]\tG0001\tmale\ta bell\x07rings\x00",
    )
    assert [(line, reason) for line, reason, kept in told(found) if kept] == [
        *(
            (1, "unknown_gender"),
            (2, "unknown_gender"),
            (3, "unknown_tag"),
            (4, "unknown_tag"),
            (5, "control_characters"),
        ),
    ]
    assert [one.text for one in found.utterances][2:] == ["is it [GIGGLE] you", "an [open bracket", "a bell rings"]


def test_the_gender_is_the_most_frequent_one() -> None:
    lines = [f"[{index}.0,{index}.5]\tG0001\t{name}\thello" for index, name in enumerate(["f", "male", "女", "0", "-"])]
    found = read(*lines)
    assert found.gender == "female"
    assert told(found) == [(None, "gender_differs", True)]
    assert "2 times female, 1 times male" in found.problems[0].message
    assert read("[0.0,1.0]\tG0001\tnone\thello").gender is None


@pytest.mark.parametrize("ends", [b"\n", b"\r\n", b"\r"])
def test_marks_and_line_ends(ends: bytes) -> None:
    body = codecs.BOM_UTF8 + ends.join([b"[1,2] G0001 f a", b"bad", b"[3,4] G0001 f b"])
    found = parse_transcript(body, file="x", speaker=SPEAKER, seconds=9.0)
    assert [one.text for one in found.utterances] == ["a", "b"]
    assert told(found) == [(2, "bad_times", False)]


@pytest.mark.parametrize(("mark", "encoding"), [(codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be")])
def test_utf16_is_read_by_its_mark(mark: bytes, encoding: str) -> None:
    line = "[1,2]\tG0001\tf\tçok güzel\r\n"
    found = parse_transcript(mark + line.encode(encoding), file="x", speaker=SPEAKER, seconds=9.0)
    assert found.utterances == [Utterance(1.0, 2.0, "çok güzel")]
    assert told(found) == [(None, "other_encoding", True)]
    broken = parse_transcript(mark + b"odd", file="x", speaker=SPEAKER, seconds=9.0)
    assert told(broken) == [(None, "undecodable", False)]


def test_bytes_that_are_no_text_cost_one_line() -> None:
    found = read("[1,2] G0001 f a", b"[2,3] G0001 f caf" + b"\xe9", b"\xff\xfe\x00", "[3,4] G0001 f b")
    assert told(found) == [(2, "undecodable", False), (3, "undecodable", False)]
    assert "byte 18" in found.problems[0].message
    assert len(found.utterances) == 2


def test_speakers_are_compared_in_composed_form() -> None:
    decomposed, composed = "A\u030a1", "\u00c51"
    assert read(f"[1,2]\t{decomposed}\tf\thello", speaker=composed).utterances
    assert read(f"[1,2]\t{composed}\tf\thello", speaker=decomposed).utterances


FIELD = st.sampled_from(
    [
        *(
            "[1.0,2.0]",
            "[2,1]",
            "[-1,3]",
            "[0,5,1,5]",
            "[x,y]",
            "[1,2",
            "[90,91]",
            "[59,61]",
            "G0001",
            "G0002",
            "0",
            "none",
        ),
        *(
            "male",
            "female",
            "robot",
            "hello",
            "[SONANT]",
            "[*][NPS]",
            "[ODD]",
            "[",
            "]",
            "...",
            "\x00",
            "\u2028",
            "日本",
            "\x85",
        ),
    ]
)
LINE = st.lists(st.tuples(FIELD, st.sampled_from(["\t", " ", "", "\t\t", " \t"])), max_size=7).map(
    lambda parts: "".join(field + separator for field, separator in parts).encode()
)


def check_every_line_is_accounted_for(body: bytes, found: Transcript) -> None:
    lost = [problem for problem in found.problems if not problem.kept and problem.line is not None]
    assert found.lines == found.blank + found.noise + found.non_text + found.left_out + len(found.utterances)
    assert found.left_out == len(lost) == len({problem.line for problem in lost})
    assert all(problem.line is None or 1 <= problem.line <= found.lines for problem in found.problems)
    assert all(problem.message and "\n" not in problem.message for problem in found.problems)
    starts = [one.start for one in found.utterances]
    assert starts == sorted(starts)
    for one in found.utterances:
        assert 0 <= one.start < one.end <= 60.0
        assert one.text == " ".join(one.text.split())
        assert any(sign.isalnum() for sign in one.text)
        assert not any(f"[{tag}]" in one.text.upper() for tag in TAGS)


@settings(max_examples=300, deadline=None)
@given(st.lists(LINE, max_size=8), st.sampled_from([b"\n", b"\r\n"]), st.sampled_from([b"", codecs.BOM_UTF8]))
def test_lines_of_odd_parts_are_all_accounted_for(lines: list[bytes], ends: bytes, mark: bytes) -> None:
    body = mark + ends.join(lines)
    check_every_line_is_accounted_for(body, parse_transcript(body, file="x", speaker=SPEAKER, seconds=60.0))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300) | st.binary(max_size=60).map(lambda body: codecs.BOM_UTF16_LE + body))
def test_no_bytes_make_it_fail(body: bytes) -> None:
    check_every_line_is_accounted_for(body, parse_transcript(body, file="x", speaker=SPEAKER, seconds=60.0))


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 50_000),
            st.integers(1, 9_000),
            st.text(st.characters(exclude_characters="[]", exclude_categories=("Cs", "Cc", "Zl", "Zp")), min_size=1),
        ),
        max_size=6,
    )
)
def test_what_is_well_written_is_read_as_it_was_written(said: list[tuple[int, int, str]]) -> None:
    expected = {}
    lines = []
    for start, length, text in said:
        words = " ".join(text.split())
        if not any(sign.isalnum() for sign in words):
            continue
        one = Utterance(start / 1000, (start + length) / 1000, words)
        expected[one] = None
        lines.append(f"[{start / 1000:.3f},{(start + length) / 1000:.3f}]\t{SPEAKER}\tfemale\t{text}")
    found = read(*lines)
    # Twins are left out but for the first.
    assert set(found.utterances) == set(expected)
    assert len(found.utterances) == len(expected)
    assert {problem.reason for problem in found.problems} <= {"out_of_order", "overlaps_itself", "duplicate_line"}
