import { useMemo, useState } from "preact/hooks";
import { packageChain, requirementNodes, type Chain } from "./chain";
import { D, F, filesOf, needed, packageNamed, pathTo, requirementServed } from "./data";
import { ServesList, Steps } from "./file";
import { Drawing, type Edge, type Node } from "./graph";
import { bytes, count, Facts, fileColumns, Hash, Name, Origin, PackageName, packageLink, Path, Table, to, whole, type Column } from "./ui";

const MOST = 56; // packages drawn

/** A package, the path that pulled it in, what it needs, and what needs it. */
function neighbours(i: number, depth: number): { nodes: Node[]; edges: Edge[]; left: number } {
  const nodes: Node[] = [];
  const edges: Edge[] = [];
  const seen = new Set<number>();
  let left = 0;
  const path = pathTo(i);
  const add = (k: number) => {
    if (seen.has(k)) return true;
    if (seen.size >= MOST) return false;
    seen.add(k);
    const p = D.packages[k];
    const on = path.includes(k);
    nodes.push({ id: String(k), kicker: k === i ? "This package" : p.asked?.length ? "The config asks for" : on ? "On the path" : p.set === "boot" ? "Boot set" : "Package", title: p.name, href: packageLink(k), here: k === i, tone: k === i ? "archive" : on ? "path" : undefined });
    return true;
  };
  path.forEach((k, n) => {
    add(k);
    if (n > 0) edges.push({ from: String(path[n - 1]), to: String(k) });
  });
  add(i);
  for (const k of needed[i].slice(0, 10)) if (!seen.has(k) && add(k)) edges.push({ from: String(k), to: String(i), faint: true });
  left += Math.max(0, needed[i].length - 10);
  let level = [i];
  for (let d = 0; d < depth; d++) {
    const next: number[] = [];
    for (const k of level)
      for (const n of D.packages[k].needs ?? []) {
        const known = seen.has(n);
        if (!add(n)) {
          left++;
          continue;
        }
        if (!edges.some((e) => e.from === String(k) && e.to === String(n))) edges.push({ from: String(k), to: String(n), faint: known && n !== i });
        if (!known) next.push(n);
      }
    level = next;
  }
  return { nodes, edges, left };
}

export function PackageView({ i }: { i: number }) {
  const p = D.packages[i];
  const [depth, setDepth] = useState(1);
  const files = useMemo(() => filesOf(i), [i]);
  const graph = useMemo(() => neighbours(i, depth), [i, depth]);
  const chain = useMemo(() => {
    const c: Chain = { nodes: [], edges: [], steps: [] };
    packageChain(i, c);
    requirementNodes(p.serves ?? [], c, "deb");
    return c;
  }, [i]);
  const path = pathTo(i);
  return (
    <>
      <header class="title">
        <p class="kicker">Package of the {p.set === "boot" ? "boot set" : "image"}</p>
        <h1 tabIndex={-1}><Name>{p.name}</Name> <span class="aside">{p.version} {p.architecture}</span></h1>
        <p class="lead">{p.gone ? `Not in the image: ${p.gone}.` : p.asked?.length ? "The config asks for it." : p.why}</p>
      </header>
      <Facts
        rows={[
          ["SHA-256", p.sha256 && <Hash sha={p.sha256} />],
          [".deb", p.path && <><Name>{p.path}</Name> <span class="aside">{bytes(p.size ?? 0)}</span></>],
          ["Source", `${p.source} ${p["source-version"]}`],
          ["Licence", p.licence],
          ["Asked for by", p.asked?.map((a) => <div><code>{a}</code></div>)],
          ["Pulled in by", path.length > 1 ? <Path list={path.map((k) => <PackageName i={k} />)} /> : undefined],
          ["Sources", p["source-missing"] ? "no archive of the lock has them" : p["source-files"]?.map((f) => <div><Name>{f.path}</Name> <Hash sha={f.sha256} short /></div>)],
        ]}
      />
      <section aria-labelledby="h-depends">
        <h2 id="h-depends">Around it</h2>
        <div class="controls">
          <label>Needs, <select value={String(depth)} onChange={(e) => setDepth(Number(e.currentTarget.value))}><option value="1">one step</option><option value="2">two steps</option><option value="3">three steps</option></select></label>
          <span class="aside">{count(p.needs?.length ?? 0, "package")} needed, {count(needed[i].length, "package needs", "packages need")} it{graph.left > 0 && `; ${whole.format(graph.left)} more are not drawn`}</span>
        </div>
        <Drawing nodes={graph.nodes} edges={graph.edges} across width={168} height={44} about={`Dependencies around ${p.name}; the lists below say the same`} />
        <div class="columns even">
          <div>
            <h3>It needs</h3>
            <p class="list">{p.needs?.length ? p.needs.map((k, n) => <>{n > 0 && ", "}<PackageName i={k} /></>) : <span class="none">nothing</span>}</p>
          </div>
          <div>
            <h3>It is needed by</h3>
            <p class="list">{needed[i].length ? needed[i].map((k, n) => <>{n > 0 && ", "}<PackageName i={k} /></>) : <span class="none">nothing</span>}</p>
          </div>
        </div>
      </section>
      <div class="columns chain">
        <section aria-labelledby="h-chain">
          <h2 id="h-chain">What vouches for it</h2>
          <Drawing nodes={chain.nodes} edges={chain.edges} about={`Chain of ${p.name}; the same in words follows`} />
        </section>
        <section class="side" aria-labelledby="h-words">
          <h2 id="h-words">In words</h2>
          <Steps steps={chain.steps} />
          <h2>Requirements it serves</h2>
          {p.serves?.length ? <ServesList list={p.serves} /> : <p class="none">None.</p>}
        </section>
      </div>
      <section aria-labelledby="h-files">
        <h2 id="h-files">{count(files.length, "file")}</h2>
        <Table rows={files} columns={fileColumns} caption={"Files of " + p.name} filter empty="No file of the image is its own." />
      </section>
    </>
  );
}

const packageColumns: Column<number>[] = [
  { title: "Package", cell: (i) => <PackageName i={i} />, text: (i) => D.packages[i].name, wide: true },
  { title: "Version", cell: (i) => <Name>{D.packages[i].version}</Name>, text: (i) => D.packages[i].version },
  { title: "Set", cell: (i) => D.packages[i].set, text: (i) => D.packages[i].set },
  { title: "Suite", cell: (i) => D.packages[i].archive ?? "base image", text: (i) => D.packages[i].archive ?? "base image" },
  { title: ".deb", number: true, cell: (i) => bytes(D.packages[i].size ?? 0), text: () => "", value: (i) => D.packages[i].size ?? 0 },
  { title: "Licence", cell: (i) => D.packages[i].licence ?? <span class="none">not recorded</span>, text: (i) => D.packages[i].licence ?? "", wide: true },
  { title: "Requirements", cell: (i) => D.packages[i].serves?.map((s, n) => <>{n > 0 && ", "}<a href={to("requirement", s.id)}>{s.id}</a></>), text: (i) => D.packages[i].serves?.map((s) => s.id).join(" ") ?? "" },
];

export function Packages() {
  return (
    <>
      <header class="title">
        <h1 tabIndex={-1}>Packages</h1>
        <p class="lead">{count(D.packages.length, "package")} of the image and its boot loaders, each with what vouches for it.</p>
      </header>
      <Table rows={D.packages.map((_, i) => i)} columns={packageColumns} caption="Packages" filter />
    </>
  );
}

export function Requirements() {
  return (
    <>
      <header class="title">
        <h1 tabIndex={-1}>Requirements</h1>
        <p class="lead">Those that the config or its requirements file names, and what serves them.</p>
      </header>
      <Table
        rows={D.requirements}
        caption="Requirements"
        filter
        empty="The config names no requirements."
        columns={[
          { title: "ID", cell: (r) => <a href={to("requirement", r.id)}>{r.id}</a>, text: (r) => r.id },
          { title: "Title", cell: (r) => r.title, text: (r) => (r.title ?? "") + " " + (r.text ?? ""), wide: true },
          { title: "Named in", cell: (r) => r.places?.map((p) => <div><code>{p}</code></div>), text: (r) => r.places?.join(" ") ?? "" },
          { title: "Packages", number: true, cell: (r) => whole.format(requirementServed.get(r.id)?.length ?? 0), text: () => "", value: (r) => requirementServed.get(r.id)?.length ?? 0 },
          { title: "Files of the project", number: true, cell: (r) => r.files?.length ?? 0, text: (r) => r.files?.join(" ") ?? "", value: (r) => r.files?.length ?? 0 },
        ]}
      />
    </>
  );
}

export function RequirementView({ id }: { id: string }) {
  const r = D.requirements.find((x) => x.id === id);
  const pkgs = requirementServed.get(id) ?? [];
  const own = useMemo(() => {
    const actors = new Set(D.actors.map((a, k) => (a.own?.some((s) => s.id === id) ? k : -1)).filter((k) => k >= 0));
    const list: number[] = [];
    if (actors.size) for (let i = 0; i < F.count; i++) if (actors.has(F.by[i])) list.push(i);
    return list;
  }, [id]);
  const via = (i: number) => D.packages[i].serves!.find((s) => s.id === id)!.path;
  return (
    <>
      <header class="title">
        <p class="kicker">Requirement</p>
        <h1 tabIndex={-1}>{id} <span class="aside">{r?.title}</span></h1>
        <p class="lead">{r ? (r.text ?? "") : "Nobody names this requirement."}</p>
      </header>
      <Facts rows={[["Source", r?.source], ["Parent", r?.parent], ["Named in", r?.places?.map((p) => <div><code>{p}</code></div>)], ["Files of the project", r?.files?.map((f) => <div><Name>{f}</Name></div>)]]} />
      {own.length > 0 && (
        <section>
          <h2>{count(own.length, "file")} of the project in the image</h2>
          <Table rows={own} columns={fileColumns} caption={"Files that serve " + id} filter />
        </section>
      )}
      <section>
        <h2>{count(pkgs.length, "package")}</h2>
        <Table
          rows={pkgs}
          caption={"Packages that serve " + id}
          filter
          empty="No package serves it."
          columns={[
            { title: "Package", cell: (i) => <PackageName i={i} />, text: (i) => D.packages[i].name },
            { title: "Path from the config", wide: true, cell: (i) => <Path list={via(i).map((n) => { const k = packageNamed(n); return k < 0 ? <Name>{n}</Name> : <PackageName i={k} />; })} />, text: (i) => via(i).join(" "), value: (i) => via(i).length },
          ]}
        />
      </section>
    </>
  );
}

export function OriginView({ kind }: { kind: string }) {
  const k = D.kinds.indexOf(kind);
  const list = useMemo(() => {
    const all: number[] = [];
    for (let i = 0; i < F.count; i++) if (F.kind[i] === k) all.push(i);
    return all;
  }, [k]);
  const columns: Column<number>[] = [
    ...fileColumns.slice(0, 1),
    { title: "By", wide: true, cell: (i) => (F.by[i] >= 0 ? <>{D.actors[F.by[i]].text} <span class="aside">in {D.actors[F.by[i]].stage}</span></> : F.pkg[i] >= 0 ? <PackageName i={F.pkg[i]} /> : ""), text: (i) => (F.by[i] >= 0 ? D.actors[F.by[i]].text : F.pkg[i] >= 0 ? D.packages[F.pkg[i]].name : "") },
    ...fileColumns.slice(2),
  ];
  return (
    <>
      <header class="title">
        <p class="kicker">Origin</p>
        <h1 tabIndex={-1}><Origin kind={kind} /></h1>
        <p class="lead">{count(list.length, "file, folder or link", "files, folders and links")}</p>
      </header>
      <Table rows={list} columns={columns} caption={"Files of origin " + kind} filter />
    </>
  );
}
