// The kiosk page: shows what the gate says, says what the person chooses. Remembers nothing.
"use strict";

const SILENCE_MS = 6500; // three beats of the stream
const REOPEN_MS = 1500;
const PIN_MAX = 12;

const body = document.body;
const one = (query) => document.querySelector(query);
const all = (query) => [...document.querySelectorAll(query)];
const calm = matchMedia("(prefers-reduced-motion: reduce)");

// ---- the stream from the gate

let source = null;
let silence = 0;
let reopening = 0;

function open() {
  clearTimeout(reopening);
  source?.close();
  source = new EventSource("/kiosk/events");
  source.onmessage = (message) => { heard(); show(JSON.parse(message.data)); };
  source.addEventListener("beat", heard);
  source.onerror = lost;
  heard();
}

function heard() {
  clearTimeout(silence);
  silence = setTimeout(lost, SILENCE_MS);
}

function lost() {
  clearTimeout(silence);
  source.close();
  show({ screen: "no_link", advice: 0, camera_on: null, deadline_ms: null, pin_token: null });
  reopening = setTimeout(open, REOPEN_MS);
}

// ---- one view

let token = null;

function show(view) {
  const isNew = body.dataset.screen !== view.screen || token !== view.pin_token;
  body.dataset.screen = view.screen;
  body.dataset.camera = view.camera_on === null ? "unknown" : view.camera_on ? "on" : "off";
  for (const section of all(".screen")) section.hidden = section.dataset.screen !== view.screen;
  for (const part of all("[data-on]")) part.hidden = !part.dataset.on.split(" ").includes(view.screen);
  one("#pad").hidden = view.pin_token === null;
  body.toggleAttribute("data-pad", view.pin_token !== null);
  for (const line of all("[data-advice]")) line.hidden = line.dataset.advice !== String(view.advice);
  if (isNew) {
    one("#not-now").hidden = true;
    token = view.pin_token;
    for (const button of all("#pin-lane, #leave")) button.disabled = false;
    deal();
  }
  showTime(view.deadline_ms, isNew);
  speak(view);
  // A focused button may just have been taken away: keyboard users go on from the heading.
  if (isNew) one(`.screen[data-screen="${view.screen}"] h1`).focus({ preventScroll: true });
}

let spokenBefore = "";

function speak(view) {
  const screen = one(`.screen[data-screen="${view.screen}"]`);
  const advice = one(`[data-advice="${view.advice}"]`);
  const said = view.advice !== 0 && screen.contains(advice) ? advice : screen.querySelector("h1");
  if (said.textContent === spokenBefore) return;
  spokenBefore = said.textContent;
  for (const lang of ["ko", "en"]) {
    one(`#spoken [lang=${lang}]`).textContent = said.querySelector(`[lang=${lang}]`).textContent;
  }
}

// ---- how long this screen lasts

let whole_ms = 0;
let ends_at = 0;
let ticking = 0;
let shrinking = null;

function showTime(deadline_ms, isNew) {
  clearInterval(ticking);
  shrinking?.cancel();
  one(".time").hidden = deadline_ms === null;
  if (deadline_ms === null) { whole_ms = 0; return; }
  if (isNew || deadline_ms > whole_ms) whole_ms = Math.max(deadline_ms, 1);
  ends_at = performance.now() + deadline_ms;
  const from = deadline_ms / whole_ms;
  shrinking = one("#bar").animate(
    [{ transform: `scaleX(${from})` }, { transform: "scaleX(0)" }],
    { duration: deadline_ms, fill: "forwards", easing: calm.matches ? "steps(8, end)" : "linear" },
  );
  const tick = () => {
    const left_s = Math.max(0, Math.ceil((ends_at - performance.now()) / 1000));
    one(".seconds").textContent = String(left_s);
  };
  tick();
  ticking = setInterval(tick, 250);
}

// ---- the PIN pad

let typed = "";

function shuffledDigits() {
  const digits = [..."0123456789"];
  for (let last = digits.length - 1; last > 0; last--) {
    // Rejection keeps every order equally likely.
    const byte = new Uint8Array(1);
    do crypto.getRandomValues(byte); while (byte[0] >= 256 - (256 % (last + 1)));
    const other = byte[0] % (last + 1);
    [digits[last], digits[other]] = [digits[other], digits[last]];
  }
  return digits;
}

function deal() {
  const digits = token === null ? [] : shuffledDigits();
  all(".digit").forEach((key, place) => { key.textContent = digits[place] ?? ""; });
  for (const key of all(".key")) key.disabled = token === null;
  typed = "";
  showDots();
}

function showDots() {
  const dots = one("#dots");
  dots.textContent = "●".repeat(typed.length);
  dots.setAttribute("aria-label", String(typed.length));
  one("#enter").disabled = typed.length === 0 || token === null;
}

function type(digit) {
  if (token === null || typed.length >= PIN_MAX) return;
  typed += digit;
  showDots();
}

function clearPin() {
  typed = "";
  showDots();
}

async function enterPin() {
  if (token === null || typed === "") return;
  const said = JSON.stringify({ token, pin: typed });
  clearPin();
  for (const key of all(".key")) key.disabled = true;
  await say("/kiosk/pin", said);
}

async function say(path, said) {
  let ok = false;
  try {
    const headers = said ? { "Content-Type": "application/json" } : {};
    ok = (await fetch(path, { method: "POST", body: said, headers, cache: "no-store" })).ok;
  } catch { /* not ok */ }
  one("#not-now").hidden = ok;
  return ok;
}

for (const key of all(".digit")) key.addEventListener("click", () => type(key.textContent));
one("#clear").addEventListener("click", clearPin);
one("#enter").addEventListener("click", enterPin);
one("#pin-lane").addEventListener("click", (event) => {
  event.currentTarget.disabled = true;
  say("/kiosk/pin-lane");
});
one("#leave").addEventListener("click", (event) => {
  event.currentTarget.disabled = true;
  say("/kiosk/leave");
});
document.addEventListener("keydown", (event) => {
  if (one("#pad").hidden || event.ctrlKey || event.altKey || event.metaKey) return;
  if (/^[0-9]$/.test(event.key)) type(event.key);
  else if (event.key === "Backspace") clearPin();
  else if (event.key === "Enter" && !(event.target instanceof HTMLButtonElement)) enterPin();
});

open();
