// A stream's frames by how they ended: every frame is in exactly one of these counts.

const WORDS = {
  emitted: "analysed",
  in_flight: "under way",
  dropped: "given up",
  failed: "failed",
  drained: "left at a stop",
};

/** {entered, emitted, total, parts: [{name, words, count, lost}], words} of the ledger in a stream's state. */
export function ledgerOf(ledger) {
  const parts = [];
  for (const [name, n] of Object.entries(ledger ?? {})) {
    if (name === "in" || !n) continue;
    const [fate, reason = ""] = name.split(/[:.]/);
    const words = [WORDS[fate] ?? fate, reason.replaceAll("_", " ")].filter(Boolean).join(": ");
    parts.push({ name, words, count: n, lost: fate === "dropped" || fate === "failed" });
  }
  const lost = parts.filter((part) => part.lost);
  return {
    entered: ledger?.in ?? parts.reduce((sum, part) => sum + part.count, 0),
    emitted: ledger?.emitted ?? 0,
    total: lost.reduce((sum, part) => sum + part.count, 0),
    parts,
    words: lost.map((part) => `${part.count} ${part.words}`).join(", "),
  };
}
