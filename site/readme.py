"""Refresh the generated parts of all Markdown files: make readme.

Between <!-- from PATH --> and <!-- end --> stands the text of PATH, relative to the Markdown file,
or columns a and b of its table: <!-- from PATH: a, b -->. A link [`f`](x.py#L1) gets f's line.
"""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("[a-z]*/README.md"), *ROOT.glob("figures/*/README.md")]
BLOCK = r"(\n<!-- from (\S+?)(?:: (.+?))? -->\n)(?:(?!<!-- from ).)*?(<!-- end -->)"


def refreshed(page: Path) -> str:
    """The text of a Markdown file, its generated parts as their sources are now."""

    def block(found: re.Match) -> str:
        start, name, columns, end = found.groups()
        text = (page.parent / name).read_text("utf-8").strip()
        if columns:
            lines = [line for line in text.splitlines() if line.startswith("|")]
            cells = [line[2:-2].split(" | ") for line in lines]  # the last cells may be empty
            kept = [cells[0].index(column) for column in columns.split(", ")]
            text = "\n".join(f"| {' | '.join(row[k] for k in kept)} |" for row in cells)
        return start + (text if name.endswith(".md") else f"```text\n{text}\n```") + f"\n{end}"

    def link(found: re.Match) -> str:
        before = (page.parent / found[2]).read_text("utf-8").partition(f"\ndef {found[1]}(")[0]
        return f"[`{found[1]}`]({found[2]}#L{before.count(chr(10)) + 2})"

    text, blocks = re.subn(BLOCK, block, page.read_text("utf-8"), flags=re.DOTALL)
    if blocks != text.count("\n<!-- from "):
        raise ValueError(f"{page.name}: a <!-- from ... --> without an <!-- end --> after it")
    return re.sub(r"\[`(\w+)`\]\((\S+\.py)#L\d+\)", link, text)


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(refreshed(page), "utf-8")
