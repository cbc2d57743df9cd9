// The menu of all faults of the catalogue: searched by name and by what they do, with a field for each argument.

import { button, h } from "./dom.js";

const HINTS = { node: "n1, or a role such as leader", nodes: "n1,n2", groups: "n1,n2/n3", links: "nodes, clients, all, or [[\"n1\", \"n2\"]]", message: "a type of message" };

export class FaultMenu {
  // `inject(fault, arguments, note)` returns a promise of the reply.
  constructor(dialog, faults, inject) {
    Object.assign(this, { dialog, faults, inject });
    this.search = h("input", { type: "search", id: "fault-search", placeholder: "search: kill, disk, clock, lose …", "aria-label": "search the faults", oninput: () => this.list(), autocomplete: "off" });
    this.results = h("ul", { class: "faults" });
    this.form = h("div", { class: "fault-form" });
    dialog.append(h("h2", {}, "Faults", button("×", () => dialog.close(), { class: "close", "aria-label": "close" })), this.search, h("div", { class: "two" }, this.results, this.form));
  }

  open() {
    this.list();
    this.dialog.showModal();
    this.search.select();
  }

  list() {
    const words = this.search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = this.faults.filter((fault) => words.every((word) => `${fault.name} ${fault.family} ${fault.summary}`.toLowerCase().includes(word)));
    this.results.replaceChildren(...found.map((fault) => h("li", {}, button("", () => this.choose(fault), { "data-fault": fault.name }))));
    found.forEach((fault, number) => this.results.children[number].firstChild.append(h("b", {}, fault.name), h("span", { class: "family" }, fault.family), h("span", { class: "summary" }, fault.summary)));
    if (!found.length) this.results.append(h("li", {}, "no fault fits"));
  }

  choose(fault) {
    const fields = fault.parameters.map((parameter) => h("label", {}, parameter.name, h("input", {
      name: parameter.name, required: parameter.required, autocomplete: "off", spellcheck: "false",
      placeholder: parameter.default === null ? HINTS[parameter.name] ?? "drawn" : typeof parameter.default === "string" ? parameter.default : JSON.stringify(parameter.default),
    })));
    const note = h("p", { class: "note", "aria-live": "polite" });
    const submit = async (event) => {
      event.preventDefault();
      const given = [...new FormData(event.target)].filter(([, value]) => value.trim() !== "").map(([name, value]) => [name, list(name, value.trim())]);
      await this.inject(fault.name, Object.fromEntries(given), note);
    };
    this.form.replaceChildren(h("form", { onsubmit: submit }, h("h3", {}, fault.name), h("p", {}, `${fault.summary}.`), fields,
      h("p", { class: "hint" }, "What is left out is drawn. It lasts until it is ended."), h("button", { type: "submit", class: "main", id: "inject" }, "Inject"), note));
    this.form.querySelector("input, button").focus();
  }
}

// `n1,n2` stands for a list, as on the command line, and `n1,n2/n3` for groups.
const names = (text) => text.split(",").map((one) => one.trim());
const list = (name, value) => (value.startsWith("[") ? value : name === "nodes" ? names(value) : name === "groups" ? value.split("/").map(names) : value);
