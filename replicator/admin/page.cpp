#include "admin/page.hpp"

namespace cqrs {

// Everything shown goes through textContent: names and reasons come from databases and brokers.
std::string_view admin_page() noexcept {
    return R"html(<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>pg_cqrs</title>
<style>
  :root { color-scheme: light dark; }
  body { font: 15px/1.45 system-ui, sans-serif; margin: 1.5rem auto; max-width: 70rem; padding: 0 1rem; }
  h1 { font-size: 1.4rem; margin: 0 0 .5rem; }
  h2 { font-size: 1.05rem; margin: 1.6rem 0 .4rem; }
  table { border-collapse: collapse; width: 100%; }
  th, td { padding: .3rem .7rem; border-bottom: 1px solid #8884; text-align: left; }
  th { font-weight: 600; }
  td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
  .ok::before { content: "\25CF"; color: #2a9d4b; margin-right: .5rem; }
  .bad::before { content: "\25CF"; color: #d33; margin-right: .5rem; }
  .wide { overflow-x: auto; }
  small { opacity: .7; }
</style>
</head>
<body>
<h1>pg_cqrs <small id="command"></small></h1>
<p id="message" role="status">Loading</p>
<h2>Health</h2>
<table id="parts"></table>
<h2>Topics</h2>
<div class="wide"><table id="topics"></table></div>
<h2>Positions</h2>
<table id="notes"></table>
<h2>Process</h2>
<table id="process"></table>
<p><small><a href="/health">/health</a> <a href="/metrics">/metrics</a>
<a href="/status.json">/status.json</a></small></p>
<script>
"use strict";
const byId = id => document.getElementById(id);
const show = n => Math.abs(n) >= 100 || Number.isInteger(n) ? Math.round(n).toLocaleString("en")
                                                            : n.toFixed(2);
const title = name => name.replace(/^cqrs_/, "").replace(/_total$/, "").replace(/_/g, " ");
let before = new Map(), beforeAt = 0;

function fill(table, head, rows) {
  table.replaceChildren();
  const add = (cells, tag) => {
    const tr = table.insertRow();
    for (const cell of cells) {
      const td = document.createElement(tag);
      td.textContent = cell.text ?? cell;
      if (cell.className) td.className = cell.className;
      tr.append(td);
    }
  };
  if (head.length) add(head, "th");
  rows.forEach(row => add(row, "td"));
  if (!rows.length) add(["nothing yet"], "td");
}

function render(status, now) {
  byId("command").textContent = location.host;
  byId("message").textContent = status.message;
  byId("message").className = status.status === "ok" ? "ok" : "bad";
  fill(byId("parts"), [], Object.entries(status.parts).map(([part, reason]) =>
    [{text: part, className: reason ? "bad" : "ok"}, reason || "moving, or nothing to move"]));
  fill(byId("notes"), [], Object.entries(status.notes));

  const seconds = (now - beforeAt) / 1000, current = new Map();
  const cells = m => {
    const id = m.name + JSON.stringify(m.labels), number = className => text => ({text, className});
    current.set(id, m.value);
    const shown = [number("number")(show(m.value))];
    if (m.type === "counter") {
      const rate = before.has(id) && seconds > 0 ? (m.value - before.get(id)) / seconds : null;
      shown.push(number("number")(rate === null ? "" : show(Math.max(0, rate)) + "/s"));
    }
    return shown;
  };
  const topics = new Map(), columns = new Map(), rest = [];
  for (const m of status.metrics) {
    const others = Object.entries(m.labels).filter(([key]) => key !== "topic");
    const name = title(m.name) + others.map(([k, v]) => " " + k + "=" + v).join("");
    if ("topic" in m.labels) {
      columns.set(name, m.type === "counter" ? 2 : 1);
      if (!topics.has(m.labels.topic)) topics.set(m.labels.topic, new Map());
      topics.get(m.labels.topic).set(name, cells(m));
    } else {
      const shown = cells(m);
      rest.push([name, shown[0], shown[1] ?? ""]);
    }
  }
  const head = ["topic"];
  for (const [name, width] of columns) {
    head.push({text: name, className: "number"});
    if (width === 2) head.push({text: "rate", className: "number"});
  }
  fill(byId("topics"), topics.size ? head : [], [...topics].sort().map(([topic, found]) => {
    const row = [topic];
    for (const [name, width] of columns) row.push(...(found.get(name) ?? Array(width).fill("")));
    return row;
  }));
  fill(byId("process"), [], rest);
  before = current;
  beforeAt = now;
}

async function refresh() {
  try {
    const answer = await fetch("/status.json", {cache: "no-store"});
    render(await answer.json(), performance.now());
  } catch (error) {
    byId("message").textContent = "The replicator does not answer: " + error.message;
    byId("message").className = "bad";
  }
  setTimeout(refresh, 2000);
}
refresh();
</script>
</body>
</html>
)html";
}

}  // namespace cqrs
