import { D, F, lineOf } from "./data";

export type Hit =
  | { kind: "file"; file: number }
  | { kind: "package"; pkg: number }
  | { kind: "requirement"; id: string }
  | { kind: "stage"; stage: string }
  | { kind: "document"; doc: string; title: string }
  | { kind: "hash"; sha256: string; where: string };

export type Found = { hits: Hit[]; files: number; more: boolean };

const MOST_FILES = 40; // shown
const MOST_KEPT = 3_000; // among which the best are chosen
const MOST_SEEN = 10_000; // that have one of the words

let names: string[][] | undefined; // of packages, without capitals

/** Everything that has all words of a question in its name, the best first. */
export function search(question: string): Found {
  const words = question.toLowerCase().replace(/^sha256:/, "").split(/\s+/).filter(Boolean);
  if (!words.length) return { hits: [], files: 0, more: false };
  const has = (s: string) => words.every((w) => s.includes(w));
  const hits: Hit[] = [];
  for (const r of D.requirements) if (has((r.id + " " + (r.title ?? "")).toLowerCase())) hits.push({ kind: "requirement", id: r.id });
  names ??= D.packages.map((p) => [p.name, p.id + " " + p.source].map((s) => s.toLowerCase()));
  const pkgs: [number, number][] = [];
  names.forEach(([name, all], i) => {
    if (has(all)) pkgs.push([name === words[0] ? 0 : name.startsWith(words[0]) ? 1 : 2, i]);
  });
  pkgs.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  for (const [, pkg] of pkgs.slice(0, 8)) hits.push({ kind: "package", pkg });
  for (const stage of new Set(D.links.map((l) => l.stage))) if (has(stage)) hits.push({ kind: "stage", stage });
  for (const d of D.documents ?? []) if (has((d.id + " " + d.title).toLowerCase())) hits.push({ kind: "document", doc: d.id, title: d.title });
  if (words.length === 1 && /^[0-9a-f]{4,64}$/.test(words[0])) hits.push(...hashes(words[0]));
  const { list, count, more } = files(words);
  for (const file of list) hits.push({ kind: "file", file });
  return { hits, files: count, more };
}

/** Files whose path has all words; those that have one as their own name first. */
function files(words: string[]) {
  const text = F.lower;
  const at = F.lowerAt;
  const [rare, ...others] = words.map((w) => w.replace(/^\/+/, "/")).sort((a, b) => b.length - a.length);
  // A path has no slash at its beginning; a question may.
  const whole = rare.startsWith("/");
  const needle = whole ? rare.slice(1) : rare;
  const best = new Map<number, number>(); // by file: the less the better
  let count = 0;
  let seen = 0;
  let more = false;
  const take = (i: number, place: number) => {
    const end = at[i + 1] - 1;
    if (others.length) {
      const line = "/" + text.slice(at[i], end);
      if (!others.every((w) => line.includes(w))) return;
    }
    count++;
    if (best.size >= MOST_KEPT) return;
    const name = Math.max(at[i], text.lastIndexOf("/", end - 1) + 1);
    const exact = place + needle.length === end && (place === name || whole);
    best.set(i, (exact ? 0 : place === name ? 1 : place > name ? 2 : 3) * 4096 + Math.min(4095, end - at[i]));
  };
  // Names that are the word, wherever they stand among the others.
  if (needle) for (let place = text.indexOf("/" + needle + "\n"), n = 0; place >= 0 && n < MOST_FILES; place = text.indexOf("/" + needle + "\n", place + 1), n++) take(lineOf(at, place + 1), place + 1);
  let line = 0;
  for (let place = needle ? text.indexOf(needle, 1) : -1; place >= 0; ) {
    if (at[line + 1] <= place) line = at[line + 2] > place ? line + 1 : lineOf(at, place);
    const before = text.charCodeAt(place - 1);
    if (whole && before !== 10 && before !== 47) {
      place = text.indexOf(needle, place + 1);
      continue;
    }
    if (++seen > MOST_SEEN) {
      more = true;
      break;
    }
    if (!best.has(line)) take(line, place);
    place = text.indexOf(needle, at[line + 1] - 1);
  }
  const list = [...best].sort((a, b) => a[1] - b[1] || a[0] - b[0]);
  return { list: list.slice(0, MOST_FILES).map((b) => b[0]), count, more };
}

/** Digests that begin with these digits. */
function hashes(start: string): Hit[] {
  const found = new Map<string, string>();
  const add = (sha: string | undefined, where: string) => {
    if (sha?.startsWith(start) && !found.has(sha) && found.size < 12) found.set(sha, where);
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
  const { hash, hashAt, count } = F;
  for (let i = 0; i < count; i++) {
    const at = hashAt[i];
    if (at >= 0 && hash[at] === first && hash[at + 1] === second) add(F.sha256(i), F.path(i));
  }
  for (const key of keys()) add(key.id, key.what);
  return [...found].map(([sha256, where]) => ({ kind: "hash", sha256, where }));
}

/** Keys that signed something. */
export function keys(): { id: string; what: string }[] {
  const signers = new Set(D.links.map((l) => l.signer));
  return [...signers].map((id) => ({ id, what: "key that signed links" }));
}
