"use strict";
// What all pages share: data that arrives as scripts (a page opened from a folder may not fetch), tables, tiles, words.
const wherein = (() => {
  const store = new Map();
  const loading = new Map();

  const put = (name, content) => store.set(name, content);
  const get = (name) => store.get(name);

  // Load data/{name}.js once.
  function load(name) {
    if (store.has(name)) return Promise.resolve(store.get(name));
    if (!loading.has(name)) {
      loading.set(name, new Promise((resolve, reject) => {
        const script = document.createElement("script");
        script.src = `data/${encodeURIComponent(name)}.js`;
        script.onload = () => resolve(store.get(name));
        script.onerror = () => reject(new Error(`data/${name}.js is missing: build the pages again`));
        document.head.append(script);
      }));
    }
    return loading.get(name);
  }

  // An element; children are texts or elements, so that no datum is ever read as HTML.
  function el(tag, attributes = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value === null || value === undefined || value === false) continue;
      if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else if (name === "style") node.style.cssText = value;
      else node.setAttribute(name, value === true ? "" : value);
    }
    for (const child of children.flat(3)) if (child !== null && child !== undefined) node.append(child);
    return node;
  }

  const missing = (why) => el("span", { title: why || "not known or not measured", class: "note" }, "–");
  const known = (value) => value !== null && value !== undefined && value !== "";
  const words = (text) => String(text).replaceAll("_", " ");

  function number(value, digits = 2) {
    if (!known(value)) return missing();
    if (Number.isInteger(value)) return value.toLocaleString("en");
    if (Math.abs(value) < 0.001) return value.toExponential(1);
    // no value that is known reads as 0
    const places = Math.abs(value) < 10 ** -digits ? { maximumSignificantDigits: 1 } : { maximumFractionDigits: digits };
    return value.toLocaleString("en", places);
  }

  // One tile of a sheet, `size` px wide on the page.
  function tile(kind, sheet, index, size, label) {
    const run = get("run");
    const [heights, side, columns] = kind === "cells" ? [run.cellSheets, run.cellTile, 16] : [run.fieldSheets, run.fieldTile, 8];
    const scale = size / side;
    const [x, y] = [(index % columns) * side * scale, Math.floor(index / columns) * side * scale];
    const file = `sheets/${kind}-${String(sheet).padStart(3, "0")}.webp`;
    return el("span", {
      class: "tile", role: "img", "aria-label": label, title: label,
      style: `width:${size}px;height:${size}px;background-image:url(${file});background-position:-${x}px -${y}px;` +
        `background-size:${columns * side * scale}px ${heights[sheet] * side * scale}px`,
    });
  }

  const proteinLink = (name) => el("a", { href: `protein.html#${encodeURIComponent(name)}` }, name);

  // The chosen model, the same on all pages.
  function model() {
    const names = get("run").models.map((each) => each.name);
    let chosen = null;
    try { chosen = localStorage.getItem("wherein-model"); } catch { /* a browser may forbid it: then each page starts anew */ }
    return names.includes(chosen) ? chosen : names[0];
  }

  function showModel() {
    const chosen = model();
    for (const node of document.querySelectorAll(".of-model")) node.hidden = node.dataset.model !== chosen;
  }

  function onModel(draw) {
    const models = get("run").models;
    const select = document.getElementById("model");
    select.replaceChildren(...models.map((each) => el("option", { value: each.name }, `${each.name} (${each.level}s)`)));
    select.parentElement.hidden = models.length < 2;
    select.value = model() || "";
    select.onchange = () => {
      try { localStorage.setItem("wherein-model", select.value); } catch { /* as above */ }
      showModel();
      draw(select.value);
    };
    showModel();
    draw(model());
  }

  const compare = (a, b) => {
    if (!known(a)) return known(b) ? 1 : 0;
    if (!known(b)) return -1;
    return typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
  };

  // A table that is searched, filtered, sorted and turned by pages.
  // columns: {title, value(i), show(i), numeric, help, there(i)}; filters: {title, value(i) -> text or list}.
  // A column of which no row knows anything (by `there`, else `value`) is named below the table and not shown.
  function table(place, { count, columns: wanted, filters = [], search, placeholder, sort = [0, 1], size = 50, caption }) {
    const everyRow = Array.from({ length: count }, (_, i) => i);
    const tells = ({ there, value }) => !count || !(there || value) || everyRow.some((i) => there ? there(i) : known(value(i)));
    const columns = wanted.filter(tells);
    const silent = wanted.filter((column) => !columns.includes(column)).map((column) => column.title);
    let page = 0;
    let [by, direction] = [columns.indexOf(wanted[sort[0]]), sort[1]];
    if (by < 0) by = columns.findIndex((column) => column.value);
    let rows = [];
    const box = el("input", { type: "search", placeholder, "aria-label": placeholder });
    const told = el("span", { class: "count", role: "status" });
    const selects = filters.map((filter) => {
      const seen = new Map();
      for (let i = 0; i < count; i++) for (const value of [filter.value(i)].flat()) if (known(value)) seen.set(value, (seen.get(value) || 0) + 1);
      const names = [...seen.keys()].sort(compare);
      return el("select", { "aria-label": filter.title }, el("option", { value: "" }, `${filter.title}: all`),
        names.map((name) => el("option", { value: name }, `${words(name)} (${seen.get(name).toLocaleString("en")})`)));
    });
    const heads = columns.map((column, at) => el("th", { scope: "col", class: column.numeric && "num", title: column.help },
      column.value ? el("button", { type: "button", onclick: () => { direction = by === at ? -direction : column.numeric ? -1 : 1; by = at; page = 0; draw(); } }, column.title) : column.title));
    const body = el("tbody");
    const before = el("button", { type: "button", onclick: () => { page -= 1; show(); } }, "Previous");
    const after = el("button", { type: "button", onclick: () => { page += 1; show(); } }, "Next");
    const where = el("span");
    const pager = el("div", { class: "pager" }, before, where, after);
    const texts = Array.from({ length: count }, (_, i) => search(i).toLowerCase());

    function draw() {
      const asked = box.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
      rows = [];
      for (let i = 0; i < count; i++) {
        const fits = asked.every((word) => texts[i].includes(word)) &&
          filters.every((filter, at) => !selects[at].value || [filter.value(i)].flat().includes(selects[at].value));
        if (fits) rows.push(i);
      }
      const value = columns[by].value;
      // what is not known stays last in either direction
      rows.sort((a, b) => (known(value(a)) && known(value(b)) ? direction : 1) * compare(value(a), value(b)) || a - b);
      heads.forEach((head, at) => at === by ? head.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending") : head.removeAttribute("aria-sort"));
      show();
    }

    function show() {
      const last = Math.max(0, Math.ceil(rows.length / size) - 1);
      page = Math.min(Math.max(page, 0), last);
      body.replaceChildren(...rows.slice(page * size, (page + 1) * size).map((i) =>
        el("tr", {}, columns.map((column) => el(column.head ? "th" : "td", { class: column.numeric && "num", scope: column.head && "row" }, column.show(i))))));
      if (!rows.length) body.append(el("tr", {}, el("td", { colspan: columns.length, class: "note" }, count ? "Nothing fits: clear the search or a filter." : "There are no rows.")));
      told.textContent = rows.length === count ? `${count.toLocaleString("en")} rows` : `${rows.length.toLocaleString("en")} of ${count.toLocaleString("en")} rows`;
      where.textContent = `page ${page + 1} of ${last + 1}`;
      before.disabled = page === 0;
      after.disabled = page === last;
      pager.hidden = last === 0;
    }

    box.addEventListener("input", () => { page = 0; draw(); });
    for (const select of selects) select.addEventListener("change", () => { page = 0; draw(); });
    place.replaceChildren(
      el("div", { class: "tools" }, box, selects.filter((select) => select.options.length > 2), told),
      el("div", { class: "scroll" }, el("table", { "aria-label": caption }, el("thead", {}, el("tr", {}, heads)), body)), pager,
      ...(silent.length ? [el("p", { class: "note" }, `Not known of any row, and left out: ${silent.join(", ")}.`)] : []));
    draw();
    return { find: (text) => { box.value = text; page = 0; draw(); } };
  }

  const shares = (list) => list.map(([name, share]) => el("span", { class: "tag", title: `mean probability ${share}` }, `${name} ${Math.round(share * 100)}%`)).flatMap((tag) => [tag, " "]);

  return { put, get, load, el, missing, known, words, number, tile, proteinLink, model, onModel, showModel, table, shares };
})();
