import type { ComponentChildren } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { D, F } from "./data";

export const to = (...parts: (string | number)[]) => "#/" + parts.map((p) => encodeURIComponent(p)).join("/");
export const fileLink = (i: number) => to("file", i, F.path(i));
export const packageLink = (i: number) => to("package", i, D.packages[i].name);

export const whole = new Intl.NumberFormat("en-GB");
export const count = (n: number, one: string, many = one + "s") => `${whole.format(n)} ${n === 1 ? one : many}`;

export function bytes(n: number): string {
  if (n < 1000) return `${n} B`;
  let unit = -1;
  while (n >= 999.5 && unit < 3) {
    n /= 1000;
    unit++;
  }
  return `${n.toFixed(n < 9.95 ? 1 : 0)} ${"kMGT"[unit]}B`;
}

export function share(part: number, all: number): string {
  if (!all) return "0 %";
  const p = (100 * part) / all;
  return p > 0 && p < 0.1 ? "< 0.1 %" : p > 99.9 && p < 100 ? "> 99.9 %" : `${p.toFixed(1)} %`;
}

export const originWords: Record<string, string> = {
  archive: "the bytes stand in a .deb that an archive's key vouches for",
  base: "came with the base image, and its .deb is not at hand",
  generated: "written by a package's maintainer script, or by a program that a stage ran",
  overlay: "the project put it there",
  stage: "isotrace made it, as the config says",
  modified: "of a package or the base image, and changed later",
  unexplained: "nobody is known to have made it",
};

export const partWords: Record<string, string> = {
  root: "root file system", initrd: "initial RAM file system", medium: "files of the ISO", esp: "EFI system partition",
  bios: "GRUB for BIOS", efi: "GRUB for UEFI", disk: "disk besides the root file system",
};

export const partPath = (i: number) => {
  const part = D.parts[F.partOf(i)].name;
  const path = F.path(i);
  return (part === "root" ? "" : part + ":") + (path === "." ? "/" : "/" + path);
};

export function Origin({ kind }: { kind: string }) {
  return (
    <span class={"origin o-" + kind} title={originWords[kind]}>
      <i aria-hidden="true" />
      {kind}
    </span>
  );
}

export function Name({ children }: { children: ComponentChildren }) {
  return <bdi class="name">{children}</bdi>;
}

/** A digest in full, in groups that eyes can compare, with its own page. */
export function Hash({ sha, short }: { sha?: string; short?: boolean }) {
  if (!sha) return <span class="none">not recorded</span>;
  return (
    <a class="hash" href={to("hash", sha)} aria-label={(short ? "SHA-256 beginning " + sha.slice(0, 12) : "SHA-256 " + sha)}>
      {short ? sha.slice(0, 12) : sha}
    </a>
  );
}

export function Facts({ rows }: { rows: [string, ComponentChildren][] }) {
  return (
    <dl class="facts">
      {rows.filter(([, v]) => v !== undefined && v !== "" && v !== null).map(([k, v]) => (
        <div>
          <dt>{k}</dt>
          <dd>{v}</dd>
        </div>
      ))}
    </dl>
  );
}

export type Column<T> = {
  title: string;
  cell: (row: T) => ComponentChildren;
  text: (row: T) => string;
  value?: (row: T) => number | string;
  number?: boolean;
  wide?: boolean;
};

const collator = new Intl.Collator("en", { numeric: true });
const STEP = 200;

/** A table that sorts by its columns and keeps the rows with all words of the filter. */
export function Table<T>({ rows, columns, caption, filter, empty, all }: { rows: T[]; columns: Column<T>[]; caption: string; filter?: boolean; empty?: string; all?: boolean }) {
  const [by, setBy] = useState<[number, boolean]>([-1, false]);
  const [words, setWords] = useState("");
  const [shown, setShown] = useState(STEP);
  const kept = useMemo(() => {
    const want = words.toLowerCase().split(/\s+/).filter(Boolean);
    let list = rows;
    if (want.length) {
      list = rows.filter((r) => {
        const text = columns.map((c) => c.text(r)).join(" ").toLowerCase();
        return want.every((w) => text.includes(w));
      });
    }
    const [col, down] = by;
    if (col < 0) return list;
    const of = columns[col].value ?? columns[col].text;
    return [...list].sort((a, b) => {
      const x = of(a);
      const y = of(b);
      const d = typeof x === "number" && typeof y === "number" ? x - y : collator.compare(String(x), String(y));
      return down ? -d : d;
    });
  }, [rows, columns, words, by]);
  const limit = all ? kept.length : shown;
  return (
    <div class="tabled">
      {filter && rows.length > 8 && !all && (
        <div class="filter">
          <input type="search" placeholder="Filter rows" aria-label={"Filter: " + caption} value={words} onInput={(e) => (setWords(e.currentTarget.value), setShown(STEP))} />
          <span role="status">{kept.length === rows.length ? count(rows.length, "row") : `${whole.format(kept.length)} of ${count(rows.length, "row")}`}</span>
        </div>
      )}
      <div class="scroll" tabIndex={0} role="region" aria-label={caption}>
        <table>
          <caption class="hidden">{caption}</caption>
          <thead>
            <tr>
              {columns.map((c, i) => (
                <th scope="col" class={c.number ? "number" : ""} aria-sort={by[0] === i ? (by[1] ? "descending" : "ascending") : undefined}>
                  <button type="button" onClick={() => setBy(by[0] === i ? (by[1] ? [-1, false] : [i, true]) : [i, !!c.number])}>
                    {c.title}
                    <span class="sort" aria-hidden="true">{by[0] === i ? (by[1] ? "↓" : "↑") : ""}</span>
                  </button>
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {kept.slice(0, limit).map((r) => (
              <tr>
                {columns.map((c) => (
                  <td class={(c.number ? "number " : "") + (c.wide ? "wide" : "")}>{c.cell(r)}</td>
                ))}
              </tr>
            ))}
            {!kept.length && (
              <tr>
                <td colSpan={columns.length} class="none">{rows.length ? "No row has all these words." : (empty ?? "None.")}</td>
              </tr>
            )}
          </tbody>
        </table>
      </div>
      {limit < kept.length && (
        <p class="more">
          <button type="button" onClick={() => setShown(shown + 5 * STEP)}>Show {whole.format(Math.min(5 * STEP, kept.length - shown))} more</button>
          {whole.format(shown)} of {whole.format(kept.length)} shown
        </p>
      )}
    </div>
  );
}

export const fileColumns: Column<number>[] = [
  { title: "File", cell: (i) => <a href={fileLink(i)}><Name>{partPath(i)}</Name></a>, text: partPath, wide: true },
  { title: "Origin", cell: (i) => <Origin kind={D.kinds[F.kind[i]]} />, text: (i) => D.kinds[F.kind[i]] },
  { title: "Size", number: true, cell: (i) => (D.types[F.type[i]] === "file" ? bytes(F.size[i]) : D.types[F.type[i]]), text: (i) => D.types[F.type[i]], value: (i) => F.size[i] },
  { title: "SHA-256", cell: (i) => (F.hashAt[i] >= 0 ? <Hash sha={F.sha256(i)} short /> : ""), text: (i) => F.sha256(i) },
];

export function PackageName({ i }: { i: number }) {
  return <a href={packageLink(i)}><Name>{D.packages[i].name}</Name></a>;
}

export function Path({ list }: { list: ComponentChildren[] }) {
  return (
    <span class="path">
      {list.map((p, i) => (
        <>
          {i > 0 && <span class="arrow" aria-label="leads to"> → </span>}
          {p}
        </>
      ))}
    </span>
  );
}

/** The width of an element, as it changes. */
export function useWidth<E extends HTMLElement>(): [preact.RefObject<E | null>, number] {
  const ref = useRef<E>(null);
  const [width, setWidth] = useState(0);
  useEffect(() => {
    const el = ref.current;
    if (!el) return;
    const watch = new ResizeObserver(() => setWidth(el.clientWidth));
    watch.observe(el);
    setWidth(el.clientWidth);
    return () => watch.disconnect();
  }, []);
  return [ref, width];
}
