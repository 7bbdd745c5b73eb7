// The inbox page. Texts of pushes come from anywhere, so they reach the page only as textContent, never as markup.
"use strict";

// As many as the server lists.
const KEPT = 200;

const byId = (id) => document.getElementById(id);
const lists = { apns: byId("cards-apns"), fcm: byId("cards-fcm") };
const empties = { apns: byId("empty-apns"), fcm: byId("empty-fcm") };
const shown = new Set();
let clockOffset = 0;

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

function now() {
  return Date.now() + clockOffset;
}

function ago(at) {
  const seconds = Math.max(0, Math.round((now() - at) / 1000));
  if (seconds < 5) return "now";
  if (seconds < 60) return `${seconds}s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)}h ago`;
  return new Date(at).toLocaleDateString();
}

function agoElement(at) {
  const element = make("span", "ago", ago(at));
  element.dataset.at = at;
  return element;
}

function appName(push) {
  return push.topic.replace(/\.voip$/, "").split(".").pop();
}

function titleOf(push) {
  const { kind, title } = push.card;
  if (kind === "silent") return title ? `Silent push: ${title}` : "Silent push";
  if (kind === "call") return title || "Unknown caller";
  return title || appName(push);
}

function cardElement(push) {
  const { kind, body, badge } = push.card;
  const card = make("button", `card ${kind}`);
  card.type = "button";
  card.addEventListener("click", () => showDetail(push));
  const title = make("span", "title", titleOf(push));
  const repeat = push.repeat ? make("span", "tag", "repeat") : null;

  if (kind === "silent") {
    card.append(make("span", "dot"), title);
    if (badge !== null) card.append(make("span", "count", `badge ${badge}`));
    if (repeat) card.append(repeat);
    card.append(agoElement(push.at_ms));
    return card;
  }

  const icon = make("span", "icon");
  icon.setAttribute("aria-hidden", "true");
  if (badge !== null && badge > 0) icon.append(make("span", "badge", badge > 99 ? "99+" : String(badge)));
  const words = make("div", "words");
  const line = make("div", "line");
  if (kind === "call") {
    const who = make("div", "words");
    who.append(title, make("div", "body", body ? `Incoming call in ${body}` : "Incoming call"));
    const buttons = make("div", "buttons");
    buttons.setAttribute("aria-hidden", "true");
    buttons.append(make("span", "decline"), make("span", "accept"));
    line.append(who, agoElement(push.at_ms), buttons);
    if (repeat) who.append(repeat);
    words.append(line);
  } else {
    line.append(title);
    if (repeat) line.append(repeat);
    line.append(agoElement(push.at_ms));
    words.append(line);
    if (body) words.append(make("div", "body", body));
  }
  card.append(icon, words);
  return card;
}

function addPush(push, fresh) {
  const list = lists[push.provider];
  if (!list || shown.has(push.number)) return;
  shown.add(push.number);
  const item = make("li", fresh ? "fresh" : "");
  item.dataset.number = push.number;
  item.append(cardElement(push));
  list.prepend(item);
  while (list.children.length > KEPT) {
    shown.delete(Number(list.lastElementChild.dataset.number));
    list.lastElementChild.remove();
  }
  empties[push.provider].hidden = true;
}

function addRefusal(refusal) {
  if (shown.has(refusal.number)) return;
  shown.add(refusal.number);
  const item = make("li");
  item.dataset.number = refusal.number;
  const token = make("span", "token", refusal.device_token);
  token.title = refusal.device_token;
  const when = agoElement(refusal.at_ms);
  when.className = "when ago";
  item.append(
    when,
    make("span", "", `${refusal.provider === "apns" ? "APNs" : refusal.provider === "fcm" ? "FCM" : "OAuth"} ${refusal.status}`),
    make("span", "reason", refusal.reason),
    make("span", "", refusal.why),
    token,
  );
  const list = byId("refusals");
  list.prepend(item);
  while (list.children.length > KEPT) {
    shown.delete(Number(list.lastElementChild.dataset.number));
    list.lastElementChild.remove();
  }
  byId("log-empty").hidden = true;
}

function showCounts(counts) {
  for (const name of ["accepted", "repeats", "refused", "unprocessed", "violations"]) {
    const element = byId(`count-${name}`);
    element.textContent = counts[name].toLocaleString();
    element.parentElement.classList.toggle("alarm", name === "violations" && counts[name] > 0);
  }
}

function facts(list, entries) {
  list.replaceChildren();
  for (const [name, value] of entries) list.append(make("dt", "", name), make("dd", "", value));
}

function showDetail(push) {
  byId("detail-title").textContent = titleOf(push);
  const isApns = push.provider === "apns";
  facts(byId("detail-facts"), [
    [isApns ? "apns-id" : "Message", push.id],
    [isApns ? "Topic" : "Project", push.topic],
    ["Device token", push.device_token],
    ["Connection", `${push.connection}, stream ${push.stream}`],
    ["Received", new Date(push.at_ms).toLocaleString()],
    ["Repeat", push.repeat ? "yes, it was accepted before" : "no"],
  ]);
  facts(byId("detail-headers"), Object.entries(push.headers));
  byId("detail-payload").textContent = JSON.stringify(push.payload, null, 2);
  byId("detail").showModal();
}

async function load() {
  const answer = await fetch("/pushes");
  if (!answer.ok) return;
  const all = await answer.json();
  clockOffset = all.now_ms - Date.now();
  shown.clear();
  for (const name of Object.keys(lists)) {
    lists[name].replaceChildren();
    empties[name].hidden = false;
  }
  byId("refusals").replaceChildren();
  byId("log-empty").hidden = false;
  for (const push of all.pushes.reverse()) addPush(push, false);
  for (const refusal of all.refused.reverse()) addRefusal(refusal);
  showCounts(all.counts);
  tick();
}

// Counts follow the events at most four times a second, however many pushes come.
let countsDue = false;
function countSoon() {
  if (countsDue) return;
  countsDue = true;
  setTimeout(async () => {
    countsDue = false;
    const answer = await fetch("/counts");
    if (answer.ok) showCounts(await answer.json());
  }, 250);
}

function tick() {
  const at = new Date(now());
  const time = at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hour12: false });
  const date = at.toLocaleDateString("en", { weekday: "long", month: "long", day: "numeric" });
  for (const element of document.querySelectorAll(".time")) element.textContent = time;
  for (const element of document.querySelectorAll(".date")) element.textContent = date;
  for (const element of document.querySelectorAll(".ago")) element.textContent = ago(Number(element.dataset.at));
}

function listen() {
  const live = byId("live");
  const events = new EventSource("/events");
  const on = (name, act) => events.addEventListener(name, (event) => act(JSON.parse(event.data)));
  // Heard from now on: the list is loaded once more for what came in between, here or while the line was down.
  on("hello", () => { live.textContent = "live"; live.classList.add("on"); load(); });
  on("reload", load);
  on("accepted", (push) => { addPush(push, true); countSoon(); });
  on("refused", (refusal) => { addRefusal(refusal); countSoon(); });
  events.onerror = () => { live.textContent = "not connected"; live.classList.remove("on"); };
}

byId("clear").addEventListener("click", () => fetch("/pushes", { method: "DELETE" }));
setInterval(tick, 5000);
tick();
load();
listen();
