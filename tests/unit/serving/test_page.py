"""The page's files: served as what they are, nothing from elsewhere, nothing inline, and they fit each other."""

from __future__ import annotations

import http.client
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from duplexforge.serving import app
from tests.unit.serving.running import PATIENCE, Running, running

PAGE = Path(app.__file__).parent / "page"
FILES = sorted(path.name for path in PAGE.iterdir())
SCRIPTS = [name for name in FILES if name.endswith(".js")]
WORKLETS = {"capture.js", "playback.js"}
KINDS = {
    ".html": {"text/html"},
    ".css": {"text/css"},
    ".js": {"text/javascript", "application/javascript"},
    ".svg": {"image/svg+xml"},
}
NAMESPACE = "http://www.w3.org/2000/svg"


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running(sca_keys="a-key-of-this-test") as found:
        yield found


def get(server: Running, path: str) -> tuple[int, http.client.HTTPMessage, bytes]:
    """The path as it is written: other clients tidy it up."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


class Markup(HTMLParser):
    """Elements as (name, attributes), and the text inside of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.inline: list[str] = []
        self._open: list[str] = []
        self.labelled: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.elements.append((tag, found))
        if "label" in self._open and tag in ("input", "select"):
            self.labelled.add(found.get("name") or "")
        if tag not in ("meta", "link", "input"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] in ("script", "style") and data.strip():
            self.inline.append(data)

    def values(self, attribute: str) -> list[str]:
        return [found[attribute] or "" for _, found in self.elements if attribute in found]


def read(name: str) -> str:
    return (PAGE / name).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def index() -> Markup:
    return Markup(read("index.html"))


def imports(name: str) -> dict[str, list[str]]:
    """What a module imports, by module."""
    found = re.findall(r'^import \{([^}]*)\} from "\./([a-z]+\.js)";$', read(name), re.MULTILINE)
    assert len(found) == len(re.findall(r"^import\b", read(name), re.MULTILINE)), f"{name}: an import of another kind"
    return {module: [one.strip() for one in names.split(",") if one.strip()] for names, module in found}


def exports(name: str) -> set[str]:
    return set(re.findall(r"^export (?:async )?(?:class|function|const) (\w+)", read(name), re.MULTILINE))


# -- served ----------------------------------------------------------------------------------------------------------------


def test_the_page_is_served_without_a_key_and_under_a_policy(server: Running) -> None:
    status, headers, body = get(server, "/")
    assert status == 200
    assert headers.get_content_type() == "text/html"
    assert body.decode() == read("index.html")
    assert "default-src 'self'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("name", FILES)
def test_every_file_is_served_as_what_it_is(server: Running, name: str) -> None:
    status, headers, body = get(server, f"/page/{name}")
    assert status == 200
    assert headers.get_content_type() in KINDS[Path(name).suffix]
    assert body == (PAGE / name).read_bytes()
    assert "content-security-policy" in headers


@pytest.mark.parametrize("path", ["../app.py", "%2e%2e/app.py", "..%2fapp.py", "none.js", ""])
def test_nothing_else_is_served_there(server: Running, path: str) -> None:
    assert get(server, f"/page/{path}")[0] == 404


# -- in the files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
def test_no_file_names_another_host(name: str) -> None:
    assert set(re.findall(r"""(?:https?:|wss?:)?//[\w.-]+\.\w[^\s"')]*""", read(name).replace(NAMESPACE, ""))) == set()


def test_nothing_is_inline(index: Markup) -> None:
    assert index.inline == []
    assert index.values("style") == []
    assert [name for _, found in index.elements for name in found if name.startswith("on")] == []
    assert index.values("src") == ["page/main.js"]


@pytest.mark.parametrize("name", SCRIPTS)
def test_what_the_server_says_never_becomes_markup_or_code(name: str) -> None:
    assert (
        re.findall(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|setAttribute\(.style",
            read(name),
        )
        == []
    )


@pytest.mark.parametrize("name", SCRIPTS)
def test_modules_import_what_there_is(name: str) -> None:
    for module, names in imports(name).items():
        assert module in SCRIPTS
        assert set(names) <= exports(module)
        for one in names:
            assert len(re.findall(rf"\b{one}\b", read(name))) > 1, f"{name} imports {one} for nothing"


def test_every_module_is_used() -> None:
    seen, found = set[str](), ["main.js", *WORKLETS]
    while found:
        name = found.pop()
        seen.add(name)
        found += [one for one in imports(name) if one not in seen]
    assert sorted(seen) == SCRIPTS
    assert all(f'"{name}"' in read("sound.js") for name in WORKLETS)


def test_worklets_import_only_what_runs_in_them() -> None:
    for name in WORKLETS:
        for module in imports(name):
            assert not imports(module)
            assert not re.search(r"\b(document|window|navigator|performance)\.|setTimeout", read(module))


def test_files_are_linked_where_they_lie(index: Markup) -> None:
    linked = [one for one in index.values("href") if not one.startswith("#")]
    assert sorted(linked) == ["page/icon.svg", "page/page.css"]


# -- for everybody -----------------------------------------------------------------------------------------------------------


def test_ids_are_there_once_and_what_is_named_is_there(index: Markup) -> None:
    ids = index.values("id")
    assert len(ids) == len(set(ids))
    named = [one for kind in ("for", "aria-labelledby", "aria-describedby") for one in index.values(kind)]
    named += [one.removeprefix("#") for one in index.values("href") if one.startswith("#")]
    named += re.findall(r'\$\("([\w-]+)"\)', read("main.js"))
    assert set(named) <= set(ids)


def test_every_control_has_a_label(index: Markup) -> None:
    for tag, found in index.elements:
        if tag in ("input", "select"):
            assert found.get("name") in index.labelled or found.get("id") in index.values("for"), found
        if tag == "canvas":
            assert found.get("role") == "img"
            assert found.get("aria-label")
        if tag == "button":
            assert found.get("type") == "button"
    assert dict(index.elements)["html"]["lang"] == "en"


def test_what_is_said_is_announced(index: Markup) -> None:
    roles = {found.get("id"): found.get("role") for _, found in index.elements if "role" in found}
    assert (roles["state"], roles["notice"], roles["transcript"]) == ("status", "alert", "log")


def colours(dark: bool) -> dict[str, str]:
    text = read("page.css")
    blocks = re.findall(r":root \{(.*?)\}", text, re.DOTALL)
    assert len(blocks) == 2
    found = {}
    for block in blocks if dark else blocks[:1]:
        found.update(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))
    return found


def contrast(one: str, other: str) -> float:
    """As WCAG 2 has it."""

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_and_ground_differ_enough(dark: bool) -> None:
    found = colours(dark)
    for ground in ("ground", "panel", "plot"):
        for text in ("text", "soft"):
            assert contrast(found[text], found[ground]) >= 4.5, (text, ground)
    for text in ("accent", "mine", "theirs", "good", "bad"):
        assert contrast(found[text], found["panel"]) >= 4.5, text
    assert contrast(found["on-accent"], found["accent"]) >= 4.5
    assert contrast(found["text"], found["bad-ground"]) >= 4.5
    for mark in ("mine", "theirs", "endpoint"):
        assert contrast(found[mark], found["plot"]) >= 3, mark
    assert contrast(found["edge"], found["panel"]) >= 3


def test_motion_is_left_out_for_those_who_want_none() -> None:
    text = read("page.css")
    moving = text.index("prefers-reduced-motion: no-preference")
    assert not re.search(r"animation|transition|@keyframes", text[:moving])
    assert "prefers-reduced-motion: reduce" in read("plots.js")
