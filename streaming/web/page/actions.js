/**
 * What a person may do with a task, each with a question in front of what cannot be taken back.
 *
 * Owns:   cancel, extend, retry, send, delete.
 * Never:  shows what the principal may not do.
 */

import { writePlace } from "./address.js";
import { ask, tell, tellProblem } from "./dialog.js";
import { h } from "./dom.js";
import { TERMINAL, duration } from "./format.js";

/** The buttons for a task. @param {import("./app.js").App} app @param {any} task @returns {Array<HTMLElement>} */
export function actionsOf(app, task) {
  const over = TERMINAL.has(task.status);
  const button = (words, work, kind = "") => {
    const onclick = (event) => run(event.currentTarget, () => work(app, task));
    return h(`button${kind}`, { type: "button", onclick }, words);
  };
  return [
    !over && !task.cancel && app.may("tasks:cancel") && button("Cancel …", cancel, ".danger"),
    !over && app.may("tasks:write") && button("More time …", extend),
    task.status === "running" && app.may("tasks:write") && button("Send …", send),
    over && app.may("tasks:write") && button("Start once more", retry, ".primary"),
    over && task.keep_until_ack && !task.acked_at && app.may("tasks:write") && button("Acknowledge", acknowledge),
    over && app.may("tasks:write") && button("Delete …", remove, ".danger"),
  ].filter(Boolean);
}

async function run(button, work) {
  button.disabled = true;
  try {
    await work();
  } catch (problem) {
    tellProblem(problem);
  } finally {
    button.disabled = false;
  }
}

async function cancel(app, task) {
  const answer = await ask({
    title: `Cancel this ${task.type}?`,
    body: h("p", {}, "Its handler is stopped as soon as it lets itself be stopped, and its children with it. ",
      "The receipt shows what became of the wish. This cannot be taken back."),
    yes: "Cancel the task", no: "Let it run", danger: true,
    fields: [{ name: "reason", label: "Reason, shown to every reader", hint: "optional" }],
  });
  if (!answer) return;
  const { cancel: receipt } = await app.api.post(`/tasks/${task.id}/cancel`, { reason: answer.reason });
  tell(receipt.outcome === "requested" ? "The cancel is on its way: the receipt tells the rest." : `The task was ${receipt.outcome}.`);
}

async function extend(app, task) {
  const answer = await ask({
    title: "More time",
    body: h("p", {}, `One run may take ${duration(task.timeout_s)}. It counts from the beginning of the run, not from now.`),
    yes: "Set it", no: "Leave it",
    fields: [{
      name: "timeout_s", label: "Seconds that a run may take", type: "number", value: String(task.timeout_s * 2), required: true,
    }],
  });
  if (!answer) return;
  await app.api.post(`/tasks/${task.id}/extend`, { timeout_s: Number(answer.timeout_s) });
  tell(`A run may take ${duration(Number(answer.timeout_s))} now.`);
}

async function send(app, task) {
  const answer = await ask({
    title: `Send something to this ${task.type}`,
    body: h("p", {}, "JSON, or words. The handler reads it when it likes; everybody who watches sees it."),
    yes: "Send", no: "Not now", fields: [{ name: "data", label: "Input", required: true, max: 100000 }],
  });
  if (!answer) return;
  const { seq } = await app.api.post(`/tasks/${task.id}/input`, { data: jsonOrText(answer.data) });
  tell(`Sent: event ${seq}.`);
}

function jsonOrText(words) {
  try {
    return JSON.parse(words);
  } catch {
    return words;
  }
}

async function retry(app, task) {
  const again = await app.api.post(`/tasks/${task.id}/retry`);
  if (app.looksAt(task.id)) app.go({ view: "task", task: again.id });
  else tell("Started once more.", { action: taskLink(again.id) });
}

async function acknowledge(app, task) {
  await app.api.post(`/tasks/${task.id}/ack`);
  tell("Acknowledged: retention may remove it from now on.");
}

async function remove(app, task) {
  const answer = await ask({
    title: `Delete this ${task.type}?`,
    body: h("p", {}, "Its record and its whole log are gone then, for everybody. This cannot be taken back."),
    yes: "Delete it", no: "Keep it", danger: true, type: task.id.slice(-4),
  });
  if (!answer) return;
  await app.api.call("DELETE", `/tasks/${task.id}`);
  tell("Deleted.");
  if (app.looksAt(task.id)) app.go({ view: "tasks", filters: [] });
}

/** A link to a task. */
export function taskLink(id, words) {
  return h("a", { href: writePlace({ view: "task", task: id }) }, words ?? h("code", {}, id.slice(-8)));
}
