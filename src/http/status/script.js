// Brings the status page up to date: the relay sends what is between <main> and </main> anew each second, made by the same
// code that made the page, with every text from outside escaped.
"use strict";
(() => {
  const live = document.getElementById("live");
  const connection = document.getElementById("connection");
  const RETRY_MS = 10000;
  let events = null;
  let timer = 0;

  // A page that jumps while somebody copies a line from it is of no use.
  const isSelecting = () => {
    const selection = document.getSelection();
    return selection !== null && !selection.isCollapsed && live.contains(selection.anchorNode);
  };

  const close = () => {
    clearTimeout(timer);
    if (events !== null) events.close();
    events = null;
  };

  const open = () => {
    close();
    events = new EventSource("status/events");
    events.addEventListener("status", (event) => {
      connection.textContent = "Live.";
      if (!isSelecting()) live.innerHTML = event.data;
    });
    events.addEventListener("error", () => {
      connection.textContent = "The connection is lost: what is shown may be old.";
      // A browser connects again by itself unless the relay has refused.
      if (events !== null && events.readyState === EventSource.CLOSED) timer = setTimeout(open, RETRY_MS);
    });
  };

  // A page that nobody sees takes no place from those that somebody does.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) close();
    else open();
  });
  if (!document.hidden) open();
})();
