"use strict";

// Keeps the parts of the page that are marked data-live up to date, once a second, while it is seen.
// Everything works without this file, but then the page must be loaded again by hand.
(() => {
  const parts = [...document.querySelectorAll("[data-live]")];
  let timer = 0;
  let asked = 0;

  // Change `from` into `to` where they differ, so that focus, opened details and selections stay.
  const morph = (from, to) => {
    for (const { name, value } of [...to.attributes]) {
      if (from.getAttribute(name) !== value) from.setAttribute(name, value);
    }
    for (const { name } of [...from.attributes]) {
      if (!to.hasAttribute(name) && !(name === "open" && from.localName === "details")) from.removeAttribute(name);
    }
    morphChildren(from, to);
  };

  const same = (a, b) => a.nodeType === b.nodeType && a.nodeName === b.nodeName && (a.id || "") === (b.id || "");

  const morphChildren = (from, to) => {
    const byId = new Map([...from.children].filter((child) => child.id).map((child) => [child.id, child]));
    let at = from.firstChild;
    for (const wanted of [...to.childNodes]) {
      const known = wanted.id && byId.get(wanted.id);
      if (known && known !== at) from.insertBefore(known, at);
      const here = known || (at && same(at, wanted) ? at : null);
      if (!here) {
        if (wanted.localName === "li") wanted.classList.add("new");
        from.insertBefore(wanted, at);
      } else {
        if (here === at) at = at.nextSibling;
        if (here.nodeType === Node.ELEMENT_NODE) morph(here, wanted);
        else if (here.data !== wanted.data) here.data = wanted.data;
      }
    }
    while (at) {
      const next = at.nextSibling;
      at.remove();
      at = next;
    }
  };

  const show = (fragments) => {
    for (const part of parts) {
      const next = part.cloneNode(false);
      next.innerHTML = fragments[part.dataset.live];
      morphChildren(part, next);
    }
    const spoken = document.getElementById("spoken");
    if (spoken.textContent !== fragments.spoken) spoken.textContent = fragments.spoken;
  };

  const refresh = async () => {
    clearTimeout(timer);
    const mine = ++asked;
    let reached = true;
    try {
      const response = await fetch(location.href, { headers: { Accept: "application/json" } });
      if (!response.ok) throw new Error(response.statusText);
      const fragments = await response.json();
      if (mine === asked) show(fragments);
    } catch {
      reached = false;
    }
    if (mine !== asked) return;
    document.getElementById("stale").hidden = reached;
    if (!document.hidden) timer = setTimeout(refresh, 1000);
  };

  const submitQuietly = async (form, button) => {
    const data = new FormData(form);
    if (button && button.name) data.append(button.name, button.value);
    try {
      const action = button?.getAttribute("formaction") || form.action;
      await fetch(action, { method: "POST", body: new URLSearchParams(data), redirect: "manual" });
    } finally {
      refresh();
    }
  };

  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (event.submitter?.ariaDisabled === "true") return event.preventDefault();
    if ("quiet" in form.dataset) {
      event.preventDefault();
      submitQuietly(form, event.submitter);
    } else if ("waiting" in form.dataset) {
      form.setAttribute("aria-busy", "true");
      event.submitter.dataset.text = event.submitter.textContent;
      event.submitter.textContent = form.dataset.waiting;
    }
  });

  // Coming back to a page that was left while its form was on its way.
  addEventListener("pageshow", () => {
    for (const form of document.querySelectorAll("form[aria-busy]")) {
      form.removeAttribute("aria-busy");
      const button = form.querySelector("[data-text]");
      button.textContent = button.dataset.text;
    }
  });

  document.addEventListener("input", ({ target }) => {
    if (!("picks" in target.dataset)) return;
    target.nextElementSibling.value = `${Number(target.value).toFixed(1)} s`;
    target.form.querySelector(`[value="${target.dataset.picks}"]`).checked = true;
  });

  document.addEventListener("change", ({ target }) => {
    if (target.form && target.form.dataset.quiet === "change") target.form.requestSubmit();
  });

  // A message unfolds in place; its address says so too, and so works without this file.
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-open]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    history.replaceState(null, "", link.href);
    refresh();
  });

  document.documentElement.classList.add("live");
  if (!parts.length) return;
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) refresh();
  });
  refresh();
})();
