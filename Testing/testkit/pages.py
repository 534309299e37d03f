"""HTML pages, read strictly: every element that is opened is closed, in order."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

_VOID = {"meta", "link", "br", "img", "hr", "input"}
_INLINE = {"a", "b", "code", "em", "i", "span", "strong", "small"}
_LOADING = ("src", "href", "action", "data", "poster", "srcset", "xlink:href", "formaction")


@dataclass
class Element:
    """An element with its attributes and all text inside it."""

    tag: str
    attributes: dict[str, str]
    texts: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return " ".join("".join(self.texts).split())


class Page(HTMLParser):
    """A page; raises AssertionError when its elements are not nested properly.

    Attributes:
        elements: in the order in which they begin.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[Element] = []
        self._open: list[Element] = []
        assert text.startswith("<!DOCTYPE html>")
        self.feed(text)
        self.close()
        assert not self._open, f"never closed: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"<{tag}> has an attribute twice: {names}"
        self._part(tag)
        self.elements.append(Element(tag, {name: value or "" for name, value in attrs}))
        if tag not in _VOID:
            self._open.append(self.elements[-1])

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(Element(tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes nothing"
        assert self._open.pop().tag == tag, f"</{tag}> closes another element at {self.getpos()}"
        self._part(tag)

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element.texts.append(data)

    def _part(self, tag: str) -> None:
        """What stands in different cells or paragraphs is read as different words."""
        if tag not in _INLINE:
            self.handle_data(" ")

    def all(self, tag: str, **attributes: str) -> list[Element]:
        """Elements of a tag that have these attributes; `class_` is the class."""
        wanted = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
        return [
            one
            for one in self.elements
            if one.tag == tag and all(one.attributes.get(name) == value for name, value in wanted.items())
        ]

    @property
    def text(self) -> str:
        """What a reader sees."""
        return self.all("body")[0].text

    def foreign(self) -> list[str]:
        """What would make a browser fetch something from elsewhere, or run a program."""
        found = [
            f"{one.tag} {name}={value}"
            for one in self.elements
            for name, value in one.attributes.items()
            if name in _LOADING
            and not (value.startswith(("#", "data:")) or value in ("/", "/docs", "/openapi.json"))
        ]
        found += [
            f"{one.tag} {name}" for one in self.elements for name in one.attributes if name.startswith("on")
        ]
        found += [
            one.tag
            for one in self.elements
            if one.tag in ("script", "iframe", "object", "embed", "base", "form")
        ]
        styles = [one.text for one in self.all("style")] + [
            one.attributes.get("style", "") for one in self.elements
        ]
        return found + [style for style in styles if "url(" in style or "@import" in style]
