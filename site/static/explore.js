// Ranked galleries and the codes in the plane, from explore_data.js. The state is the address's hash.
"use strict";
(() => {
  const { images, across, rows } = window.explore_data;
  const menus = document.getElementById("menus").elements;
  const [letters, cameras] = ["AB", [...new Set(images.camids)].sort((a, b) => a - b)];
  const letter = (i) => letters[cameras.indexOf(images.camids[i])];
  const names = Object.keys(rows);
  const persons = [...new Set(images.pids)];
  const turns = [...new Set(images.orientations)].sort((a, b) => a - b);
  const SVG = "http://www.w3.org/2000/svg";
  const lines = Math.ceil(images.names.length / across);
  let query = 0;  // the number of the chosen image
  let cursor = 0;  // the image that hovering or the arrow keys point at

  function element(name, attributes = {}, ...children) {
    const made = /^(svg|g|path|circle|title)$/.test(name)
      ? document.createElementNS(SVG, name) : document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }
  const words = (i) =>
    `person ${images.pids[i]}, camera ${letter(i)}, orientation ${images.orientations[i]}`;
  function picture(i, said) {
    const [x, y] = [i % across, Math.floor(i / across)];
    const place = `${(100 * x) / (across - 1)}% ${(100 * y) / Math.max(lines - 1, 1)}%`;
    return element("span", { class: "picture",
      ...(said ? { role: "img", "aria-label": said } : { "aria-hidden": "true" }),
      style: `background-position:${place};background-size:${100 * across}% ${100 * lines}%` });
  }
  const percent = (x) => `${(100 * x).toFixed(1)} %`;
  const correct = (i) => images.pids[i] === images.pids[query];
  const scored = (row) => rows[row][menus.codes.value];

  // The menus

  function offer(menu, options, wanted) {
    menu.replaceChildren(...options.map(([value, text]) => element("option", { value }, String(text))));
    menu.value = options.some(([value]) => String(value) === String(wanted)) ? wanted : options[0][0];
  }
  /** The queries that direction and orientation leave, hardest first under the chosen row. */
  function queries() {
    const { AP, first } = scored(menus.row.value);
    const turn = Number(menus.orientation.value);
    return images.names.map((_, i) => i)
      .filter((i) => letter(i) === menus.direction.value[0])
      .filter((i) => !turn || images.orientations[i] === turn)
      .sort((a, b) => AP[a] - AP[b] || first[b] - first[a] || a - b);
  }
  function fill() {
    offer(menus.row, names.map((n) => [n, n]), menus.row.value || names.at(-1));
    const others = names.filter((n) => n !== menus.row.value);
    offer(menus.beside, [...others, "none"].map((n) => [n, n]), menus.beside.value);
    offer(menus.orientation, [[0, "all"], ...turns.map((t) => [t, t])], menus.orientation.value);
    const { AP } = scored(menus.row.value);
    const list = queries();
    const option = (i) => [images.names[i], `${images.names[i]}: AP ${percent(AP[i])}, ${words(i)}`];
    offer(menus.query, list.map(option), images.names[query]);
    query = cursor = images.names.indexOf(menus.query.value);
    menus.harder.disabled = list[0] === query;
    menus.easier.disabled = list.at(-1) === query;
  }
  const KEPT = ["row", "beside", "direction", "orientation", "codes", "query", "colour"];
  function remember() {
    const state = new URLSearchParams(KEPT.map((key) => [key, menus[key].value]));
    history.replaceState(null, "", `#${state}`);
  }
  /** Set the menus from the hash; of what it does not name, the first is shown: the hardest query. */
  function recall() {
    const state = new URLSearchParams(location.hash.slice(1));
    const asked = images.names.indexOf(state.get("query"));
    fill();
    for (const key of KEPT) {
      const offered = [...menus[key].options].map((option) => option.value);
      if (offered.includes(state.get(key))) menus[key].value = state.get(key);
      query = asked;
      fill();
    }
    show();
  }

  // The galleries

  function gallery(row) {
    const { nearest, distances, AP, first } = scored(row);
    const found = nearest[query].filter(correct).length;
    const list = nearest[query].map((i, k) => {
      const kind = correct(i) ? "correct" : "wrong";
      return element("li", { class: kind, "data-name": images.names[i] },
        picture(i, `${kind}: ${words(i)}`),
        element("b", { "aria-hidden": "true" }, correct(i) ? "✓" : "✗"),
        element("span", { class: "distance" }, distances[query][k].toPrecision(3)));
    });
    return element("section", { "data-row": row },
      element("h3", {}, row),
      element("p", {}, `AP ${percent(AP[query])}, first match at rank ${first[query]}, `
        + `${found} of the ${list.length} nearest correct`),
      element("ol", { class: "ranked" }, ...list));
  }
  const shownRows = () => [menus.row.value, menus.beside.value].filter((row) => row in rows);
  function show() {
    const asked = element("figure", { class: "asked", "data-name": images.names[query] },
      picture(query, `query: ${words(query)}`), element("figcaption", {}, `query: ${words(query)}`));
    document.getElementById("galleries").replaceChildren(
      asked, element("div", {}, ...shownRows().map(gallery)));
    document.getElementById("planes").replaceChildren(...shownRows().map(plane));
    legend();
    point(query);
    remember();
  }

  // The plane

  const HUES = {  // of image i
    person: (i) => (persons.indexOf(images.pids[i]) * 137.5) % 360,
    camera: (i) => ({ A: 215, B: 35 })[letter(i)],
    orientation: (i) => (turns.indexOf(images.orientations[i]) * 360) / turns.length,
  };
  const level = (mark) => ["", "near", "near correct", "chosen"].indexOf(mark.getAttribute("class"));
  const hue = (i) => HUES[menus.colour.value](i);
  function plane(row) {
    const xy = rows[row].xy;
    const [xs, ys] = [0, 1].map((d) => xy.map((point) => point[d]));
    const [left, top] = [Math.min(...xs), -Math.max(...ys)];
    const [wide, high] = [Math.max(...xs) - left, -Math.min(...ys) - top];
    const unit = Math.max(wide, high) / 100;
    const close = new Set(scored(row).nearest[query]);
    const marks = xy.map(([x, y], i) => {
      const r = (i === query ? 2.2 : 1.15) * unit;
      const shape = letter(i) === "A"
        ? `M${-r},0a${r},${r} 0 1 0 ${2 * r},0a${r},${r} 0 1 0 ${-2 * r},0z`
        : `M0,${-1.25 * r}L${1.15 * r},${0.9 * r}L${-1.15 * r},${0.9 * r}z`;
      const kind = i === query ? "chosen" : close.has(i) ? (correct(i) ? "near correct" : "near") : "";
      return element("path", { d: shape, transform: `translate(${x} ${-y})`, class: kind,
        style: `--hue:${hue(i)};stroke-width:${0.5 * unit}`, "data-image": i });
    });
    const svg = element("svg", { role: "application", tabindex: 0, "data-row": row,
      "aria-label": `t-SNE of ${row}. Move from image to image with the arrow keys; Enter makes an image the query.`,
      viewBox: [left - 4 * unit, top - 4 * unit, wide + 8 * unit, high + 8 * unit].join(" ") },
      ...marks.sort((a, b) => level(a) - level(b)));  // the last are drawn on top
    const under = (event) => event.target.dataset.image;
    svg.addEventListener("pointerover", (event) => under(event) && point(Number(under(event))));
    svg.addEventListener("pointerleave", () => point(query));
    svg.addEventListener("click", (event) => under(event) && choose(Number(under(event))));
    svg.addEventListener("keydown", (event) => {
      const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
      if (way[event.key]) point(beyond(xy, way[event.key]));
      else if (event.key === "Enter" || event.key === " ") choose(cursor, row);
      else return;
      event.preventDefault();
    });
    return element("figure", {}, svg, element("figcaption", {}, row));
  }
  /** The nearest image that lies in a direction from the cursor, more ahead than aside. */
  function beyond(xy, [dx, dy]) {
    let [best, least] = [cursor, Infinity];
    xy.forEach(([x, y], i) => {
      const [u, v] = [x - xy[cursor][0], y - xy[cursor][1]];
      const [ahead, aside] = [u * dx + v * dy, Math.abs(u * dy - v * dx)];
      if (i !== cursor && ahead > 0 && ahead >= aside && Math.hypot(u, v) < least)
        [best, least] = [i, Math.hypot(u, v)];
    });
    return best;
  }
  function point(i) {
    cursor = i;
    for (const mark of document.querySelectorAll("#planes path")) {
      const k = Number(mark.dataset.image);
      mark.classList.toggle("same", images.pids[k] === images.pids[i]);
      mark.classList.toggle("pointed", k === i);
    }
    document.getElementById("pointed").replaceChildren(
      picture(i, ""), `${images.names[i]}: ${words(i)}${i === query ? " (the query)" : ""}`);
  }
  function legend() {
    const kinds = { person: [], camera: cameras.map((c) => images.camids.indexOf(c)),
      orientation: turns.map((t) => images.orientations.indexOf(t)) }[menus.colour.value];
    const text = { camera: (i) => `camera ${letter(i)}`, orientation: (i) => images.orientations[i] };
    document.getElementById("legend").replaceChildren(...kinds.map((i) => element("li",
      { style: `--hue:${hue(i)}` }, String(text[menus.colour.value](i)))));
  }
  function choose(i, row) {
    menus.direction.value = letter(i) === "A" ? "A->B" : "B->A";
    const turn = Number(menus.orientation.value);
    if (turn && images.orientations[i] !== turn) menus.orientation.value = 0;
    query = i;
    fill();
    show();
    if (row) document.querySelector(`svg[data-row="${CSS.escape(row)}"]`).focus();
  }
  function turnTo(step) {
    const list = queries();
    choose(list[list.indexOf(query) + step]);
  }

  document.getElementById("menus").addEventListener("change", (event) => {
    if (event.target.name === "query") query = images.names.indexOf(menus.query.value);
    fill();
    show();
  });
  document.getElementById("menus").addEventListener("submit", (event) => event.preventDefault());
  menus.harder.addEventListener("click", () => turnTo(-1));
  menus.easier.addEventListener("click", () => turnTo(1));
  menus.copy.addEventListener("click", async () => {
    const done = await navigator.clipboard?.writeText(location.href).then(() => true, () => false);
    document.getElementById("copied").textContent = done ? "Copied." : "Copy the link from the address bar.";
  });
  window.addEventListener("hashchange", recall);
  recall();
})();
