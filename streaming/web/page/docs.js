/** What a script can add to the description: finding, copying, and the real address in the examples. */

/** Make an element with a text. */
function element(name, text, attributes = {}) {
  const made = document.createElement(name);
  made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

/** Show only the articles that have all the words that are asked for. */
function find(articles, sections, words, told) {
  let shown = 0;
  for (const [article, text] of articles) {
    article.hidden = !words.every((word) => text.includes(word));
    shown += article.hidden ? 0 : 1;
  }
  for (const section of sections) {
    section.hidden = words.length > 0 && !section.querySelector("article:not([hidden])");
  }
  told.textContent = words.length ? `${shown} of ${articles.length}` : "";
}

/** A field to find operations and schemas with. */
function addFinder(main) {
  const input = element("input", "", { id: "finder", type: "search", autocomplete: "off", spellcheck: "false" });
  const told = element("p", "", { role: "status" });
  const box = element("div", "", { class: "finder", role: "search" });
  box.append(element("label", "Find an operation, a field or a code", { for: "finder" }), told, input);
  main.prepend(box);
  const articles = [...main.querySelectorAll("article")].map((each) => [each, each.textContent.toLowerCase()]);
  const sections = main.querySelectorAll("section");
  const ask = () => find(articles, sections, input.value.toLowerCase().split(/\s+/).filter(Boolean), told);
  input.addEventListener("input", ask);
  input.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      input.value = "";
      ask();
    }
  });
  const clear = () => {
    const wanted = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (wanted?.closest("[hidden]")) {
      input.value = "";
      ask();
      wanted.scrollIntoView();
    }
  };
  addEventListener("hashchange", clear);
}

/** Put the address of this server into an example, and a button after it. */
function addCopy(block, address) {
  const code = block.querySelector("code");
  code.textContent = code.textContent.replaceAll(document.body.dataset.address, address);
  const button = element("button", "Copy", { type: "button" });
  const told = element("span", "", { role: "status" });
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(code.textContent);
      told.textContent = " Copied.";
    } catch {
      getSelection().selectAllChildren(code);
      told.textContent = " The browser does not copy for a page; the example is selected.";
    }
  });
  const line = element("p", "");
  line.append(button, told);
  block.after(line);
}

addFinder(document.querySelector("main"));
const address = location.origin + document.body.dataset.root;
for (const block of document.querySelectorAll("pre.curl")) addCopy(block, address);
