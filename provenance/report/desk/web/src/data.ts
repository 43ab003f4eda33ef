// What the page holds: data.go and columns.go of the package write it.

export type Ref = { path: string; sha256: string; size: number };
export type Check = { rule: string; about: string; state: "valid" | "invalid" | "expired" | "cannot-tell"; what: string; problems?: { file: string; detail: string }[] };
export type Serves = { id: string; title?: string; path: string[] };
export type Container = { path: string; sha256?: string; stage: string; link: string };
export type Part = { name: string; files: number; counts: { origin: string; files: number; bytes: number }[]; within: Container[]; image: string; sha256: string };
export type Suite = { id: string; date: string; release: Ref; signers: string[]; indexes: Ref[] };
export type Package = {
  id: string; name: string; architecture: string; version: string; source: string; "source-version": string; set: string; from: string;
  archive?: string; path?: string; size?: number; sha256?: string; licence?: string; why?: string; gone?: string; needs?: number[]; asked?: string[];
  suite: number; index?: Ref; "path-from": number; serves?: Serves[]; "source-files"?: Ref[]; "source-missing"?: boolean;
};
export type Actor = { stage: string; kind: string; name: string; script?: string; action?: string; package?: number; text: string; link: string; own?: Serves[] };
export type Requirement = { id: string; title?: string; text?: string; parent?: string; source?: string; places: string[]; files?: string[] };
export type Link = {
  stage: string; file: string; signer: string; version: number; epoch: string; params: string;
  materials: [string, string][]; products: [string, string][]; commands: { argv: string[]; env?: string[]; dir?: string }[] | null;
};
export type Section = { id: string; title: string; note?: string; columns: string[]; rows: { cells: string[]; cites: number[] }[] };
export type Document = { id: string; title: string; cites: Ref[]; sections: Section[] };
export type Was = { what: string[]; by?: number };
type Sparse<T> = { at: number[] | null; values: T[] | null };

export type Head = {
  name: string; release: string; image: string; sha256: string; size: number;
  verdict: { key: string; "key-from-bundle": boolean; expired: string[] | null; checks: Check[] };
  kinds: string[]; types: string[]; parts: Part[]; suites: Suite[]; packages: Package[]; actors: Actor[];
  requirements: Requirement[]; findings: { rule: string; path?: string; text: string }[] | null;
  removed: { path: string; package: number; by?: number }[] | null;
  links: Link[]; documents: Document[] | null;
  files: { target: Sparse<string>; of: Sparse<string>; allowed: Sparse<string>; others: Sparse<number[]>; was: Sparse<Was> };
  columns: number[];
};

const HAS_HASH = 0x80;

/** The files of all parts, one after the other. */
export class Files {
  readonly count: number;
  readonly first: number[] = []; // of each part
  readonly type: Uint8Array;
  readonly kind: Uint8Array;
  readonly size: Float64Array;
  readonly pkg: Int32Array; // -1 for none
  readonly by: Int32Array;
  /** All paths, each behind a line feed, and the same without capitals. */
  readonly text: string;
  readonly lower: string;
  /** Where each path begins in them; the last is where the next would. */
  readonly at: Int32Array;
  readonly lowerAt: Int32Array;
  readonly hash: Uint8Array;
  readonly hashAt: Int32Array; // -1 for none
  readonly target: Map<number, string>;
  readonly of: Map<number, string>;
  readonly allowed: Map<number, string>;
  readonly others: Map<number, number[]>;
  readonly was: Map<number, Was>;

  constructor(head: Head, bytes: Uint8Array) {
    const columns: Uint8Array[] = [];
    let from = 0;
    for (const n of head.columns) columns.push(bytes.subarray(from, (from += n)));
    const [paths, types, kinds, sizes, pkgs, by, hash] = columns;
    this.count = types.length;
    this.kind = kinds;
    this.hash = hash;
    this.type = new Uint8Array(this.count);
    this.hashAt = new Int32Array(this.count);
    let h = 0;
    for (let i = 0; i < this.count; i++) {
      this.type[i] = types[i] & ~HAS_HASH;
      this.hashAt[i] = types[i] & HAS_HASH ? 32 * h++ : -1;
    }
    this.size = new Float64Array(this.count);
    numbers(sizes, (i, v) => (this.size[i] = v));
    this.pkg = new Int32Array(this.count);
    numbers(pkgs, (i, v) => (this.pkg[i] = v - 1));
    this.by = new Int32Array(this.count);
    numbers(by, (i, v) => (this.by[i] = v - 1));
    let n = 0;
    for (const p of head.parts) {
      this.first.push(n);
      n += p.files;
    }
    this.first.push(n);
    this.text = unfold(paths, this.count);
    this.at = lines(this.text, this.count);
    this.lower = this.text.toLowerCase();
    this.lowerAt = this.lower.length === this.text.length ? this.at : lines(this.lower, this.count);
    this.target = spread(head.files.target);
    this.of = spread(head.files.of);
    this.allowed = spread(head.files.allowed);
    this.others = spread(head.files.others);
    this.was = spread(head.files.was);
  }

  path(i: number): string {
    return this.text.slice(this.at[i], this.at[i + 1] - 1);
  }

  partOf(i: number): number {
    let p = 0;
    while (this.first[p + 1] <= i) p++;
    return p;
  }

  sha256(i: number): string {
    const at = this.hashAt[i];
    return at < 0 ? "" : hex(this.hash, at);
  }

  /** The file of a part at a path, or -1. */
  find(part: number, path: string): number {
    let from = this.at[this.first[part]] - 1;
    const end = this.at[this.first[part + 1]] - 1;
    const at = this.text.indexOf("\n" + path + "\n", from);
    if (at < 0 || at >= end) return -1;
    return lineOf(this.at, at + 1);
  }
}

const digits = Array.from({ length: 256 }, (_, i) => i.toString(16).padStart(2, "0"));

export function hex(bytes: Uint8Array, at: number): string {
  let s = "";
  for (let i = at; i < at + 32; i++) s += digits[bytes[i]];
  return s;
}

/** The line that begins at or before a place. */
export function lineOf(at: Int32Array, place: number): number {
  let low = 0;
  let high = at.length - 1;
  while (high - low > 1) {
    const mid = (low + high) >> 1;
    if (at[mid] <= place) low = mid;
    else high = mid;
  }
  return low;
}

function numbers(bytes: Uint8Array, take: (i: number, v: number) => void) {
  let n = 0;
  for (let i = 0; i < bytes.length; ) {
    let v = 0;
    let factor = 1;
    for (;;) {
      const b = bytes[i++];
      v += (b & 0x7f) * factor;
      if (b < 0x80) break;
      factor *= 128;
    }
    take(n++, v);
  }
}

/** Paths that share their beginnings with the one before, as one text. */
function unfold(bytes: Uint8Array, count: number): string {
  let room = bytes.length * 4 + 1024;
  let out = new Uint8Array(room);
  let to = 0;
  let before = 0; // where the path before begins
  let i = 0;
  const number = () => {
    let v = 0;
    for (let shift = 0; ; shift += 7) {
      const b = bytes[i++];
      v |= (b & 0x7f) << shift;
      if (b < 0x80) return v;
    }
  };
  out[to++] = 10;
  for (let n = 0; n < count; n++) {
    const same = number();
    const rest = number();
    if (to + same + rest + 1 > room) {
      room = 2 * (to + same + rest + 1);
      const more = new Uint8Array(room);
      more.set(out.subarray(0, to));
      out = more;
    }
    const at = to;
    for (let k = before; k < before + same; k++) out[to++] = out[k]; // calls for so few bytes take longer
    for (const end = i + rest; i < end; ) out[to++] = bytes[i++];
    out[to++] = 10;
    before = at;
  }
  return new TextDecoder().decode(out.subarray(0, to));
}

/** Where the lines behind each line feed begin. */
function lines(text: string, count: number): Int32Array {
  const at = new Int32Array(count + 1);
  let place = 0;
  for (let n = 0; n <= count; n++) {
    place = text.indexOf("\n", place) + 1;
    at[n] = place;
  }
  return at;
}

function spread<T>(s: Sparse<T>): Map<number, T> {
  const m = new Map<number, T>();
  let at = 0;
  (s.at ?? []).forEach((step, i) => m.set((at += step), s.values![i]));
  return m;
}

function bytesOf(base64: string): Uint8Array<ArrayBuffer> {
  const from = (Uint8Array as unknown as { fromBase64?: (s: string) => Uint8Array<ArrayBuffer> }).fromBase64;
  if (from) return from(base64);
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

async function unpack(packed: Uint8Array<ArrayBuffer>): Promise<Uint8Array> {
  const gunzip = new DecompressionStream("gzip");
  const writer = gunzip.writable.getWriter();
  const written = writer.write(packed).then(() => writer.close());
  const pieces: Uint8Array[] = [];
  let size = 0;
  const reader = gunzip.readable.getReader();
  for (let r = await reader.read(); !r.done; r = await reader.read()) {
    pieces.push(r.value);
    size += r.value.length;
  }
  await written;
  const all = new Uint8Array(size);
  let at = 0;
  for (const p of pieces) {
    all.set(p, at);
    at += p.length;
  }
  return all;
}

export let D: Head;
export let F: Files;
/** What leads the other way: who needs a package, which files it has. */
export let needed: number[][];
export let requirementServed: Map<string, number[]>;

export async function load(base64: string) {
  const all = await unpack(bytesOf(base64));
  const length = new DataView(all.buffer).getUint32(0, true);
  D = JSON.parse(new TextDecoder().decode(all.subarray(4, 4 + length)));
  F = new Files(D, all.subarray(4 + length));
  needed = D.packages.map(() => []);
  D.packages.forEach((p, i) => p.needs?.forEach((k) => needed[k].push(i)));
  requirementServed = new Map();
  D.packages.forEach((p, i) =>
    p.serves?.forEach((s) => {
      const list = requirementServed.get(s.id) ?? [];
      list.push(i);
      requirementServed.set(s.id, list);
    }),
  );
}

/** The packages from one that the config asks for to this one. */
export function pathTo(i: number): number[] {
  const path: number[] = [];
  if (D.packages[i]["path-from"] === -2) return path;
  for (let k = i; k >= 0 && path.length <= D.packages.length; k = D.packages[k]["path-from"]) path.unshift(k);
  return path;
}

/** The files of a package, folders aside. */
export function filesOf(pkg: number): number[] {
  const list: number[] = [];
  for (let i = 0; i < F.count; i++) if ((F.pkg[i] === pkg || F.others.get(i)?.includes(pkg)) && D.types[F.type[i]] !== "dir") list.push(i);
  return list;
}

/** The last package that bears the name and is in the image. */
export function packageNamed(name: string): number {
  return D.packages.findIndex((p) => p.name === name && p.set === "target");
}
