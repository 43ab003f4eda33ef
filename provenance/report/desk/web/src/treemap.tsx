import { hierarchy, treemap, treemapSquarify, type HierarchyRectangularNode } from "d3-hierarchy";
import { useLayoutEffect, useMemo } from "preact/hooks";
import { D, F } from "./data";
import { bytes, count, fileLink, Name, Origin, share, Table, to, useWidth, whole } from "./ui";

/** A folder, package or origin with what it holds. */
type Box = { name: string; size: number; files: number; kinds: number[]; inside: Map<string, Box>; file: number };

const box = (name: string): Box => ({ name, size: 0, files: 0, kinds: D.kinds.map(() => 0), inside: new Map(), file: -1 });

const roots = new Map<string, Box>();

/** The boxes of a map: by folder of a part, by package, or by origin. */
function rootOf(mode: string, part: number): Box {
  const key = mode + part;
  let root = roots.get(key);
  if (root) return root;
  root = box("");
  for (let i = F.first[part]; i < F.first[part + 1]; i++) {
    if (!F.size[i]) continue;
    const kind = D.kinds[F.kind[i]];
    const path = F.path(i);
    const owner = F.pkg[i] >= 0 ? D.packages[F.pkg[i]].name : F.by[i] >= 0 ? D.actors[F.by[i]].text : "nobody";
    const names = mode === "folder" ? path.split("/") : mode === "package" ? [owner, path] : [kind, owner, path];
    let at = root;
    const count = (b: Box) => {
      b.size += F.size[i];
      b.files++;
      b.kinds[F.kind[i]] += F.size[i];
    };
    count(at);
    for (const name of names) {
      let next = at.inside.get(name);
      if (!next) at.inside.set(name, (next = box(name)));
      count(next);
      at = next;
    }
    at.file = i;
  }
  roots.set(key, root);
  return root;
}

const strongest = (b: Box) => D.kinds[b.kinds.indexOf(Math.max(...b.kinds))];

type Shown = { box: Box | null; name: string; size: number; children?: Shown[] };

/** The largest boxes inside, as deep as there is room; the rest as one that cannot be opened. */
function largest(b: Box, room: number, depth: number): Shown[] {
  const most = Math.max(4, Math.min(160, room / 500));
  const all = [...b.inside.values()].sort((x, y) => y.size - x.size || (x.name < y.name ? -1 : 1));
  const list: Shown[] = all.slice(0, most).map((x) => {
    const own = (room * x.size) / b.size;
    return { box: x, name: x.name, size: x.size, children: x.inside.size && own > 6000 && depth < 6 ? largest(x, own, depth + 1) : undefined };
  });
  const rest = all.slice(most);
  if (rest.length) list.push({ box: null, name: `${whole.format(rest.length)} smaller`, size: rest.reduce((n, x) => n + x.size, 0) });
  return list;
}

const modes = [["folder", "By folder"], ["package", "By package"], ["origin", "By origin"]] as const;

export function Treemap({ mode = "folder", part = "root", names }: { mode?: string; part?: string; names: string[] }) {
  const [ref, width] = useWidth<HTMLDivElement>();
  const p = Math.max(0, D.parts.findIndex((x) => x.name === part));
  const root = useMemo(() => rootOf(mode, p), [mode, p]);
  const trail: Box[] = [root];
  for (const n of names) {
    const next = trail[trail.length - 1].inside.get(n);
    if (!next) break;
    trail.push(next);
  }
  const here = trail[trail.length - 1];
  const height = Math.max(360, Math.min(640, Math.round(width * 0.56)));
  const at = (list: string[]) => to("map", mode, D.parts[p].name, ...list);
  const up = trail.slice(1).map((b) => b.name);
  const tiles = useMemo(() => {
    if (!width) return [];
    const h = hierarchy<Shown>({ box: here, name: "", size: here.size, children: largest(here, width * height, 1) }, (s) => s.children).sum((s) => (s.children ? 0 : s.size)).sort((a, b) => b.value! - a.value!);
    const wide = (n: HierarchyRectangularNode<Shown>) => n.depth > 0 && !!n.children && n.x1 - n.x0 > 40 && n.y1 - n.y0 > 34;
    const laid = treemap<Shown>().tile(treemapSquarify).size([width, height]).round(true).paddingInner(1).paddingOuter((n) => (wide(n) ? 2 : 0)).paddingTop((n) => (wide(n) ? 18 : 0))(h);
    return laid.descendants().filter((n) => n.depth > 0 && n.x1 - n.x0 > 1 && n.y1 - n.y0 > 1);
  }, [here, width, height]);
  useLayoutEffect(() => {
    const back = (e: KeyboardEvent) => {
      if ((e.key === "Backspace" || e.key === "Escape") && up.length && !(e.target instanceof HTMLInputElement)) {
        e.preventDefault();
        location.hash = at(up.slice(0, -1));
      }
    };
    addEventListener("keydown", back);
    return () => removeEventListener("keydown", back);
  });
  const leads = (b: Box, path: string[]) => (b.inside.size ? at(path) : b.file >= 0 ? fileLink(b.file) : undefined);
  const rows = [...here.inside.values()];
  return (
    <>
      <header class="title">
        <h1 tabIndex={-1}>Map of the image</h1>
        <p class="lead">Areas are bytes of regular files before compression; colours are origins. Open a tile to look inside, press Backspace to go up.</p>
      </header>
      <div class="controls">
        <nav class="switch" aria-label="Arrange">
          {modes.map(([m, text]) => <a href={to("map", m, D.parts[p].name)} aria-current={m === mode ? "true" : undefined}>{text}</a>)}
        </nav>
        <label>Part <select value={D.parts[p].name} onChange={(e) => (location.hash = to("map", mode, e.currentTarget.value))}>{D.parts.filter((x) => x.files).map((x) => <option value={x.name}>{x.name}</option>)}</select></label>
        <ul class="legend" aria-label="Colours">{D.kinds.map((k, n) => root.kinds[n] > 0 && <li><Origin kind={k} /></li>)}</ul>
      </div>
      <nav class="crumbs" aria-label="Where you are">
        {trail.map((b, n) => <>{n > 0 && <span aria-hidden="true"> / </span>}{n < trail.length - 1 ? <a href={at(up.slice(0, n))}><Name>{n ? b.name : D.parts[p].name}</Name></a> : <b aria-current="location"><Name>{n ? b.name : D.parts[p].name}</Name></b>}</>)}
        <span class="aside">{bytes(here.size)} in {count(here.files, "file")}</span>
      </nav>
      <div class="treemap" ref={ref} style={{ height: `${height}px` }} role="group" aria-label="Map; the table below says the same">
        {tiles.map((n) => <Tile n={n} href={n.data.box ? leads(n.data.box, [...up, ...n.ancestors().reverse().slice(1).map((a) => a.data.name)]) : undefined} all={here.size} />)}
      </div>
      <Table
        rows={rows}
        caption="What the map shows"
        filter
        columns={[
          { title: "Name", wide: true, cell: (b) => { const href = leads(b, [...up, b.name]); return href ? <a href={href}><Name>{b.name}</Name></a> : <Name>{b.name}</Name>; }, text: (b) => b.name },
          { title: "Bytes", number: true, cell: (b) => bytes(b.size), text: () => "", value: (b) => b.size },
          { title: "Share", number: true, cell: (b) => share(b.size, here.size), text: () => "", value: (b) => b.size },
          { title: "Files", number: true, cell: (b) => whole.format(b.files), text: () => "", value: (b) => b.files },
          { title: "Mostly", cell: (b) => <Origin kind={strongest(b)} />, text: strongest },
        ]}
      />
    </>
  );
}

function Tile({ n, href, all }: { n: HierarchyRectangularNode<Shown>; href?: string; all: number }) {
  const { box: b, name, size } = n.data;
  const w = n.x1 - n.x0;
  const h = n.y1 - n.y0;
  const group = !!n.children;
  const look = `tile ${group ? "group d" + n.depth : "leaf"} ${b ? "o-" + strongest(b) : "o-rest"}`;
  const style = { left: `${n.x0}px`, top: `${n.y0}px`, width: `${w}px`, height: `${h}px` };
  const label = w > 34 && h > 15 && <bdi>{name}</bdi>;
  const more = w > 64 && h > 34 && !group && <small>{bytes(size)}</small>;
  const title = `${name} ${bytes(size)}, ${share(size, all)}${b ? ", mostly " + strongest(b) : ""}`;
  return href ? (
    <a class={look} style={style} href={href} title={title} aria-label={label ? undefined : title} tabIndex={n.depth === 1 ? 0 : -1}>{label}{more}</a>
  ) : (
    <div class={look} style={style} title={title}>{label}{more}</div>
  );
}
