/**
 * What a program knows of the machine and the window that it runs in; outside of browsers, nothing.
 *
 * Owns:  whether there is a network, and when somebody is back to look.
 * Never: asks the server.
 */

/** Whether the machine says that it has no network. */
export function offline() {
  return globalThis.navigator?.onLine === false;
}

/**
 * Be told when it is worth to try at once: the network is back, or the page is shown again.
 * @param {(why: "online" | "visible") => void} told
 * @returns {() => void} ends it
 */
export function onReturn(told) {
  if (typeof globalThis.addEventListener !== "function") return () => {};
  const online = () => told("online");
  const visible = () => {
    if (globalThis.document.visibilityState === "visible") told("visible");
  };
  const { document } = globalThis;
  globalThis.addEventListener("online", online);
  globalThis.addEventListener("pageshow", visible);
  document?.addEventListener("visibilitychange", visible);
  return () => {
    globalThis.removeEventListener("online", online);
    globalThis.removeEventListener("pageshow", visible);
    document?.removeEventListener("visibilitychange", visible);
  };
}

/**
 * Wait, but no longer than until the signal is aborted.
 * @param {number | null} ms null waits for the signal only
 * @param {AbortSignal} signal
 */
export function pause(ms, signal) {
  return new Promise((resolve) => {
    if (signal.aborted) {
      resolve(undefined);
      return;
    }
    const timer = ms === null ? undefined : setTimeout(over, ms);
    function over() {
      clearTimeout(timer);
      signal.removeEventListener("abort", over);
      resolve(undefined);
    }
    signal.addEventListener("abort", over);
  });
}
