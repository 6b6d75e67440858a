"use strict";
// Everything that comes from the dataset is set as text, never as markup.
const at = (id) => document.getElementById(id);
const state = { first: 0, total: 0, page: 48, cards: [], current: 0, busy: Promise.resolve(), made: [], turning: false, keys: [], waiting: 0 };

function node(tag, text, kind) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

async function ask(path, body) {
  const call = body ? { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) } : {};
  try {
    const answer = await fetch(path, call);
    const said = await answer.json();
    if (!answer.ok) throw new Error(said.error);
    at("trouble").textContent = "";
    return said;
  } catch (error) {
    at("trouble").textContent = "Not saved or not loaded: " + error.message;
    throw error;
  }
}

const filter = () => Object.fromEntries(new FormData(at("filters")));

async function load(first, current = 0) {
  const said = await ask("/rows?" + new URLSearchParams({ ...filter(), first }));
  Object.assign(state, { first: said.first, total: said.total, page: said.page, cards: said.cards });
  state.current = Math.min(Math.max(current, 0), Math.max(said.cards.length - 1, 0));
  draw();
}

function draw() {
  const grid = at("grid");
  grid.className = state.cards.some((card) => card.picture) ? "" : "texts";
  grid.replaceChildren(...state.cards.map(tile));
  const last = state.first + state.cards.length;
  at("where").textContent = state.total ? `${state.first + 1} to ${last} of ${state.total}` : "no such rows";
  at("back").disabled = state.first === 0;
  at("on").disabled = last >= state.total;
  show();
}

function tile(card, index) {
  const item = node("li", undefined, card.choice || "");
  item.dataset.row = card.row;
  if (card.picture) {
    const image = node("img");
    image.src = `/picture/${card.row}`;
    image.alt = `row ${card.row}, class ${card.label}`;
    image.loading = "lazy";
    item.append(image);
  }
  if (card.text !== null) item.append(node("div", card.text, "text"));
  item.append(node("span", `${card.label ?? "row " + card.row} · ${card.risk.toFixed(2)} `, "soft"));
  if (card.choice) item.append(node("span", card.choice, "tag " + card.choice));
  if (card.others.length) item.append(node("span", ` ${card.others.length} other`, "soft"));
  item.addEventListener("click", () => { state.current = index; show(); });
  return item;
}

function show() {
  const detail = at("detail"), card = state.cards[state.current];
  for (const [index, item] of [...at("grid").children].entries()) {
    if (index === state.current) { item.setAttribute("aria-current", "true"); item.scrollIntoView({ block: "nearest" }); }
    else item.removeAttribute("aria-current");
  }
  if (!card) return detail.replaceChildren(node("p", "Nothing to decide here.", "soft"));
  const facts = node("dl");
  const rows = [["class", card.label ?? "none"], ["risk", card.risk.toFixed(3)], ["kind", card.kinds.join(", ")],
    ["seen by", card.detectors.join(", ") || "–"], ["row", String(card.row)], ["id", card.id ?? "–"], ["place", card.place],
    ["you", card.choice ?? "not decided"], ...card.others.map((one) => [one.who, one.choice + (one.note ? ": " + one.note : "")])];
  for (const [name, value] of rows) facts.append(node("dt", name), node("dd", value));
  const note = node("textarea");
  note.id = "note"; note.rows = 2; note.maxLength = 2000; note.value = card.note; note.placeholder = "Note (N)";
  note.setAttribute("aria-label", "note");
  note.addEventListener("change", () => { card.note = note.value; if (card.choice) choose(card.choice, { stay: true }); });
  const parts = [];
  if (card.picture) { const image = node("img"); image.src = `/picture/${card.row}`; image.alt = `row ${card.row}`; parts.push(image); }
  if (card.text !== null) parts.push(node("pre", card.text));
  detail.replaceChildren(...parts, node("p", card.reason), facts, note);
}

function tell(said) {
  const done = Object.values(said.settled).reduce((sum, one) => sum + one, 0);
  at("bar").setAttribute("aria-valuemax", said.flagged); at("bar").setAttribute("aria-valuenow", done);
  at("bar").firstElementChild.style.width = `${said.flagged ? 100 * done / said.flagged : 0}%`;
  const { keep, drop, unsure } = said.settled;
  at("count").textContent = `${done} of ${said.flagged} rows settled: ${drop} to drop, ${keep} to keep, ${unsure} unsure; ${said.mine} by you`;
}

// One decision after the other: each is on disk before the next is sent.
function send(card, choice, note) {
  state.waiting += 1;
  const sent = state.busy.then(() => ask("/decide", { rows: [card.row], choice, note, more: state.waiting > 1 }));
  state.busy = sent.then((said) => { if (said.settled) tell(said); }).finally(() => { state.waiting -= 1; });
  return state.busy;
}

// What holds for a card, as the server settles it.
function settled(card) {
  const said = new Set(card.others.map((one) => one.choice));
  if (card.choice) said.add(card.choice);
  return said.size === 0 ? "open" : said.size === 1 ? [...said][0] : "unsure";
}

function choose(choice, { card = state.cards[state.current], stay = false } = {}) {
  if (!card) return;
  const before = card.choice, note = at("note") ? at("note").value : "";
  if (!stay) state.made.push({ card, before });
  card.choice = choice === "open" ? null : choice; card.note = note;
  const index = state.cards.indexOf(card);
  if (index >= 0) at("grid").children[index].replaceWith(tile(card, index));
  // Sent before moving on, for the rows that come next are those that are left after this decision.
  state.busy = send(card, choice, note).catch(() => { card.choice = before; draw(); });
  if (!stay) move(1); else show();
}

function takeBack() {
  const last = state.made.pop();
  if (!last) return;
  const index = state.cards.indexOf(last.card);
  if (index >= 0) state.current = index;
  const after = last.card.choice;
  last.card.choice = last.before;
  state.busy = send(last.card, last.before ?? "open", last.card.note).catch(() => { last.card.choice = after; draw(); });
  draw();
}

function move(by) {
  const to = state.current + by;
  if (to >= state.cards.length) return state.first + state.cards.length < state.total ? turn(1) : show();
  if (to < 0) return state.first > 0 ? turn(-1, state.page - 1) : show();
  state.current = to;
  show();
}

function turn(by, current = 0) {
  if (by > 0 && state.first + state.cards.length >= state.total) return;
  // Rows that no longer match the filter have left the list, and the rows after them moved up.
  const wanted = filter().state;
  const stay = () => state.cards.filter((card) => !wanted || settled(card) === wanted).length;
  go(() => Math.max(0, state.first + (by > 0 ? stay() : -state.page)), current);
}

// Load from another place of the list, after what was decided so far is on disk.
function go(first, current = 0) {
  state.turning = true;
  state.busy = state.busy.then(() => load(first(), current)).catch(() => {}).then(() => {
    state.turning = false;
    // Keys that were pressed meanwhile were meant for the rows that come now.
    while (state.keys.length && !state.turning) state.keys.shift()();
  });
}

async function all(choice) {
  await state.busy;
  if (!state.total || !confirm(`${choice} all ${state.total} rows that are listed?`)) return;
  tell(await ask("/decide", { group: filter(), choice, note: "" }));
  await load(0);
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.id === "note") { if (event.key === "Escape" || event.key === "Enter") { event.preventDefault(); event.target.blur(); } return; }
  if (event.target.tagName === "SELECT") return;
  const does = {
    k: () => choose("keep"), d: () => choose("drop"), u: () => choose("unsure"), z: takeBack,
    n: () => at("note") && at("note").focus(), ArrowRight: () => move(1), ArrowLeft: () => move(-1),
    ArrowDown: () => move(columns()), ArrowUp: () => move(-columns()), PageDown: () => turn(1), PageUp: () => turn(-1),
  }[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!does) return;
  event.preventDefault();
  if (state.turning) state.keys.push(does); else does();
});

// What was shown as decided and is not on disk yet would be lost.
addEventListener("beforeunload", (event) => { if (state.waiting) event.preventDefault(); });

const columns = () => getComputedStyle(at("grid")).gridTemplateColumns.split(" ").length;

at("filters").addEventListener("change", () => { document.activeElement.blur(); go(() => 0); });
at("back").addEventListener("click", () => turn(-1));
at("on").addEventListener("click", () => turn(1));
at("all-drop").addEventListener("click", () => all("drop"));
at("all-keep").addEventListener("click", () => all("keep"));

(async () => {
  const said = await ask("/start");
  at("who").textContent = "as " + said.reviewer;
  at("why").textContent = said.reason;
  for (const [name, values] of Object.entries(said.filters)) {
    for (const value of values) {
      const option = node("option", value);
      option.value = value;
      document.querySelector(`select[name=${name}]`).append(option);
    }
  }
  tell(said);
  await load(0);
  document.body.dataset.ready = "yes";
})();
