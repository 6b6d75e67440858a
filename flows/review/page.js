import { at, closeUp, detail, group, legend, near, node, rows, tile } from "./cards.js";

const REST = 150; // milliseconds on a row before its surroundings are looked up
const state = {
  first: 0, total: 0, page: 48, cards: [], current: 0, list: false,
  busy: Promise.resolve(), waiting: 0, turning: false, keys: [], // what is on its way to the disk, and keys meant for later
  armed: null, beside: null, zoomed: null, resting: 0,
};
// On a phone the current row lies above the grid and stays in view; beside it there is no room.
const narrow = () => matchMedia("(max-width: 56rem)").matches;
const card = () => state.cards[state.current];

async function ask(path, body) {
  const call = body ? { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), keepalive: true } : {};
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

const say = (sentence) => { at("said").textContent = sentence; };
const filter = () => Object.fromEntries([...new FormData(at("filters"))].filter(([, value]) => value));

// The list

async function load(place, current = 0) {
  const said = await ask("/rows?" + new URLSearchParams({ ...filter(), ...place }));
  Object.assign(state, { first: said.first, total: said.total, page: said.page, cards: said.cards });
  const wanted = said.cards.findIndex((one) => String(one.row) === String(place.row));
  state.current = wanted >= 0 ? wanted : Math.min(Math.max(current, 0), Math.max(said.cards.length - 1, 0));
  draw();
}

function draw() {
  const grid = at("grid"), pictures = state.cards.some((one) => one.text === null);
  grid.className = `${pictures ? "pictures" : "texts"} ${state.list ? "list" : "tiles"}`;
  grid.replaceChildren(...state.cards.map((one, index) => tile(one, index === state.current)));
  const last = state.first + state.cards.length;
  at("where").textContent = state.total ? `${state.first + 1} to ${last} of ${rows(state.total)}` : "no rows";
  at("back").disabled = state.first === 0;
  at("on").disabled = last >= state.total;
  at("all").disabled = !state.total;
  at("list").setAttribute("aria-pressed", String(state.list));
  show();
}

function show() {
  const grid = at("grid"), one = card();
  for (const item of grid.querySelectorAll("[aria-selected=true]")) item.setAttribute("aria-selected", "false");
  for (const id of ["group", "near"]) at(id).hidden = true;
  at("note-of").hidden = !one;
  state.beside = null;
  clearTimeout(state.resting);
  keepPlace();
  if (!one) { grid.removeAttribute("aria-activedescendant"); at("detail").replaceChildren(node("p", Object.keys(filter()).length ? "No row is left here." : "The audit flagged no row.", "soft")); return; }
  const item = grid.children[state.current];
  item.setAttribute("aria-selected", "true");
  if (!narrow()) item.scrollIntoView({ block: "nearest" });
  grid.setAttribute("aria-activedescendant", item.id);
  at("detail").replaceChildren(...detail(one));
  at("note").value = one.note;
  if (at("zoom").open && state.zoomed !== one) zoom(one);
  state.resting = setTimeout(() => surroundings(one), REST);
}

// The group and the nearest rows come when a person rests on a row, not with every key.
async function surroundings(one) {
  const there = (part, draws) => ask(part + one.row).then((said) => {
    if (card() !== one) return null;
    const section = at(part.split("/")[1] === "beside" ? "group" : "near");
    section.replaceChildren(...draws(said, zoom));
    section.hidden = false;
    return said;
  }).catch(() => null);
  at("near").replaceChildren(node("h2", "Nearest rows"), node("p", "looking…", "soft"));
  at("near").hidden = false;
  state.beside = await there("/beside/", group);
  if (card() === one) await there("/near/", near);
}

// A reload comes back to the same rows.
function keepPlace() {
  const place = { ...filter(), ...(card() ? { row: card().row } : {}), ...(state.list ? { view: "list" } : {}) };
  history.replaceState(null, "", "#" + new URLSearchParams(place));
}

function tell(said) {
  const done = Object.values(said.settled).reduce((sum, one) => sum + one, 0);
  at("bar").setAttribute("aria-valuemax", said.flagged);
  at("bar").setAttribute("aria-valuenow", done);
  at("bar").firstElementChild.style.width = `${said.flagged ? 100 * done / said.flagged : 0}%`;
  const { keep, drop, unsure } = said.settled, number = (value) => value.toLocaleString("en");
  at("count").textContent = `${number(done)} of ${rows(said.flagged)} settled: ${number(drop)} to drop, ${number(keep)} to keep, ${number(unsure)} unsure; ${number(said.mine)} by you`;
}

// Deciding

// One decision after the other: each is on disk before the next is sent.
function send(body) {
  state.waiting += 1;
  const sent = state.busy.then(() => ask("/decide", body));
  state.busy = sent.then(tell).finally(() => { state.waiting -= 1; });
  return state.busy;
}

// What holds for a card, as the server settles it.
function settled(one) {
  const said = new Set(one.others.map((other) => other.choice).filter((choice) => choice !== "open"));
  if (one.choice) said.add(one.choice);
  return said.size === 0 ? "open" : said.size === 1 ? [...said][0] : "unsure";
}

function redraw(one) {
  const index = state.cards.indexOf(one);
  if (index >= 0) at("grid").children[index].replaceWith(tile(one, index === state.current));
}

function choose(choice) {
  const one = card();
  if (state.armed) return chooseAll(choice);
  if (!one) return;
  const before = one.choice, note = at("note").value, noted = note === one.note ? {} : { note };
  Object.assign(one, { choice, note });
  redraw(one);
  say(`${choice}: row ${one.row}`);
  // Sent before moving on, for the rows that come next are those that are left after this decision.
  state.busy = send({ rows: [one.row], choice, ...noted }).catch(() => { one.choice = before; draw(); });
  move(1);
}

function takeNote(one, note = at("note").value) {
  if (!one || one.note === note) return;
  one.note = note;
  redraw(one);
  state.busy = send({ rows: [one.row], choice: one.choice ?? "open", note: one.note }).catch(() => {});
}

// The next choice is about many rows: the group of the current one, or all that are listed.
async function arm(scope) {
  state.armed = scope;
  at("arm").setAttribute("aria-pressed", String(Boolean(scope)));
  document.body.classList.toggle("arming", Boolean(scope));
  at("armed").textContent = scope ? `Now choose for ${scope.name}: keep, drop or unsure. Esc leaves it.` : "";
}

async function armGroup() {
  if (state.armed) return arm(null);
  const one = card();
  if (!one) return;
  await state.busy;
  const said = await ask("/beside/" + one.row);
  const many = said.left < said.rows ? `the ${rows(said.left)} of ${said.rows.toLocaleString("en")} that you have not decided about` : `all ${rows(said.rows)}`;
  await arm({ group: said.group, name: `${said.name}, ${many}`, row: one.row });
}

function chooseAll(choice) {
  const { group: chosen, name, row } = state.armed;
  arm(null);
  go(async () => {
    tell(await ask("/decide", { group: chosen, choice, left: true }));
    say(`${choice}: ${name}. Z takes it back.`);
    at("armed").textContent = at("said").textContent;
    setTimeout(() => { if (!state.armed) at("armed").textContent = ""; }, 6000);
    return row === undefined ? { first: 0 } : { row };
  });
}

function takeBack() {
  if (state.armed) return arm(null);
  go(async () => {
    const said = await ask("/undo", {});
    tell(said);
    say(said.rows ? `taken back: ${said.choice === "open" ? "a note" : said.choice} on ${rows(said.rows)}` : "nothing to take back");
    at("armed").textContent = at("said").textContent;
    setTimeout(() => { if (!state.armed) at("armed").textContent = ""; }, 4000);
    return said.rows ? { row: said.row } : { first: state.first, row: card()?.row ?? "" };
  });
}

// Moving

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
  const stay = () => state.cards.filter((one) => !wanted || settled(one) === wanted).length;
  go(() => ({ first: Math.max(0, state.first + (by > 0 ? stay() : -state.page)) }), current);
}

// Load from another place of the list, after what was decided so far is on disk.
function go(place, current = 0) {
  state.turning = true;
  state.busy = state.busy.then(place).then((there) => load(there, current)).catch(() => {}).then(() => {
    state.turning = false;
    // Keys that were pressed meanwhile were meant for the rows that come now.
    while (state.keys.length && !state.turning) state.keys.shift()();
  });
}

// Looking closely

async function zoom(one) {
  state.zoomed = one;
  const shows = (text) => { at("close-up").replaceChildren(closeUp(one, text)); at("which").textContent = legend(one); };
  shows();
  if (!at("zoom").open) at("zoom").showModal();
  if (one.text !== null) {
    const text = await ask("/text/" + one.row).catch(() => null);
    if (text && state.zoomed === one) shows(text);
  }
}

const toggleZoom = () => { if (at("zoom").open) at("zoom").close(); else if (card()) zoom(card()); };
const toggleList = () => { state.list = !state.list; draw(); };
const columns = () => state.list ? 1 : getComputedStyle(at("grid")).gridTemplateColumns.split(" ").length;

const STROKES = {
  k: () => choose("keep"), d: () => choose("drop"), u: () => choose("unsure"), z: takeBack, g: armGroup, " ": toggleZoom, l: toggleList,
  n: () => { if (card()) { at("zoom").close(); at("note").focus(); } },
  ArrowRight: () => move(1), ArrowLeft: () => move(-1), ArrowDown: () => move(columns()), ArrowUp: () => move(-columns()),
  PageDown: () => turn(1), PageUp: () => turn(-1),
  Home: () => { state.current = 0; show(); }, End: () => { state.current = Math.max(0, state.cards.length - 1); show(); },
  Escape: () => arm(null),
};
const stroke = (key) => { if (state.turning) state.keys.push(STROKES[key]); else STROKES[key](); };

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key, on = event.target;
  if (on.id === "note") {
    if (event.key === "Escape" || (event.key === "Enter" && !event.shiftKey)) { event.preventDefault(); at("grid").focus(); }
    return;
  }
  if (!(key in STROKES) || on.tagName === "SELECT" || (key === " " && on.tagName === "BUTTON")) return;
  if (key === "Escape" && at("zoom").open) return;
  event.preventDefault();
  stroke(key);
});

at("grid").addEventListener("click", (event) => {
  const index = [...at("grid").children].indexOf(event.target.closest("li"));
  if (index < 0) return;
  const again = index === state.current;
  state.current = index;
  show();
  if (again || event.detail > 1 || narrow()) zoom(card());
});
at("detail").addEventListener("click", (event) => { if (event.target.closest("img, .box, pre, .cells")) zoom(card()); });
at("zoom").addEventListener("click", (event) => { if (event.target.tagName !== "PRE" && !event.target.closest("pre")) at("zoom").close(); });
at("zoom").addEventListener("close", () => { state.zoomed = null; });
at("strokes").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button) stroke(button.dataset.key);
});
let noting = null;
at("note").addEventListener("focus", () => { noting = card(); });
at("note").addEventListener("blur", () => { takeNote(noting); noting = null; });
// What was written or decided and is not on disk yet would be lost. A page that is loaded again may be there before
// its note is, and then says it once more.
addEventListener("pagehide", () => {
  if (noting) sessionStorage.setItem("note", JSON.stringify([noting.row, at("note").value]));
  takeNote(noting);
});
addEventListener("beforeunload", (event) => { if (state.waiting) event.preventDefault(); });
at("filters").addEventListener("change", () => { at("grid").focus(); arm(null); go(() => ({ first: 0 })); });
at("back").addEventListener("click", () => turn(-1));
at("on").addEventListener("click", () => turn(1));
at("list").addEventListener("click", toggleList);
at("all").addEventListener("click", () => arm({ group: filter(), name: `what is listed, ${rows(state.total)}` }));

const said = await ask("/start");
const place = new URLSearchParams(location.hash.slice(1));
at("who").textContent = "as " + said.reviewer;
at("why").textContent = said.reason;
for (const [name, values] of Object.entries(said.filters)) {
  const select = document.querySelector(`select[name=${name}]`);
  select.parentElement.hidden = !values.length;
  for (const [value, shown, count] of values) {
    const option = node("option", `${shown} (${count.toLocaleString("en")})`);
    option.value = value;
    select.append(option);
  }
}
for (const select of document.querySelectorAll("select")) {
  const kept = place.get(select.name);
  if ([...select.options].some((option) => option.value === kept)) select.value = kept;
}
state.list = place.get("view") === "list";
tell(said);
await load(place.has("row") ? { row: place.get("row") } : { first: 0 });
const [noted, note] = JSON.parse(sessionStorage.getItem("note") ?? "[]");
sessionStorage.removeItem("note");
if (card() && card().row === noted) { takeNote(card(), note); at("note").value = note; }
at("grid").focus({ preventScroll: true });
document.body.dataset.ready = "yes";
