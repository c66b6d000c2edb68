"use strict";
// Zoom and search: the icicle and the tree have the same modules, in the same order.
const result = document.querySelector(".result");
const chart = result?.querySelector(".icicle");
if (chart) {
  const rows = [...result.querySelectorAll(".tree .m")];
  const cells = [...chart.querySelectorAll(".c")];
  const [input, hits, where, about] = ["input", ".hits", ".where", ".about"].map((name) =>
    result.querySelector(name));

  // What the tree says of each module; those with FLOPs have a cell, in the same order.
  const known = new Map();
  let next = 0;
  const modules = rows.map((row) => {
    const around = row.tagName === "SUMMARY" ? row.parentElement.parentElement : row.parentElement;
    const parent = known.get(around.closest("details")) ?? null;
    const [name, kind, , own, inclusive, share] = [...row.children].map((cell) => cell.textContent);
    const module = {row, parent, name, kind, own, inclusive, share, cell: null, path: ""};
    if (parent) module.path = parent.parent ? `${parent.path}.${name}` : name;
    if (!row.classList.contains("z")) {
      module.cell = cells[next++];
      module.left = parseFloat(module.cell.getAttribute("x"));
      module.width = parseFloat(module.cell.getAttribute("width"));
      module.cell.module = module;
      module.cell.setAttribute("role", "treeitem");
    }
    if (row.tagName === "SUMMARY") known.set(row.parentElement, module);
    return module;
  });
  const drawn = modules.filter((module) => module.cell);
  let zoomed = drawn[0], current = drawn[0];

  const text = (module) => {
    const part = module.parent && module.parent.cell && module.parent.parent
      ? `, ${(100 * module.width / module.parent.width).toFixed(1)} % of ${module.parent.name}` : "";
    const own = module.own === "0" || module.own === module.inclusive ? "" : `, ${module.own} of its own`;
    const name = [module.path || "all", module.kind].join(" ").trim();
    return `${name}: ${module.inclusive} FLOPs (${module.share}${part})${own}`;
  };
  const isAround = (outer, inner) =>
    inner === outer || (inner.parent !== null && isAround(outer, inner.parent));

  function draw() {
    const pixels = chart.clientWidth || 1000;
    for (const module of drawn) {
      const {cell, left, width, name} = module;
      const x = 100 * (left - zoomed.left) / zoomed.width, w = 100 * width / zoomed.width;
      const begin = Math.max(0, x), end = Math.min(100, x + w);
      const size = (end - begin) * pixels / 100;
      cell.setAttribute("display", size > 0.02 ? "inline" : "none");
      if (size <= 0.02) continue;
      cell.classList.toggle("thin", size < 4);
      cell.classList.toggle("up", module !== zoomed && isAround(module, zoomed));
      cell.setAttribute("x", begin.toFixed(4) + "%");
      cell.setAttribute("width", (end - begin).toFixed(4) + "%");
      let label = cell.querySelector("text");
      if (!label && size > 20) {
        label = document.createElementNS(chart.namespaceURI, "text");
        label.setAttribute("x", 4);
        label.setAttribute("y", 15);
        label.textContent = name;
        cell.append(label);
      }
    }
    where.replaceChildren();
    for (let module = zoomed; module; module = module.parent) {
      const button = document.createElement("button");
      button.textContent = module.name;
      button.onclick = () => zoom(module);
      where.prepend(button);
    }
  }
  function zoom(module) {
    if (!module.cell) return;
    zoomed = module;
    draw();
    focus(module);
    module.cell.scrollIntoView({block: "nearest"});
    remember();
  }
  function focus(module) {
    current.cell.removeAttribute("tabindex");
    current = module;
    current.cell.setAttribute("tabindex", 0);
    current.cell.setAttribute("aria-label", text(module));
    about.textContent = text(module);
  }
  function search() {
    const wanted = input.value.trim().toLowerCase();
    let count = 0, share = 0;
    for (const module of modules) {
      const {parent, path, kind} = module;
      module.hit = wanted !== "" && parent !== null && `${path} ${kind}`.toLowerCase().includes(wanted)
        && `${path.slice(parent.path.length)} ${kind}`.toLowerCase().includes(wanted.split(".").pop());
      module.inside = parent !== null && (parent.hit || parent.inside);
      module.row.classList.toggle("hit", module.hit);
      module.cell?.classList.toggle("hit", module.hit);
      module.cell?.classList.toggle("in", module.inside);
      count += module.hit;
      if (module.hit && !module.inside && module.cell) share += module.width;
      for (let up = parent; module.hit && count <= 200 && up; up = up.parent) up.row.parentElement.open = true;
    }
    chart.classList.toggle("searched", wanted !== "");
    hits.textContent = wanted && `${count} module${count === 1 ? "" : "s"}, ${share.toFixed(1)} % of the FLOPs`;
    remember();
  }
  function remember() {
    const state = new URLSearchParams();
    if (zoomed.parent) state.set("path", zoomed.path);
    if (input.value) state.set("search", input.value);
    try { history.replaceState(null, "", `#${state}`); } catch { /* a page in a frame has no address */ }
  }
  function restore() {
    const state = new URLSearchParams(location.hash.slice(1));
    input.value = state.get("search") ?? "";
    const path = state.get("path") ?? "";
    zoomed = drawn.find((module) => module.path === path) ?? drawn[0];
    draw();
    focus(zoomed);
    search();
  }

  const moves = {
    ArrowUp: (module) => module.parent,
    ArrowDown: (module) => drawn.find((other) => other.parent === module && other.cell),
    ArrowLeft: (module) => drawn.findLast((other) => other.parent === module.parent && other.left < module.left),
    ArrowRight: (module) => drawn.find((other) => other.parent === module.parent && other.left > module.left),
  };
  const cellOf = (event) => event.target.closest(".c")?.module;
  chart.addEventListener("click", (event) => cellOf(event) && zoom(cellOf(event)));
  chart.addEventListener("mouseover", (event) => { about.textContent = text(cellOf(event) ?? current); });
  chart.addEventListener("keydown", (event) => {
    const goal = moves[event.key]?.(current);
    if (goal) { focus(goal); if (!isAround(zoomed, goal)) zoom(goal); goal.cell.focus(); }
    else if (event.key === "Enter" || event.key === " ") zoom(current);
    else return;
    event.preventDefault();
  });
  result.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    if (event.target === input && input.value) { input.value = ""; search(); }
    else if (zoomed.parent) { zoom(zoomed.parent); zoomed.cell.focus(); }
  });
  input.addEventListener("input", search);
  addEventListener("resize", draw);
  addEventListener("hashchange", restore);
  result.querySelector(".controls").hidden = false;
  restore();
}
