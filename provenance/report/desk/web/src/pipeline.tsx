import { useMemo } from "preact/hooks";
import { D, type Link } from "./data";
import { Drawing, type Edge, type Node } from "./graph";
import { count, Facts, Hash, Name, Table, to, type Column } from "./ui";

const pairColumns: Column<[string, string]>[] = [
  { title: "Name", cell: ([name]) => <Name>{name}</Name>, text: ([name]) => name, wide: true },
  { title: "SHA-256", cell: ([, sha]) => <Hash sha={sha} short />, text: ([, sha]) => sha },
];

/** The stages from which a link took something. */
const before = (l: Link) => [...new Set(l.materials.map(([name]) => name.split("/")[0]))].filter((s) => s !== "project" && s !== l.stage);

export function stageGraph(here?: string): { nodes: Node[]; edges: Edge[] } {
  const first = new Map<string, Link>();
  for (const l of D.links) if (!first.has(l.stage)) first.set(l.stage, l);
  const nodes: Node[] = [];
  const edges: Edge[] = [];
  const direct = new Map([...first].map(([s, l]) => [s, before(l).filter((b) => first.has(b))]));
  // An edge that a longer way says already only clutters.
  const reaches = (from: string, to: string, seen = new Set<string>()): boolean => (direct.get(from) ?? []).some((b) => b === to || (!seen.has(b) && (seen.add(b), reaches(b, to, seen))));
  for (const [stage, l] of first) {
    const signers = new Set(D.links.filter((x) => x.stage === stage).map((x) => x.signer));
    nodes.push({ id: stage, kicker: `${l.materials.length} in, ${l.products.length} out`, title: stage, sub: signers.size > 1 ? `${signers.size} signers` : undefined, href: to("pipeline", stage), tone: stage === here ? "stage" : undefined });
    const list = direct.get(stage)!;
    for (const b of list) if (!list.some((other) => other !== b && reaches(other, b)) || !!here && (stage === here || b === here)) edges.push({ from: b, to: stage, faint: !!here && stage !== here && b !== here });
  }
  return { nodes, edges };
}

export function Pipeline({ stage }: { stage?: string }) {
  const graph = useMemo(() => stageGraph(stage), [stage]);
  const links = D.links.filter((l) => l.stage === stage);
  return (
    <>
      <header class="title">
        <h1 tabIndex={-1}>{stage ? <>Stage <Name>{stage}</Name></> : "Pipeline"}</h1>
        <p class="lead">{stage ? <a href={to("pipeline")}>All stages</a> : "Each stage took what others gave, or what the project holds, and left a signed link. Open one for its inputs, outputs, tools and signer."}</p>
      </header>
      {links.map((l) => <StageLink l={l} />)}
      {stage && !links.length && <p class="none">No link of this stage holds.</p>}
      {stage && <h2>Its place</h2>}
      <Drawing nodes={graph.nodes} edges={graph.edges} across width={122} height={46} about="Stages of the build; the table below says the same" />
      {!stage && (
        <Table
          caption="Stages"
          rows={D.links}
          all
          columns={[
            { title: "Stage", cell: (l) => <a href={to("pipeline", l.stage)}>{l.stage}</a>, text: (l) => l.stage },
            { title: "Takes from", wide: true, cell: (l) => [...before(l), ...(l.materials.some(([n]) => n.startsWith("project/")) ? ["project"] : [])].join(", "), text: (l) => before(l).join(" ") },
            { title: "Inputs", number: true, cell: (l) => l.materials.length, text: () => "", value: (l) => l.materials.length },
            { title: "Outputs", number: true, cell: (l) => l.products.length, text: () => "", value: (l) => l.products.length },
            { title: "Tools", wide: true, cell: (l) => tools(l).join(", "), text: (l) => tools(l).join(" ") },
            { title: "Signer", cell: (l) => <code title={l.signer}>{l.signer.slice(0, 16)}</code>, text: (l) => l.signer },
          ]}
        />
      )}
    </>
  );
}

const tools = (l: Link) => [...new Set((l.commands ?? []).map((c) => c.argv?.[0]?.split("/").pop() ?? ""))].filter(Boolean).sort();

function StageLink({ l }: { l: Link }) {
  return (
    <section>
      <Facts
        rows={[
          ["Link", <Name>{l.file}</Name>],
          ["Signed by", <span class="hash">{l.signer}</span>],
          ["Stage version", l.version],
          ["Epoch", l.epoch],
          ["Parameters", <code class="command">{l.params}</code>],
        ]}
      />
      <h2>Tools</h2>
      {l.commands?.length ? (
        <ol class="commands">{l.commands.slice(0, 400).map((c) => <li><code class="command">{c.env?.length ? c.env.join(" ") + " " : ""}{(c.argv ?? []).map(quote).join(" ")}</code></li>)}</ol>
      ) : <p class="none">It ran no program but isotrace.</p>}
      {(l.commands?.length ?? 0) > 400 && <p class="aside">and {l.commands!.length - 400} more</p>}
      <div class="columns even">
        <div><h2>{count(l.materials.length, "input")}</h2><Table rows={l.materials} columns={pairColumns} caption={"Inputs of " + l.stage} filter /></div>
        <div><h2>{count(l.products.length, "output")}</h2><Table rows={l.products} columns={pairColumns} caption={"Outputs of " + l.stage} filter /></div>
      </div>
    </section>
  );
}

const quote = (s: string) => (/^[\w@%+=:,./-]+$/.test(s) ? s : "'" + s.replace(/'/g, "'\\''") + "'");
