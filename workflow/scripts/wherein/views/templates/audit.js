"use strict";
// Proteins and samples whose neighbours contradict their labels, beside proteins that are typical of either location.
(() => {
  const { get, load, el, tile, number, known, missing, proteinLink, onModel, model, table } = wherein;
  const CARDS = 12;
  const proteins = get("proteins");
  const tiles = get("tiles");
  const place = new Map(proteins.name.map((name, i) => [name, i]));
  const MEANING = {
    wrong: "no published location is supported", partly: "one published location is supported, another is not", missing: "a location seems to be missing",
    extra: "a published location is not supported", fits: "the published locations fit best", no_label: "nothing was published", not_judged: "nobody to ask",
  };
  let what = "audit";
  let way = "coloured";

  const split = (text) => known(text) ? text.split(";") : [];
  const strip = (i, size, most) => {
    if (i === undefined || i < 0) return missing();
    const cells = tiles.cells[i].slice(0, most).map(([sheet, coloured, plain]) => tile("cells", sheet, way === "plain" ? plain : coloured, size, `a cell of ${proteins.name[i]}`));
    if (cells.length) return el("span", { class: "strip" }, cells);
    return tiles.field[i] ? tile("fields", ...tiles.field[i], size * 1.6, `a field of ${proteins.name[i]}`) : missing("no pixels of it are in this run");
  };
  const tags = (text, other) => split(text).length ? split(text).flatMap((name) => [el("span", { class: split(other).includes(name) ? "tag" : "tag off" }, name), " "]) : missing("nothing was published");
  const better = (text, other) => split(text).length ? split(text).flatMap((name) => [el("span", { class: split(other).includes(name) ? "tag" : "tag on" }, name), " "]) : missing();
  const sure = (q) => known(q) && q <= get("run").maxQ;
  const findings = (name) => el("span", { title: MEANING[name] }, name === "no_label" ? "no label" : name === "not_judged" ? "not judged" : name);

  // Proteins that stand for the locations that are only in `text`, or for all of them.
  function examples(own, text, other, self) {
    const only = split(text).filter((name) => !split(other).includes(name));
    const names = (only.length ? only : split(text)).slice(0, 2);
    return names.map((name) => {
      const shown = (own.typical[name] || []).filter((i) => i !== self).slice(0, names.length > 1 ? 1 : 2);
      return el("div", { class: "typical" }, el("span", { class: "note" }, shown.length ? `typical: ${name}` : `typical: ${name} (no other protein of it fits its labels)`),
        shown.map((i) => el("div", {}, strip(i, 64, 4), proteinLink(proteins.name[i]))));
    });
  }

  function card(own, rows, i) {
    const at = place.get(rows.protein[i]);
    const moves = proteins.models[model()] && proteins.models[model()].moves;
    const mark = moves && at !== undefined && moves.row[at] !== null ? moves.mark[at] : null;
    return el("article", { class: "judged" },
      el("header", {}, el("b", {}, `${rows.rank[i]}. `, proteinLink(rows.protein[i])), what === "audit_samples" ? el("span", { class: "note" }, ` ${rows.sample[i] || ""}`) : null,
        mark ? [" ", el("a", { class: `tag mark-${mark}`, href: "releases.html" }, `${mark} since the last release`)] : null,
        el("span", { class: "count" }, findings(rows.finding[i]), ", score ", number(rows.score[i]), ", p ", number(rows.p[i], 4), ", q ", el("span", { class: sure(rows.q[i]) ? "good" : "" }, number(rows.q[i], 4)))),
      el("div", { class: "columns" },
        el("div", {}, el("h3", {}, "Published: ", tags(rows.annotated[i], rows.suggested[i])), strip(at, 84, 4), known(rows.predicted[i]) ? el("p", { class: "note" }, `The model predicts: ${rows.predicted[i].replaceAll(";", ", ")}`) : null),
        el("div", {}, el("h3", {}, "As published"), examples(own, rows.annotated[i], rows.suggested[i], at)),
        el("div", {}, el("h3", {}, "Suggested: ", better(rows.suggested[i], rows.annotated[i])), examples(own, rows.suggested[i], rows.annotated[i], at))),
      el("p", { class: "note" }, `${rows.neighbours_say[i].length} of ${rows.n_neighbours[i]} neighbours have what is suggested and not published: `, rows.neighbours_say[i].slice(0, 10).filter((n) => n >= 0).flatMap((n, k) => [k ? ", " : "", proteinLink(proteins.name[n])]), rows.neighbours_say[i].length ? ". " : "none. ",
        known(rows.same_plate[i]) ? `${Math.round(100 * rows.same_plate[i])}% of its neighbours lie on its plate. ` : "", el("a", { href: `neighbours.html#${encodeURIComponent(rows.protein[i])}` }, "All neighbours")));
  }

  async function draw(name) {
    if (!name) return;
    const own = await load(`audit-${name}`);
    const rows = own[what];
    const order = rows.rank.map((_, i) => i).filter((i) => known(rows.score[i]) && rows.score[i] > 0).slice(0, CARDS);
    const cards = document.getElementById("cards");
    cards.replaceChildren(...order.map((i) => card(own, rows, i)));
    if (!order.length) cards.append(el("p", { class: "empty" }, "Nothing is contradicted."));
    const top = (i) => { cards.prepend(card(own, rows, i)); cards.scrollIntoView(); };
    const column = (key, title, help, digits) => ({ title, help, numeric: true, value: (i) => rows[key][i], show: (i) => number(rows[key][i], digits) });
    table(document.getElementById("table"), {
      count: rows.rank.length, caption: "Label audit", size: 25, placeholder: "Search proteins, locations",
      search: (i) => [rows.protein[i], rows.sample[i], rows.annotated[i], rows.suggested[i]].join(" "),
      filters: [{ title: "Finding", value: (i) => rows.finding[i] }, { title: "Published", value: (i) => split(rows.annotated[i]) }, { title: "Suggested", value: (i) => split(rows.suggested[i]) }],
      columns: [
        { title: "Rank", numeric: true, value: (i) => -rows.rank[i], show: (i) => number(rows.rank[i]) },
        { title: "Protein", head: true, value: (i) => rows.protein[i], show: (i) => proteinLink(rows.protein[i]) },
        ...(what === "audit_samples" ? [{ title: "Sample", value: (i) => rows.sample[i], show: (i) => rows.sample[i] ?? missing() }] : []),
        { title: "Finding", value: (i) => rows.finding[i], show: (i) => findings(rows.finding[i]) },
        { title: "Published", value: (i) => rows.annotated[i], show: (i) => tags(rows.annotated[i], rows.suggested[i]) },
        { title: "Suggested", value: (i) => rows.suggested[i], show: (i) => better(rows.suggested[i], rows.annotated[i]) },
        column("score", "Score", "support of the suggested set less that of the published one"),
        column("p", "p", "labels of the others dealt anew", 4),
        { title: "q", numeric: true, help: "Benjamini-Hochberg", value: (i) => rows.q[i], show: (i) => el("span", { class: sure(rows.q[i]) ? "good" : "" }, number(rows.q[i], 4)) },
        { title: "", show: (i) => el("button", { type: "button", title: "show its pictures", onclick: () => top(i) }, "look") },
      ],
      sort: [0, -1],
    });
    if (rows.total > rows.rank.length) document.getElementById("table").append(el("p", { class: "note" }, `The first ${rows.rank.length.toLocaleString("en")} of ${rows.total.toLocaleString("en")}; all are in the table.`));
  }

  const choose = (names, set) => names.forEach((name) => {
    document.getElementById(name).onclick = () => {
      for (const each of names) document.getElementById(each).setAttribute("aria-pressed", String(each === name));
      set(name);
      draw(model());
    };
  });
  choose(["proteins", "samples"], (name) => { what = name === "proteins" ? "audit" : "audit_samples"; });
  choose(["coloured", "plain"], (name) => { way = name; });
  onModel(draw);
})();
