import { useMemo } from "preact/hooks";
import { D, F } from "./data";
import { fileChain, type Step } from "./chain";
import { Drawing } from "./graph";
import { bytes, count, Facts, fileColumns, Hash, Name, Origin, originWords, PackageName, partPath, partWords, Path, Table, to } from "./ui";

export function Steps({ steps }: { steps: Step[] }) {
  return (
    <ol class="steps">
      {steps.map((s) => (
        <li>
          <span class="verb">{s.verb}</span> {s.href ? <a href={s.href}><Name>{s.name}</Name></a> : <Name>{s.name}</Name>}
          {s.says && <span class="aside"> {s.says}</span>}
          {s.sha && <Hash sha={s.sha} />}
        </li>
      ))}
    </ol>
  );
}

/** The files right inside a folder. */
function within(i: number): number[] {
  const part = F.partOf(i);
  const path = F.path(i);
  const start = path === "." ? "" : path + "/";
  const list: number[] = [];
  for (let k = F.first[part]; k < F.first[part + 1]; k++) {
    if (k !== i && F.text.startsWith(start, F.at[k])) {
      const slash = F.text.indexOf("/", F.at[k] + start.length);
      if (slash < 0 || slash >= F.at[k + 1] - 1) list.push(k);
    }
  }
  return list;
}

export function File({ i }: { i: number }) {
  const chain = useMemo(() => fileChain(i), [i]);
  const part = D.parts[F.partOf(i)];
  const kind = D.kinds[F.kind[i]];
  const type = D.types[F.type[i]];
  const was = F.was.get(i);
  const inside = useMemo(() => (type === "dir" ? within(i) : []), [i]);
  const path = partPath(i);
  return (
    <>
      <header class="title">
        <p class="kicker">{type === "file" ? "File" : type === "dir" ? "Folder" : type} of the {partWords[part.name]}</p>
        <h1 tabIndex={-1} class="long"><Crumbs i={i} /></h1>
        <p class="lead"><b><Origin kind={kind} /></b> &ensp;{originWords[kind]}</p>
      </header>
      <Facts
        rows={[
          ["SHA-256", F.hashAt[i] >= 0 && <Hash sha={F.sha256(i)} />],
          ["Size", type === "file" && `${bytes(F.size[i])}`],
          ["Link to", F.target.get(i) && <Name>{F.target.get(i)}</Name>],
          ["Package", F.pkg[i] >= 0 && <PackageName i={F.pkg[i]} />],
          ["Also in", F.others.get(i)?.map((k, n) => <>{n > 0 && ", "}<PackageName i={k} /></>)],
          ["Before", was && <>{pairs(was.what).map(([k, v]) => <span class="before">{k} <code>{v}</code> </span>)}{was.by !== undefined && <>made by {D.actors[was.by].text}</>}</>],
          ["Accepted because", F.allowed.get(i)],
          ["Ask again", <code class="command">isotrace trace DIR {/^[\w@%+=:,./-]+$/.test(path) ? path : `'${path.replace(/'/g, "'\\''")}'`}</code>],
        ].map(([k, v]) => [k as string, v || undefined]) as [string, preact.ComponentChildren][]}
      />
      <div class="columns chain">
        <section aria-labelledby="h-drawn">
          <h2 id="h-drawn">What it stands in and rests on</h2>
          <Drawing nodes={chain.nodes} edges={chain.edges} about={`Chain of ${path}; the same in words follows`} />
        </section>
        <section aria-labelledby="h-words" class="side">
          <h2 id="h-words">In words</h2>
          <Steps steps={chain.steps} />
          {chain.serves.length > 0 && (
            <>
              <h2>Requirements it serves</h2>
              <ServesList list={chain.serves} />
            </>
          )}
        </section>
      </div>
      {type === "dir" && (
        <section aria-labelledby="h-inside">
          <h2 id="h-inside">{count(inside.length, "entry", "entries")} inside</h2>
          <Table rows={inside} columns={fileColumns} caption={"Inside " + path} filter empty="Nothing is inside." />
        </section>
      )}
    </>
  );
}

export function ServesList({ list }: { list: { id: string; title?: string; path: string[] }[] }) {
  return (
    <ul class="plain">
      {list.map((s) => (
        <li>
          <a href={to("requirement", s.id)}>{s.id}</a> {s.title}
          {s.path.length > 1 && <div class="aside">through <Path list={s.path.map((p) => <Name>{p}</Name>)} /></div>}
        </li>
      ))}
    </ul>
  );
}

function pairs(list: string[]): [string, string][] {
  const all: [string, string][] = [];
  for (let i = 0; i + 1 < list.length; i += 2) all.push([list[i], list[i + 1]]);
  return all;
}

function Crumbs({ i }: { i: number }) {
  const part = F.partOf(i);
  const path = F.path(i);
  if (path === ".") return <Name>/</Name>;
  const names = path.split("/");
  return (
    <>
      {D.parts[part].name !== "root" && <span class="aside">{D.parts[part].name}:</span>}
      {names.map((name, n) => {
        const at = n < names.length - 1 ? F.find(part, names.slice(0, n + 1).join("/")) : -1;
        return (
          <>
            <span class="slash">/</span>
            {at >= 0 ? <a class="quiet" href={to("file", at, F.path(at))}><Name>{name}</Name></a> : <Name>{name}</Name>}
            <wbr />
          </>
        );
      })}
    </>
  );
}

/** Everything that has one digest. */
export function Digest({ sha }: { sha: string }) {
  const files = useMemo(() => {
    const list: number[] = [];
    if (!/^[0-9a-f]{64}$/.test(sha)) return list;
    const first = parseInt(sha.slice(0, 2), 16);
    for (let i = 0; i < F.count; i++) if (F.hashAt[i] >= 0 && F.hash[F.hashAt[i]] === first && F.sha256(i) === sha) list.push(i);
    return list;
  }, [sha]);
  const others: [string, preact.ComponentChildren][] = [];
  if (D.sha256 === sha) others.push(["Image", <a href={to()}>{D.image}</a>]);
  D.packages.forEach((p, i) => p.sha256 === sha && others.push([".deb of", <><PackageName i={i} /> <span class="aside">{p.path}</span></>]));
  for (const s of D.suites) {
    if (s.release.sha256 === sha) others.push(["Release file", <><Name>{s.release.path}</Name> <span class="aside">of {s.id}, {s.date}, signed by {s.signers.join(", ")}</span></>]);
    for (const x of s.indexes) if (x.sha256 === sha) others.push(["Index", <><Name>{x.path}</Name> <span class="aside">of {s.id}</span></>]);
  }
  for (const l of D.links) {
    for (const [name, d] of l.products) if (d === sha) others.push(["Given by stage", <><a href={to("pipeline", l.stage)}>{l.stage}</a> as <Name>{name}</Name></>]);
    for (const [name, d] of l.materials) if (d === sha) others.push(["Taken by stage", <><a href={to("pipeline", l.stage)}>{l.stage}</a> as <Name>{name}</Name></>]);
  }
  for (const d of D.documents ?? []) for (const c of d.cites ?? []) if (c.sha256 === sha) others.push(["Cited in", <><a href={to("document", d.id)}>{d.title}</a> as <Name>{c.path}</Name></>]);
  return (
    <>
      <header class="title">
        <p class="kicker">SHA-256</p>
        <h1 tabIndex={-1} class="long hashed">{sha}</h1>
        <p class="lead">{files.length + others.length ? "Everything that has this digest." : "Nothing here has this digest."}</p>
      </header>
      <Facts rows={others} />
      {files.length > 0 && (
        <section>
          <h2>{count(files.length, "file")}</h2>
          <Table rows={files} columns={fileColumns} caption="Files with this digest" filter />
        </section>
      )}
    </>
  );
}
