// The time that the picture shows: the present, or any moment of the past, at any speed.

export const SPEEDS = [["1/1000", 0.001], ["1/100", 0.01], ["1/10", 0.1], ["1/4", 0.25], ["1", 1], ["4", 4], ["10", 10]];
const FAR_US = 3e7, CATCH_UP_US = 6e5;

export class Clock {
  // `tail` is, in the virtual twin, for how long the picture goes on after the last event, in microseconds; else 0.
  constructor(isLive, tail = 0) {
    this.isLive = isLive; // whether there is a present
    this.isOver = false; // whether nothing happens any more
    this.tail = tail;
    this.follows = isLive; // whether the picture shows it
    this.plays = false;
    this.speed = tail ? 1 : 0.1;
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

  now(last) {
    if (this.tail) return last + this.tail;
    return this.isLive && !this.isOver && this.offset !== null ? performance.now() * 1000 + this.offset : last;
  }

  // Moves on by the time since the last frame, and returns the time to show.
  frame(last) {
    const at = performance.now(), passed = (at - this.seen) * 1000;
    this.seen = at;
    const end = this.now(last);
    if (this.follows) this.t = this.tail ? this.nearer(end, passed) : end;
    else if (this.plays) {
      this.t += passed * this.speed;
      if (this.t >= end) { this.t = end; this.plays = false; if (this.isLive) this.follows = true; }
    }
    return this.t;
  }

  // Returns the time to show on the way to a present that has jumped ahead: what came is shown, in a second or two.
  nearer(end, passed) {
    const gap = end - this.t;
    if (gap <= 0 || gap > FAR_US) return end;
    return Math.min(end, this.t + passed * Math.max(1, gap / CATCH_UP_US));
  }

  show(t) { this.follows = false; this.plays = false; this.t = t; }
  play() { this.follows = false; this.plays = true; }
  follow() { this.follows = this.isLive; this.plays = false; }
}
