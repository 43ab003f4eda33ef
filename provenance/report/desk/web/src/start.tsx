import { D, F, type Check } from "./data";
import { bytes, count, Facts, Hash, Origin, originWords, partWords, share, Table, to, whole, type Column } from "./ui";

export const stateWords: Record<Check["state"], string> = { valid: "holds", invalid: "does not hold", expired: "held when signed", "cannot-tell": "cannot be told" };

export function State({ state }: { state: Check["state"] }) {
  return <span class={"state s-" + state}><i aria-hidden="true">{{ valid: "✓", invalid: "✕", expired: "–", "cannot-tell": "?" }[state]}</i>{stateWords[state]}</span>;
}

const of = (state: Check["state"]) => D.verdict.checks.filter((c) => c.state === state);

export function headline(): [string, string, string] {
  const bad = of("invalid").length;
  const open = of("cannot-tell").length;
  const past = of("expired").length;
  const all = D.verdict.checks.length;
  if (!all) return ["open", "Nothing has been checked.", "This page was made without a verification."];
  const rest = [past && `${past} held when the image was signed and ${past === 1 ? "has" : "have"} expired since`, open && `of ${open} nothing can be told`].filter(Boolean);
  if (bad) return ["bad", `${count(bad, "check does", "checks do")} not hold.`, [`${of("valid").length} of ${all} checks hold`, ...rest].join("; ") + "."];
  return [open ? "fair" : "good", open ? "Nothing speaks against this image." : "Every check holds.", [`${of("valid").length} of ${all} checks hold`, ...rest].join("; ") + "."];
}

export function totals() {
  const files = D.kinds.map(() => 0);
  const size = D.kinds.map(() => 0);
  for (const p of D.parts)
    for (const c of p.counts) {
      files[D.kinds.indexOf(c.origin)] += c.files;
      size[D.kinds.indexOf(c.origin)] += c.bytes;
    }
  return { files, size };
}

/** Shares as one bar; the table beside it says the same. */
export function Bar({ values }: { values: number[] }) {
  const all = values.reduce((a, b) => a + b, 0);
  return (
    <div class="bar" aria-hidden="true">
      {values.map((v, k) => v > 0 && <a tabIndex={-1} class={"o-" + D.kinds[k]} href={to("origin", D.kinds[k])} style={{ flexGrow: `${Math.max(v / all, 0.004)}` }} title={`${D.kinds[k]}: ${share(v, all)}`} />)}
    </div>
  );
}

const checkColumns: Column<Check>[] = [
  { title: "Outcome", cell: (c) => <State state={c.state} />, text: (c) => stateWords[c.state] },
  { title: "Check", cell: (c) => <code>{c.rule}</code>, text: (c) => c.rule },
  {
    title: "What was found",
    wide: true,
    text: (c) => c.what + c.about,
    cell: (c) => (
      <>
        <span class="said">{c.about}</span>
        {c.problems?.length ? <ul class="problems">{c.problems.slice(0, 50).map((p) => <li><code>{p.file}</code> {p.detail}</li>)}{c.problems.length > 50 && <li>and {whole.format(c.problems.length - 50)} more</li>}</ul> : <span class="what">{c.what}</span>}
      </>
    ),
  },
];

export function Checks() {
  return <Table rows={D.verdict.checks} columns={checkColumns} caption="Checks of isotrace verify" all />;
}

export function Limits() {
  const v = D.verdict;
  return (
    <ul class="limits">
      {v["key-from-bundle"] && <li><b>Nobody said whose key it must be.</b> The key came with the evidence. That proves that image and evidence belong together, not who made them: compare the key, or run verify with <code>--key</code>.</li>}
      {of("cannot-tell").map((c) => <li><b>{c.rule}</b> {c.what}</li>)}
      {of("expired").map((c) => <li><b>{c.rule}</b> {c.what}</li>)}
      {v.expired?.map((id) => <li><b>{id}</b> had expired when the lock was made, and the config accepts that.</li>)}
      <li><b>This page proves nothing.</b> It is not signed, and says what was found when it was made. <code>isotrace verify DIR --key FILE</code> makes the same checks anew, from the bytes of the image.</li>
    </ul>
  );
}

export function Shares() {
  const t = totals();
  const all = t.files.reduce((a, b) => a + b, 0);
  const size = t.size.reduce((a, b) => a + b, 0);
  return (
    <>
      <Bar values={t.files} />
      <Table
        caption="Files by origin"
        all
        rows={D.kinds.map((_, k) => k).filter((k) => t.files[k] || D.kinds[k] === "unexplained")}
        columns={[
          { title: "Origin", cell: (k) => <a class="quiet" href={to("origin", D.kinds[k])}><Origin kind={D.kinds[k]} /></a>, text: (k) => D.kinds[k] },
          { title: "Means", wide: true, cell: (k) => originWords[D.kinds[k]], text: (k) => originWords[D.kinds[k]] },
          { title: "Files", number: true, cell: (k) => whole.format(t.files[k]), text: (k) => String(t.files[k]), value: (k) => t.files[k] },
          { title: "Share", number: true, cell: (k) => share(t.files[k], all), text: () => "", value: (k) => t.files[k] },
          { title: "Bytes", number: true, cell: (k) => bytes(t.size[k]), text: () => "", value: (k) => t.size[k] },
          { title: "Share", number: true, cell: (k) => share(t.size[k], size), text: () => "", value: (k) => t.size[k] },
        ]}
      />
    </>
  );
}

export function Identity() {
  return (
    <Facts
      rows={[
        ["Image", <><span class="name">{D.image}</span> {D.size > 0 && <span class="aside">{bytes(D.size)}, {whole.format(D.size)} bytes</span>}</>],
        ["SHA-256", <Hash sha={D.sha256} />],
        ["Release", `${D.name} ${D.release}`],
        ["Signed by", <><span class="hash">{D.verdict.key}</span> <span class="aside">{D.verdict["key-from-bundle"] ? "the key in the evidence; nobody named one" : "the key that was named"}</span></>],
      ]}
    />
  );
}

export function Start() {
  const [tone, title, rest] = headline();
  const served = new Set(D.packages.flatMap((p) => p.serves?.map((s) => s.id) ?? []));
  for (const a of D.actors) a.own?.forEach((s) => served.add(s.id));
  return (
    <>
      <header class={"verdict v-" + tone}>
        <p class="kicker">{D.name} {D.release}</p>
        <h1 tabIndex={-1}>{title}</h1>
        <p class="lead">{rest}</p>
      </header>
      <Identity />
      <ul class="tiles">
        <li><a href={to("map")}><b>{whole.format(F.count)}</b>files, folders and links in {count(D.parts.filter((p) => p.files).length, "part")}</a></li>
        <li><a href={to("packages")}><b>{whole.format(D.packages.length)}</b>packages from {count(D.suites.length, "suite")}</a></li>
        <li><a href={to("requirements")}><b>{whole.format(served.size)}<small> of {whole.format(D.requirements.length)}</small></b>requirements are served</a></li>
        <li><a href={to("pipeline")}><b>{whole.format(new Set(D.links.map((l) => l.stage)).size)}</b>stages, each with a signed link</a></li>
        <li><a href={to("findings")}><b>{whole.format(D.findings?.length ?? 0)}</b>findings about the package database</a></li>
      </ul>
      <div class="columns">
        <section aria-labelledby="h-checks">
          <h2 id="h-checks">What was checked</h2>
          <Checks />
        </section>
        <section aria-labelledby="h-limits" class="side">
          <h2 id="h-limits">What this does not show</h2>
          <Limits />
        </section>
      </div>
      <section aria-labelledby="h-origins">
        <h2 id="h-origins">Where the files come from</h2>
        <Shares />
      </section>
      <section aria-labelledby="h-parts">
        <h2 id="h-parts">Parts and sizes</h2>
        <Parts />
      </section>
    </>
  );
}

export function Parts() {
  return (
    <Table
      caption="Parts of the image"
      all
      rows={D.parts.filter((p) => p.files)}
      columns={[
        { title: "Part", cell: (p) => <a href={to("map", "folder", p.name)}>{p.name}</a>, text: (p) => p.name },
        { title: "What it is", wide: true, cell: (p) => partWords[p.name] ?? "", text: (p) => partWords[p.name] ?? "" },
        { title: "Files", number: true, cell: (p) => whole.format(p.files), text: () => "", value: (p) => p.files },
        { title: "Bytes", number: true, cell: (p) => bytes(sum(p)), text: () => "", value: sum },
        { title: "Origins", wide: true, cell: (p) => <Bar values={D.kinds.map((k) => p.counts.find((c) => c.origin === k)?.files ?? 0)} />, text: () => "", value: (p) => p.files },
      ]}
    />
  );
}

const sum = (p: { counts: { bytes: number }[] }) => p.counts.reduce((a, c) => a + c.bytes, 0);
