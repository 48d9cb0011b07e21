"""Sphinx configuration of the page. `build.py` copies this folder, with the runs, and calls Sphinx.

Nothing is fetched, neither as the page is built nor as it is read: equations become MathML, whose
font is cut out of a package, and every script and style is a file of the page.
"""

import html
import json
import logging
import re
from importlib.util import find_spec
from pathlib import Path

import latex2mathml.converter
from docutils import nodes
from fontTools import subset
from PIL import Image
from sphinx.util.typing import stringify_annotation

ORIGIN = "preset", "config", "commit"  # in the text chunks of a saved figure's PNG

project = "What Makes You Look Like You, reproduced"
html_title = "What Makes You Look Like You"
language = "en"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["figures", "pku74", "repository"]

nb_execution_mode = "off"  # the notebooks come executed
nb_merge_streams = True
nb_render_markdown_format = "gfm"  # tables too
nb_ipywidgets_js = {}  # myst-nb would load it from another host
nb_code_prompt_show = "Code"
nb_code_prompt_hide = "Code"
myst_enable_extensions = ["attrs_block", "colon_fence", "dollarmath"]
myst_heading_anchors = 3

html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["site.css", "explore.css"]
html_favicon = "static/favicon.svg"
html_math_renderer = "mathml"
html_copy_source = False
html_domain_indices = False
html_show_copyright = False
html_show_sourcelink = False
html_use_index = False
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"
html_theme_options = {
    "light_css_variables": {
        "color-brand-primary": "#0b5cad",
        "color-brand-content": "#0b5cad",
        "color-brand-visited": "#6a3d9a",
        "color-foreground-muted": "#5a5c63",
    },
    "dark_css_variables": {
        "color-brand-primary": "#7db8f5",
        "color-brand-content": "#7db8f5",
        "color-brand-visited": "#c9a6f0",
        "color-foreground-muted": "#a3a6ad",
    },
}

add_module_names = False
autodoc_default_options = {"exclude-members": "model_config"}
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
napoleon_attr_annotations = False  # the signature says them
napoleon_custom_sections = ["Source"]
napoleon_use_ivar = True
python_maximum_signature_line_length = 100
toc_object_entries = False


def _math(translator, node):
    display = "block" if isinstance(node, nodes.math_block) else "inline"
    source, _, number = node.astext().partition(r"\tag")
    text = latex2mathml.converter.convert(source.strip(), display=display)
    text = text.replace("<mo>&#x02016;", '<mo stretchy="false">&#x02016;')  # else one bar grows
    if display == "block":
        number = f"<span>({number.strip(' {}')})</span>" if number else ""
        text = f'<div class="math" tabindex="0">{text}{number}</div>'
    translator.body.append(text)
    raise nodes.SkipNode


def _cut_font(app):
    """The font of the equations: of STIX Two Math (SIL Open Font License) the signs in use."""
    signs = (
        "20-7e a0-ff 300-338 391-3f6 2010-2044 2102-2138 2190-21d5 2200-22ff 2308-230b 27e8-27e9"
    )
    signs += " 1d400-1d49b 1d6a8-1d71b"
    ranges = (pair.split("-") for pair in signs.split())
    chosen = [code for low, high in ranges for code in range(int(low, 16), int(high, 16) + 1)]
    logging.getLogger("fontTools").setLevel(logging.WARNING)
    options = subset.Options(flavor="woff", layout_features=["ssty", "dtls"])
    package = Path(find_spec("ziamath").origin).parent  # wanted for its font alone
    font = subset.load_font(str(package / "fonts" / "STIXTwoMath-Regular.ttf"), options)
    cutter = subset.Subsetter(options)
    cutter.populate(unicodes=chosen)
    cutter.subset(font)
    target = Path(app.outdir) / "_static" / "STIXTwoMath.woff"
    target.parent.mkdir(parents=True, exist_ok=True)
    subset.save_font(font, str(target), options)


def _describe_images(app, doctree):
    """Give each image the alt text in `<image>.alt.txt` and its size in pixels."""
    for image in doctree.findall(nodes.image):
        file = Path(app.srcdir) / image["uri"].removeprefix("/")
        beside = file.with_suffix(".alt.txt")
        if not image.get("alt") and beside.is_file():
            image["alt"] = beside.read_text("utf-8").strip()
        if not image.get("alt"):
            raise ValueError(f"{image['uri']} has no alt text; expected it in {beside.name}")
        with Image.open(file) as picture:
            inches = picture.width / picture.info.get("dpi", (200, 200))[0]
            image["width"] = f"{96 * inches:.0f}px"


def _tell_origins(app, doctree):
    """Below each figure a line that unfolds: notebook, preset, configurations, commit, data."""
    known = json.loads((Path(app.srcdir) / "origins.json").read_text("utf-8"))
    page = app.env.docname
    up = "../" * page.count("/")
    for image in list(doctree.findall(nodes.image)):
        file = Path(app.srcdir) / image["uri"].removeprefix("/")
        with Image.open(file) as picture:
            about = dict(picture.info)
        if "pku74" in file.parts:
            origin = known[file.parent.relative_to(app.srcdir).as_posix()]
        else:
            origin = known.get(about.get("Title"), known.get(page.rpartition("/")[2], {}))
        text = _origin_html({key: about[key] for key in ORIGIN if key in about} | origin, up)
        below = image
        while not isinstance(below, nodes.figure | nodes.paragraph):
            if below.parent is None or "cell" in below.get("classes", ()):
                break
            below = below.parent
        below.parent.insert(below.parent.index(below) + 1, nodes.raw("", text, format="html"))


def _origin_html(origin, up):
    """A <details> of what is known of a figure's origin; `up` leads to the root of the page."""
    lines = []
    if "notebook" in origin:
        name = html.escape(origin["notebook"])
        lines.append(("notebook", f'<a href="{up}notebooks/{name}.html">{name}</a>'))
    lines.append(("preset", html.escape(origin.get("preset", "none: committed records"))))
    for key, word in (("config", "configuration"), ("commit", "commit")):
        digests = " ".join(f"<code>{html.escape(d)}</code>" for d in origin.get(key, "").split())
        lines.append((word, digests or "none: no run is behind it"))
    files = (f'<a href="{up}_static/data/{name}">{name}</a>' for name in origin.get("csv", ()))
    lines.append(("data", ", ".join(files) or "no CSV"))
    terms = "".join(f"<div><dt>{term}</dt><dd>{text}</dd></div>" for term, text in lines)
    summary = "<summary>Where this figure comes from</summary>"
    return f'<details class="figure-origin">{summary}<dl>{terms}</dl></details>'


def _plain_docstring(app, what, name, obj, options, lines):
    """The docstrings are plain text: indented formulas stay as they are, `names` are code."""
    section = re.compile(r"(Args|Returns|Raises|Attributes|Yields):$")
    inside, out = False, []
    for number, line in enumerate(lines):
        if number and lines[number - 1] == "Returns:":  # its first colon ends no type
            line = re.sub(r"^( *)", r"\1: ", line)
        if section.match(line):
            inside = True
        elif line and not line.startswith(" "):
            inside = False
        literal = line.startswith("    ") and not inside
        before = lines[number - 1] if number else ""
        if literal and not before.strip():
            out += ["::", ""]
        if not literal:
            line = re.sub(r"([\\*|]|(?<=\w)_(?!\w))", r"\\\1", line)
            line = re.sub(r"`([^`]+)`", lambda code: f"``{code[1]}``".replace("\\", ""), line)
        out.append(line)
    lines[:] = out


def _fields(app, what, name, obj, options, lines):
    """A model's fields, which pydantic keeps from the docstring, with types and defaults."""
    for field, about in getattr(obj, "__pydantic_fields__", {}).items() if what == "class" else ():
        default = "" if about.is_required() else f" = {about.default!r}"
        words = f": {about.description}" if about.description else ""
        kind = re.sub(r"~|[a-z_.]+\.(?=[A-Z])", "", stringify_annotation(about.annotation, "smart"))
        lines += ["", f"* ``{field}: {kind}{default}``{words}"]


def _no_signature(app, what, name, obj, options, signature, returns):
    return ("", None) if hasattr(obj, "__pydantic_fields__") else None


def _reachable(app, page, template, context, doctree):
    """Let the keyboard reach boxes that scroll; correct the roles of headings and lists."""
    level = 'role="heading" aria-level="2"'
    tree = context.get("furo_navigation_tree", "")
    context["furo_navigation_tree"] = tree.replace('role="heading"', level)
    body = context.get("body", "").replace("<pre>", '<pre tabindex="0">')
    body = re.sub(  # Sphinx writes a long signature as a list of definitions without terms
        r'<dl>(\s*<dd><em class="sig-param">.*?)</dl>',
        lambda found: re.sub(r"<(/?)dd>", r"<\1div>", f"<dd>{found[1]}</dd>"),
        body,
        flags=re.DOTALL,
    )
    context["body"] = re.sub(r"<table\b.*?</table>", _sideways, body, flags=re.DOTALL)


def _sideways(table):
    """Put a table into a box that scrolls; with five columns or more it holds numbers."""
    columns = len(re.findall(r"<th\b", table[0].partition("</tr>")[0]))
    kind = "sideways numbers" if columns >= 5 else "sideways"
    return f'<div class="{kind}" tabindex="0">{table[0]}</div>'


def setup(app):
    app.add_html_math_renderer("mathml", (_math, None), (_math, None))
    app.connect("builder-inited", _cut_font)
    app.connect("doctree-read", _describe_images)
    app.connect("doctree-read", _tell_origins)
    app.connect("autodoc-process-docstring", _plain_docstring, priority=400)  # before napoleon
    app.connect("autodoc-process-docstring", _fields)
    app.connect("autodoc-process-signature", _no_signature)
    app.connect("html-page-context", _reachable, priority=900)  # after the theme
    return {"parallel_read_safe": True}
