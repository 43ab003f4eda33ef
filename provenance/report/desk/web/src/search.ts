import { D, F, lineOf } from "./data";

export type Hit =
  | { kind: "file"; file: number }
  | { kind: "package"; pkg: number }
  | { kind: "requirement"; id: string }
  | { kind: "stage"; stage: string }
  | { kind: "document"; doc: string; title: string }
  | { kind: "hash"; sha256: string; where: string };

export type Found = { hits: Hit[]; files: number; more: boolean };

const MOST_FILES = 60; // shown
const MOST_SEEN = 20_000; // looked at, for those that are shown to be the best

/** Everything that has all words of a question in its name, the best first. */
export function search(question: string): Found {
  const words = question.toLowerCase().replace(/^sha256:/, "").split(/\s+/).filter(Boolean);
  if (!words.length) return { hits: [], files: 0, more: false };
  const has = (s: string) => words.every((w) => s.includes(w));
  const hits: Hit[] = [];
  for (const r of D.requirements) if (has((r.id + " " + (r.title ?? "")).toLowerCase())) hits.push({ kind: "requirement", id: r.id });
  const pkgs: [number, number][] = [];
  D.packages.forEach((p, i) => {
    const name = p.name.toLowerCase();
    if (has(p.id.toLowerCase()) || has(p.source.toLowerCase())) pkgs.push([name === words[0] ? 0 : name.startsWith(words[0]) ? 1 : 2, i]);
  });
  pkgs.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  for (const [, pkg] of pkgs.slice(0, 20)) hits.push({ kind: "package", pkg });
  for (const stage of new Set(D.links.map((l) => l.stage))) if (has(stage)) hits.push({ kind: "stage", stage });
  for (const d of D.documents ?? []) if (has((d.id + " " + d.title).toLowerCase())) hits.push({ kind: "document", doc: d.id, title: d.title });
  if (words.length === 1 && /^[0-9a-f]{4,64}$/.test(words[0])) hits.push(...hashes(words[0]));
  const { list, count, more } = files(words);
  for (const file of list) hits.push({ kind: "file", file });
  return { hits, files: count, more };
}

/** Files whose path has all words; those that have one in their own name first. */
function files(words: string[]) {
  const text = F.lower;
  const at = F.lowerAt;
  const [rare, ...others] = [...words].map((w) => w.replace(/^\/+/, (s) => (s ? "/" : ""))).sort((a, b) => b.length - a.length);
  const best: [number, number][] = [];
  let count = 0;
  let more = false;
  // A path has no slash at its beginning; a question may.
  const needle = rare.startsWith("/") ? rare.slice(1) : rare;
  const whole = rare.startsWith("/");
  for (let place = needle ? text.indexOf(needle, 1) : -1; place >= 0; ) {
    const i = lineOf(at, place);
    const end = at[i + 1] - 1;
    const before = text.charCodeAt(place - 1);
    if (whole && before !== 10 && before !== 47) {
      place = text.indexOf(needle, place + 1);
      continue;
    }
    let all = true;
    if (others.length) {
      const line = "/" + text.slice(at[i], end);
      all = others.every((w) => line.includes(w));
    }
    if (all) {
      count++;
      const slash = text.lastIndexOf("/", end - 1);
      const name = Math.max(at[i], slash + 1);
      const exact = place === name && place + needle.length === end;
      best.push([(exact ? 0 : place === name ? 1 : place > name ? 2 : 3) * 4096 + Math.min(4095, end - at[i]), i]);
      if (best.length > MOST_SEEN) {
        more = true;
        break;
      }
    }
    place = text.indexOf(needle, end);
  }
  best.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  return { list: best.slice(0, MOST_FILES).map((b) => b[1]), count, more };
}

/** Digests that begin with these digits. */
function hashes(start: string): Hit[] {
  const found = new Map<string, string>();
  const add = (sha: string | undefined, where: string) => {
    if (sha?.startsWith(start) && !found.has(sha) && found.size < 40) found.set(sha, where);
  };
  add(D.sha256, D.image);
  for (const s of D.suites) {
    add(s.release.sha256, s.release.path);
    for (const x of s.indexes) add(x.sha256, x.path);
  }
  for (const p of D.packages) add(p.sha256, p.path ?? p.id);
  for (const l of D.links) for (const [name, sha] of [...l.products, ...l.materials]) add(sha, name);
  for (const d of D.documents ?? []) for (const c of d.cites ?? []) add(c.sha256, c.path);
  const first = parseInt(start.slice(0, 2), 16);
  const second = parseInt(start.slice(2, 4), 16);
  for (let i = 0; i < F.count; i++) {
    const at = F.hashAt[i];
    if (at >= 0 && F.hash[at] === first && F.hash[at + 1] === second) add(F.sha256(i), F.path(i));
  }
  for (const key of keys()) add(key.id, key.what);
  return [...found].map(([sha256, where]) => ({ kind: "hash", sha256, where }));
}

/** Keys that signed something. */
export function keys(): { id: string; what: string }[] {
  const signers = new Set(D.links.map((l) => l.signer));
  return [...signers].map((id) => ({ id, what: "key that signed links" }));
}
