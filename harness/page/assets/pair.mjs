// Two pages in frames: what one tells of what its reader selects, and of the time that it shows, goes to the other (sibling.mjs).

const frames = [...document.querySelectorAll("iframe")];

addEventListener("message", (event) => {
  const number = frames.findIndex((frame) => frame.contentWindow === event.source);
  if (event.origin === location.origin && number >= 0) frames[1 - number].contentWindow.postMessage(event.data, location.origin);
});
