// Waits for messages in two ways. Their text goes into the page as text only, never as markup.
"use strict";

const SHOWN_MAX = 20;
const RETRY_MS = 1000;
const to = Number(new URLSearchParams(location.search).get("to") || 7);

// One way of waiting, with its part of the page.
class Column {
  constructor(id) {
    this.section = document.getElementById(id);
    this.after = 0;
    this.count = 0;
    this.requests = 0;
  }

  say(className, text) {
    const state = this.section.querySelector(".state");
    state.className = "state " + className;
    if (state.textContent !== text) state.textContent = text;
  }

  show(message) {
    this.after = message.seq;
    this.count += 1;

    const row = document.createElement("li");
    const seq = document.createElement("span");
    seq.textContent = message.seq;
    row.append(seq, message.text);
    const list = this.section.querySelector("ol");
    list.prepend(row);
    while (list.children.length > SHOWN_MAX) list.lastChild.remove();
    this.tell();
  }

  tell() {
    const plural = (n, what) => n + " " + what + (n === 1 ? "" : "s");
    this.section.querySelector(".count").textContent =
      plural(this.count, "message") + ", " + plural(this.requests, "request");
  }

  async ask(command, headers) {
    this.requests += 1;
    this.tell();
    // The answer begins with the first message, so there is nothing to see before.
    this.say("good", "waiting");
    const response = await fetch("/" + command, {
      method: "POST", cache: "no-store", credentials: "omit",
      headers: { "content-type": "application/json", ...headers },
      body: JSON.stringify({ to, after: this.after }),
    });
    if (!response.ok) throw new Error("the server answered with status " + response.status);
    return response;
  }

  // Asks again and again; after a failure, a second later.
  async run(once) {
    for (;;) {
      try {
        await once();
      } catch (error) {
        this.say("bad", "not connected: " + error.message);
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      }
    }
  }
}

const poll = new Column("poll");
poll.run(async () => {
  for (const message of await (await poll.ask(300)).json()) poll.show(message);
});

// `EventSource` can only GET, and a call is a POST: so the events are read by hand.
const events = new Column("events");
events.run(async () => {
  const response = await events.ask(301, { accept: "text/event-stream" });
  const text = response.body.pipeThrough(new TextDecoderStream());
  let rest = "";
  for await (const piece of text) {
    rest += piece;
    const whole = rest.split("\n\n");
    rest = whole.pop();
    for (const event of whole) take(event);
  }
  throw new Error("the events have ended");
});

function take(event) {
  const fields = event.split("\n").map((line) => line.split(/: ?(.*)/s));
  const value = (name) => fields.filter(([field]) => field === name).map(([, data]) => data).join("\n");
  if (value("event") === "") events.show(JSON.parse(value("data")));
}

document.getElementById("to").textContent = to;
