// Renews the panels every few seconds, until told to pause.
"use strict";

const EVERY_MS = 3000;
const panels = document.querySelector("#panels");
const pause = document.querySelector("#pause");
const stale = document.querySelector("#stale");
// The only HTML that ever comes in here is our own server's (same origin, see the CSP).
const policy = window.trustedTypes
  ? window.trustedTypes.createPolicy("gate", { createHTML: (html) => html })
  : { createHTML: (html) => html };

async function renew() {
  if (pause.getAttribute("aria-pressed") === "true" || document.hidden) return;
  try {
    const answer = await fetch(panels.dataset.source, { cache: "no-store" });
    if (!answer.ok) throw new Error(String(answer.status));
    const html = policy.createHTML(await answer.text());
    const fresh = new DOMParser().parseFromString(html, "text/html");
    const wasOpen = panels.querySelector("details")?.open ?? false;
    // Whoever is reading with the keyboard inside is not interrupted.
    if (!panels.contains(document.activeElement)) {
      panels.replaceChildren(...fresh.body.childNodes);
      const details = panels.querySelector("details");
      if (details) details.open = wasOpen;
    }
    stale.hidden = true;
  } catch {
    stale.hidden = false;
  }
}

pause.hidden = false;
pause.addEventListener("click", () => {
  pause.setAttribute("aria-pressed", String(pause.getAttribute("aria-pressed") !== "true"));
});
setInterval(renew, EVERY_MS);
