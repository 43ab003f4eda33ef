import { useMemo } from "preact/hooks";
import { D, type Document, type Section } from "./data";
import { Checks, headline, Identity, Limits, Parts, Shares } from "./start";
import { stageGraph } from "./pipeline";
import { Drawing } from "./graph";
import { count, Hash, Name, Table, to, whole, type Column } from "./ui";

const MISSING = "not recorded";

function Cites({ doc, cites }: { doc: Document; cites: number[] }) {
  if (!cites?.length) return <span class="none">none</span>;
  return (
    <span class="cites">
      {cites.slice(0, 4).map((n) => {
        const c = doc.cites?.[n];
        return c ? <a href={to("hash", c.sha256)} title={c.path}>{c.path.split("/").pop()}</a> : null;
      })}
      {cites.length > 4 && <span class="aside">and {cites.length - 4} more</span>}
    </span>
  );
}

function SectionTable({ doc, section, all }: { doc: Document; section: Section; all?: number }) {
  const columns = useMemo<Column<Section["rows"][0]>[]>(
    () => [
      ...section.columns.map((title, k) => ({
        title,
        wide: true,
        text: (r: Section["rows"][0]) => r.cells[k] ?? "",
        cell: (r: Section["rows"][0]) => cell(r.cells[k] ?? ""),
      })),
      { title: "Rests on", text: (r) => r.cites?.map((n) => doc.cites?.[n]?.path).join(" ") ?? "", cell: (r) => <Cites doc={doc} cites={r.cites} /> },
    ],
    [section],
  );
  const rows = section.rows ?? [];
  return (
    <>
      <Table rows={all ? rows.slice(0, all) : rows} columns={columns} caption={section.title} filter={!all} all={!!all} />
      {!!all && rows.length > all && <p class="aside">The first {whole.format(all)} of {whole.format(rows.length)} rows; the document's own file has all of them.</p>}
    </>
  );
}

function cell(text: string) {
  if (text === MISSING) return <span class="none">{text}</span>;
  if (/^[0-9a-f]{64}$/.test(text)) return <Hash sha={text} short />;
  return <span class="cell">{text}</span>;
}

export function Documents() {
  return (
    <>
      <header class="title">
        <h1 tabIndex={-1}>Documents</h1>
        <p class="lead">What an audit asks for, read from the evidence. Each row names the files that it rests on.</p>
      </header>
      <ul class="cards">
        {(D.documents ?? []).map((d) => (
          <li><a href={to("document", d.id)}><b>{d.title}</b><span>{d.sections.map((s) => s.title).join(" · ")}</span><small>{count(d.sections.reduce((n, s) => n + (s.rows?.length ?? 0), 0), "row")}</small></a></li>
        ))}
      </ul>
      {!D.documents?.length && <p class="none">This page was made without documents.</p>}
    </>
  );
}

export function DocumentView({ id }: { id: string }) {
  const doc = D.documents?.find((d) => d.id === id);
  if (!doc) return <header class="title"><h1 tabIndex={-1}>No document {id}</h1></header>;
  return (
    <>
      <header class="title">
        <p class="kicker"><a href={to("documents")}>Documents</a></p>
        <h1 tabIndex={-1}>{doc.title}</h1>
        {doc.sections.length > 1 && <ul class="contents">{doc.sections.map((s) => <li><button type="button" onClick={() => document.getElementById("s-" + s.id)?.scrollIntoView()}>{s.title}</button></li>)}</ul>}
      </header>
      {doc.sections.map((s) => (
        <section id={"s-" + s.id} key={s.id}>
          <h2>{s.title}</h2>
          {s.note && <p class="note">{s.note}</p>}
          <SectionTable doc={doc} section={s} />
        </section>
      ))}
      {!!doc.cites?.length && (
        <section>
          <h2>Files of the evidence that it rests on</h2>
          <Table rows={doc.cites} columns={citeColumns} caption="Files that the rows rest on" filter />
        </section>
      )}
    </>
  );
}

const citeColumns: Column<{ path: string; sha256: string }>[] = [
  { title: "File", cell: (c) => <Name>{c.path}</Name>, text: (c) => c.path, wide: true },
  { title: "SHA-256", cell: (c) => <Hash sha={c.sha256} />, text: (c) => c.sha256 },
];

export function Findings() {
  return (
    <>
      <header class="title">
        <h1 tabIndex={-1}>Findings</h1>
        <p class="lead">What of dpkg's database is not as dpkg leaves it, and what packages have that the image has not.</p>
      </header>
      <section>
        <h2>{count(D.findings?.length ?? 0, "finding")}</h2>
        <Table
          rows={D.findings ?? []}
          caption="Findings"
          filter
          columns={[
            { title: "Rule", cell: (f) => <code>{f.rule}</code>, text: (f) => f.rule },
            { title: "File", cell: (f) => <Name>{f.path}</Name>, text: (f) => f.path ?? "", wide: true },
            { title: "What", cell: (f) => f.text, text: (f) => f.text, wide: true },
          ]}
        />
      </section>
      <section>
        <h2>{count(D.removed?.length ?? 0, "file")} of packages that the image has not</h2>
        <Table
          rows={D.removed ?? []}
          caption="Removed files"
          filter
          columns={[
            { title: "File", cell: (r) => <Name>{r.path}</Name>, text: (r) => r.path, wide: true },
            { title: "Package", cell: (r) => D.packages[r.package].name, text: (r) => D.packages[r.package].name },
            { title: "Removed by", cell: (r) => (r.by === undefined ? <span class="none">{MISSING}</span> : D.actors[r.by].text), text: (r) => (r.by === undefined ? "" : D.actors[r.by].text), wide: true },
          ]}
        />
      </section>
    </>
  );
}

const MOST_PRINTED = 2000;

/** All that belongs on paper, in order. */
export function Print() {
  const [, title, rest] = headline();
  const graph = useMemo(() => stageGraph(), []);
  const docs = D.documents ?? [];
  const jump = (id: string) => (e: Event) => (e.preventDefault(), document.getElementById(id)?.scrollIntoView());
  const chapters: [string, string][] = [["p-verdict", "Verdict"], ["p-limits", "What this does not show"], ["p-origins", "Where the files come from"], ["p-pipeline", "Pipeline"], ...docs.map((d): [string, string] => ["p-" + d.id, d.title])];
  return (
    <div class="paper">
      <header class="title cover">
        <p class="kicker">{D.name} {D.release}</p>
        <h1 tabIndex={-1}>{title}</h1>
        <p class="lead">{rest}</p>
        <Identity />
        <nav aria-label="Contents" class="toc">
          <h2>Contents</h2>
          <ol>
            {chapters.map(([id, text]) => (
              <li>
                <a href={"#" + id} onClick={jump(id)}>{text}</a>
                {id === "p-" + docs.find((d) => "p-" + d.id === id)?.id && <ol>{docs.find((d) => "p-" + d.id === id)!.sections.map((s) => <li><a href={`#${id}-${s.id}`} onClick={jump(`${id}-${s.id}`)}>{s.title}</a></li>)}</ol>}
              </li>
            ))}
          </ol>
        </nav>
        <p class="screen"><button type="button" onClick={() => print()}>Print</button></p>
      </header>
      <section class="chapter" id="p-verdict"><h2>Verdict</h2><Checks /></section>
      <section id="p-limits"><h2>What this does not show</h2><Limits /></section>
      <section class="chapter" id="p-origins"><h2>Where the files come from</h2><Shares /><h3>Parts and sizes</h3><Parts /></section>
      <section class="chapter" id="p-pipeline"><h2>Pipeline</h2><Drawing nodes={graph.nodes} edges={graph.edges} across width={122} height={46} about="Stages of the build" /></section>
      {docs.map((d) => (
        <section class="chapter" id={"p-" + d.id}>
          <h2>{d.title}</h2>
          {d.sections.map((s) => <div id={`p-${d.id}-${s.id}`}><h3>{s.title}</h3>{s.note && <p class="note">{s.note}</p>}<SectionTable doc={d} section={s} all={MOST_PRINTED} /></div>)}
          {!!d.cites?.length && <><h3>Files that it rests on</h3><Table rows={d.cites} columns={citeColumns} caption="Files that it rests on" all /></>}
        </section>
      ))}
    </div>
  );
}

export function Licences() {
  return (
    <>
      <header class="title"><h1 tabIndex={-1}>Software of this page</h1><p class="lead">What the page itself is made of, besides isotrace.</p></header>
      {NOTICES.map((n) => <details><summary>{n.name} {n.version}, {n.licence}</summary><pre tabIndex={0}>{n.text}</pre></details>)}
    </>
  );
}
