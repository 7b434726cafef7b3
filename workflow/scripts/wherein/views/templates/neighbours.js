"use strict";
// The nearest proteins of one protein, and the nearest cells of its most typical one.
(() => {
  const { get, load, el, tile, number, known, missing, proteinLink, onModel, model } = wherein;
  const CHUNK = 100;
  const proteins = get("proteins");
  const tiles = get("tiles");
  const box = document.getElementById("ask");
  const said = document.getElementById("said");
  const answer = document.getElementById("answer");
  let way = "coloured";
  let asked = -1;

  // Where a text names a protein: its name, one of its genes or Ensembl ids, in any case.
  function find(text) {
    const wanted = text.trim().toLowerCase();
    if (!wanted) return -1;
    const same = (name) => name.toLowerCase() === wanted;
    const exact = proteins.name.findIndex(same);
    return exact >= 0 ? exact : proteins.name.findIndex((name, i) => name.split("/").some(same) || proteins.ensembl[i].some(same));
  }

  const strip = (i, size, most) => {
    if (i < 0) return missing();
    const cells = tiles.cells[i].slice(0, most).map(([sheet, coloured, plain]) => tile("cells", sheet, way === "plain" ? plain : coloured, size, `a cell of ${proteins.name[i]}`));
    if (cells.length) return el("span", { class: "strip" }, cells);
    return tiles.field[i] ? tile("fields", ...tiles.field[i], size * 1.6, `a field of ${proteins.name[i]}`) : missing("no pixels of it are in this run");
  };
  const locations = (i, mine) => proteins.labels[i].length ? proteins.labels[i].flatMap((name) => [el("span", { class: mine.includes(name) ? "tag on" : "tag", title: mine.includes(name) ? "a location in common" : null }, name), " "]) : missing("no location was published");
  const WORDS = ["reagent", "sample", "plate"];
  const shared = (flags) => {
    const told = WORDS.filter((_, at) => flags[at]);
    return told.length ? told.flatMap((word) => [el("span", { class: "tag off", title: `both were shown with the same ${word}` }, `same ${word}`), " "]) : el("span", { class: "note", title: flags.every(known) ? "neither reagent, sample nor plate" : "as far as is known" }, "nothing");
  };

  async function draw() {
    const name = model();
    if (asked < 0 || !name) return;
    const chunk = `near-${name}-${String(Math.floor(asked / CHUNK)).padStart(3, "0")}`;
    const own = (await load(chunk))[proteins.name[asked]];
    const mine = proteins.labels[asked];
    const head = el("div", { class: "asked" }, el("h2", {}, proteinLink(proteins.name[asked])), el("p", {}, locations(asked, [])), strip(asked, 104, 5));
    if (!own || !own.n.length) return answer.replaceChildren(head, el("p", { class: "empty" }, "It has no neighbours by this model: not in its atlas, or alone there."));
    const go = (i) => el("button", { type: "button", title: `the neighbours of ${proteins.name[i]}`, onclick: () => { box.value = proteins.name[i]; ask(); scrollTo(0, 0); } }, "ask");
    const rows = own.n.map(([i, cosine, distance, flags], at) => el("tr", {},
      el("td", { class: "num" }, at + 1), el("th", { scope: "row" }, i < 0 ? missing() : proteinLink(proteins.name[i])), el("td", {}, strip(i, 64, 5)),
      el("td", {}, i < 0 ? missing() : locations(i, mine)), el("td", { class: "num" }, number(cosine)), el("td", { class: "num" }, number(distance)),
      el("td", {}, shared(flags.slice(1))), el("td", {}, i < 0 ? null : go(i))));
    const titles = ["", "Protein", "Cells", "Published", "Cosine", "Distance", "Shares", ""];
    const table = el("div", { class: "scroll" }, el("table", { "aria-label": "Nearest proteins" }, el("thead", {}, el("tr", {}, titles.map((title, at) => el("th", { scope: "col", class: [0, 4, 5].includes(at) && "num" }, title)))), el("tbody", {}, rows)));
    answer.replaceChildren(head, el("h3", {}, "Nearest proteins"), table, ...units(own));
  }

  function units(own) {
    if (!own.u.length) return [];
    const level = (get("run").models.find((each) => each.name === model()) || {}).level || "cell";
    const picture = (where, text) => where ? tile(where[0], where[1], where[2], 96, text) : missing("no picture of it is in these pages");
    const tail = (unit) => unit.split(":").pop();
    return [
      el("h3", {}, `Nearest ${level}s of its most typical one`),
      el("p", { class: "note" }, `The ${level} nearest to the protein's mean, and the ${level}s of other proteins nearest to that, by the principal components of the map.`),
      el("div", { class: "near units" },
        el("div", {}, picture(own.unit[1], own.unit[0]), el("b", {}, proteins.name[asked]), el("span", { title: own.unit[0] }, level === "cell" ? `cell ${tail(own.unit[0])}` : "field")),
        own.u.map(([unit, where, i, cosine, , flags]) => el("div", { title: unit }, picture(where, unit), i < 0 ? el("b", {}, "control or unnamed") : proteinLink(proteins.name[i]),
          el("span", {}, i >= 0 && proteins.labels[i].length ? proteins.labels[i].join(", ") : "no location"), el("span", {}, "cosine ", number(cosine)), WORDS.some((_, at) => flags[at]) ? shared(flags) : null))),
    ];
  }

  function ask() {
    const found = find(box.value);
    said.textContent = found < 0 && box.value.trim() ? "no protein of this run has this name" : "";
    if (found < 0) return;
    asked = found;
    history.replaceState(null, "", `#${encodeURIComponent(proteins.name[found])}`);
    draw();
  }

  for (const name of ["coloured", "plain"]) {
    document.getElementById(name).onclick = () => {
      way = name;
      for (const each of ["coloured", "plain"]) document.getElementById(each).setAttribute("aria-pressed", String(each === name));
      draw();
    };
  }
  // the browser's own list of suggestions is short: 12,000 names at once would stop it
  const list = document.getElementById("names");
  box.addEventListener("input", () => {
    const start = box.value.trim().toLowerCase();
    list.replaceChildren(...(start ? proteins.name.filter((name) => name.toLowerCase().startsWith(start)).slice(0, 20) : []).map((name) => el("option", { value: name })));
    if (find(box.value) >= 0) ask();
  });
  box.addEventListener("change", ask);
  const first = decodeURIComponent(location.hash.slice(1)) || proteins.name.find((_, i) => tiles.cells[i].length && proteins.labels[i].length) || proteins.name[0] || "";
  box.value = first;
  asked = find(first);
  addEventListener("hashchange", () => { box.value = decodeURIComponent(location.hash.slice(1)); ask(); });
  onModel(draw);
})();
