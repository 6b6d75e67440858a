// How a row looks: in the grid, in the list, beside another row, close up.
// Everything that comes from the dataset is set as text, never as markup.
export const at = (id) => document.getElementById(id);
const GLYPH = { keep: "✓", drop: "✕", unsure: "?" };
const number = (value) => value.toLocaleString("en");
export const rows = (count) => `${number(count)} row${count === 1 ? "" : "s"}`;

export function node(tag, text, kind, ...children) {
  const made = document.createElement(tag);
  if (text !== undefined && text !== null) made.textContent = text;
  if (kind) made.className = kind;
  made.append(...children);
  return made;
}

const marked = (pieces) => pieces.map(([text, mark]) => node(mark ? "mark" : "span", text));
const title = (card) => card.label ?? `row ${card.row}`;
const spoken = (card) => [`row ${card.row}`, card.label === null ? "" : `class ${card.label}`, `risk ${card.risk.toFixed(2)}`,
  card.choice ?? ""].filter(Boolean).join(", ");
const tag = (choice) => node("span", `${GLYPH[choice]} ${choice}`, `tag ${choice}`);

// A picture with the box of what its group shares, drawn in shares of the picture, which keeps its own proportions.
function figure(card, { large = false } = {}) {
  if (!card.picture) return node("p", "cannot be shown as a picture", "broken");
  const image = node("img");
  image.src = `/picture/${card.row}${large ? "?large" : ""}`;
  image.alt = spoken(card);
  image.loading = large ? "eager" : "lazy";
  image.decoding = "async";
  const holder = node("span", null, "framed", image);
  const [top, left, bottom, right] = card.box ?? [0, 0, 1, 1];
  if (bottom - top < 1 || right - left < 1) {
    const box = node("i", null, "box");
    Object.assign(box.style, { top: `${100 * top}%`, left: `${100 * left}%`, height: `${100 * (bottom - top)}%`, width: `${100 * (right - left)}%` });
    holder.append(box);
  }
  return holder;
}

// A row of a table: its most unusual values, each beside what is usual.
const cells = (card, most) => node("dl", null, "cells", ...card.cells.slice(0, most).flatMap(([name, value, usual, far]) =>
  [node("dt", name), node("dd", null, "", node("b", value, far ? "far" : ""), ...(usual ? [node("span", ` ${usual}`, "soft")] : []))]));

const content = (card, most = 5) => card.cells.length ? cells(card, most)
  : card.text === null ? figure({ ...card, box: null }) : node("div", null, "text", ...marked(card.text));

export function tile(card, chosen) {
  const item = node("li", null, card.choice ?? "", content(card), node("p", card.reason, "reason soft"));
  const facts = node("p", null, "facts", node("b", title(card)), ...(card.believed ? [node("span", `believed ${card.believed}`, "believed")] : []), node("span", card.risk.toFixed(2), "soft"));
  if (card.choice) facts.append(tag(card.choice));
  if (card.others.length) facts.append(node("span", `${card.others.length} other${card.others.length > 1 ? "s" : ""}`, "soft"));
  if (card.note) facts.append(node("span", "note", "soft"));
  item.append(facts);
  item.id = `row-${card.row}`;
  item.setAttribute("role", "option");
  item.setAttribute("aria-label", spoken(card));
  item.setAttribute("aria-selected", String(chosen));
  return item;
}

export function detail(card) {
  const facts = node("dl");
  const lines = [["class", card.label ?? "none"], ...(card.believed === null ? [] : [["believed", card.believed]]), ["risk", card.risk.toFixed(3)], ["kind", card.kinds.join(", ")],
    ["seen by", card.detectors.join(", ") || "–"], ["row", String(card.row)], ...(card.id === null ? [] : [["id", card.id]]), ["place", card.place],
    ["you", card.choice ?? "not decided"],
    ...card.others.map((one) => [one.who, (one.choice === "open" ? "not decided" : one.choice) + (one.note ? ": " + one.note : "")])];
  for (const [name, value] of lines) facts.append(node("dt", name), node("dd", value));
  const shown = card.cells.length ? cells(card) : card.text === null ? figure(card) : node("pre", null, "", ...marked(card.text));
  return [node("div", null, card.text === null ? "pictured" : "written", shown, facts), node("p", card.reason, "reason")];
}

function glance(card, open) {
  const item = node("button", null, "glance", content(card, 2));
  item.type = "button";
  const alike = card.alike === undefined ? "" : ` · ${Math.round(100 * card.alike)} % alike`;
  item.append(node("span", `${title(card)}${alike}`, "soft"));
  if (!card.flagged) item.append(node("span", "not flagged", "tag"));
  item.setAttribute("aria-label", `${spoken(card)}${alike}${card.flagged ? "" : ", not flagged"}`);
  item.addEventListener("click", () => open(card));
  return item;
}

const strip = (cards, open) => node("div", null, cards.some((card) => card.picture) ? "strip" : "strip texts", ...cards.map((card) => glance(card, open)));

export function group(said, open) {
  const parts = [node("h2", "The rest of its group"), node("p", `${said.name}: ${rows(said.rows)}, ${number(said.left)} to decide. G decides about all of them.`, "soft")];
  return said.cards.length ? [...parts, strip(said.cards, open)] : [node("h2", "The only row of its group"), node("p", said.name, "soft")];
}

export function near(said, open) {
  const head = node("h2", "Nearest rows");
  if (!said.cards.length) return [head, node("p", said.sentence ?? "there are none", "soft")];
  const others = said.cards.filter((card) => card.label !== null);
  const looked = said.looked < said.rows ? `${number(said.looked)} of ${rows(said.rows)}` : `all ${rows(said.rows)}`;
  const labels = [...new Set(others.map((card) => card.label))];
  const classes = labels.length ? `: ${labels.map((label) => `${others.filter((card) => card.label === label).length} × ${label}`).join(", ")}` : "";
  return [head, node("p", `by content (${said.view}), of ${looked}${classes}`, "soft"), strip(said.cards, open)];
}

export function closeUp(card, text) {
  if (card.cells.length) return cells(card);
  if (card.text === null) return figure(card, { large: true });
  return node("pre", null, "", ...marked(text?.pieces ?? card.text));
}

export const legend = (card) => [card.label === null ? "" : `class ${card.label}`, `row ${card.row}`, `risk ${card.risk.toFixed(3)}`,
  card.flagged ? card.choice ?? "not decided" : "not flagged"].filter(Boolean).join(" · ");
