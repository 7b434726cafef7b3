"use strict";
// The map: points on a canvas, found by a grid, told in words beside it.
(() => {
  const { get, load, el, tile, known, proteinLink, onModel } = wherein;
  const run = get("run");
  const proteins = get("proteins");
  const canvas = document.getElementById("canvas");
  const pen = canvas.getContext("2d");
  const ui = Object.fromEntries(["tip", "picked", "legend", "what", "colour", "find", "names", "whole", "turn", "told"].map((id) => [id, document.getElementById(id)]));
  const palette = ["#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#B8A500"];
  const shapes = ["o", "s", "^", "P", "v", "D", "X"];
  let data = null;      // the model's map
  let points = null;    // {x, y, n, name(i), ...} of what is shown
  let groups = null;    // {names, of: number of each point's group, styles}
  let view = { x: 0, y: 0, scale: 1 };
  let alone = null;     // the group that is shown alone
  let found = null;     // points that the search found, or null
  let grid = null;
  let model = null;
  let kept = -1;

  const styleOf = (name, number) => run.styles[name] || [palette[number % palette.length], shapes[(number + Math.floor(number / palette.length) * 2) % shapes.length]];

  function pointsOf(what) {
    if (what === "proteins") {
      const own = data.proteins;
      return { what, x: own.x, y: own.y, z: own.z, layout: own.layout, n: own.x.length, protein: own.protein, picture: own.protein.map((p) => p < 0 ? null : proteins.picture[p]),
        groupings: { location: [own.locationNames, own.location], cluster: clusters(own.protein), ...changes(own.protein) } };
    }
    return { what, x: data.x, y: data.y, z: data.z, layout: data.layout, n: data.x.length, protein: data.protein, picture: data.picture, unit: data.unit, control: data.control, fieldPicture: data.fieldPicture,
      groupings: { location: [data.locationNames, data.location], predicted: [data.predictedNames, data.predicted], cluster: clusters(data.protein), "cell line": [data.lineNames, data.line], ...changes(data.protein) } };
  }

  function clusters(protein) {
    const own = proteins.models[model].cluster;
    const name = (p) => p >= 0 && known(own[p]) ? `cluster ${own[p]}` : "not clustered";
    const names = [...new Set(protein.map(name))].sort((a, b) => (a === "not clustered") - (b === "not clustered") || a.localeCompare(b, "en", { numeric: true }));
    const number = new Map(names.map((each, at) => [each, at]));
    return [names, protein.map((p) => number.get(name(p)))];
  }

  // What the last release changed of each protein; none where there is no other release.
  function changes(protein) {
    const own = proteins.models[model].moves;
    if (!own.state) return {};
    const names = ["moved", "relabelled", "unchanged", "not in both"];
    return { [`change since ${own.old_state}`]: [names, protein.map((p) => names.indexOf(p >= 0 && own.mark[p] || "not in both"))] };
  }

  const GREY = { "not clustered": 1, none: 1, "not given": 1, unchanged: 1, "not in both": 1 };

  function regroup() {
    const [names, of] = points.groupings[ui.colour.value];
    groups = { names, of, styles: names.map((name, at) => GREY[name] ? ["#9aa3ad", "o"] : name === "moved" ? [palette[3], "D"] : styleOf(name, at)) };
    groups.members = names.map(() => []);
    of.forEach((group, i) => groups.members[group].push(i));
    alone = null;
    legend();
    draw();
  }

  function legend() {
    const counts = groups.names.map(() => 0);
    for (const group of groups.of) counts[group] += 1;
    ui.legend.replaceChildren(...groups.names.map((name, at) => {
      const sign = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      sign.setAttribute("width", 14); sign.setAttribute("height", 14); sign.setAttribute("viewBox", "-7 -7 14 14"); sign.setAttribute("aria-hidden", "true");
      const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
      path.setAttribute("d", outline(groups.styles[at][1], 5)); path.setAttribute("fill", groups.styles[at][0]);
      sign.append(path);
      return el("button", { type: "button", "aria-pressed": "false", onclick: (event) => {
        alone = alone === at ? null : at;
        for (const each of ui.legend.children) each.setAttribute("aria-pressed", String(each === event.currentTarget && alone !== null));
        draw();
      } }, sign, name, el("span", { class: "n" }, counts[at].toLocaleString("en")));
    }));
  }

  // Outlines of matplotlib's marker shapes as paths around 0, 0.
  function outline(shape, r) {
    const polygon = (corners) => `M${corners.map(([x, y]) => `${(x * r).toFixed(2)} ${(y * r).toFixed(2)}`).join("L")}Z`;
    switch (shape) {
      case "s": return polygon([[-0.85, -0.85], [0.85, -0.85], [0.85, 0.85], [-0.85, 0.85]]);
      case "^": return polygon([[0, -1.1], [1, 0.8], [-1, 0.8]]);
      case "v": return polygon([[0, 1.1], [1, -0.8], [-1, -0.8]]);
      case "D": return polygon([[0, -1.15], [1.15, 0], [0, 1.15], [-1.15, 0]]);
      case "P": return polygon([[-0.4, -1], [0.4, -1], [0.4, -0.4], [1, -0.4], [1, 0.4], [0.4, 0.4], [0.4, 1], [-0.4, 1], [-0.4, 0.4], [-1, 0.4], [-1, -0.4], [-0.4, -0.4]]);
      case "X": return polygon([[-1, -0.5], [-0.5, -1], [0, -0.5], [0.5, -1], [1, -0.5], [0.5, 0], [1, 0.5], [0.5, 1], [0, 0.5], [-0.5, 1], [-1, 0.5], [-0.5, 0]]);
      default: return `M${r} 0A${r} ${r} 0 1 1 ${-r} 0A${r} ${r} 0 1 1 ${r} 0Z`;
    }
  }

  // A map of three dimensions is seen from one side: around the vertical axis, then towards the viewer.
  let side = { around: 0, towards: 0 };
  let solid = null;     // the three coordinates of each point around their middle, or null
  function lift() {
    solid = null;
    ui.turn.hidden = !points.z || !points.n;
    if (ui.turn.hidden) ui.turn.setAttribute("aria-pressed", "false");
    side = { around: 0, towards: 0 };
    if (ui.turn.hidden) return;
    const middle = (list) => (Math.min(...extent(list)) + Math.max(...extent(list))) / 2;
    solid = [points.x, points.y, points.z].map((list) => { const at = middle(list); return list.map((value) => value - at); });
    project();
  }
  const extent = (list) => list.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);
  function project() {
    const [ca, sa, cb, sb] = [Math.cos(side.around), Math.sin(side.around), Math.cos(side.towards), Math.sin(side.towards)];
    const [x, y, z] = solid;
    points.x = x.map((value, i) => value * ca + z[i] * sa);
    points.y = y.map((value, i) => value * cb - (z[i] * ca - x[i] * sa) * sb);
  }
  function turn(around, towards) {
    if (!solid) return;
    side = { around: side.around + around, towards: Math.max(-Math.PI / 2, Math.min(Math.PI / 2, side.towards + towards)) };
    project();
    draw();
  }

  // Screen from data: the whole map fits at scale 1, y upward as in the figures.
  let box = null;
  function frame() {
    if (solid) {
      const across = 2 * Math.sqrt(solid[0].reduce((most, value, i) => Math.max(most, value ** 2 + solid[1][i] ** 2 + solid[2][i] ** 2), 0)) || 1;
      box = { x: 0, y: 0, span: across, w: across, h: across };
      view = { x: 0, y: 0, scale: 1 };
      return;
    }
    const [x, y] = [extent(points.x), extent(points.y)];
    box = { x: (x[0] + x[1]) / 2, y: (y[0] + y[1]) / 2, span: Math.max(x[1] - x[0], y[1] - y[0], 1e-6), w: x[1] - x[0] || 1, h: y[1] - y[0] || 1 };
    view = { x: 0, y: 0, scale: 1 };
  }
  const unit = () => Math.min(canvas.clientWidth * 0.92 / box.w, canvas.clientHeight * 0.92 / box.h, 1e6) * view.scale;
  const toScreen = (i, k = unit()) => [canvas.clientWidth / 2 + (points.x[i] - box.x) * k + view.x, canvas.clientHeight / 2 - (points.y[i] - box.y) * k + view.y];

  let waiting = false;
  function draw() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; paint(); });
  }

  function paint() {
    const ratio = devicePixelRatio || 1;
    const [w, h] = [canvas.clientWidth, canvas.clientHeight];
    if (canvas.width !== Math.round(w * ratio) || canvas.height !== Math.round(h * ratio)) { canvas.width = Math.round(w * ratio); canvas.height = Math.round(h * ratio); }
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, w, h);
    grid = new Map();
    if (!points || !points.n) return;
    const ink = getComputedStyle(document.body).color;
    const k = unit();
    const r = Math.max(1.6, Math.min(points.what === "proteins" ? 7 : 5, 150 / Math.sqrt(points.n))) * Math.min(2.2, Math.sqrt(view.scale));
    const paths = groups.styles.map(([, shape]) => new Path2D(outline(shape, r)));
    const dim = (i) => (alone !== null && groups.of[i] !== alone) || (found && !found.has(i));
    const put = (i, alpha) => {
      const [x, y] = toScreen(i, k);
      if (x < -9 || y < -9 || x > w + 9 || y > h + 9) return;
      pen.globalAlpha = alpha;
      pen.fillStyle = groups.styles[groups.of[i]][0];
      pen.translate(x, y);
      pen.fill(paths[groups.of[i]]);
      if (points.control && points.control[i] || found && found.has(i)) { pen.strokeStyle = ink; pen.lineWidth = found && found.has(i) ? 1.6 : 0.9; pen.stroke(paths[groups.of[i]]); }
      pen.translate(-x, -y);
      if (alpha > 0.2) { const cell = `${x >> 4},${y >> 4}`; if (!grid.has(cell)) grid.set(cell, []); grid.get(cell).push([i, x, y]); }
    };
    for (let i = 0; i < points.n; i++) if (dim(i)) put(i, 0.1);
    for (let i = 0; i < points.n; i++) if (!dim(i)) put(i, 0.82);
    pen.globalAlpha = 1;
    names(k, r, ink, dim);
    if (kept >= 0) { const [x, y] = toScreen(kept, k); pen.beginPath(); pen.arc(x, y, r + 5, 0, 7); pen.strokeStyle = ink; pen.lineWidth = 2.2; pen.stroke(); }
  }

  // Names of proteins where there is room: of a map of proteins, or of found points.
  function names(k, r, ink, dim) {
    if (points.what !== "proteins") return groupNames(k, ink);
    pen.font = "11px system-ui, sans-serif";
    pen.fillStyle = ink;
    const taken = new Set();
    for (let i = 0; i < points.n; i++) {
      if (dim(i) || points.protein[i] < 0) continue;
      const [x, y] = toScreen(i, k);
      const name = proteins.name[points.protein[i]];
      const cells = [];
      for (let at = x >> 4; at <= (x + 7 + name.length * 6.4) >> 4; at++) cells.push(`${at},${(y - 4) >> 4}`);
      if (cells.some((cell) => taken.has(cell))) continue;
      cells.forEach((cell) => taken.add(cell));
      pen.fillText(name, x + r + 2, y + 4);
    }
  }

  // The name of each group at its middle: colours and shapes alone do not tell twenty of them.
  function groupNames(k, ink) {
    if (groups.names.length > 40) return;
    const median = (list) => list.sort((a, b) => a - b)[list.length >> 1];
    const paper = getComputedStyle(document.body).backgroundColor;
    const taken = [];
    pen.font = "600 12px system-ui, sans-serif";
    pen.textAlign = "center";
    groups.names.forEach((name, at) => {
      if (["Multi", "no label", "none", "not given", "not clustered", "unchanged", "not in both"].includes(name) || (alone !== null && alone !== at)) return;
      const own = groups.members[at];
      if (!own.length) return;
      const [mx, my] = [median(own.map((i) => points.x[i])), median(own.map((i) => points.y[i]))];
      let best = own[0];
      let least = Infinity;
      for (const i of own) { const d = (points.x[i] - mx) ** 2 + (points.y[i] - my) ** 2; if (d < least) { least = d; best = i; } }
      let [x, y] = toScreen(best, k);
      const half = pen.measureText(name).width / 2 + 4;
      for (let step = 0; step < 6 && taken.some(([tx, ty, th]) => Math.abs(tx - x) < th + half && Math.abs(ty - y) < 16); step++) y += 16;
      taken.push([x, y, half]);
      pen.lineWidth = 4; pen.lineJoin = "round"; pen.strokeStyle = paper; pen.globalAlpha = 0.85; pen.strokeText(name, x, y);
      pen.globalAlpha = 1; pen.fillStyle = ink; pen.fillText(name, x, y);
    });
    pen.textAlign = "start";
  }

  function nearest(x, y) {
    let best = -1;
    let least = 14 * 14;
    for (let dx = -1; dx <= 1; dx++) for (let dy = -1; dy <= 1; dy++) for (const [i, px, py] of (grid && grid.get(`${(x >> 4) + dx},${(y >> 4) + dy}`)) || []) {
      const d = (px - x) ** 2 + (py - y) ** 2;
      if (d <= least) { least = d; best = i; }
    }
    return best;
  }

  // whether the map has any pictures: vectors made elsewhere have no pixels here
  const pictured = () => points.picture.some(Boolean) || Boolean(points.fieldPicture && points.fieldPicture.some(Boolean));

  function describe(i, size) {
    const p = points.protein[i];
    const title = p >= 0 ? proteins.name[p] : "no protein named";
    const told = Object.entries(points.groupings).map(([name, [names, of]]) => el("div", {}, el("span", { class: "note" }, `${name} `), names[of[i]]));
    const picture = points.picture[i];
    const field = points.fieldPicture && points.fieldPicture[i];
    return [el("b", {}, title), ...told,
      points.unit ? el("div", { class: "note", style: "overflow-wrap:anywhere" }, points.unit[i]) : p >= 0 ? el("div", { class: "note" }, `${proteins.n_cells[p].toLocaleString("en")} cells`) : null,
      picture ? el("span", { class: "pair" }, tile("cells", picture[0], picture[1], size, `cell of ${title}, all channels`), tile("cells", picture[0], picture[2], size, `cell of ${title}, protein only`))
        : field ? tile("fields", field[0], field[1], size * 1.6, `field of ${title}`) : pictured() ? el("div", { class: "note" }, "no picture kept") : null];
  }

  function point(event) {
    const area = canvas.getBoundingClientRect();
    return [event.clientX - area.left, event.clientY - area.top];
  }

  function hover(event) {
    if (!points) return;
    const [x, y] = point(event);
    const i = nearest(x, y);
    ui.tip.hidden = i < 0;
    if (i < 0) return;
    ui.tip.replaceChildren(...describe(i, 104).filter(Boolean));
    ui.tip.style.left = `${Math.max(4, Math.min(x + 14, canvas.clientWidth - ui.tip.offsetWidth - 6))}px`;
    ui.tip.style.top = `${Math.max(4, y + 16 + ui.tip.offsetHeight > canvas.clientHeight ? y - ui.tip.offsetHeight - 12 : y + 16)}px`;
  }

  function pick(i) {
    kept = i;
    ui.picked.replaceChildren(...(i < 0 ? [] : [...describe(i, 112).filter(Boolean), points.protein[i] >= 0 ? el("p", {}, "See ", proteinLink(proteins.name[points.protein[i]])) : ""]));
    draw();
  }

  function zoom(factor, x = canvas.clientWidth / 2, y = canvas.clientHeight / 2) {
    const scale = Math.max(0.5, Math.min(view.scale * factor, 60));
    const change = scale / view.scale;
    const [cx, cy] = [x - canvas.clientWidth / 2, y - canvas.clientHeight / 2];
    view = { scale, x: cx - (cx - view.x) * change, y: cy - (cy - view.y) * change };
    ui.tip.hidden = true;
    draw();
  }

  const fingers = new Map();
  let moved = 0;
  canvas.addEventListener("pointerdown", (event) => { canvas.setPointerCapture(event.pointerId); fingers.set(event.pointerId, point(event)); moved = 0; });
  canvas.addEventListener("pointermove", (event) => {
    if (!fingers.has(event.pointerId)) return hover(event);
    const [x, y] = point(event);
    const [px, py] = fingers.get(event.pointerId);
    if (fingers.size === 2) {
      const [other] = [...fingers].filter(([id]) => id !== event.pointerId).map(([, at]) => at);
      zoom(Math.hypot(x - other[0], y - other[1]) / Math.max(1, Math.hypot(px - other[0], py - other[1])), (x + other[0]) / 2, (y + other[1]) / 2);
    } else if (solid && ui.turn.getAttribute("aria-pressed") === "true") turn((x - px) / 150, (y - py) / 150);
    else { view.x += x - px; view.y += y - py; draw(); }
    moved += Math.hypot(x - px, y - py);
    fingers.set(event.pointerId, [x, y]);
  });
  canvas.addEventListener("pointerup", (event) => { fingers.delete(event.pointerId); if (moved < 5 && points) pick(nearest(...point(event))); });
  canvas.addEventListener("pointercancel", (event) => fingers.delete(event.pointerId));
  canvas.addEventListener("pointerleave", () => { ui.tip.hidden = true; });
  canvas.addEventListener("wheel", (event) => { event.preventDefault(); zoom(Math.exp(-event.deltaY * 0.0015), ...point(event)); }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [40, 0], ArrowRight: [-40, 0], ArrowUp: [0, 40], ArrowDown: [0, -40] }[event.key];
    if (step && event.shiftKey && solid) turn(-step[0] / 200, -step[1] / 200);
    else if (step) { view.x += step[0]; view.y += step[1]; draw(); } else if (event.key === "+" || event.key === "=") zoom(1.25); else if (event.key === "-") zoom(0.8); else return;
    event.preventDefault();
  });
  ui.whole.addEventListener("click", () => { view = { x: 0, y: 0, scale: 1 }; if (solid) turn(-side.around, -side.towards); draw(); });
  ui.turn.addEventListener("click", () => ui.turn.setAttribute("aria-pressed", String(ui.turn.getAttribute("aria-pressed") !== "true")));
  ui.colour.addEventListener("change", regroup);
  ui.what.addEventListener("change", show);
  ui.find.addEventListener("input", search);
  new ResizeObserver(draw).observe(canvas);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);

  function search() {
    const asked = ui.find.value.trim().toLowerCase();
    found = null;
    if (asked && points) {
      const said = Object.values(points.groupings).map(([names, of]) => [names.map((name) => name.toLowerCase().includes(asked)), of]);
      const exact = proteins.name.map((name) => name.toLowerCase() === asked);
      const some = exact.includes(true) ? exact : proteins.name.map((name) => name.toLowerCase().includes(asked));
      found = new Set();
      for (let i = 0; i < points.n; i++) if (points.protein[i] >= 0 && some[points.protein[i]] || !exact.includes(true) && said.some(([fits, of]) => fits[of[i]])) found.add(i);
    }
    tell();
    draw();
  }

  function tell() {
    const noun = ui.what.value === "proteins" ? "proteins" : `${run.models.find((each) => each.name === model).level}s`;
    const shown = points.n.toLocaleString("en");
    const drawn = points.what === "units" && data.total > points.n ? `${shown} of ${data.total.toLocaleString("en")} ${noun}, drawn by chance` : `${shown} ${noun}`;
    ui.told.textContent = points.n ? `${drawn}${points.layout ? `: ${points.layout.replace("; the first two of three axes", "; three dimensions")}` : ""}` + (found ? `; ${found.size.toLocaleString("en")} found` : "") + (pictured() ? "" : ". No pictures: this run has kept none, or has vectors alone.") : `Nothing to show: there were too few ${noun} for a UMAP.`;
  }

  function show() {
    points = pointsOf(ui.what.value);
    kept = -1;
    ui.picked.replaceChildren();
    const before = ui.colour.value;
    ui.colour.replaceChildren(...Object.keys(points.groupings).map((name) => el("option", { value: name }, name)));
    if (points.groupings[before]) ui.colour.value = before;
    lift();
    frame();
    regroup();
    search();
  }

  onModel(async (name) => {
    if (!name) { ui.told.textContent = "Nothing to show: no model ran."; return; }
    data = await load(`map-${name}`);
    model = name;
    ui.what.options[0].textContent = `${run.models.find((each) => each.name === name).level}s`;
    ui.names.replaceChildren(...[...proteins.name, ...data.locationNames, ...data.lineNames].map((each) => el("option", { value: each })));
    show();
  });
})();
