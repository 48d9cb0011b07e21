// Eqs. 2 to 4 on points in the plane, with the sums written as in the paper. The centres are fixed
// while a gradient is taken, as in training by default.
"use strict";
const equations = {
  sq: (a, b) => a.reduce((sum, x, d) => sum + (x - b[d]) ** 2, 0),
  add: (a, b, scale = 1) => a.map((x, d) => x + scale * b[d]),

  /** The mean code of each person. */
  centres(codes, labels, persons) {
    return Array.from({ length: persons }, (_, p) => {
      const own = codes.filter((_, i) => labels[i] === p);
      return own.reduce((sum, code) => equations.add(sum, code, 1 / own.length), [0, 0]);
    });
  },
  /** (d_min^p)^2: d_min^p is half the distance from centre p to the nearest other centre. */
  sqRadii: (centres) => centres.map((centre, p) =>
    Math.min(...centres.filter((_, j) => j !== p).map((other) => equations.sq(centre, other))) / 4),

  compactLoss(codes, labels, centres) {
    const sqRadii = equations.sqRadii(centres);
    return 0.5 * codes.reduce((sum, code, i) =>
      sum + Math.max(0, equations.sq(code, centres[labels[i]]) - sqRadii[labels[i]]), 0);
  },
  scatterLoss: (codes, labels, centres) => 0.5 * codes.reduce((sum, code, i) =>
    sum + centres.reduce((s, centre, j) => s + (j === labels[i] ? 0 : equations.sq(code, centre)), 0), 0),

  /** The gradient of beta L_CL - gamma L_SL with respect to each code. */
  gradient(codes, labels, centres, beta, gamma) {
    const sqRadii = equations.sqRadii(centres);
    return codes.map((code, i) => {
      const p = labels[i];
      const outside = equations.sq(code, centres[p]) > sqRadii[p];
      return centres.reduce((sum, centre, j) => {
        const weight = j === p ? (outside ? beta : 0) : -gamma;
        return equations.add(sum, equations.add(code, centre, -1), weight);
      }, code.map(() => 0));
    });
  },
};

(() => {
  const { codes: start, labels, beta, gamma } = window.equations_data;
  const form = document.getElementById("weights");
  const inputs = form.elements;
  const SEEN = 3;  // persons whose codes move; the centres of all others stay on a ring
  const STEP = 2000;  // of gradient descent: the paper's weights are small
  const [VIEW, RING, MOST, FAR] = [5.6, 5, 120, 1e4];
  const COLOURS = ["#3d8fd1", "#d98a00", "#0d9b6c"];
  let [codes, steps, timer] = [start, 0, 0];

  const value = (name) => Number(inputs[name].value);
  const signed = (x) => `${x < 0 ? "−" : "+"}${Math.abs(x).toExponential(2).replace("-", "−")}`;
  const say = (id, text) => { document.getElementById(id).textContent = text; };
  function allCentres() {
    const others = value("persons") - SEEN;
    const ring = Array.from({ length: others }, (_, k) => {
      const angle = (2 * Math.PI * k) / others;
      return [RING * Math.cos(angle), RING * Math.sin(angle)];
    });
    return [...equations.centres(codes, labels, SEEN), ...ring];
  }
  function step() {
    const slope = equations.gradient(codes, labels, allCentres(), value("beta"), value("gamma"));
    codes = codes.map((code, i) => equations.add(code, slope[i], -STEP));
    steps += 1;
    if (Math.max(...codes.flat().map(Math.abs)) > FAR) stop();
    draw();
  }
  function stop() {
    clearInterval(timer);
    timer = 0;
    inputs.play.textContent = "Play";
  }
  function play() {
    if (timer) return stop();
    timer = setInterval(step, 80);
    inputs.play.textContent = "Pause";
  }
  function restart() {
    stop();
    [codes, steps] = [start, 0];
    draw();
  }
  function paper() {
    [inputs.beta.value, inputs.gamma.value] = [beta, gamma];
    draw();
  }
  function draw() {
    const [centres, picture] = [allCentres(), document.getElementById("plane")];
    const radii = equations.sqRadii(centres).map(Math.sqrt);
    const reach = Math.max(...codes.flat().map(Math.abs));
    const half = VIEW * 2 ** Math.max(0, Math.ceil(Math.log2((1.02 * reach) / VIEW)));
    picture.setAttribute("viewBox", [-half, -half, 2 * half, 2 * half].join(" "));
    const [r, thin] = [half / 60, half / 250];
    const cross = ([x, y], s) => `M${x - s},${-y}h${2 * s}M${x},${-y - s}v${2 * s}`;
    const person = (p) => [
      `<circle class="sphere" cx="${centres[p][0]}" cy="${-centres[p][1]}" r="${radii[p]}"/>`,
      `<path class="centre" d="${cross(centres[p], 2 * r)}"/>`,
      ...codes.filter((_, i) => labels[i] === p).map(([x, y]) =>
        `<circle class="code" cx="${x}" cy="${-y}" r="${r}"/>`)].join("");
    picture.innerHTML = `<path class="others" stroke-width="${thin}" d="${
      centres.slice(SEEN).map((centre) => cross(centre, r)).join("")}"/>` + COLOURS.map((colour, p) =>
      `<g stroke="${colour}" fill="${colour}" stroke-width="${2 * thin}">${person(p)}</g>`).join("");
    tell(centres, reach);
  }
  function tell(centres, reach) {
    const [b, g, persons] = ["beta", "gamma", "persons"].map(value);
    for (const [name, text] of [["beta", b.toExponential(1)], ["gamma", g.toExponential(1)], ["persons", persons]])
      say(`${name}-value`, text);
    const [l_cl, l_sl] = [equations.compactLoss, equations.scatterLoss].map((f) => f(codes, labels, centres));
    say("steps", steps);
    say("l_cl", l_cl.toPrecision(5));
    say("l_sl", l_sl.toPrecision(5));
    say("sum", signed(b * l_cl - g * l_sl));
    say("norm", (codes.reduce((sum, code) => sum + Math.hypot(...code), 0) / codes.length).toPrecision(4));
    say("far", reach > FAR ? "The animation stopped because a coordinate exceeded 10,000: for γ > 0, Eq. 4 has no lower bound." : "");
    const flip = 1 + b / g;
    const net = Math.abs(persons - flip) < 1e-9 ? 0 : b - g * (persons - 1);  // no rounding error
    const does = net > 0 ? "pulled towards its centre" : net < 0 ? "pushed away from its centre" : "left alone";
    say("net", `β − γ (P − 1) = ${net ? signed(net) : 0}: a code outside its sphere is ${does}.`);
    document.getElementById("net").dataset.sign = Math.sign(net);
    say("flip", g > 0 ? `The sign changes at P = 1 + β / γ = ${+flip.toFixed(1)}.` : "Without γ it never changes.");
    const share = (p) => `${(100 * Math.min(Math.max(p - SEEN, 0), MOST - SEEN)) / (MOST - SEEN)}%`;
    const strip = document.getElementById("strip");
    strip.style.setProperty("--flip", g > 0 ? share(flip) : b > 0 ? "100%" : "0%");
    strip.style.setProperty("--persons", share(persons));
  }

  form.addEventListener("input", draw);
  form.addEventListener("submit", (event) => event.preventDefault());
  for (const [name, act] of Object.entries({ step, play, restart, paper })) inputs[name].addEventListener("click", act);
  paper();
})();
