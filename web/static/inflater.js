// Compressed messages of a data channel: lines of JSON in one raw deflate stream (RFC 1951), which the server flushes after each.
// One stream for a session: each has a window of its own, and one for every message would be garbage by the megabyte.

export class Inflater {
  #writer;

  /** An inflater, or null where the browser has none. `onMessage(object)` in order; `onFail()` once, if it is no such stream. */
  static orNone(on) {
    try {
      return new Inflater(new DecompressionStream("deflate-raw"), new TextDecoderStream(), on);
    } catch {
      return null;
    }
  }

  constructor(stream, text, { onMessage, onFail }) {
    this.#writer = stream.writable.getWriter();
    this.#read(stream.readable.pipeThrough(text).getReader(), onMessage).catch(() => this.#writer && onFail());
  }

  write(data) {
    this.#writer?.write(new Uint8Array(data)).catch(() => {}); // the reader hears of it too
  }

  close() {
    this.#writer?.abort().catch(() => {});
    this.#writer = null;
  }

  async #read(reader, onMessage) {
    let rest = "";
    for (let next = await reader.read(); !next.done; next = await reader.read()) {
      const lines = (rest + next.value).split("\n");
      rest = lines.pop();
      for (const message of lines.map((line) => JSON.parse(line))) {
        queueMicrotask(() => onMessage(message)); // what goes wrong in there is told as such, and the next are still read
      }
    }
  }
}
