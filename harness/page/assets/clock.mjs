// The time that the picture shows: the present, or any moment of the past, at any speed.

export const SPEEDS = [["1/1000", 0.001], ["1/100", 0.01], ["1/10", 0.1], ["1/4", 0.25], ["1", 1], ["4", 4], ["10", 10]];

export class Clock {
  constructor(isLive) {
    this.isLive = isLive; // whether there is a present
    this.isOver = false; // whether nothing happens any more
    this.follows = isLive; // whether the picture shows it
    this.plays = false;
    this.speed = 0.1;
    this.t = 0;
    this.offset = null; // the server's time minus this browser's
    this.seen = performance.now();
  }

  // Takes in the server's time. The smallest delay seen is the best estimate.
  sync(now) {
    if (now === null) return;
    const offset = now - performance.now() * 1000;
    this.offset = this.offset === null ? offset : Math.max(offset, this.offset - 50);
  }

  now(last) { return this.isLive && !this.isOver && this.offset !== null ? performance.now() * 1000 + this.offset : last; }

  // Moves on by the time since the last frame, and returns the time to show.
  frame(last) {
    const at = performance.now(), passed = (at - this.seen) * 1000;
    this.seen = at;
    const end = this.now(last);
    if (this.follows) this.t = end;
    else if (this.plays) {
      this.t += passed * this.speed;
      if (this.t >= end) { this.t = end; this.plays = false; if (this.isLive) this.follows = true; }
    }
    return this.t;
  }

  show(t) { this.follows = false; this.plays = false; this.t = t; }
  play() { this.follows = false; this.plays = true; }
  follow() { this.follows = this.isLive; this.plays = false; }
}
