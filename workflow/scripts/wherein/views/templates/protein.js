"use strict";
// One protein: its cells, what was predicted, its fields, its neighbours.
(() => {
  const { get, load, el, tile, number, known, words, missing, proteinLink, onModel, shares } = wherein;
  const proteins = get("proteins");
  const fields = get("fields");
  const page = document.getElementById("protein");
  let way = "coloured";
  let large = false;

  function asked() {
    const name = decodeURIComponent(location.hash.slice(1));
    return proteins.name.indexOf(name);
  }

  async function draw(model) {
    const i = asked();
    if (i < 0) return;
    const chunk = `protein-${String(proteins.chunk[i]).padStart(3, "0")}`;
    const content = (await load(chunk))[proteins.name[i]];
    document.title = `${proteins.name[i]} · wherein`;
    page.replaceChildren(head(i), changed(i, model), facts(i, content, model), sheet(i, content, model), near(content, model), ofFields(content));
  }

  function head(i) {
    const step = (to, text) => to >= 0 && to < proteins.name.length ? el("a", { href: `#${encodeURIComponent(proteins.name[to])}`, class: "button second" }, text) : null;
    return el("div", {},
      el("p", { class: "note" }, el("a", { href: "proteins.html" }, "Proteins"), " / ", proteins.name[i]),
      el("div", { class: "tools" }, el("h1", {}, proteins.name[i]), el("span", { class: "count" }, step(i - 1, "‹ Previous"), " ", step(i + 1, "Next ›"))),
      el("p", { class: "note" }, [proteins.ensembl[i].join(", "), proteins.reagents[i].slice(0, 8).join(", "), proteins.lines[i].join(", "), proteins.reliability[i].join(", ")].filter(Boolean).join(" · ")));
  }

  // What the last release changed of it; nothing where nothing did.
  function changed(i, model) {
    const own = proteins.models[model] && proteins.models[model].moves;
    const row = own ? own.row[i] : null;
    if (row === null) return el("span", { hidden: true });
    const { rows } = own;
    const list = (text) => known(text) ? text.replaceAll(";", ", ") : "no location";
    const labels = rows.labels_before[row] === rows.labels_after[row] ? [] : [`Published locations: ${list(rows.labels_before[row])} → ${list(rows.labels_after[row])}. `];
    const shift = rows.mark[row] === "moved" ? ["Its mean moved by ", number(rows.shift[row]), ", where exchanging fields alone makes ", number(rows.expected[row]), " (q ", number(rows.q[row], 3), "); ", known(rows.neighbours_kept[row]) ? `${Math.round(rows.neighbours_kept[row] * 100)}% of its nearest proteins are the same. ` : ""] : [];
    return el("p", { class: "empty" }, el("span", { class: `tag mark-${rows.mark[row]}` }, rows.mark[row]), ` since ${own.old_state}. `, labels, shift, el("a", { href: "releases.html" }, "What changed"));
  }

  function facts(i, content, model) {
    const own = proteins.models[model];
    const told = content.shares[model] || [];
    const total = told.reduce((sum, [, count]) => sum + count, 0);
    const level = (get("run").models.find((each) => each.name === model) || {}).level || "cell";
    return el("div", { class: "facts" },
      el("div", {}, el("h2", {}, "Published"), el("p", {}, proteins.labels[i].length ? proteins.labels[i].flatMap((name) => [el("span", { class: "tag" }, name), " "]) : "no location")),
      el("div", {}, el("h2", {}, `Predicted by ${model || "no model"}`), el("p", {}, own && own.predicted[i].length ? shares(own.predicted[i]) : missing("no prediction")), el("p", { class: "note" }, "mean probability over all its ", level, "s")),
      el("div", {}, el("h2", {}, `Its ${level}s, by their most probable location`), total ? told.slice(0, 6).map(([name, count]) => el("div", { class: "share" }, el("span", {}, name), el("i", { style: `width:${100 * count / total}%` }), el("span", {}, `${Math.round(100 * count / total)}%`))) : el("p", {}, missing("no prediction"))),
      el("div", {}, el("h2", {}, "In this run"), el("p", {}, content.fields.some((f) => fields.pixels[f] || fields.outlined[f]) ? `${proteins.n_cells[i].toLocaleString("en")} cells kept, ` : "", `${proteins.n_passed[i]} of ${proteins.n_fields[i]} fields passed`),
        el("p", {}, "Cluster ", own && known(own.cluster[i]) ? el("a", { href: "clusters.html" }, own.cluster[i]) : missing("not in the atlas")),
        el("p", {}, "Differs from cell to cell: ", own && known(own.spread_z[i]) ? ["z ", number(own.spread_z[i]), ", q ", number(own.q[i], 3)] : missing(level === "field" ? "the model describes fields" : "too few cells"))),
      amount(content.abundance));
  }

  // Intensity above background, by cell line and condition.
  function amount(rows) {
    return el("div", {}, el("h2", {}, "Abundance"),
      rows.length ? rows.slice(0, 6).map(([line, condition, signal, low, high, q, detected, n, from]) => el("p", {},
        [line, condition].filter(known).join(", "), " ", number(signal), known(low) ? [" (", number(low), " to ", number(high), ")"] : "", " ",
        detected === null ? el("span", { class: "tag" }, "not tested") : el("span", { class: detected ? "tag on" : "tag" , title: `q ${q}` }, detected ? "detected" : "like controls"),
        el("span", { class: "note" }, ` ${n} ${n === 1 ? "replicate" : "replicates"}, ${from === "none" ? "no background" : `background of the ${from.replaceAll(";", ", ")}`}`))) : el("p", {}, missing("no intensity")),
      el("p", { class: "note" }, "mean intensity above controls, 95 % over replicates; ", el("a", { href: "abundance.html" }, "all proteins")));
  }

  function sheet(i, content, model) {
    const grid = el("div", { class: "cells" });
    const fill = () => grid.replaceChildren(...content.cells.map(([label, field, sheetNumber, coloured, plain, area, said]) => {
      const best = said[model] || [];
      const text = `cell ${label} of field ${fields.field_id[field]}, ${best.length ? `most probably ${best[0][0]}` : "no prediction"}`;
      const pictures = way === "both" ? [coloured, plain] : [way === "coloured" ? coloured : plain];
      const size = large ? 200 : 112;
      return el("div", { class: pictures.length > 1 || large ? "cell large" : "cell" },
        el("span", { class: "pair" }, pictures.map((at) => tile("cells", sheetNumber, at, size, text))),
        best.length ? [el("b", {}, best[0][0]), ` ${Math.round(best[0][1] * 100)}%`, el("br")] : [],
        el("span", { title: `${fields.field_id[field]}, cell ${label}` }, `${fields.cell_line[field] || fields.source[field]} · ${number(area, 0)} µm²`));
    }));
    const choice = (name, title) => el("button", { type: "button", "aria-pressed": String(way === name), onclick: (event) => { way = name; for (const each of event.target.parentElement.children) each.setAttribute("aria-pressed", String(each === event.target)); fill(); } }, title);
    fill();
    const bigger = el("button", { type: "button", "aria-pressed": String(large), onclick: () => { large = !large; bigger.setAttribute("aria-pressed", String(large)); bigger.textContent = large ? "Smaller" : "Larger"; fill(); } }, large ? "Smaller" : "Larger");
    return el("section", { "aria-label": "Cells" },
      el("h2", {}, `Cells (${content.cells.length} of ${proteins.n_cells[i].toLocaleString("en")})`),
      content.cells.length ? el("div", { class: "tools" }, el("span", { class: "switch", role: "group", "aria-label": "Channels" }, choice("coloured", "All channels"), choice("plain", "Protein only"), choice("both", "Both")), bigger) : el("p", { class: "empty" }, content.fields.some((f) => fields.pixels[f]) ? "No cell of this protein was kept: see its fields below." : "Vectors made elsewhere: this run has no pixels of this protein."),
      content.contrast.length ? el("p", { class: "note" }, "Protein green, nucleus blue, microtubules red, er yellow, reference magenta. One contrast for all cells of this sheet, black to full, in the source's intensities: ", content.contrast.join("; "), ".") : null,
      grid);
  }

  function near(content, model) {
    const list = content.neighbours[model] || [];
    return el("section", { "aria-label": "Neighbours" }, el("h2", {}, "Most alike in the atlas"),
      list.length ? el("div", { class: "near" }, list.map(([name, distance]) => {
        const at = proteins.name.indexOf(name);
        const picture = at >= 0 && proteins.picture[at];
        return el("a", { href: `#${encodeURIComponent(name)}` }, picture ? tile("cells", picture[0], picture[1], 96, `a cell of ${name}`) : null, name,
          el("span", {}, at >= 0 && proteins.labels[at].length ? proteins.labels[at].join(", ") : "no location"), el("span", {}, `distance ${distance}`));
      })) : el("p", { class: "empty" }, "Not in the atlas of this model: it has no neighbours there."));
  }

  function ofFields(content) {
    return el("section", { "aria-label": "Fields" }, el("h2", {}, "Fields"),
      el("div", { class: "fields-grid" }, content.fields.map((f) => el("div", {},
        fields.picture[f] ? tile("fields", fields.picture[f][0], fields.picture[f][1], 228, `field ${fields.field_id[f]}`) : el("p", { class: "empty" }, fields.pixels[f] ? "no picture" : "a vector made elsewhere: there are no pixels"),
        el("b", {}, fields.field_id[f]), " ", el("span", { class: fields.status[f] === "passed" ? "tag on" : "tag off" }, words(fields.reason[f])),
        el("div", {}, [fields.cell_line[f], fields.reagent[f], fields.condition[f]].filter(known).join(" · ")),
        fields.pixels[f] || fields.outlined[f] ? el("div", {}, `${fields.kept[f]} of ${fields.outlined[f]} cells kept`) : null, known(fields.detail[f]) ? el("div", {}, fields.detail[f]) : null))));
  }

  addEventListener("hashchange", () => { onModel(draw); scrollTo(0, 0); });
  onModel(draw);
})();
