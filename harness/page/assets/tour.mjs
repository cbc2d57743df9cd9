// The tour beside the picture: the list of the chapters, the steps of a chapter with what was measured, and its challenge.
// Everything that it shows comes from the server, so every browser shows the same step. A press names the turn that it answers.

import { button, byId, coded, cut, h } from "./dom.js";

const JUDGED = /^the judges: (.+?) is (valid|invalid|unknown): (.+)$/s;
const SOLVED = "✓ solved", MORE = ["check", "hint", "solution", "give up"];
const ABOUT = { check: "have the judges rule", hint: "be told a little more", solution: "have it acted out", "give up": "end it" };

export class Tour {
  // `act(name, arguments)` returns a promise of the reply.
  constructor(parent, act) {
    Object.assign(this, { parent, act });
    this.note = h("p", { class: "note", "aria-live": "polite", id: "tour-note" });
    this.input = h("input", { id: "tour-line", autocomplete: "off", spellcheck: "false", "aria-label": "what you do", placeholder: "an act, such as kill n1" });
    this.form = h("form", { onsubmit: (event) => { event.preventDefault(); this.say(this.input.value); this.input.value = ""; } }, this.input, h("button", { type: "submit" }, "Do it"));
    this.drawn = "";
  }

  get waits() { return this.state?.waits; }

  async ask(name, args) {
    const reply = await this.act(name, args);
    this.note.textContent = reply.ok ? "" : reply.text;
  }
  say(text) { if (text.trim()) this.ask("tour-say", { text: text.trim() }); }
  press() { if (this.waits === "act" || this.waits === "next") this.ask("tour-press", { turn: this.state.turn }); }
  // Returns why there is no such step, in a sentence, or null. `step` is the text of a link.
  refusal(chapter, step) {
    const { chapters } = this.state, found = chapters.find((one) => one.name === chapter);
    if (!found) return `There is no chapter “${cut(chapter, 40)}”: there are ${chapters.map((one) => one.name).join(", ")}.`;
    const steps = found.screens.length + 1; // the last one is the challenge
    return /^[1-9]\d*$/.test(step) && Number(step) <= steps ? null : `Chapter “${chapter}” has no step “${cut(step, 40)}”: it has the steps 1 to ${steps}.`;
  }
  open(chapter, step = 1) { this.ask("tour-open", { chapter, step }); }

  take(state) {
    const drawn = JSON.stringify(state);
    if (drawn === this.drawn) return;
    const begins = state.chapter !== this.state?.chapter, step = this.step;
    const had = this.parent.contains(document.activeElement) && document.activeElement.id;
    Object.assign(this, { state, drawn });
    this.parent.hidden = false;
    document.body.classList.toggle("choosing", !state.chapter);
    document.body.classList.add("touring");
    byId("stage").append(byId("time")); // so that the text has the height of the page
    this.parent.replaceChildren(...(state.chapter ? this.chapter() : this.list()));
    if (had) (this.parent.querySelector(`#${had}`) ?? this.parent.querySelector("button.main"))?.focus({ preventScroll: true });
    if (begins || step !== this.step) this.parent.scrollTop = 0;
    else if (state.challenge) this.parent.querySelector("#said li:last-child")?.scrollIntoView({ block: "nearest" });
    else this.showMeasured();
    if (state.challenge?.ruling) this.parent.scrollTop = this.parent.scrollHeight;
  }

  // Scrolls to the act and what was measured, or to the end of it if both do not fit.
  showMeasured() {
    const measured = this.parent.querySelector(":scope > .measured");
    if (!measured) return;
    measured.previousElementSibling.scrollIntoView({ block: "start" });
    const hidden = measured.getBoundingClientRect().bottom + (measured.nextElementSibling?.offsetHeight ?? 0) - this.parent.getBoundingClientRect().bottom;
    if (hidden > 0) this.parent.scrollTop += Math.ceil(hidden);
  }

  // The number of the step that is shown, from 1; the challenge is the last one.
  get step() { return this.state ? (this.state.challenge ? this.state.steps : this.state.screens?.length ?? 0) : 0; }

  // Returns the last verdict on a promise that the steps of this chapter have told, as { status, evidence }; none at the challenge.
  verdict(name) {
    const facts = this.state?.challenge ? [] : this.state?.screens?.findLast((screen) => screen.measured)?.measured.facts ?? [];
    const found = facts.map((fact) => JUDGED.exec(fact)).find((parts) => parts?.[1] === name);
    return found && { status: found[2], evidence: found[3] };
  }

  // --- the first screen ---------------------------------------------------------------------------------------------------

  list() {
    return [h("h2", {}, "Zero to Consensus, in eight chapters"),
      h("p", { class: "lead" }, "Each step of a chapter is done on real processes of this machine when you press its button, or Enter. What it then says was measured just then. At the end of each chapter it is your turn."),
      h("ol", { id: "chapters" }, this.state.chapters.map((chapter) => h("li", {}, h("button", { type: "button", "data-chapter": chapter.name, onclick: () => this.open(chapter.name) },
        h("b", {}, `${chapter.number}  ${chapter.title}`), chapter.solved ? h("span", { class: "solved" }, SOLVED) : null,
        h("span", { class: "summary" }, chapter.screens.join(" · ")), h("span", { class: "summary" }, coded(`Your turn: ${chapter.challenge}`)))))), this.note];
  }

  // --- a chapter ----------------------------------------------------------------------------------------------------------

  chapter() {
    const { state } = this, last = state.screens.length - 1;
    const parts = [h("p", { class: "where" }, button("☰ chapters", () => this.ask("tour-leave", {}), { id: "tour-chapters", title: "end this chapter, and go to the list" }),
      h("span", {}, `chapter ${state.number}: ${state.title}`), h("b", { id: "tour-step" }, `${this.step} of ${state.steps}`))];
    if (state.trouble) parts.push(h("p", { class: "note bad", role: "alert" }, `This chapter has ended early. ${state.trouble} `, button("Begin it again", () => this.open(state.chapter), { id: "tour-again" })));
    if (last >= 0 && (last > 0 || state.challenge)) parts.push(h("div", { class: "earlier" }, state.screens.slice(0, state.challenge ? last + 1 : last).map((screen) => h("details", {}, h("summary", {}, screen.title), ...this.screen(screen)))));
    if (state.challenge) parts.push(...this.challenge(state.challenge));
    else if (last >= 0) parts.push(h("h2", {}, state.screens[last].title), ...this.screen(state.screens[last]), this.next(state.screens[last]));
    return [...parts, this.note];
  }

  screen(screen) {
    const parts = paragraphs(screen.text);
    if (screen.act) parts.push(h("p", { class: "act" }, `→ ${screen.act}`));
    if (screen.measured) parts.push(h("div", { class: "measured" }, h("ul", { "aria-label": "what was measured" }, factLines(screen.measured.facts)),
      ...paragraphs(screen.measured.meaning, screen.measured.shown ? "meaning" : "meaning not-shown")));
    return parts;
  }

  next(screen) {
    if (!this.waits) return this.state.trouble ? null : h("p", { class: "busy", role: "status" }, "it is being done …");
    const isAct = this.waits === "act";
    return h("p", { class: "acts" }, button(isAct ? "Do it" : "Go on", () => this.press(), { class: "main", id: "tour-press", "data-waits": this.waits, "aria-keyshortcuts": "Enter",
      title: isAct ? screen.act : "the next step" }), h("span", { class: "key" }, "Enter"));
  }

  challenge(challenge) {
    const parts = [h("h2", {}, "Your turn"), ...paragraphs(challenge.task, "task")];
    if (!challenge.lines.length) parts.push(h("ul", { class: "facts-of" }, challenge.facts.map((fact) => h("li", {}, fact))), h("p", { class: "hint" }, "Act on the picture with the mouse, or type. Draw a line across links to cut groups from each other; click a node to kill it or to propose there."));
    parts.push(h("ol", { id: "said", "aria-live": "polite" }, challenge.lines.map(([kind, text]) => h("li", { class: kind }, text))));
    const { ruling } = challenge;
    if (ruling) return [...parts, ...this.ruling(ruling)];
    if (!this.waits && !this.state.trouble) parts.push(h("p", { class: "busy", role: "status" }, "it is being done …"));
    parts.push(this.form, h("p", { class: "acts" }, MORE.map((text) => button(text, () => this.say(text), { title: ABOUT[text], "data-say": text, id: `say-${text.replace(" ", "-")}`, class: text === "check" ? "main" : "" }))),
      h("details", {}, h("summary", {}, "what you can say"), h("dl", { class: "facts" }, challenge.acts.flatMap(([form, about]) => [h("dt", {}, form), h("dd", {}, about)]))));
    return parts;
  }

  ruling({ solved, possible, after }) {
    const words = solved ? (possible ? "✓ solved" : "✗ solved, and it should have been impossible: please report it") : possible ? "Not solved." : "Not solved: as it should be.";
    const next = this.state.chapters[this.state.number];
    return [h("p", { class: `ruling ${solved === possible ? "good" : "bad"}`, "data-solved": String(solved) }, words), ...paragraphs(after, "meaning"),
      h("p", { class: "acts" }, next ? button(`Chapter ${next.number}: ${next.title}`, () => this.open(next.name), { class: "main", id: "next-chapter" }) : null,
        button("Again", () => this.open(this.state.chapter), { id: "tour-again" }))];
  }
}

// The facts as lines. Those of the judges that found nothing wrong are folded into one.
function factLines(facts) {
  const kept = facts.map((fact) => JUDGED.exec(fact)).filter((parts) => parts?.[2] === "valid"), names = kept.map(([, name]) => name);
  const lines = facts.filter((fact) => !kept.some(([whole]) => whole === fact)).map((fact) => h("li", {}, fact));
  if (kept.length) lines.push(h("li", {}, h("details", {}, h("summary", {}, `the judges: ${names.length > 1 ? `${names.slice(0, -1).join(", ")} and ${names.at(-1)} are` : `${names[0]} is`} valid`),
    h("ul", {}, kept.map(([, name, , evidence]) => h("li", {}, `${name}: ${evidence}`))))));
  return lines;
}

// A text as paragraphs.
const paragraphs = (text, kind = "") => text.split("\n\n").map((part) => h("p", { class: kind }, coded(part)));
